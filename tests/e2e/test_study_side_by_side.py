"""A whole study in two processes is, to the bit, the study in one."""

from dataclasses import replace

import pytest

from alignstudy import Study
from alignstudy.study.cost import outlook
from alignstudy.study.graph.stage import in_order
from alignstudy.study.run.store import Store

pytestmark = pytest.mark.e2e

STUDY = (
    "data.world.num_train=60", "data.world.num_judge=60", "data.world.num_test=40",
    "data.world.num_pretrain=60", "data.train.max_rows=16", "calibration.n=10", "validation.n=10",
    "prompts.harmful.n=3", "prompts.helpful.n=3", "generation.max_new_tokens=4",
    "base.scratch.architecture.hidden_size=16", "base.scratch.architecture.num_hidden_layers=2",
    "base.scratch.architecture.ffn_dim=32", "base.scratch.tokenizer.vocab_size=400",
    "methods.sft.max_steps=2", "methods.dpo.max_steps=2", "threads=1",
)  # fmt: skip


TIMED = ("result.json", "metrics.jsonl", "adapter_config.json")
"""Files with times in them; PEFT writes the names of modules in the order of a set."""


class Talks:
    """A progress that keeps nothing."""

    def start(self, what, total=None): ...

    def advance(self, done, **figures): ...

    def finish(self): ...

    def note(self, text): ...


def test_a_study_side_by_side_is_the_study_one_by_one_to_the_bit(tmp_path, monkeypatch):
    files = {}
    for workers in (1, 2):
        monkeypatch.setattr(outlook, "START_UP", 0.0)
        monkeypatch.setattr("alignstudy.study.api.usable_cores", lambda: 2)
        study = replace(
            Study.load("demo", overrides=(*STUDY, f"workers={workers}"),
                       out=tmp_path / f"run{workers}"),
            store=Store(tmp_path / f"home{workers}"),
        )  # fmt: skip
        run = study.run(only="score", progress=Talks())
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
