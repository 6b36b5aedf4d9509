"""The winner's lead on prompts that did not choose it, where the truth is known."""

import numpy as np
import pytest

from alignstudy.analysis.results import Thresholds
from alignstudy.analysis.robustness.winner import winner_leads
from alignstudy.analysis.score_matrix import build_matrices
from alignstudy.metrics.axes import PUBLISHED
from alignstudy.records import ScoredResponse

LIMITS = Thresholds(values={"harmless": 0.0, "helpful": 0.0})


def leads(gains, *, n=60, seed=0, clusters=None, axes=PUBLISHED):
    rng = np.random.default_rng(seed)
    rows = [
        ScoredResponse(
            model=model, seed=0, prompt_id=f"{axis.name}-{i}", axis=axis.name, prompt=f"{i}",
            response="r", scores={"j": float(value)},
        )
        for axis in axes
        for model, gain in gains.items()
        for i, value in enumerate(rng.normal(gain, 1.0, n))
    ]  # fmt: skip
    panels = build_matrices(rows, LIMITS, axes=axes, judge="j", clusters=clusters)
    return {lead.metric: lead for lead in winner_leads(panels, axes, seed=1)}, panels


def test_a_lead_by_luck_does_not_last():
    """Four models that are alike: one always leads, and on other prompts it has no lead."""
    found = [leads(dict.fromkeys("abcd", 0.0), seed=seed)[0]["score_helpful"] for seed in range(40)]
    assert min(lead.lead for lead in found) >= 0.0
    assert np.mean([lead.apparent for lead in found]) > 0.1
    assert abs(np.mean([lead.kept for lead in found])) < 0.03


def test_a_true_lead_lasts():
    found = [leads({"a": 1.0, "b": 0.0, "c": 0.0}, seed=seed)[0] for seed in range(40)]
    kept = [each["score_helpful"].kept for each in found]
    # Over the runner-up, which is the better of two that are alike: a half's choice is luck.
    assert np.mean(kept) == pytest.approx(1.0, abs=0.06)
    assert {each["score_helpful"].model for each in found} == {"a"}
    assert min(each["score_helpful"].chosen for each in found) > 95.0


def test_every_metric_has_one_and_clusters_are_not_divided():
    found, panels = leads({"a": 0.3, "b": 0.0})
    assert set(found) == {"hmr", "score_harmless", "hpr", "score_helpful", "cas"}
    rates = {m: 100 * panels["helpful"].passed[panels["helpful"].row(m)].mean() for m in "ab"}
    assert found["hpr"].lead == pytest.approx(max(rates.values()) - min(rates.values()), abs=0.5)
    names = {f"helpful-{i}": f"c{i // 10}" for i in range(60)}
    few, _ = leads({"a": 0.3, "b": 0.0}, clusters=names)
    assert "hpr" not in few  # six clusters are too few to split
    assert "hmr" in few


def test_one_model_has_no_lead():
    assert leads({"a": 0.0})[0] == {}
