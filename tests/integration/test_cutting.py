"""Prompts cut into batches: each once, and processes that end together."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alignstudy.generation import GenerationSettings, cutting
from alignstudy.generation.costs import MOST_ROWS, Costs
from alignstudy.generation.cutting import Work, cut
from alignstudy.runtime import spreading

torch = pytest.importorskip("torch")

PUBLISHED = [11, 14, 20, 56, 82, 103, 120, 135, 140, 168, 184, 250, 319, 413, 537, 746]


@pytest.fixture(autouse=True)
def two_cores(monkeypatch):
    monkeypatch.setattr(spreading, "usable_cores", lambda: 2 * torch.get_num_threads())
    monkeypatch.setattr(spreading, "free_memory", lambda: 10**11)


def work(lengths, **asked):
    """Prompts for a model of OPT-350M's shape."""
    from transformers import OPTConfig

    costs = Costs(
        config=OPTConfig(), weights=330_000_000, parameters=331_000_000, cached=49_152, layers=24,
        flops=7e10, bandwidth=1.8e10, dispatch=2e-6,
    )  # fmt: skip
    return Work(lengths=lengths, settings=GenerationSettings(**asked), costs=costs)


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 700), max_size=60),
    asked=st.integers(1, 3),
    batch_size=st.none() | st.integers(1, 50),
)
def test_every_prompt_is_in_one_batch_the_longest_first(lengths, asked, batch_size):
    batches, workers = cut(work(lengths, batch_size=batch_size), asked=asked, start_up=8.0)
    assert sorted(number for batch in batches for number in batch) == [*range(len(lengths))]
    heads = [lengths[batch[0]] for batch in batches]
    assert heads == sorted(heads, reverse=True)
    assert all(len(batch) <= (batch_size or MOST_ROWS) for batch in batches)
    assert 1 <= workers <= min(asked, 2)


def test_one_process_cuts_only_what_costs_least():
    batches, workers = cut(work([120 + n for n in range(16)]), asked=1, start_up=8.0)
    assert (len(batches), workers) == (1, 1)


@pytest.mark.parametrize("lengths", [PUBLISHED, PUBLISHED[::2], [130] * 10, PUBLISHED * 6])
def test_two_processes_end_at_nearly_the_same_time(lengths):
    asked = work(lengths)
    batches, workers = cut(asked, asked=2, start_up=0.1)
    assert workers == 2
    seconds = [cutting._seconds(asked, batch) for batch in batches]
    free = [0.0, 0.0]
    for each in seconds:
        free[free.index(min(free))] += each
    assert max(free) < 1.5 * sum(free) / 2


def test_a_second_process_that_does_not_pay_is_not_started():
    assert cut(work([130] * 4), asked=2, start_up=1000.0)[1] == 1
    assert cut(work([]), asked=2, start_up=0.1) == ([], 1)
