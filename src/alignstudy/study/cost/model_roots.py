"""Where a chain of trainings begins: there its shape and its tokenizer come from."""

from __future__ import annotations

from pathlib import Path

from alignstudy.study.graph.stage import Stage
from alignstudy.study.stages.score import JudgeModel
from alignstudy.study.stages.train import ImportBase, Merge, Train


def root_of(model: JudgeModel) -> JudgeModel:
    """Follow a chain of trainings and merges to where its shape and tokenizer come from."""
    while isinstance(model, Train | Merge):
        model = model.parent if isinstance(model, Train) else model.adapter
    return model


def place_of(root: JudgeModel) -> Path:
    """Return the folder of a root that was not made here: a base's source, or a judge's."""
    if isinstance(root, ImportBase):
        return root.source.path
    assert root is not None
    assert not isinstance(root, Stage)
    return root.path
