"""How an update's rows are cut into micro-batches: every row once, at least cost."""

from itertools import combinations, pairwise
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alignstudy.methods.batches.pieces import MicroBatchRule, cost_of_a_pass, tokens_in_memory

lengths_of_rows = st.lists(st.integers(1, 600), min_size=1, max_size=24)
numbers = {
    "most_rows": st.integers(1, 12), "most_tokens": st.integers(1, 4000),
    "fixed_cost": st.integers(0, 500), "in_order": st.just(False),
}  # fmt: skip
padding_rules = st.builds(MicroBatchRule, **numbers, joined=st.just(False))
rules = st.builds(MicroBatchRule, **numbers, joined=st.booleans())


def cost(pieces, lengths, rule):
    return sum(rule.fixed_cost + size(piece, lengths, rule) for piece in pieces)


def size(piece, lengths, rule):
    if rule.joined:
        return sum(lengths[row] for row in piece)
    return len(piece) * max(lengths[row] for row in piece)


def allowed(piece, lengths, rule):
    fits = len(piece) == 1 or size(piece, lengths, rule) <= rule.most_tokens
    return len(piece) <= rule.most_rows and fits


@given(lengths_of_rows, rules)
def test_every_row_is_in_one_piece_and_no_piece_is_too_large(lengths, rule):
    pieces = rule.cut(lengths)
    assert sorted(row for piece in pieces for row in piece) == list(range(len(lengths)))
    assert all(allowed(piece, lengths, rule) for piece in pieces)


@given(lengths_of_rows, rules)
def test_the_longest_rows_come_first(lengths, rule):
    """Want of memory then shows in the first piece."""
    in_turn = [lengths[row] for piece in rule.cut(lengths) for row in piece]
    assert in_turn == sorted(lengths, reverse=True)


def partitions(rows):
    """Return every way to cut a list into contiguous parts."""
    for number in range(len(rows)):
        for borders in combinations(range(1, len(rows)), number):
            yield [rows[start:stop] for start, stop in pairwise((0, *borders, len(rows)))]


@given(st.lists(st.integers(1, 60), min_size=1, max_size=8), rules)
def test_no_other_cut_costs_less(lengths, rule):
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    costs = [
        cost(pieces, lengths, rule)
        for pieces in partitions(order)
        if all(allowed(piece, lengths, rule) for piece in pieces)
    ]
    assert cost(rule.cut(lengths), lengths, rule) == min(costs)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), padding_rules)
def test_nor_does_any_cut_that_mixes_lengths(lengths, rule):
    """Sorting loses nothing: no grouping of rows at all is cheaper than the best of neighbours."""
    best = min(
        cost(groups, lengths, rule)
        for groups in groupings(list(range(len(lengths))))
        if all(allowed(group, lengths, rule) for group in groups)
    )
    assert cost(rule.cut(lengths), lengths, rule) == best


def groupings(rows):
    """Return every way to divide rows into groups."""
    if not rows:
        yield []
        return
    first, *others = rows
    for rest in groupings(others):
        yield [[first], *rest]
        for at, group in enumerate(rest):
            yield [*rest[:at], [first, *group], *rest[at + 1 :]]


@given(lengths_of_rows, rules, st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_no_piece_s_shape(lengths, rule, random):
    shuffled = random.sample(lengths, len(lengths))
    shapes = [[[given[row] for row in piece] for piece in rule.cut(given)]
              for given in (lengths, shuffled)]  # fmt: skip
    assert shapes[0] == shapes[1]


@given(st.integers(1, 20), st.integers(1, 50), rules)
def test_rows_of_one_length_stay_in_order(number, length, rule):
    pieces = rule.cut([length] * number)
    assert [row for piece in pieces for row in piece] == list(range(number))
    assert pieces == rule.cut([length] * number)


@given(lengths_of_rows, st.integers(1, 12), st.integers(1, 50))
def test_in_order_rows_go_as_they_come(lengths, most, tokens):
    rule = MicroBatchRule(most_rows=most, most_tokens=tokens, fixed_cost=7, in_order=True)
    pieces = rule.cut(lengths)
    assert [row for piece in pieces for row in piece] == list(range(len(lengths)))
    assert [len(piece) for piece in pieces[:-1]] == [most] * (len(pieces) - 1)
    assert 1 <= len(pieces[-1]) <= most


@pytest.mark.parametrize(
    ("lengths", "rule", "pieces"),
    [
        ([5, 5, 5], {"most_rows": 8, "most_tokens": 99, "fixed_cost": 1}, [[0, 1, 2]]),
        ([3, 90, 4], {"most_rows": 8, "most_tokens": 999, "fixed_cost": 10}, [[1], [2, 0]]),
        ([3, 90, 4], {"most_rows": 8, "most_tokens": 999, "fixed_cost": 400}, [[1, 2, 0]]),
        ([90, 90], {"most_rows": 8, "most_tokens": 100, "fixed_cost": 400}, [[0], [1]]),
        ([3, 90, 4], {"most_rows": 8, "most_tokens": 97, "fixed_cost": 0, "joined": True},
         [[1, 2, 0]]),
        ([3, 90, 4], {"most_rows": 8, "most_tokens": 96, "fixed_cost": 9, "joined": True},
         [[1], [2, 0]]),
        ([7, 7], {"most_rows": 1, "most_tokens": 100, "fixed_cost": 400}, [[0], [1]]),
        ([7, 9, 8], {"most_rows": 2, "most_tokens": 1, "fixed_cost": 0, "in_order": True},
         [[0, 1], [2]]),
    ],
)  # fmt: skip
def test_pieces_by_hand(lengths, rule, pieces):
    assert MicroBatchRule(**rule).cut(lengths) == pieces


def test_halving_goes_down_to_one_row_and_keeps_the_rest_of_the_rule():
    rule = MicroBatchRule(most_rows=8, most_tokens=100, fixed_cost=3, joined=True)
    seen = []
    while rule is not None:
        seen.append((rule.most_rows, rule.most_tokens, rule.fixed_cost, rule.joined))
        rule = rule.halved()
    assert seen == [(rows, 100, 3, True) for rows in (8, 4, 2, 1)]


def test_pieces_that_mean_something_are_not_halved():
    assert MicroBatchRule(most_rows=8, most_tokens=9, fixed_cost=3, in_order=True).halved() is None


def test_a_pass_costs_fewer_tokens_the_larger_the_model():
    small, large = (
        SimpleNamespace(
            hidden_size=hidden, num_hidden_layers=layers, ffn_dim=4 * hidden, vocab_size=8192
        )
        for hidden, layers in ((512, 6), (1024, 24))
    )
    assert cost_of_a_pass(small) > cost_of_a_pass(large) > 0
    by_other_name = SimpleNamespace(
        hidden_size=512, num_hidden_layers=6, intermediate_size=2048, vocab_size=8192
    )
    assert cost_of_a_pass(small) == cost_of_a_pass(by_other_name)


def test_a_gib_holds_fewer_tokens_the_larger_the_model():
    """As many as 17 numbers a hidden unit and layer take, of OPT's shape: 125M, then 350M."""
    shapes = [
        SimpleNamespace(hidden_size=hidden, num_hidden_layers=layers, ffn_dim=4 * hidden)
        for hidden, layers in ((768, 12), (1024, 24))
    ]
    assert [tokens_in_memory(shape) for shape in shapes] == [1713, 642]
