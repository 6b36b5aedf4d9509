"""Terminals of any encoding, and texts that try to be more than text."""

import json
import re

import pytest
from fault_table import command, lines, pair, small_study
from hostile_strings import HOSTILE
from study_faults import rated

ODD = "na\xefve \u2603 \U0001f600 \u0416 \u2212"
NAME = "mod\xe8le-\u2603"
VERBS = (
    "audit d.jsonl", "audit none-\u2603.jsonl", "check s.yaml", "doctor", "explain methods.dpo",
    "list methods", "list judges", "plan s.yaml", "show run", "report run", "store size",
    "evaluate rated --out e", "compare run run --out c", "run s.yaml --only rows/train",
    "show nowhere-\u2603", "frob-\u2603",
)  # fmt: skip
FIGURES = "alignstudy.study.tools.report.write_figures"
ACTIVE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Characters that a terminal obeys."""


@pytest.fixture(scope="module")
def laid(tmp_path_factory):
    """Data, a study and a run, with characters that few terminals have in every text."""
    place = tmp_path_factory.mktemp("odd")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("ALIGNSTUDY_HOME", str(place / "home"))
        patch.setattr(FIGURES, lambda *_, **__: ())
        (place / "d.jsonl").write_bytes(lines(pair(prompt=ODD, chosen=ODD), "{" + ODD))
        (place / "s.yaml").write_text(small_study(), encoding="utf-8")
        for name, content in rated(lambda n: f"{ODD} {n}").items():
            path = place / name.replace("sft", NAME)
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        assert command("evaluate rated --out run").code == 0
        yield place


@pytest.fixture(autouse=True)
def there(laid, monkeypatch):
    """Be where they lie."""
    monkeypatch.chdir(laid)
    monkeypatch.setenv("ALIGNSTUDY_HOME", str(laid / "home"))
    monkeypatch.setattr(FIGURES, lambda *_, **__: ())


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_fault_c10_every_verb_writes_in_every_encoding(verb, encoding):
    plain, said = command(verb), command(verb, encoding=encoding)
    assert said.code == plain.code
    assert "Traceback" not in said.err
    assert bool(said.out) == bool(plain.out)


@pytest.mark.parametrize("verb", [v for v in VERBS if v.split()[0] not in ("frob-\u2603", "run")])
def test_fault_c10_json_stays_json(verb):
    plain = command(f"{verb} --json")
    said = command(f"{verb} --json", encoding="ascii")
    assert said.code == plain.code
    if not verb.startswith(("plan", "doctor", "check", "store")):  # times, free memory
        assert (json.loads(said.out) if said.out else None) == (
            json.loads(plain.out) if plain.out else None
        )


def test_fault_c10_our_own_signs_are_written_as_ascii_has_them():
    said = command("show run", encoding="ascii")
    assert "\\u2212" not in said.out
    assert "mod\\xe8le-\\u2603" in said.out


def test_fault_r44_texts_are_inert_in_the_terminal(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [pair(**{field: text + " x"}) for text in HOSTILE for field in ("prompt", "chosen")]
    keys = [json.dumps({text: 1}) for text in HOSTILE]
    (tmp_path / "d.jsonl").write_bytes(lines(*rows, *keys))
    for verb in ("audit d.jsonl", "audit d.jsonl --json"):
        said = command(verb)
        assert said.code == 0, said.err
        assert not ACTIVE.search(said.out), ACTIVE.search(said.out)
        assert len(said.out) > 5_000
    assert {row["line"] for row in json.loads(said.out)["review"]}


@pytest.mark.parametrize("text", HOSTILE)
def test_fault_r44_names_are_inert_in_refusals(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = json.loads(small_study(data={"source": f"{text}.jsonl"}))
    (tmp_path / "s.yaml").write_text(json.dumps({**study, text: {text: text}}))
    said = command("check s.yaml")
    assert said.code == 2
    assert not ACTIVE.search(said.err), ACTIVE.search(said.err)
    assert "unknown key" in said.err or "half of a surrogate pair" in said.err
