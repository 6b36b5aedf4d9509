"""A study that is killed takes its server along, and goes on without asking twice."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import completions_server
import pytest
from tiny_study import cli, command, environment, write_study

SERVE = f"{sys.executable} {completions_server.__file__} {{model}} {{port}} slow"


def servers(home: Path) -> list[str]:
    """Return the processes that serve a model of a store."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            line = (entry / "cmdline").read_bytes().decode("utf-8", "replace")
        except OSError:
            continue
        if entry.name.isdigit() and completions_server.__file__ in line and str(home) in line:
            found.append(entry.name)
    return found


def kept(home: Path) -> int:
    """Return how many responses a running stage has kept."""
    number = 0
    for file in (home / "work").glob("*/answers.sqlite"):
        with closing(sqlite3.connect(file)) as base:
            try:
                (number,) = base.execute(
                    "SELECT count(*) FROM kept WHERE key != 'proof'"
                ).fetchone()
            except sqlite3.OperationalError:  # its table isn't made yet
                continue
    return number


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_killed_study_leaves_no_server_and_keeps_what_was_answered(finished, tmp_path):
    asked = {"max_new_tokens": 12, "engine": "openai", "serve": SERVE, "parallel_requests": 1}
    study, out = write_study(tmp_path / "served.yaml", {"generation": asked}), tmp_path / "run"
    child = subprocess.Popen(
        command("run", study, "--out", out, "--only", "generate/sft/seed-0"),
        env=environment(finished.home), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    end = time.monotonic() + 120
    while kept(finished.home) < 3:
        assert child.poll() is None, child.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.05)
    assert servers(finished.home)
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()
    while servers(finished.home):
        assert time.monotonic() < end
        time.sleep(0.1)
    before = kept(finished.home)
    assert 3 <= before < 20
    only = ("--only", "generate/sft/seed-0", "--json")
    other = ("--set", f"generation.serve={SERVE.replace('slow', 'broken')}")
    lonely = cli("run", study, "--out", out, *only, *other, home=finished.home)
    assert lonely.returncode == 3  # another command is another server: nothing is taken from it
    assert "no memory for this model" in lonely.stderr
    assert "0 of 20 responses" in lonely.stderr
    done = cli("run", study, "--out", out, *only, home=finished.home)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["executed"] == ["generate/sft/seed-0"]
    (line,) = [
        each for each in json.loads((out / "provenance.json").read_text())["stages"]
        if each["stage"] == "generate/sft/seed-0"
    ]  # fmt: skip
    made = finished.home / "store" / "generate" / line["key"] / "responses.jsonl"
    own = json.loads((finished.run / "provenance.json").read_text())["stages"]
    key = next(each["key"] for each in own if each["stage"] == "generate/sft/seed-0")
    like = finished.home / "store" / "generate" / key / "responses.jsonl"
    assert made.read_text() == like.read_text()
