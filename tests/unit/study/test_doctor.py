"""What `doctor` says of this machine, and what a study may ask of it."""

import json

import pytest

from alignstudy.cli.app import main
from alignstudy.errors import InputError, SettingsError
from alignstudy.runtime.device import pick_device
from alignstudy.study.api import Study
from alignstudy.study.tools.doctor import examine


def said_of(what):
    return [(state, detail) for name, state, detail in examine() if name == what]


def test_an_apple_gpu_is_named_with_why_it_is_not_used(monkeypatch, capsys):
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    [(state, detail)] = said_of("Apple GPU")
    assert state == "note"
    assert "never compared with the CPU" in detail
    assert [state for state, _ in said_of("device")] == ["ok"]
    with pytest.raises(SystemExit):
        main(["doctor", "--json"])
    assert "Apple GPU" in {line["what"] for line in json.loads(capsys.readouterr().out)}


def test_nothing_is_said_of_an_apple_gpu_that_is_not_there(monkeypatch):
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    assert not said_of("Apple GPU")


def test_mps_is_refused_by_name():
    with pytest.raises(SettingsError) as caught:
        Study.load("demo", overrides=["device=mps"])
    assert "'device': no Apple GPU is used" in caught.value.what
    assert "use auto, cpu or cuda" in caught.value.what
    with pytest.raises(InputError, match="no Apple GPU is used"):
        pick_device("mps")
