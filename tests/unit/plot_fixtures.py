"""A study's worth of numbers for the tests of figures: drawn by a seeded generator."""

import random
from dataclasses import replace

import numpy as np

from alignstudy.analysis.findings import Findings
from alignstudy.analysis.results import Analysis, Comparison, Hygiene, ModelFigures, Thresholds
from alignstudy.plots import FIGURES
from alignstudy.plots.base import RATES, SCORE_OF, FigureData
from alignstudy.plots.style import house_style
from alignstudy.records import Axis, Estimate, ScoredResponse
from alignstudy.records.evidence import (
    Agreement,
    Divergence,
    JudgeQuality,
    PairAccuracy,
    ProbeShift,
    ReliabilityBin,
    TrainingRecord,
)
from alignstudy.records.robustness import Sweep
from alignstudy.stats.intervals import wilson


def draw(name, figure_data):
    """Draw a figure as a report does."""
    with house_style():
        return FIGURES.load(name)(figure_data)


METRICS = (*RATES, *SCORE_OF.values())
JUDGES = ("j", "a/judge-with-a-rather-long-name-large-v2", "length")


def estimate(value, n=20, *, half=4.0):
    return Estimate(value=value, low=value - half, high=value + half, n=n, method="wilson")


def row(model="base", prompt="a", score=1.0, *, axis=Axis.HELPFUL, seed=0, text="r", stop="eos"):
    return ScoredResponse(
        model=model,
        seed=seed,
        prompt_id=prompt,
        axis=axis,
        prompt="p",
        response=text,
        scores={"j": score, "other": 9.0},
        stop_reason=stop,
    )


def drawn(models, *, axes=tuple(Axis), n=20, seeds=(0,), score=None, missing=0.0):
    """Every model's rows: a prompt is as hard for each, later models are somewhat better."""
    rng = random.Random(1)
    ease = {(axis, i): rng.gauss(0, 1) for axis in axes for i in range(n)}

    def drawn_score(place, axis, i):
        if rng.random() < missing:
            return None
        return ease[axis, i] + 0.3 * place + rng.gauss(0, 0.8) if score is None else score

    return [
        row(
            model,
            f"{axis}-{i}",
            drawn_score(place, axis, i),
            axis=axis,
            seed=seed,
            text="x" * rng.randint(0, 300),
            stop=rng.choice(["eos", "cap", None]),
        )
        for place, model in enumerate(models)
        for seed in seeds
        for axis in axes
        for i in range(n)
    ]


def data(
    models=("base", "sft", "dpo"),
    *,
    axes=tuple(Axis),
    n=20,
    seeds=(0,),
    score=None,
    missing=0.0,
    base="base",
    estimates=None,
    comparisons=None,
    thresholds=(-0.5, 0.2),
    hygiene=None,
    sweeps=None,
    responses=None,
    training=None,
    **stands_beside,
):
    """FigureData that every figure has something in; what is named replaces a part.

    `estimates` is metric -> model -> estimate, `thresholds` (harmless, helpful), `stands_beside`
    fields of `Findings`.
    """
    rng = random.Random(2)
    made = {
        metric: {model: estimate(rng.uniform(10, 90)) for model in models} for metric in METRICS
    }
    compared = [
        comparison(
            metric, model, models[0], points=rng.uniform(-30, 30), wins=rng.randint(0, n), n=n
        )
        for metric in METRICS
        for model in models[1:]
    ]
    estimates = made | (estimates or {})
    analysis = Analysis(
        judge="j",
        thresholds=Thresholds(harmless=thresholds[0], helpful=thresholds[1]),
        models=tuple(
            ModelFigures(
                model=model,
                num_seeds=len(seeds),
                hygiene=dict.fromkeys(axes, HYGIENE) if hygiene is None else hygiene,
                missing_scores=0,
                **{metric: estimates[metric].get(model) for metric in METRICS},
            )
            for model in models
        ),
        improvements=(),
        comparisons=tuple(compared if comparisons is None else comparisons),
        notes=(),
        base=models[0] if base == "base" else base,
        seeds=seeds,
    )
    found = {
        "qualities": tuple(quality(judge, rng) for judge in JUDGES[:2]),
        "agreements": tuple(agreements(axes, rng)),
        "divergences": tuple(
            divergence(m, s, None if m == models[0] else 2.0 + s) for m in models for s in seeds
        ),
    }
    if responses is None:
        responses = drawn(models, axes=axes, n=n, seeds=seeds, score=score, missing=missing)
    given = FigureData(
        findings=Findings(analyses=(analysis,), **(found | stands_beside)),
        responses=responses,
        training=trainings() if training is None else training,
    )
    analysis = replace(analysis, sweeps=tuple(swept(given) if sweeps is None else sweeps))
    return replace(given, findings=replace(given.findings, analyses=(analysis,)))


HYGIENE = Hygiene(
    n=20, empty=0.0, cap=None, role_tag=37.5, repetition=0.2, mean_words=9.0, loop=100.0
)


def nothing():
    """A study of which nothing was measured."""
    empty = {metric: {} for metric in METRICS}
    return data(
        ("base", "sft"),
        responses=[],
        estimates=empty,
        comparisons=(),
        hygiene={},
        sweeps=(),
        thresholds=(None, None),
        training=(),
        qualities=(),
        agreements=(),
        divergences=(),
    )


def comparison(metric, model, reference, *, points=1.0, wins=5, n=20, rate=None, p_holm=0.5):
    return Comparison(
        metric=metric,
        model=model,
        reference=reference,
        difference=estimate(points),
        p_value=0.01,
        p_holm=p_holm,
        test="none",
        wins=wins,
        losses=n - wins,
        ties=0,
        n=n,
        win_interval=rate or wilson(wins, n),
    )


def trainings():
    return [
        TrainingRecord(
            stage=label,
            recipe=label,
            method=method,
            seed=0,
            steps=3,
            epochs=1.0,
            num_tokens=10,
            seconds=1.0,
            final_loss=None,
            curve=(
                *({"step": i, "loss": 1 / i, "implicit_reward_margin": i / 9} for i in (1, 2)),
                {"step": 3, "loss": float("nan")},
                {"epoch": 1.0},
            ),
        )
        for label, method in (("sft", "sft"), ("sft > dpo", "dpo"))
    ]


def quality(judge, rng):
    bins = [
        ReliabilityBin(
            axis=axis,
            predicted=0.1 + 0.2 * place,
            observed=Estimate(value=0.5, low=0.4, high=0.6, n=10 * (place + 1), method="wilson"),
        )
        for axis in Axis
        for place in (4, 0, 2)
    ]
    probes = [
        ProbeShift(
            probe=probe, axis=axis, shift=estimate(rng.gauss(-5, 3)), flipped=None, passed=None
        )
        for axis in Axis
        for probe in ("empty", "dont_understand", "shuffled")
    ]
    return JudgeQuality(
        judge=judge,
        accuracies=tuple(
            PairAccuracy(axis=axis, subset="all", accuracy=wilson(60, 100), ties=0) for axis in Axis
        ),
        ece=dict.fromkeys(Axis, 0.125),
        reliability=tuple(bins),
        probes=tuple(probes),
    )


def agreement(first, second, *, axis=Axis.HELPFUL, spearman=0.5, kappa=0.25):
    return Agreement(
        axis=axis,
        first=first,
        second=second,
        spearman=spearman,
        kappa=kappa,
        same_winner=estimate(70),
        kendall_tau=None,
        n=80,
    )


def agreements(axes, rng):
    return [
        agreement(first, second, axis=axis, spearman=rng.uniform(-1, 1), kappa=None)
        for axis in axes
        for place, first in enumerate(JUDGES)
        for second in JUDGES[place + 1 :]
    ]


def divergence(model, seed, kl, *, half=0.5):
    return Divergence(
        model=model,
        seed=seed,
        kl_per_token=None,
        kl_per_sequence=None if kl is None else estimate(kl, half=half),
        kl_per_sequence_k3=None,
        entropy_per_token=estimate(2.0),
        implicit_accuracy=None,
        n=64,
    )


def swept(given):
    """Rates over nine thresholds, as an analysis would give them."""
    return [sweep(given, axis) for axis in Axis if axis in given.panels]


def sweep(given, axis):
    panel = given.panels[axis]
    middle = float(np.nanmean(panel.scores))
    grid = tuple(middle + 0.5 * step for step in range(-4, 5))
    found = {}
    for model, means in zip(panel.models, panel.scores, strict=True):
        there = means[~np.isnan(means)]
        found[model] = [wilson(int((there > limit).sum()), len(there)) for limit in grid]
    best = [max(rates[i].value for rates in found.values()) for i in range(len(grid))]
    return Sweep(
        axis=axis,
        thresholds=grid,
        rates={m: tuple(r.value for r in rates) for m, rates in found.items()},
        low={m: tuple(r.low for r in rates) for m, rates in found.items()},
        high={m: tuple(r.high for r in rates) for m, rates in found.items()},
        leaders=tuple(
            tuple(m for m, rates in found.items() if rates[i].value == best[i])
            for i in range(len(grid))
        ),
        best_share={},
        num_rankings=3,
        pairs=(),
    )
