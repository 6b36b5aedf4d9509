"""A command on a leash ends when its starter does, with all that it started."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from alignstudy.runtime import leash

CHILD = (
    "import subprocess, sys, time;"
    "subprocess.Popen([sys.executable, '-c', sys.argv[1], sys.argv[2]]); time.sleep(600)"
)
GRANDCHILD = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(600)"
STARTER = """\
import subprocess, sys, time
words = [sys.executable, *sys.argv[1:]]
child = subprocess.Popen(words, stdin=subprocess.PIPE, start_new_session=True)
time.sleep(600)
"""


def lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


def await_true(fact, seconds=20):
    end = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_kill_of_the_starter_ends_the_command_and_its_children(tmp_path):
    note = tmp_path / "pid"
    words = [leash.__file__, sys.executable, "-c", CHILD, GRANDCHILD, str(note)]
    starter = subprocess.Popen([sys.executable, "-c", STARTER, *words])
    await_true(lambda: note.exists() and note.read_text())
    pid = int(note.read_text())
    assert lives(pid)
    os.kill(starter.pid, signal.SIGKILL)
    starter.wait()
    await_true(lambda: not lives(pid))


def test_the_commands_exit_code_is_its_own():
    words = [sys.executable, leash.__file__, sys.executable, "-c", "raise SystemExit(7)"]
    child = subprocess.Popen(words, stdin=subprocess.PIPE)
    assert child.wait(20) == 7
    child.stdin.close()


def test_a_command_that_heeds_no_signal_is_killed(tmp_path):
    note = tmp_path / "pid"
    stubborn = (
        "import os, signal, sys, time; signal.signal(15, signal.SIG_IGN);"
        "open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(600)"
    )
    words = [sys.executable, "-c", stubborn, str(note)]
    run = f"from alignstudy.runtime import leash; leash.GRACE = 0.3; exit(leash.main({words!r}))"
    child = subprocess.Popen([sys.executable, "-c", run], stdin=subprocess.PIPE)
    await_true(lambda: note.exists() and note.read_text())
    child.stdin.close()
    assert child.wait(20) != 0
