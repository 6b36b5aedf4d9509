"""Table of the probe: what became of fixed pairs' likelihood in training."""

from __future__ import annotations

from collections.abc import Sequence

from alignstudy.formatting import number
from alignstudy.records.evidence import TrainingRecord
from alignstudy.report.tables.table import Cell, Column, Table, numeric, rounded

PARTS = {"train": "trained on", "held_out": "held out"}


def likelihoods_table(training: Sequence[TrainingRecord]) -> Table:
    """What each training made of its probe, at its end; a row a part."""
    rows = [
        {"record": record, "part": PARTS[part], "start": start, "end": end}
        for record in training
        for part, (start, end) in record.probed.items()
    ]
    return Table.of(
        rows,
        Column("Training", lambda row: Cell(row["record"].recipe, f"seed {row['record'].seed}")),
        Column("Pairs", lambda row: f"{row['end']['pairs']} {row['part']}"),
        numeric("Chosen gained", "end.chosen_change", rounded(2, signed=True)),
        numeric("Rejected gained", "end.rejected_change", rounded(2, signed=True)),
        numeric("Chosen, a token", "end.chosen_per_token", rounded(3)),
        numeric("Rejected, a token", "end.rejected_per_token", rounded(3)),
        numeric("Chosen fell, %", "end.chosen_fell", _percent),
        numeric("Both fell, %", "end.both_fell", _percent),
        numeric("Neither, at the start, %", "start.unseen_mass", _percent),
        numeric("Neither, %", "end.unseen_mass", _percent),
        numeric("Right by gain, %", "end.right_by_change", _percent),
        numeric("Right by sum, %", "end.right_by_sum", _percent),
        numeric("Right a token, %", "end.right_by_token", _percent),
        numeric("Gradient left", "end.saturation", rounded(3)),
        numeric("Pull on rejected", "end.log_gradient_ratio", rounded(2, signed=True)),
        note="Means of log-probabilities in nats; what was gained is counted from the start of that"
        " training. Neither: probability of all other tokens where a pair's responses part. Right:"
        " pairs whose chosen response gained more, is likelier, is likelier a token. Gradient left:"
        " S(-beta D), which is 0.5 at the start. Pull on rejected: log of the loss's gradient by"
        " the rejected response's probability over that by the chosen one's.",
        title="Likelihood of fixed pairs after training",
    )


def _percent(share: float) -> str:
    return number(100 * share, 1)
