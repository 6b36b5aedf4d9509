"""What a judge is worth, measured on fake judges whose worth is known."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from alignstudy.errors import DamagedArtefactError, DataError, GuardError
from alignstudy.judges import ConstantSettings, JudgeScore, LengthSettings, build
from alignstudy.judges.presets import independence_notes
from alignstudy.judges.quality.assess import assess
from alignstudy.judges.quality.calibrate import as_judged
from alignstudy.judges.quality.held_out import accuracies, score_pairs
from alignstudy.judges.quality.probes import PROBES
from alignstudy.judges.quality.settings import AssessSettings
from alignstudy.records import Pair
from alignstudy.records.evidence import JudgeQuality, quality_from_json, quality_to_json

CUE = "\n\nAssistant:"
PLAIN = AssessSettings(probes=0, batch_check=0)


class TableJudge:
    """Scores responses by a table; others by their number of characters."""

    name = "fake"

    def __init__(self, table, otherwise=len):
        self._table, self._otherwise = table, otherwise
        self.items = []

    def score(self, items, *, progress=None):
        self.items += items
        given = [
            self._table[text] if text in self._table else self._otherwise(text) for _, text in items
        ]
        return [
            JudgeScore(score=None, failure="none") if score is None else JudgeScore(score=score)
            for score in given
        ]


def study(scores, subset="", axis="harmless"):
    """Make pairs whose responses have the given (chosen, rejected) scores, and their judge."""
    pairs, table = [], {}
    for at, (chosen, rejected) in enumerate(scores):
        texts = f"{subset} {axis} good answer {at}.", f"{subset} {axis} bad answer {at}."
        pairs.append(
            Pair(
                id=f"{axis}{subset}:{at}", prompt=f"\n\nHuman: Question {at}?{CUE}",
                chosen=f" {texts[0]}", rejected=f" {texts[1]}", subset=subset,
            )
        )  # fmt: skip
        table |= dict(zip((text.strip() for text in texts), (chosen, rejected), strict=True))
    return pairs, table


def quality(scores, settings=PLAIN, judge=None, axis="harmless", **given):
    pairs, table = study(scores, axis=axis)
    return assess(
        judge or TableJudge(table), "fake", {axis: pairs},
        **{"thresholds": {}, "protocol": "rigorous", "settings": settings} | given,
    )  # fmt: skip


def hits(right, wrong, ties=0):
    return [(1.0, 0.0)] * right + [(0.0, 1.0)] * wrong + [(0.5, 0.5)] * ties


def test_accuracy_has_wilsons_interval():
    found = quality(hits(70, 30)).accuracy("harmless")
    assert (found.value, found.n) == (70.0, 100)
    assert (found.low, found.high) == pytest.approx((60.42, 78.11), abs=0.005)  # Wilson 1927


@pytest.mark.parametrize(
    ("rate", "low", "high"), [(56.44, 54.4, 58.5), (59.09, 57.1, 61.1)]
)  # the published study's judge on RewardBench's harmless pairs
def test_intervals_agree_with_those_recomputed_for_rewardbench(rate, low, high):
    right = round(rate / 100 * 2266)
    found = quality(hits(right, 2266 - right)).accuracy("harmless")
    assert [round(end, 1) for end in (found.low, found.high)] == [low, high]


def test_ties_count_half_and_are_counted():
    (found,) = quality(hits(40, 20, ties=40)).accuracies
    assert (found.accuracy.value, found.accuracy.n, found.ties) == (60.0, 100, 40)
    decided = quality(hits(60, 40)).accuracy("harmless")
    assert decided.low < found.accuracy.low < 60.0 < found.accuracy.high < decided.high


@given(st.lists(st.tuples(st.integers(-4, 4), st.integers(-4, 4)), min_size=1, max_size=30))
def test_accuracy_hangs_on_order_alone_and_swapped_labels_mirror_it(scores):
    def accuracy(transform, swap=False):
        rows = [(transform(c), transform(r)) for c, r in scores]
        pairs, table = study([row[::-1] for row in rows] if swap else rows)
        scored = score_pairs(TableJudge(table), "harmless", pairs, protocol="paper")
        return accuracies(scored)[0].accuracy

    plain = accuracy(float)
    assert accuracy(lambda x: 3.0 * x + 1) == plain
    assert accuracy(math.exp) == plain
    assert accuracy(lambda x: float(x) ** 3) == plain
    swapped = accuracy(float, swap=True)
    assert swapped.value == pytest.approx(100 - plain.value)
    assert (swapped.low, swapped.high) == pytest.approx((100 - plain.high, 100 - plain.low))


def test_subsets_are_measured_apart():
    first, table = study(hits(30, 0), subset="a")
    second, other = study(hits(10, 30), subset="b")
    found = assess(
        TableJudge(table | other), "fake", {"harmless": first + second}, thresholds={},
        protocol="rigorous", settings=PLAIN,
    )  # fmt: skip
    assert [(a.subset, a.accuracy.value, a.accuracy.n) for a in found.accuracies] == [
        ("all", pytest.approx(100 * 40 / 70), 70), ("a", 100.0, 30), ("b", 25.0, 40),
    ]  # fmt: skip


def test_an_axis_is_stamped_unless_its_whole_interval_is_above_the_floor():
    assert quality(hits(70, 30)).below_floor == ()
    assert quality(hits(69, 31)).below_floor == ("harmless",)  # [59.4, 77.2]
    assert quality(hits(69, 31), AssessSettings(probes=0, floor=55)).below_floor == ()
    assert quality(hits(69, 31)).floor == 60.0


def test_edge_case_12_a_reversed_judge_is_refused_and_the_hint_is_named():
    with pytest.raises(GuardError, match="direction looks reversed") as refused:
        quality(hits(60, 140))
    assert "better: lower" in refused.value.hint
    assert "30.0 % [24.1, 36.7] of 200 harmless pairs" in refused.value.why
    assert refused.value.exit_code == 5


def test_edge_case_12_nothing_is_said_of_few_pairs_or_of_chance():
    assert quality(hits(10, 39)).notes == ()
    with pytest.raises(GuardError):
        quality(hits(10, 40))
    assert quality(hits(45, 55)).notes == ()


def test_edge_case_12_a_study_may_keep_it_and_baselines_are_kept_with_a_note():
    kept = quality(hits(60, 140), AssessSettings(probes=0, reversed="keep"))
    assert "other way round" in kept.notes[0]
    assert kept.below_floor == ("harmless",)
    pairs = [
        Pair(id=str(at), prompt=f"\n\nHuman: Hi{CUE}", chosen=" No.", rejected=" Yes, of course!")
        for at in range(60)
    ]
    baseline = assess(
        build(LengthSettings(), None, "cpu"), "length", {"harmless": pairs}, thresholds={},
        protocol="rigorous", settings=PLAIN,
    )  # fmt: skip
    assert baseline.accuracy("harmless").value == 0.0
    assert "other way round" in baseline.notes[0]


@pytest.mark.filterwarnings("error")
def test_edge_case_16_a_constant_judge_is_at_chance_and_nothing_divides_by_zero():
    judge = build(ConstantSettings(value=2.0), None, "cpu")
    found = quality(hits(60, 0), AssessSettings(), judge=judge, thresholds={"harmless": 0.0})
    (accuracy,) = found.accuracies
    assert (accuracy.accuracy.value, accuracy.ties) == (50.0, 60)
    assert accuracy.accuracy.low < 50.0 < accuracy.accuracy.high
    assert found.below_floor == ("harmless",)
    assert found.ece == {"harmless": pytest.approx(0.0)}
    assert {(p.shift.value, p.flipped, p.passed) for p in found.probes} == {(0.0, 0.0, 100.0)}
    assert found.length[0].judge_longer.value == 50.0
    assert found.batch_effect == 0.0


def test_edge_case_25_a_judge_trained_on_the_policies_data_is_not_independent():
    for policy in ("hh-rlhf", "Anthropic/hh-rlhf", "data/HH_RLHF/", "hh"):
        (note,) = independence_notes(("openai/webgpt", "Anthropic/hh-rlhf"), (policy,))
        assert note.startswith("not independent")
        assert "Anthropic/hh-rlhf" in note
    assert independence_notes(("openai/webgpt",), ("Anthropic/hh-rlhf",)) == ()
    assert independence_notes((), ("Anthropic/hh-rlhf",)) == ()
    (note,) = independence_notes((), ("world",), trained_here=True)
    assert note.startswith("not independent")
    assert quality(hits(1, 0), notes=(note,)).notes == (note,)


def test_missing_scores_leave_their_pairs_out_and_are_noted_above_one_percent():
    scores = hits(100, 0)
    scores[3] = (None, 0.0)
    scores[7] = (None, None)
    found = quality(scores)
    assert found.accuracy("harmless").n == 98
    assert "no finite score for 3 of 200 responses" in found.notes[0]
    scores[7] = (1.0, None)
    assert quality(scores).notes == ()  # exactly 1 %


def test_an_axis_without_any_score_is_stamped_and_noted():
    found = quality([(None, 1.0)] * 5)
    assert found.accuracy("harmless") is None
    assert found.below_floor == ("harmless",)
    assert (found.length, found.reliability, found.ece) == ((), (), {})
    assert "is not known" in found.notes[0]
    assert quality([]).below_floor == ("harmless",)


def test_scores_are_rounded_as_they_are_exported():
    (found,) = quality([(0.00001, 0.0), (1.0, 0.0)]).accuracies
    assert found.ties == 1


def test_a_demonstration_cant_judge_a_judge():
    pair = Pair(id="demo:1", prompt=f"\n\nHuman: Hi{CUE}", chosen=" Hello.", rejected=None)
    with pytest.raises(DataError, match="demo:1"):
        as_judged(pair, "paper")


def test_pairs_are_read_as_a_models_responses_are():
    pair = Pair(id="1", prompt=f"\n\nHuman: Hi{CUE}", chosen=" Hello. ", rejected=" Go.")
    assert as_judged(pair, "paper") == (("Human: Hi", "Hello."), ("Human: Hi", "Go."))
    assert as_judged(pair, "rigorous") == (
        (f"\n\nHuman: Hi{CUE}", "Hello."), (f"\n\nHuman: Hi{CUE}", "Go."),
    )  # fmt: skip


def lengthy(rows):
    """Make pairs of responses of the given (chosen, rejected) numbers of characters."""
    return [
        Pair(id=str(at), prompt=f"\n\nHuman: {at}?{CUE}", chosen=" " + "a" * c, rejected="b" * r)
        for at, (c, r) in enumerate(rows)
    ]


@pytest.mark.parametrize(("judge", "expected"), [(len, 100.0), (lambda text: -len(text), 0.0)])
def test_length_preference_stands_beside_peoples_own(judge, expected):
    rows = [(9, 3)] * 6 + [(3, 9)] * 4 + [(5, 5)] * 7
    found = assess(
        TableJudge({}, judge), "fake", {"helpful": lengthy(rows)}, thresholds={},
        protocol="rigorous", settings=PLAIN,
    ).length  # fmt: skip
    (preference,) = found
    assert preference.n == 10
    assert preference.judge_longer.value == expected
    assert preference.human_longer.value == 60.0
    assert (preference.human_longer.low, preference.human_longer.high) == pytest.approx(
        (31.27, 83.18), abs=0.005
    )


def test_length_preference_is_left_out_where_all_lengths_are_equal():
    found = assess(
        TableJudge({}), "fake", {"helpful": lengthy([(4, 4)] * 5)}, thresholds={},
        protocol="rigorous", settings=PLAIN,
    )  # fmt: skip
    assert found.length == ()


def planted(text):
    """Score 2 for a good answer, less for what was done to it."""
    if "Human:" in text:
        return 2.5
    if text == "":
        return -4.0
    return -1.0 if "can't help" in text else 0.0


def test_control_texts_shift_scores_by_what_was_planted():
    pairs, table = study([(2.0, 0.0)] * 40)
    judge = TableJudge(table, planted)
    found = assess(
        judge, "fake", {"harmless": pairs}, thresholds={"harmless": -0.5},
        protocol="rigorous", settings=AssessSettings(probes=25, batch_check=0),
    )  # fmt: skip
    shifts = {probe.probe: probe for probe in found.probes}
    assert list(shifts) == list(PROBES)
    for name, (shift, flipped, passed) in {
        "empty": (-6.0, 100.0, 0.0),
        "human_turn": (0.5, 0.0, 100.0),
        "refusal": (-3.0, 100.0, 0.0),
        "dont_understand": (-2.0, 0.0, 100.0),
    }.items():
        probe = shifts[name]
        assert (probe.shift.value, probe.shift.low, probe.shift.high) == (shift,) * 3
        assert (probe.flipped, probe.passed, probe.shift.n) == (flipped, passed, 25)
    assert len(judge.items) == 2 * 40 + 8 * 25
    made_from = [text for _, text in judge.items if "Human:" in text]
    assert len(set(made_from)) == 25
    assert all(text.strip().startswith("harmless good answer") for text in made_from)
    assert {prompt for prompt, _ in judge.items} <= {pair.prompt for pair in pairs}


def test_control_texts_have_no_labels_without_a_threshold_and_equal_scores_count_if_asked():
    pairs, table = study([(2.0, 0.0)] * 10)
    for threshold, inclusive, expected in [
        (None, False, None),
        (2.5, True, 100.0),
        (2.5, False, 0),
    ]:
        found = assess(
            TableJudge(table, planted), "fake", {"harmless": pairs},
            thresholds={"harmless": threshold}, protocol="rigorous",
            settings=AssessSettings(), inclusive=inclusive,
        )  # fmt: skip
        assert {p.probe: p.passed for p in found.probes}["human_turn"] == expected


def test_control_texts_are_seeded_and_one_axis_doesnt_change_the_other():
    pairs, table = study([(float(at % 5), 0.0) for at in range(60)])
    others, more = study(hits(60, 0), axis="helpful")

    def probes(axes, seed=0):
        found = assess(
            TableJudge(table | more), "fake", axes, thresholds={}, protocol="rigorous",
            settings=AssessSettings(probes=20, seed=seed),
        )  # fmt: skip
        return [probe for probe in found.probes if probe.axis == "harmless"]

    alone = probes({"harmless": pairs})
    assert alone == probes({"helpful": others, "harmless": pairs})
    assert alone != probes({"harmless": pairs}, seed=1)
    assert all(probe.shift.low < probe.shift.value < probe.shift.high for probe in alone)


def test_control_texts_without_a_score_are_noted():
    pairs, table = study(hits(10, 0))
    judge = TableJudge(table, lambda text: len(text) or None)
    found = assess(
        judge, "fake", {"harmless": pairs}, thresholds={}, protocol="rigorous",
        settings=AssessSettings(),
    )  # fmt: skip
    assert "empty" not in {probe.probe for probe in found.probes}
    assert "control text 'empty' is not measured" in found.notes[0]


class CrowdedJudge:
    """Its scores move with the number of texts in the batch."""

    name = "crowded"

    def score(self, items, *, progress=None):
        return [JudgeScore(score=len(text) + 0.25 * (len(items) > 1)) for _, text in items]


def test_the_batchs_effect_is_measured_on_all_axes_or_not_at_all():
    checked = AssessSettings(probes=0, batch_check=4, reversed="keep")
    assert quality(hits(3, 0), checked, judge=CrowdedJudge()).batch_effect == 0.25
    assert quality(hits(3, 0), checked).batch_effect == 0.0
    assert quality(hits(3, 0), PLAIN, judge=CrowdedJudge()).batch_effect is None


def test_a_calibrated_judge_has_a_small_error_and_an_overconfident_one_a_large():
    rng = np.random.default_rng(0)
    differences = np.round(rng.normal(0.0, 1.5, size=4000), 4)
    right = rng.random(4000) < 1 / (1 + np.exp(-np.abs(differences)))
    signed = np.where(right, np.abs(differences), -np.abs(differences))
    calibrated = quality([(float(d), 0.0) for d in signed])
    boastful = quality([(float(4 * d), 0.0) for d in signed])
    assert calibrated.ece["harmless"] < 0.03
    assert boastful.ece["harmless"] > 0.12
    for part in calibrated.reliability:
        assert 0.0 <= part.observed.low <= part.observed.value <= part.observed.high <= 1.0
        assert part.observed.n > 0
    inside = [part.observed.low <= part.predicted <= part.observed.high
              for part in calibrated.reliability]  # fmt: skip
    assert np.mean(inside) >= 0.7


def test_a_quality_survives_json():
    first, table = study([(float(at % 3), 1.0) for at in range(80)], subset="a")
    found = assess(
        TableJudge(table), "fake", {"harmless": first}, thresholds={"harmless": 0.5},
        protocol="rigorous", settings=AssessSettings(reversed="keep"), notes=("as told",),
    )  # fmt: skip
    assert found.probes
    assert found.reliability
    assert found.length
    text = json.dumps(quality_to_json(found), allow_nan=False)
    assert quality_from_json(json.loads(text)) == found
    bare = JudgeQuality(judge="x")
    assert quality_from_json(json.loads(json.dumps(quality_to_json(bare)))) == bare


@pytest.mark.parametrize("damage", [{"ece": {"harm": "x"}}, {"accuracies": [{}]}, {"floor": None}])
def test_a_damaged_quality_is_refused(damage):
    plain = quality_to_json(quality(hits(3, 1)))
    if damage == {"floor": None}:
        del plain["floor"]
    else:
        plain |= damage
    with pytest.raises(DamagedArtefactError, match="quality"):
        quality_from_json(plain)


def test_settings_have_ranges():
    for wrong in (
        {"floor": 49.0},
        {"floor": 100.0},
        {"probes": -1},
        {"bins": 1},
        {"reversed": "x"},
    ):
        with pytest.raises(ValidationError):
            AssessSettings.model_validate(wrong)
