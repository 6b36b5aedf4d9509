"""Run a command that ends when whoever started it does, however that ends.

Run as a file, with the command as its arguments. The starter holds the other end of its standard
input: once that is closed, by intent or by a kill, the command and all that it started are ended.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress

GRACE = 10.0
"""Seconds for a command to end by itself before it is killed."""


def main(command: list[str]) -> int:
    """Run a command until it ends or standard input does; return its exit code."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    watch = threading.Thread(target=_end_with_input, args=(child,), daemon=True)
    watch.start()
    code = child.wait()
    _signal(child, signal.SIGKILL)  # what it started and left behind
    return code


def _end_with_input(child: subprocess.Popen[bytes]) -> None:
    while os.read(0, 1):
        pass
    _signal(child, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        child.wait(GRACE)
    _signal(child, signal.SIGKILL)


def _signal(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Send a signal to a command's processes; that of its group names them all."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, number)


if __name__ == "__main__":
    # A terminal's Ctrl-C, or a polite end of all, is for the starter to act upon. (Not SIG_IGN: the
    # command would inherit that.)
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, lambda *_: None)
    sys.exit(main(sys.argv[1:]))
