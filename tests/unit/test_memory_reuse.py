"""Freed memory is kept where the C library lets it be, and nothing is asked of others."""

import platform

import pytest

from alignstudy.runtime.memory_reuse import keep_freed_memory


@pytest.fixture
def nothing_said(monkeypatch):
    for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"):
        monkeypatch.delenv(name, raising=False)


def test_glibc_takes_both_limits(nothing_said):
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("another C library")
    assert keep_freed_memory()
    assert keep_freed_memory()


def test_what_the_environment_says_is_left(nothing_said, monkeypatch):
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "131072")
    assert not keep_freed_memory()


def test_another_library_is_asked_nothing(nothing_said, monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr("ctypes.CDLL", None)
    assert not keep_freed_memory()
