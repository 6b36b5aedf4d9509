"""Large files are hashed once in a process, and again as soon as anything of them changed."""

import hashlib
import os
import time

import pytest

from alignstudy import sources
from alignstudy.sources import LARGE, sha256_of


@pytest.fixture
def large(tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(b"x" * LARGE)
    time.sleep(sources.SETTLED / 1e9 + 0.05)
    return path


@pytest.fixture
def read(monkeypatch):
    """Count how often a file is read through."""
    times, plain = [], hashlib.file_digest

    def counted(stream, name):
        times.append(stream.name)
        return plain(stream, name)

    monkeypatch.setattr(sources.hashlib, "file_digest", counted)
    return times


def truth(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_large_file_is_read_once(large, read):
    assert sha256_of(large) == sha256_of(large) == truth(large)
    assert len(read) == 1


def test_a_byte_that_changed_is_seen_though_size_and_time_are_set_back(large, read):
    sha256_of(large)
    held = large.stat()
    with large.open("r+b") as stream:
        stream.seek(5)
        stream.write(b"y")
    os.utime(large, ns=(held.st_atime_ns, held.st_mtime_ns))
    assert large.stat().st_mtime_ns == held.st_mtime_ns
    assert sha256_of(large) == truth(large)
    assert len(read) == 2


def test_another_file_in_its_place_is_seen(large, tmp_path, read):
    sha256_of(large)
    other = tmp_path / "other"
    other.write_bytes(b"z" * LARGE)
    other.replace(large)
    assert sha256_of(large) == truth(large)


def test_a_file_that_was_just_written_is_not_believed_to_rest(tmp_path, read):
    path = tmp_path / "weights"
    for byte in (b"a", b"b", b"c"):
        path.write_bytes(byte * LARGE)
        assert sha256_of(path) == hashlib.sha256(byte * LARGE).hexdigest()
    assert len(read) == 3


def test_a_small_file_is_read_each_time(tmp_path, read):
    path = tmp_path / "small"
    path.write_bytes(b"x" * (LARGE - 1))
    time.sleep(sources.SETTLED / 1e9 + 0.05)
    assert sha256_of(path) == sha256_of(path)
    assert len(read) == 2
