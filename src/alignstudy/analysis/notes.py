"""What a reader of the numbers has to know, in sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from alignstudy.analysis.comparisons.pair_tests import MIN_PROMPTS
from alignstudy.analysis.hygiene import is_empty
from alignstudy.analysis.model_figures import Hygiene, ModelFigures
from alignstudy.analysis.results import Thresholds
from alignstudy.analysis.score_matrix import ScoreMatrix, models_of, rating
from alignstudy.metrics.figures import rate_of, rates_of
from alignstudy.records import Axis, ScoredResponse

MOST_CAPPED = 20.0
"""Percent of responses at the cap above which scores are called scores of cut-off text."""

MOST_APART = 10.0
"""Percentage points by which two models may differ in a property of form."""

_PROPERTIES = {
    "cap": (
        "end at the limit on new tokens",
        "part of a difference in scores may be one of length",
    ),
    "empty": ("are empty", "an empty response has the same score whichever model gave it"),
    "role_tag": (
        "run on into a further turn",
        "a judge may score words that are not the answer's",
    ),
    "loop": (
        "are loops (over 50 % of the 4-grams repeat)",
        "a loop can get a good score without saying anything",
    ),
}


def notes_on(
    rows: Sequence[ScoredResponse],
    panels: dict[str, ScoreMatrix],
    models: Sequence[ModelFigures],
    thresholds: Thresholds,
    axes: Sequence[Axis],
    judge: str,
    num_too_long: Counter[str],
) -> tuple[str, ...]:
    """Return what is missing, excluded, doubtful or sensitive in an analysis.

    Args:
        rows: The responses that were analysed, too long prompts left out.
        panels: Their scores.
        models: The figures made of them.
        thresholds: What passes.
        axes: Those of the study.
        judge: Whose scores.
        num_too_long: By axis, prompts that one model could not read.
    """
    found = []
    for axis in axes:
        part = [row for row in rows if row.axis == axis.name]
        panel = panels.get(axis.name)
        if num_too_long[axis.name]:
            found.append(
                f"{num_too_long[axis.name]} {axis.prompts} prompts were too long for a model and"
                " are left out for all models"
            )
        if panel is None:
            lost = [metric.title for metric in rates_of(axes) if axis.name in metric.axes]
            found.append(f"no {axis.prompts} prompts: {' and '.join(lost)} not defined")
            continue
        found += [
            f"{figures.model} was asked no {axis.prompts} prompt: its figures for them are not"
            " defined"
            for figures in models
            if figures.model not in panel.models
        ]
        found += _on_prompts(panel, part)
        found += _on_scores(panel, part, thresholds, judge)
        found += _on_cuts(axis, part, judge)
        found += _on_empty(axis, part, thresholds, judge)
        found += _on_identical(axis, part)
    return tuple(found + form_notes(models, axes) + _on_design(models, panels))


def _on_prompts(panel: ScoreMatrix, rows: Sequence[ScoredResponse]) -> list[str]:
    name, found = panel.axis.prompts, []
    if panel.uneven:
        sizes = Counter(model for model, _ in {(row.model, row.prompt_id) for row in rows})
        listed = ", ".join(f"{model} {sizes[model]}" for model in panel.models)
        found.append(
            f"models were not asked the same {name} prompts ({listed}): pairs are compared on the"
            " prompts that both have"
        )
    texts = {row.prompt_id: row.prompt for row in rows}
    if repeats := len(texts) - len(set(texts.values())):
        found.append(f"{repeats} {name} prompts repeat another one word for word")
    if len(panel.prompt_ids) < MIN_PROMPTS:
        found.append(
            f"only {len(panel.prompt_ids)} {name} prompts: figures without tests, since under"
            f" {MIN_PROMPTS} no test is worth its name"
        )
    return found


def _on_scores(
    panel: ScoreMatrix, rows: Sequence[ScoredResponse], thresholds: Thresholds, judge: str
) -> list[str]:
    name, found = panel.axis.prompts, []
    decimals = thresholds.decimals
    ratings = [(row.model, rating(row, judge, decimals)) for row in rows]
    asked = Counter(model for model, _ in ratings)
    missing = Counter(model for model, score in ratings if score is None)
    for model in (model for model in panel.models if missing[model]):
        share = 100.0 * missing[model] / asked[model]
        found.append(
            f"{model}: {missing[model]} of {asked[model]} {name} responses have no score; rates"
            f" are over those that have one{' (incomplete: over 1 %)' if share > 1 else ''}"
        )
    threshold = thresholds.of(panel.axis.name)
    if threshold is None:
        found.append(f"no threshold for {name} prompts: {rate_of(panel.axis).title} not defined")
    elif ties := sum(score == threshold for _, score in ratings):
        rule = "counted" if thresholds.inclusive else "not counted"
        found.append(f"{ties} {name} scores equal the threshold {threshold:g} ({rule})")
    raw = [score for row in rows if (score := row.scores.get(judge)) is not None]
    spread = float(np.std([score for score in raw if np.isfinite(score)] or [0.0]))
    if decimals is not None and 0.0 < spread < 100 * 10.0**-decimals:
        found.append(
            f"{name} scores spread by only {spread:.1g}: rounding to {decimals} decimals, the"
            " published rule, is too coarse for this judge's unit, and its rates mean little"
        )
    known = panel.scores[~np.isnan(panel.scores)]
    if known.size > 1 and np.ptp(known) == 0.0:
        found.append(f"all {name} scores are equal: the judge tells no response from another")
    return found


def _on_cuts(axis: Axis, rows: Sequence[ScoredResponse], judge: str) -> list[str]:
    """Return what was not read as it was written, by a model or by the judge."""
    name = axis.prompts
    counts = Counter((row.model, flag) for row in rows for flag in row.flags.get(judge, ()))
    found = [
        f"{model}: the judge read {count} of its {name} responses with: {flag.replace('_', ' ')}"
        for (model, flag), count in sorted(counts.items())
    ]
    cut = Counter(row.model for row in rows if row.prompt_truncated)
    found += [
        f"{model}: {count} {name} prompts lost their oldest turns to fit its context"
        for model, count in sorted(cut.items())
    ]
    failures = Counter(row.failures[judge][:160] for row in rows if judge in row.failures)
    return found + [
        f"{count} {name} responses without a score: {why}" for why, count in failures.most_common(3)
    ]


def _on_empty(
    axis: Axis, rows: Sequence[ScoredResponse], thresholds: Thresholds, judge: str
) -> list[str]:
    """Return each rate without its empty responses, and how they count in it."""
    num_empty = sum(map(is_empty, rows))
    if not num_empty or thresholds.of(axis.name) is None:
        return []
    rate, shown = rate_of(axis), []
    for model in models_of(rows):
        words = [row for row in rows if row.model == model and not is_empty(row)]
        ratings = [rating(row, judge, thresholds.decimals) for row in words]
        scores = [score for score in ratings if score is not None]
        passed = [bool(thresholds.passes(axis.name, score)) for score in scores]
        shown.append(f"{model} {rate.of(passed):.1f} %" if passed else f"{model} -")
    fails = axis.name in thresholds.empty_fails
    rule = f"as not {axis.passes}, whatever the score" if fails else "by the score"
    one = num_empty == 1
    return [
        f"{num_empty} {'response' if one else 'responses'} to {axis.prompts} prompts"
        f" {'is' if one else 'are'} empty and {'counts' if one else 'count'} {rule};"
        f" {rate.title} without them: {', '.join(shown)}"
    ]


def _on_identical(axis: Axis, rows: Sequence[ScoredResponse]) -> list[str]:
    texts: dict[str, dict[tuple[str, int, int], str]] = {}
    for row in rows:
        texts.setdefault(row.model, {})[row.prompt_id, row.seed, row.sample] = row.response
    found = []
    for first, second in combinations(texts, 2):
        shared = texts[first].keys() & texts[second].keys()
        same = sum(texts[first][key] == texts[second][key] for key in shared)
        if len(shared) >= MIN_PROMPTS and same > 0.95 * len(shared):
            found.append(
                f"{first} and {second} give the same response to {same} of {len(shared)}"
                f" {axis.prompts} prompts: the same model?"
            )
    return found


def _on_design(models: Sequence[ModelFigures], panels: dict[str, ScoreMatrix]) -> list[str]:
    found = []
    if len(models) == 1:
        found.append("one model only: figures without comparisons")
    found += [
        f"{len(panel.prompt_ids)} {panel.axis.prompts} prompts form {panel.num_clusters} clusters"
        " of near-duplicates: intervals and sign-flip tests draw clusters, not prompts, and rates"
        " are tested so too, not by McNemar's test"
        for panel in panels.values()
        if panel.clusters is not None
    ]
    if any(panel.several_samples for panel in panels.values()):
        most = max(panel.by_sample.shape[2] for panel in panels.values())
        found.append(
            f"several samples: a model's value on a prompt is the mean of its responses (as many as"
            f" {most}), n counts prompts, and rates are not tested by McNemar's test"
        )
    if max(figures.num_seeds for figures in models) > 1:
        found.append(
            "several training seeds: rates and scores are means over seeds; intervals, tests, power"
            " and equivalence cover the draw of prompts and what training again would change, from"
            " prompts that have a score in every seed"
        )
        if len({figures.num_seeds for figures in models}) > 1:
            listed = ", ".join(f"{figures.model} {figures.num_seeds}" for figures in models)
            found.append(f"models have different numbers of training seeds ({listed})")
    else:
        found.append(
            "one training run a model: intervals cover the draw of prompts, not that of training"
            " seeds"
        )
    return found


def form_notes(models: Sequence[ModelFigures], axes: Sequence[Axis]) -> list[str]:
    """Return a sentence for every property of form that a reader of the scores has to know.

    A share at the cap above 20 %; and a property in which two models differ by more than 10
    percentage points: cap, empty, further role tags, loops. Each names the prompts, the models and
    their shares.
    """
    found = []
    for axis in axes:
        forms = {m.model: m.hygiene[axis.name] for m in models if axis.name in m.hygiene}
        above = [
            f"{model} {share:.1f} %"
            for model, share in _shares(forms, "cap").items()
            if share > MOST_CAPPED
        ]
        if above:
            found.append(
                f"{axis.prompts} prompts: over {MOST_CAPPED:.0f} % of the responses end at the"
                f" limit on new tokens ({', '.join(above)}): their scores are of cut-off text"
            )
        for name, (what, why) in _PROPERTIES.items():
            shares = _shares(forms, name)
            if shares and max(shares.values()) - min(shares.values()) > MOST_APART:
                most = max(shares, key=shares.__getitem__)
                least = min(shares, key=shares.__getitem__)
                found.append(
                    f"{axis.prompts} prompts: {shares[most]:.1f} % of the responses of {most}"
                    f" {what}, {shares[least]:.1f} % of those of {least}"
                    f" ({shares[most] - shares[least]:.1f} points apart, more than"
                    f" {MOST_APART:.0f}): {why}"
                )
    return found


def _shares(forms: Mapping[str, Hygiene], name: str) -> dict[str, float]:
    """Return a property's share by model, where it is known."""
    found = {model: getattr(form, name) for model, form in forms.items()}
    return {model: float(share) for model, share in found.items() if share is not None}
