"""The stage that shows training examples as the trainer sees them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, ClassVar

from alignstudy.methods.base import PreviewExample
from alignstudy.methods.loop.preview import preview
from alignstudy.study.graph.stage import Stage, StageJob
from alignstudy.study.stages.sources import read_part
from alignstudy.study.stages.train import Train

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

    def skimmed(self) -> tuple[Stage, ...]:
        """Return the trainings: it reads tokenizers of what they start from."""
        return self.trainings

    def run(self, job: StageJob) -> dict[str, Any]:
        """Write preview.md."""
        sections, job = [INTRODUCTION], replace(job, folder_of=job.records_of)
        for stage in self.trainings:
            # Rows that don't fit are left out of training too; many are offered so that some fit.
            rows = read_part(stage.rows, job.folder_of(stage.rows))[:NUM_OFFERED]
            sections.append(as_markdown(stage, preview(stage.job(job, rows=rows)).examples))
        (job.out / PREVIEW).write_text("\n".join(sections), encoding="utf-8")
        return {}


def learnt_of(counts: Mapping[str, int]) -> str:
    """Return in words of how many rows a training learns, and why of others it doesn't."""
    reasons = {
        "too_long": "have a prompt (or a response) that alone fills max_length",
        "same_when_cut": "have responses that are the same tokens once cut",
    }
    lost = [f"{n} {words}" for name, words in reasons.items() if (n := counts.get(name, 0))]
    return "; ".join([f"{counts['used']} of {counts['rows']} rows encoded", *lost])


def as_markdown(stage: Train, examples: Sequence[PreviewExample]) -> str:
    """Write the examples of one training: tokens that the mask treats alike share a line."""
    lines = [f"## {stage.label} ({stage.settings.method})\n"]
    for item in examples:
        count = f"{sum(item.in_loss)} of {len(item.tokens)} tokens count"
        lines += [f"### {item.row_id}, {item.part}: {count}", "", "```text"]
        masked = zip(item.in_loss, item.tokens, strict=True)
        for counts, run in groupby(masked, key=lambda pair: pair[0]):
            text = "|".join(
                token.replace("\\", "\\\\").replace("\n", "\\n").replace("`", "'")
                for _, token in run
            )
            lines.append(f"{'+' if counts else '-'} {text}")
        lines += ["```", ""]
    return "\n".join(lines)
