"""A loss that jumps is told, with its step and its rows; the training goes on."""

import random

import methods_fixtures as fx
import numpy as np
import pytest

from alignstudy.methods.loop.logged import jump, jumps_in_words
from alignstudy.methods.loop.train import train
from alignstudy.methods.sft import SFTSettings
from alignstudy.progress import NotesTo
from alignstudy.records import Pair


def far(before, loss):
    """The rule, computed otherwise."""
    last = np.array(before[-100:])
    middle = np.median(last)
    spread = 1.4826 * np.median(np.abs(last - middle))
    return len(last) >= 20 and loss > middle + 8 * max(spread, abs(middle) / 20, 1e-3)


def test_the_rule_is_that_of_robust_deviations():
    drawn = random.Random(0)
    told = 0
    for _ in range(400):
        losses = [drawn.gauss(2, 0.2) for _ in range(drawn.randint(1, 150))]
        loss = 2 + drawn.choice((0.1, 1, 2, 3, -3))
        assert bool(jump(losses, loss)) == far(losses, loss)
        told += bool(jump(losses, loss))
    assert 50 < told < 350


@pytest.mark.parametrize("level", [0.0, 0.6931, 2.0])
def test_what_hardly_varies_does_not_jump_by_a_little(level):
    losses = [level + 1e-7 * (n % 3) for n in range(60)]
    assert jump(losses, level + 1e-4) == ""
    assert jump(losses, 100 * level + 1) != ""


def test_many_jumps_are_counted():
    history = [{"step": n, "loss": 9.0, "jumped": "its loss is 9"} for n in range(8)]
    words = list(jumps_in_words([{"step": 0, "loss": 1.0}, *history]))
    assert len(words) == 6
    assert words[-1] == "the loss jumped in 3 more steps"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Forty-nine dialogues that are all alike, and one that isn't."""
    root = tmp_path_factory.mktemp("jumps")
    parent = fx.write_opt(root / "opt")
    usual = fx.make_pairs(1)[0]
    rows = [Pair(id=f"row:{n}", prompt=usual.prompt, chosen=usual.chosen,
                 rejected=usual.rejected) for n in range(50)]  # fmt: skip
    odd = Pair(id="row:odd", prompt=usual.prompt, chosen=" zqxj vwkp" * 6, rejected=" no")
    told = []
    settings = SFTSettings(learning_rate=1e-2, max_length=64, per_device_train_batch_size=1,
                           num_train_epochs=1)  # fmt: skip
    for place in range(50):  # where the shuffled order puts it late
        job = fx.make_job(settings, parent, root / f"out-{place}",
                          rows=[*rows[:place], odd, *rows[place:]],
                          progress=NotesTo(told.append))  # fmt: skip
        result = train(job)
        if any("row:odd" in note for note in result.notes):
            return result, told
    pytest.fail("no order puts the row late")


def test_a_row_unlike_all_others_is_named_with_its_step(trained):
    result, told = trained
    (note,) = [note for note in result.notes if "jumped" in note]
    assert "its rows are row:odd" in note
    assert f"warning: {note}" in told
    assert result.steps == 51
