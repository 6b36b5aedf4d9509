"""Judges judged for real: a classifier on disk, the baseline, and people's own preferences."""

import gzip
import json
import random
from collections import Counter

import pytest
from models_fixtures import CORPUS, write_deberta_like_hub

from alignstudy.data.select.collect import collect_pairs
from alignstudy.data.select.selection import RowSelection
from alignstudy.errors import GuardError
from alignstudy.judges import LengthSettings, SeqClsSettings, build
from alignstudy.judges.quality.assess import assess
from alignstudy.judges.quality.probes import PROBES
from alignstudy.judges.quality.settings import AssessSettings
from alignstudy.records import Pair
from alignstudy.records.evidence import quality_from_json, quality_to_json

AXES = ("harmless", "helpful")

CUE = "\n\nAssistant:"
SUBSETS = ("harmless-base", "helpful-base", "helpful-online", "helpful-rejection-sampled")


@pytest.fixture(scope="module")
def pairs():
    """Pairs whose longer response has more words too; people chose it in two of three."""
    source = random.Random(0)
    words = [word for word in " ".join(CORPUS).split() if "Human" not in word]
    found = []
    for at in range(12):
        long, short = (" ".join(source.choices(words, k=k)) for k in (14, 3))
        chosen, rejected = (long, short) if at % 3 else (short, long)
        prompt = f"\n\nHuman: {' '.join(source.choices(words, k=5))}{CUE}"
        found.append(
            Pair(
                id=str(at), prompt=prompt, chosen=f" {chosen}", rejected=f" {rejected}", subset="s"
            )
        )
    return found


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("judge")
    write_deberta_like_hub(folder)
    return build(SeqClsSettings(batch_size=8), folder, "cpu")


def test_a_real_classifier_is_assessed_whole_and_repeatably(classifier, pairs):
    def once():
        return assess(
            classifier, "tiny", {"harmless": pairs, "helpful": pairs},
            thresholds={"harmless": 0.0}, protocol="paper",
            settings=AssessSettings(probes=6, batch_check=8),
        )  # fmt: skip

    found = once()
    assert [(a.axis, a.subset) for a in found.accuracies] == [
        (axis, subset) for axis in AXES for subset in ("all", "s")
    ]
    assert all(a.accuracy.n == 12 for a in found.accuracies)
    assert [(p.axis, p.probe) for p in found.probes] == [(a, p) for a in AXES for p in PROBES]
    shifts = {p.probe: p.shift.value for p in found.probes if p.axis == "harmless"}
    assert len(set(shifts.values())) == len(shifts)
    assert {p.flipped is None for p in found.probes if p.axis == "helpful"} == {True}
    assert 0.0 <= found.batch_effect < 1e-4
    assert set(found.ece) == {"harmless", "helpful"}
    assert found.notes == ()
    assert once() == found
    assert quality_from_json(json.loads(json.dumps(quality_to_json(found)))) == found


def test_scores_and_control_texts_are_what_the_judge_gives_them(classifier, pairs):
    found = assess(
        classifier, "tiny", {"helpful": pairs}, thresholds={}, protocol="paper",
        settings=AssessSettings(probes=12, batch_check=0),
    )  # fmt: skip
    prompts = [pair.prompt.removesuffix(CUE).strip() for pair in pairs]
    chosen, rejected, empty = (
        [round(s.score, 4) for s in classifier.score(list(zip(prompts, texts, strict=True)))]
        for texts in (
            [pair.chosen.strip() for pair in pairs],
            [pair.rejected.strip() for pair in pairs],
            [""] * len(pairs),
        )
    )
    wins = sum((c > r) + (c == r) / 2 for c, r in zip(chosen, rejected, strict=True))
    assert found.accuracy("helpful").value == pytest.approx(100 * wins / 12)
    shift = {probe.probe: probe.shift for probe in found.probes}["empty"]
    assert shift.value == pytest.approx((sum(empty) - sum(chosen)) / 12)


def test_the_length_judge_always_prefers_the_longer(pairs):
    found = assess(
        build(LengthSettings(), None, "cpu"), "length", {"helpful": pairs}, thresholds={},
        protocol="rigorous", settings=AssessSettings(probes=0),
    )  # fmt: skip
    (preference,) = found.length
    assert (preference.judge_longer.value, preference.judge_longer.high) == (100.0, 100.0)
    assert preference.human_longer.value == pytest.approx(100 * 8 / 12)
    assert found.accuracy("helpful").value == preference.human_longer.value


def raw_pairs(hh_dir, subset):
    """Read responses by row number, apart from the package's own reader."""
    found = {}
    with gzip.open(hh_dir / subset / "test.jsonl.gz", "rt", encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            row = json.loads(line)
            found[f"{subset}/test:{number}"] = tuple(
                row[name].rpartition(CUE)[2].strip() for name in ("chosen", "rejected")
            )
    return found


@pytest.mark.parametrize("subset", SUBSETS)
def test_peoples_own_length_preference_is_that_of_a_recount(hh_dir, subset):
    selection = RowSelection(split="test", subsets=(subset,))
    rows = collect_pairs(hh_dir, selection, part="validation").rows
    found = assess(
        build(LengthSettings(), None, "cpu"), "length", {"helpful": rows}, thresholds={},
        protocol="paper", settings=AssessSettings(probes=5, batch_check=0),
    )  # fmt: skip
    raw = raw_pairs(hh_dir, subset)
    counted = Counter()
    for row in rows:
        chosen, rejected = raw[row.id]
        counted["differ"] += len(chosen) != len(rejected)
        counted["longer"] += len(chosen) > len(rejected)
    (preference,) = found.length
    assert preference.n == preference.human_longer.n == counted["differ"] > 1000
    assert preference.human_longer.value == pytest.approx(
        100 * counted["longer"] / counted["differ"]
    )
    # The judge counts words, the preference characters: they nearly always agree.
    assert preference.judge_longer.low > 90.0
    assert [(a.subset, a.accuracy.n) for a in found.accuracies] == [
        ("all", len(rows)), (subset, len(rows)),
    ]  # fmt: skip


def test_edge_case_12_a_length_judge_turned_round_is_refused_on_real_pairs(hh_dir):
    class Shorter:
        name = "python"

        def __init__(self):
            self._judge = build(LengthSettings(), None, "cpu")

        def score(self, items, **given):
            return [type(s)(score=-s.score) for s in self._judge.score(items, **given)]

    selection = RowSelection(split="test", subsets=("helpful-base",), max_rows=200)
    rows = collect_pairs(hh_dir, selection, part="validation").rows
    with pytest.raises(GuardError, match="direction looks reversed"):
        assess(
            Shorter(), "shorter", {"helpful": rows}, thresholds={}, protocol="rigorous",
            settings=AssessSettings(probes=0),
        )  # fmt: skip
