"""A whole study in two processes is, to the bit, the study in one."""

from dataclasses import replace

import pytest
from models_fixtures import TINY_DEMO

from alignstudy import Study
from alignstudy.study.graph.stage import in_order
from alignstudy.study.run.store import Store

pytestmark = pytest.mark.e2e

TIMED = (
    "result.json", "metrics.jsonl", "report.md", "report.html", "data/report.json",
    "adapter_config.json",
)  # fmt: skip
"""Files with times in them; in the last, PEFT writes the names of modules in the order of a set."""


def test_a_study_side_by_side_is_the_study_one_by_one_to_the_bit(tmp_path, monkeypatch):
    files = {}
    for workers in (1, 2):
        monkeypatch.setattr("alignstudy.study.devices.usable_cores", lambda: 2)
        study = replace(
            Study.load("demo", overrides=(*TINY_DEMO, "threads=1", f"workers={workers}"),
                       out=tmp_path / f"run{workers}"),
            store=Store(tmp_path / f"home{workers}"),
        )  # fmt: skip
        run = study.run()
        stages = in_order(study.graph(study.located(fetch=False)).goals)
        made = {s.name: study.store.peek(s.kind, s.key) for s in stages}
        beside = [name for name, found in made.items() if found and found.facts.get("beside")]
        assert bool(beside) == (workers == 2)
        assert len(run.executed) == len(set(run.executed))
        files[workers] = {
            (name, file): entry["sha256"]
            for name, found in made.items()
            if found
            for file, entry in found.manifest["files"].items()
            if not file.endswith(TIMED)
        }
    assert files[1] == files[2]
    assert any(file.endswith(".safetensors") for _, file in files[1])
