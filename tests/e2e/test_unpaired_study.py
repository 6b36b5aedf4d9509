"""A study on responses that were rated one by one, from `init` to the report."""

import json

import methods_fixtures as fx
import pytest
import tiny_study
from data_files import bad, good, question, write_jsonl

from alignstudy.study.tools.init import own_study

FEW = [
    "generation.max_new_tokens=8",
    "prompts.helpful.n=6",
    *(f"methods.{label}.max_steps=4" for label in ("sft", "kto")),
    "methods.kto.learning_rate=1e-3",
    "diagnostics=null",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("unpaired")
    base = fx.write_llama(root / "base", tokenizer_from=fx.write_opt(root / "opt"))
    rows = [
        {"prompt": question(n), "completion": good(n) if n % 3 == 0 else bad(n),
         "label": n % 3 == 0}
        for n in range(80)
    ]  # fmt: skip
    data = write_jsonl(root / "mine.jsonl", rows)
    study = root / "mine.yaml"
    study.write_text(own_study(str(data), base=str(base), judge="length"), encoding="utf-8")
    made = tiny_study.run_here(study, out=root / "run", home=root / "home", overrides=FEW)
    assert "train/sft+kto/seed-0" in made.executed
    again = tiny_study.run_here(study, out=root / "run", home=root / "home", overrides=FEW)
    assert not again.executed
    return root / "run"


def result(run, name):
    return json.loads((run / "models" / name / "result.json").read_text(encoding="utf-8"))


def test_both_kinds_were_trained_on_one_by_one(run):
    counts = result(run, "kto")["counts"]
    audit = json.loads((run / "data" / "audit.json").read_text(encoding="utf-8"))
    part = audit["train/rated"]
    assert counts["rows"] == part["used"] == counts["desirable"] + counts["undesirable"]
    assert part["notes"]["desirable responses"] == counts["desirable"]
    assert part["read"] == part["used"] + part["num_quarantined"] + sum(part["excluded"].values())
    assert 0.2 < counts["desirable"] / counts["rows"] < 0.5
    guards = {guard["guard"]: guard["passed"] for guard in result(run, "kto")["guards"]}
    assert guards["both_kinds_weigh_alike"]
    assert guards["reference_is_parent"]
    # Demonstrations are the good responses alone.
    assert result(run, "sft")["counts"]["rows"] == counts["desirable"]


def test_the_report_compares_all_of_them(run):
    table = (run / "tables" / "metrics.csv").read_text(encoding="utf-8").splitlines()
    assert [line.split(",")[0] for line in table[1:]] == ["base", "sft", "kto", "sft_kto"]
    page = (run / "report.md").read_text(encoding="utf-8")
    assert "did not pass" not in page
    shown = (run / "data" / "preview.md").read_text(encoding="utf-8")
    assert "response:" in shown
