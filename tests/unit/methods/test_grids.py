"""What methods are tried with: the grids that are fixed beforehand, and grids that are given."""

import re

import pytest

from alignstudy.methods import named, recipe_settings
from alignstudy.methods.grids import default_trials, fault_of, given_trials, knob_of, with_values
from alignstudy.methods.rounds.round import rounds_of

KINDS = {kind.model_fields["method"].default: kind for kind in recipe_settings()}


def settings(label, **given):
    whole = {**named(label), **given}
    return KINDS[whole["method"]](**whole)


def by_rate(name, *values):
    """Return six trials: three learning rates at each of two values of the knob."""
    return [
        {"learning_rate": rate, name: value} for value in values for rate in (5e-6, 1.67e-6, 1.5e-5)
    ]


def rates(*values):
    return [{"learning_rate": value} for value in values]


GOLDEN = {
    "sft": rates(2e-5, 6.67e-6, 6e-5, 2e-6, 2e-4, 6.67e-7),
    "dpo": by_rate("beta", 0.1, 0.01),
    "simpo": by_rate("beta", 2.0, 10.0),
    "kto": rates(5e-6, 1.67e-6, 1.5e-5, 5e-7, 5e-5, 1.67e-7),
    "orpo": by_rate("beta", 0.1, 1.0),
    "tpo": by_rate("tpo_alpha", 1.0, 0.05),
    "spin": by_rate("beta", 0.1, 0.01),
    "expo": [{"alpha": alpha} for alpha in (0.5, 0.1, 0.3, 0.2, 0.4, 0.7)],
}


@pytest.mark.parametrize(("label", "expected"), GOLDEN.items())
def test_default_trials(label, expected):
    assert list(default_trials(settings(label), 6)) == expected


def test_the_labels_own_values_are_tried_first_and_others_lie_around_them():
    own = settings("dpo", beta=0.5, learning_rate=2e-4)
    found = default_trials(own, 9)
    assert found[0] == {"learning_rate": 2e-4, "beta": 0.5}
    assert [each["beta"] for each in found] == [0.5] * 3 + [0.01] * 3 + [0.1] * 3
    more = default_trials(own, 15)  # then each beta with a tenth and ten times the rate
    assert [each["learning_rate"] for each in more[9:]] == [2e-5, 2e-3] * 3


@pytest.mark.parametrize("label", [*GOLDEN, "ipo", "best_of_n", "irft", "sdpo", "rdpo", "sppo"])
def test_more_trials_keep_those_that_were_made_and_none_stands_twice(label):
    own = settings(label)
    most = default_trials(own, 50)
    for number in (2, 3, 6):
        assert default_trials(own, number) == most[:number]
    assert len({tuple(each.items()) for each in most}) == len(most)
    assert len(most) == (10 if label == "expo" else 50)
    assert with_values(own, most[0]) == own
    for each in most[:8]:
        assert fault_of(own, each) == ""


def test_a_rate_above_what_is_allowed_is_passed_over():
    found = default_trials(settings("sft", learning_rate=0.5), 4)
    assert [each["learning_rate"] for each in found] == [0.5, 0.167, 0.05, 0.0167]


@pytest.mark.parametrize("label", ["spin", "irft", "iterative_dpo", "sdpo", "sppo"])
def test_a_trial_of_rounds_is_what_each_of_its_trainings_reads(label):
    """What was chosen is written over the trainings' settings: it must give the trial's."""
    own = settings(label)
    for values in default_trials(own, 6):
        tried = rounds_of(with_values(own, values))
        final = [with_values(each.training, values) for each in rounds_of(own)]
        assert [each.training for each in tried] == final


@pytest.mark.parametrize(
    ("own", "values", "words"),
    [
        (settings("sft"), {"num_train_epochs": 2.0}, "equal cost"),
        (settings("sft"), {"lora": 2.0}, "no number that can be tuned; known: learning_rate"),
        (settings("dpo"), {"betta": 2.0}, "known: .*beta"),
        (settings("dpo"), {"max_steps": 2.0}, "no number"),
        (settings("dpo"), {"beta": 0.0}, "beta 0: Input should be greater than 0"),
        (settings("dpo"), {"rpo_alpha": 0.5}, "ignored"),
        (settings("tpo"), {"tpo_alpha": 0.0}, "not all of its trainings"),
        (settings("spin", learning_rates=[1e-6] * 3), {"learning_rate": 1e-5}, "gives each round"),
        (settings("expo"), {"alpha": -1.0}, "greater than 0"),
        (settings("expo"), {"learning_rate": 1e-5}, "known: alpha"),
    ],
)
def test_what_cannot_be_tried_is_refused(own, values, words):
    assert re.search(words, fault_of(own, values))


def test_a_knob_that_rounds_set_by_themselves_or_that_is_off_is_none():
    assert knob_of(settings("spin", betas=[0.1, 0.1, 5.0])) == ("", ())
    assert knob_of(settings("tpo", tpo_alpha=0.0)) == ("", ())
    assert knob_of(settings("flex")) == ("beta_rejected", (0.08, 0.05, 0.1))


def test_a_given_grid_begins_with_the_labels_own_values():
    found = given_trials(settings("dpo"), {"learning_rate": (1e-6, 5e-6), "beta": (0.1, 0.3)})
    assert [tuple(each.values()) for each in found] == [
        (5e-6, 0.1),
        (1e-6, 0.1),
        (1e-6, 0.3),
        (5e-6, 0.3),
    ]
