"""A disk that fails at the n-th operation: `interpose.c`, built and preloaded."""

from __future__ import annotations

import ctypes
import errno
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

CRASH = -1
CRASHED = 137
"""The exit code of a process that crashed as it was told to."""

FAULTS = {
    "crash": (CRASH, False),
    "full": (errno.ENOSPC, True),
    "io": (errno.EIO, False),
    "denied": (errno.EACCES, False),
}
"""What happens at an operation: the errno (or a crash), and whether it lasts."""


@dataclass(frozen=True)
class Mishap:
    """What happens at the n-th operation.

    Attributes:
        at: Counted from 1; 0: nothing happens, operations are counted.
        after: Whether it happens when the operation was done, else before.
        fault: One of FAULTS.
        log: An inheritable descriptor that every operation is written to; -1: none.
    """

    at: int = 0
    after: bool = False
    fault: str = "crash"
    log: int = -1

    def arm(self, roots: tuple[Path, Path]) -> None:
        """Have it happen in this process, which the library was preloaded into."""
        number, lasting = FAULTS[self.fault]
        first, second = (str(root).encode() for root in roots)
        ctypes.CDLL(None).mishap_arm(
            first, second, ctypes.c_long(self.at), int(self.after), number, int(lasting), self.log
        )

    def variables(self, roots: tuple[Path, Path]) -> dict[str, str]:
        """Return the variables by which it happens in a fresh process."""
        number, lasting = FAULTS[self.fault]
        values = (*roots, self.at, int(self.after), number, int(lasting), self.log)
        return {"MISHAP": "\n".join(map(str, values))}


def build(folder: Path) -> Path:
    """Compile the library.

    Raises:
        SystemExit: If there is no C compiler.
    """
    source, library = Path(__file__).with_name("interpose.c"), folder / "interpose.so"
    command = ["cc", "-shared", "-fPIC", "-O2", "-o", str(library), str(source), "-ldl"]
    try:
        subprocess.run(command, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"{source} can't be compiled ({error}): a C compiler, `cc`, is needed")
    return library
