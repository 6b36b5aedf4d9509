"""Responses by a real `transformers serve`: those of this process, whatever befalls the server."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import existing_models
import pytest
import tiny_study
from models_fixtures import CORPUS, write_opt_like_hub
from tiny_study import cli, write_study

from alignstudy.dialogue import CUE
from alignstudy.errors import EnvironmentFault
from alignstudy.generation import GenerationSettings, generate
from alignstudy.records import Prompt, StopReason, Weights

pytest.importorskip("fastapi", reason="needs transformers[serving]")
pytest.importorskip("uvicorn", reason="needs transformers[serving]")

PROGRAM = [sys.executable, "-c", "from transformers.cli.transformers import main; main()", "serve"]
SERVE = (
    f"{sys.executable} -c 'from transformers.cli.transformers import main; main()' serve {{model}}"
    " --port {port} --device cpu"
)
NEW = 16
PROMPTS = [
    Prompt(id=f"helpful-{n}", axis="helpful", text=f"\n\nHuman: {text.strip()}{CUE}")
    for n, text in enumerate(" ".join(CORPUS).split("."))
    if text.strip()
]


@contextmanager
def server(log: Path):
    """Start a server that loads the folders that requests name."""
    with socket.socket() as held:
        held.bind(("localhost", 0))
        port = held.getsockname()[1]
    with log.open("ab") as output:
        child = subprocess.Popen(
            [*PROGRAM, "--port", str(port), "--device", "cpu"], stdout=output,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        end = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("localhost", port), 1).close()
                break
            except OSError:
                assert child.poll() is None, log.read_text()
                assert time.monotonic() < end
                time.sleep(0.1)
        yield child, f"http://localhost:{port}/v1"
    finally:
        child.kill()
        child.wait()


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with server(tmp_path_factory.mktemp("server") / "log") as (_, url):
        yield url


@pytest.fixture(scope="module")
def opt(tmp_path_factory):
    """Random weights whose texts vary; some end by themselves."""
    folder = tmp_path_factory.mktemp("opt")
    write_opt_like_hub(folder, std=0.2, seed=2)
    return Weights(folder=folder)


def run(weights, *, work=None, facts=None, protocol="rigorous", **settings):
    asked = GenerationSettings(**({"max_new_tokens": NEW} | settings))
    return generate(weights, PROMPTS, asked, protocol=protocol, device="cpu", seed=0,
                    work=work, facts=facts)  # fmt: skip


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"protocol": "paper"},
        {"stop_strings": ["e", " th"]},
        {"dtype": "bfloat16"},
    ],
    ids=str,
)
def test_greedy_responses_are_those_of_this_process(opt, running, settings):
    facts = {}
    found = run(opt, engine="openai", base_url=running, facts=facts, **settings)
    if settings.get("dtype") == "bfloat16":  # the last bits decide, and batches those
        assert facts["server"].endswith("(bfloat16)")
        return
    assert facts["server"] == "4 of 4 greedy answers are this process' own (float32)"
    assert found == run(opt, **settings)
    kinds = {response.stop_reason for response in found}
    assert kinds >= ({StopReason.STOP_STRING} if "stop_strings" in settings else {StopReason.CAP})


def test_responses_end_where_the_model_does(opt, running):
    found = run(opt, engine="openai", base_url=running, max_new_tokens=60)
    assert found == run(opt, max_new_tokens=60)
    assert StopReason.EOS in {response.stop_reason for response in found}


@pytest.mark.parametrize("name", ["Qwen2", "Llama"])
def test_chat_templates_are_asked_by_their_tokens(tmp_path, running, name):
    weights = Weights(folder=existing_models.write_chat_model(tmp_path / "chat", name))
    assert run(weights, engine="openai", base_url=running) == run(weights)


def test_draws_differ_which_they_do_not_by_the_request_alone(opt, running):
    """This server heeds no temperature unless generation_config.json says `do_sample`."""
    drawn = {"do_sample": True, "num_samples": 3, "temperature": 1.5, "parallel_requests": 1}
    found = run(opt, engine="openai", base_url=running, **drawn)
    assert len({response.raw_text for response in found}) > len(PROMPTS)


def test_a_server_that_is_killed_loses_nothing(opt, tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    served = {"engine": "openai", "parallel_requests": 1, "work": work}

    class Killer:
        """Kills after some responses."""

        def start(self, what, total=None):
            self.child, self.done = None, 0

        def advance(self, done, **figures):
            self.done += done
            if self.done == 3 and figures:
                os.kill(victim.pid, signal.SIGKILL)

        def finish(self):
            """Do nothing."""

        note = start

    settings = GenerationSettings(
        max_new_tokens=NEW, **{k: v for k, v in served.items() if k != "work"}, base_url="http://x"
    )
    with server(tmp_path / "log") as (victim, url), pytest.raises(EnvironmentFault) as raised:
        generate(opt, PROMPTS, settings.model_copy(update={"base_url": url}), protocol="rigorous",
                 device="cpu", seed=0, work=work, progress=Killer())  # fmt: skip
    assert f"of {len(PROMPTS)} responses" in raised.value.kept
    assert not raised.value.kept.startswith("0 ")
    with server(tmp_path / "log") as (_, url):
        assert run(opt, base_url=url, **served) == run(opt)


def responses(run: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted((run / "responses").iterdir())}


def test_a_whole_study_by_servers_that_it_starts(finished, tmp_path):
    """Base, full weights, an adapter and an adapter on SFT: the same responses as in process."""
    study = write_study(
        tmp_path / "served.yaml", {"generation": {"max_new_tokens": 12, "engine": "openai"}}
    )
    out, options = tmp_path / "run", {"home": finished.home, "PATH": os.environ["PATH"]}
    lonely = cli("run", study, "--out", out, "--set", "generation.base_url=http://localhost:9/v1",
                 **options)  # fmt: skip
    assert lonely.returncode == 3, lonely.stderr
    assert "nothing listens at its port" in lonely.stderr
    assert "train" not in lonely.stderr
    given = ("--set", f"generation.serve={SERVE}")
    checked = cli("check", study, "--out", out, *given, "--json", **options)
    assert checked.returncode == 0, checked.stderr
    lines = {line["what"]: line for line in json.loads(checked.stdout)["lines"]}
    assert lines["server"]["state"] == "ok"
    done = cli("run", study, "--out", out, *given, "--json", **options)
    assert done.returncode == 0, done.stderr
    executed = json.loads(done.stdout)["executed"]
    assert not [name for name in executed if name.startswith("train/")]
    assert len([name for name in executed if name.startswith("generate/")]) == 4
    assert responses(out) == responses(finished.run)
    record = json.loads((out / "provenance.json").read_text())
    made = [line for line in record["stages"] if line["stage"].startswith("generate/")]
    assert all("greedy answers are this process' own" in line["server"] for line in made)
    assert "written by a server" in (out / "report.html").read_text()
    again = tiny_study.cli("run", study, "--out", out, *given, "--json", **options)
    assert json.loads(again.stdout)["executed"] == []
