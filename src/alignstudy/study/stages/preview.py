"""The stage that shows training examples as the trainer sees them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from alignstudy.methods import METHODS
from alignstudy.methods.base import PreviewExample
from alignstudy.study.graph.stage import Stage, StageJob
from alignstudy.study.stages.train import Train, training_rows

PREVIEW = "preview.md"
NUM_OFFERED = 1000

INTRODUCTION = """# Training examples as the trainer sees them

Tokens are divided by `|`. Tokens of `+` lines count in the loss; those of `-` lines are read, not
learned. Line breaks are shown as \\n.
"""


@dataclass(frozen=True, kw_only=True)
class Preview(Stage):
    """Decode the first examples of each training, the loss mask visible."""

    kind: ClassVar[str] = "preview"
    trainings: tuple[Train, ...]
    labels: tuple[str, ...]

    def run(self, job: StageJob) -> dict[str, Any]:
        """Write preview.md."""
        sections = [INTRODUCTION, *(self._section(stage, job) for stage in self.trainings)]
        (job.out / PREVIEW).write_text("\n".join(sections), encoding="utf-8")
        return {}

    # Rows that don't fit are left out of training too; many are offered so that some fit.
    def _section(self, stage: Train, job: StageJob) -> str:
        rows = training_rows(stage, job, NUM_OFFERED)
        method = METHODS.load(stage.settings.method)
        return as_markdown(stage, method.preview(stage.job(job, rows=rows)))


def as_markdown(stage: Train, examples: list[PreviewExample]) -> str:
    """Write the examples of one training."""
    title = f"## {stage.label} ({stage.settings.method})\n"
    return "\n".join([title, *(_example(item) for item in examples)])


def _example(item: PreviewExample) -> str:
    """Write one example: runs of tokens that the mask treats alike, one line each."""
    head = f"### {item.row_id}, {item.part}: {sum(item.in_loss)} of {len(item.tokens)} tokens count"
    runs: list[tuple[bool, list[str]]] = []
    for token, counts in zip(item.tokens, item.in_loss, strict=True):
        if not runs or runs[-1][0] != counts:
            runs.append((counts, []))
        runs[-1][1].append(token.replace("\\", "\\\\").replace("\n", "\\n").replace("`", "'"))
    lines = [f"{'+' if counts else '-'} " + "|".join(tokens) for counts, tokens in runs]
    return "\n".join([head, "", "```text", *lines, "```", ""])
