"""A study looks for the server that it needs before anything is trained, and only then."""

from dataclasses import replace

import pytest
from completions_server import send, serving
from tiny_study import cli, write_study

from alignstudy.errors import EnvironmentFault, InputError
from alignstudy.generation.settings import API_KEY
from alignstudy.study.api import Study
from alignstudy.study.run.store import Store


@pytest.fixture
def study(tmp_path):
    """Return the tiny study, its responses by a server."""

    def loaded(**generation):
        asked = {"max_new_tokens": 12, "engine": "openai", **generation}
        path = write_study(tmp_path / "served.yaml", {"generation": asked})
        return replace(Study.load(path, out=tmp_path / "run"), store=Store(tmp_path / "home"))

    return loaded


def line_of(found, name):
    return next((line for line in found.lines if line[0] == name), None)


def test_a_run_without_its_server_stops_before_it_trains(study, tmp_path):
    asked = study(base_url="http://localhost:9/v1")
    with pytest.raises(EnvironmentFault, match="nothing listens"):
        asked.run()
    assert not list((tmp_path / "home").rglob("*.safetensors"))
    found = asked.check()
    assert line_of(found, "server")[1] == "missing"
    assert any("`run` will stop before it trains" in text for text in found.warnings)


def test_a_run_without_the_program_that_serves_stops_before_it_trains(study, tmp_path):
    asked = study(serve="no-such-server {model} --port {port}")
    with pytest.raises(InputError, match="no program 'no-such-server'"):
        asked.run()
    assert not list((tmp_path / "home").rglob("*.safetensors"))
    assert "no-such-server" in line_of(asked.check(), "server")[2]


def test_check_asks_the_server_once_and_plan_never(study):
    with serving(lambda body, handler: send(handler, b"")) as server:
        asked = study(base_url=server.url)
        asked.plan()
        assert server.requests == []
        assert line_of(asked.check(), "server")[1] == "ok"
        assert [path for path, *_ in server.requests] == ["/v1/models"]


def test_a_stage_that_needs_no_response_needs_no_server(study):
    assert "prompts" in study(base_url="http://localhost:9/v1").run(only="prompts").executed


def test_a_study_of_this_process_asks_nobody(tmp_path):
    path = write_study(tmp_path / "own.yaml")
    assert line_of(Study.load(path, out=tmp_path / "run").check(), "server") is None


def test_a_wrong_server_is_one_clear_error_of_the_command_line(tmp_path):
    path = write_study(tmp_path / "served.yaml", {"generation": {"engine": "openai"}})
    done = cli("check", path, "--out", tmp_path / "run", home=tmp_path / "home")
    assert done.returncode == 2
    assert "either base_url" in done.stderr
    wrong = ("--set", "generation.base_url=http://me:hunter2@localhost/v1")
    done = cli("check", path, "--out", tmp_path / "run", *wrong, home=tmp_path / "home")
    assert done.returncode == 2
    assert API_KEY in done.stderr
    assert "hunter2" not in done.stderr
    planned = cli("plan", path, "--set", "generation.base_url=http://localhost:9/v1", "--out",
                  tmp_path / "run", home=tmp_path / "home")  # fmt: skip
    assert planned.returncode == 0, planned.stderr
    assert "responses: by a server" in planned.stdout
