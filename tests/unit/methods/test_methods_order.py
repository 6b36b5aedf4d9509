"""Grouping by length, planned steps, metrics lines: plain arithmetic."""

import json

from hypothesis import given
from hypothesis import strategies as st

from alignstudy.methods.batches.order import GroupedByLength
from alignstudy.methods.loop.arguments import checkpoint_interval, planned_steps
from alignstudy.methods.sft import SFTSettings

LENGTHS = st.lists(st.integers(1, 200), min_size=1, max_size=300)


@given(lengths=LENGTHS, batch=st.integers(1, 9), seed=st.integers(0, 5), epoch=st.integers(0, 3))
def test_every_row_comes_once_and_the_order_is_repeatable(lengths, batch, seed, epoch):
    samplers = [GroupedByLength(lengths, batch_size=batch, seed=seed) for _ in range(2)]
    for sampler in samplers:
        sampler.set_epoch(epoch)
    order = list(samplers[0])
    assert sorted(order) == list(range(len(lengths)))
    assert order == list(samplers[0]) == list(samplers[1])


def test_batches_hold_rows_of_like_length_and_epochs_differ():
    lengths = [(7 * i) % 100 + 1 for i in range(200)]
    sampler = GroupedByLength(lengths, batch_size=4, seed=0)
    first = list(sampler)
    spread = [
        max(lengths[row] for row in first[at : at + 4])
        - min(lengths[row] for row in first[at : at + 4])
        for at in range(0, 200, 4)
    ]
    assert max(spread) <= 4
    sampler.set_epoch(1)
    assert list(sampler) != first
    assert len(sampler) == 200


@given(rows=st.integers(1, 500), batch=st.integers(1, 9), accumulate=st.integers(1, 5))
def test_planned_steps_cover_the_rows(rows, batch, accumulate):
    settings = SFTSettings(
        per_device_train_batch_size=batch, gradient_accumulation_steps=accumulate
    )
    steps = planned_steps(settings, rows)
    assert (steps - 1) * batch * accumulate < rows <= steps * batch * accumulate
    assert planned_steps(settings.model_copy(update={"max_steps": 3}), rows) == 3


def test_checkpoints_are_a_tenth_of_the_steps_and_500_at_most():
    assert [checkpoint_interval(SFTSettings(), n) for n in (1, 10, 95, 10000)] == [1, 1, 10, 500]
    assert checkpoint_interval(SFTSettings(save_steps=7), 1000) == 7


def test_metrics_are_means_over_the_logged_steps(tmp_path):
    from alignstudy.methods.loop.logged import write_metrics

    history = [
        {"step": i, "epoch": i / 5, "num_tokens": 10 * i, "loss": float(i), "learning_rate": 1 / i}
        for i in range(1, 6)
    ] + [{"step": 5, "train_loss": 3.0}]
    write_metrics(history, tmp_path / "m.jsonl", every=2)
    lines = [json.loads(line) for line in (tmp_path / "m.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 5]
    assert [line["loss"] for line in lines] == [1.5, 3.5, 5.0]
    assert [line["tokens"] for line in lines] == [20, 40, 50]
    assert lines[1]["learning_rate"] == 0.25
