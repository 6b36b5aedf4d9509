"""The reward model's loss at every position: published values, plain loops, finite differences."""

import math

import pytest
import torch

from alignstudy.methods.model_outputs import PairScores
from alignstudy.methods.reward_model import RewardModel, RewardModelSettings
from alignstudy.methods.scoring.positions import pair_margins

POSITIONS = RewardModel(RewardModelSettings(loss_on="positions"))
PAD = 0


def losses_of(scores, ids, last, method=POSITIONS):
    margins, compared = pair_margins(scores, ids, last)
    ends = scores.gather(1, last[:, None]).squeeze(1)
    chosen, rejected = ends.chunk(2)
    said = PairScores(chosen=chosen, rejected=rejected, margins=margins, compared=compared)
    return method.objective.loss(said)


def test_the_table_s_values():
    scores = torch.tensor([[0.1, 0.4, 0.9], [0.2, 0.1, -0.3]], dtype=torch.float64)
    ids, last = torch.tensor([[1, 2, 3], [4, 5, 6]]), torch.tensor([2, 2])
    assert losses_of(scores, ids, last).item() == pytest.approx(0.520678, abs=5e-7)
    end = RewardModel(RewardModelSettings())
    said = PairScores(chosen=scores[:1, 2], rejected=scores[1:, 2])
    assert end.objective.loss(said).item() == pytest.approx(0.263282, abs=5e-7)


def by_loops(chosen, rejected, chosen_scores, rejected_scores):
    """Walk along a pair of token lists, as the authors do; one that has ended keeps its score."""
    longer = max(len(chosen), len(rejected))
    padded = [text + [None] * (longer - len(text)) for text in (chosen, rejected)]
    first = next(at for at in range(longer) if padded[0][at] != padded[1][at])
    terms = []
    for at in range(first, longer):
        better = chosen_scores[min(at, len(chosen) - 1)]
        worse = rejected_scores[min(at, len(rejected) - 1)]
        terms.append(math.log1p(math.exp(worse - better)))
    return sum(terms) / len(terms)


PAIRS = [
    ([1, 2, 3, 4], [1, 2, 5]),
    ([1, 2], [1, 2, 3, 4, 5]),  # the rejected text only goes on
    ([7, 2, 3], [1, 2, 3]),
    ([1, 2, 3, 4, 5, 6], [1, 9, 3, 4]),
    ([1, 0, 3], [1, 0, 4]),  # padding's token within a text
]


def test_plain_loops_give_the_same_losses_whatever_pairs_are_padded_to():
    torch.manual_seed(0)
    texts = [chosen for chosen, _ in PAIRS] + [rejected for _, rejected in PAIRS]
    last = torch.tensor([len(text) - 1 for text in texts])
    for width in (6, 9):
        ids = torch.tensor([text + [PAD] * (width - len(text)) for text in texts])
        scores = torch.randn(len(texts), width, dtype=torch.float64) * 2
        found = losses_of(scores, ids, last).tolist()
        marks = scores.tolist()
        expected = [
            by_loops(chosen, rejected, marks[at], marks[at + len(PAIRS)])
            for at, (chosen, rejected) in enumerate(PAIRS)
        ]
        assert found == pytest.approx(expected, rel=1e-12)
        short = RewardModel(
            RewardModelSettings(loss_on="positions", center_rewards_coefficient=0.01)
        )
        squares = [
            0.01 * (marks[at][last[at]] + marks[at + len(PAIRS)][last[at + len(PAIRS)]]) ** 2
            for at in range(len(PAIRS))
        ]
        centred = [loss + square for loss, square in zip(expected, squares, strict=True)]
        assert losses_of(scores, ids, last, short).tolist() == pytest.approx(centred, rel=1e-12)


def test_gradients_are_finite_differences_and_reach_no_position_that_isn_t_compared():
    torch.manual_seed(1)
    ids = torch.tensor([[1, 2, 3, 4, 5], [1, 2, 6, PAD, PAD]])
    last = torch.tensor([4, 2])
    scores = torch.randn(2, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda given: losses_of(given, ids, last), (scores,))
    losses_of(scores, ids, last).sum().backward()
    assert scores.grad[:, :2].abs().max() == 0  # the same text so far
    assert scores.grad[1, 3:].abs().max() == 0  # padding
    assert (scores.grad[0, 2:] < 0).all()
    # An ended text's last score stands against all that follows.
    assert scores.grad[1, 2] == pytest.approx(-scores.grad[0, 2:].sum().item(), rel=1e-12)


def test_equal_scores_cost_log_two_and_a_larger_margin_less():
    ids, last = torch.tensor([[1, 2, 3], [1, 4, 5]]), torch.tensor([2, 2])
    even = torch.zeros(2, 3, dtype=torch.float64)
    assert losses_of(even, ids, last).item() == pytest.approx(math.log(2))
    better = even.clone()
    better[0, 1] = 1.0
    assert losses_of(better, ids, last) < losses_of(even, ids, last)
