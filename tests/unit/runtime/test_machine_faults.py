"""What a machine lacks is no bug of ours, whatever words a library finds for it."""

import errno
import os

import pytest

from alignstudy.runtime.machine_faults import machine_fault


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        *(OSError(number, os.strerror(number), "/x") for number in
          (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO, errno.EMFILE)),
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 192 vs 86"),
        RuntimeError("basic_ios::clear: iostream error"),
        Exception("Error while serializing: I/O error: No space left on device (os error 28)"),
        RuntimeError("can't start new thread"),
        RuntimeError("[Errno 12] Cannot allocate memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)  # fmt: skip
def test_c11_faults_of_the_machine_are_told_in_words(error):
    assert machine_fault(error)


@pytest.mark.parametrize(
    "error", [ValueError("no such thing"), KeyError("x"), RuntimeError("shapes differ"),
              FileNotFoundError(errno.ENOENT, "No such file or directory", "/x")]
)  # fmt: skip
def test_our_own_bugs_are_not(error):
    assert machine_fault(error) is None
