"""Small studies for the tests of figures and reports: scores are drawn, analyses are real."""

import random

from alignstudy.analysis.analyze_judge import analyze_judge
from alignstudy.analysis.findings import Findings
from alignstudy.analysis.results import Analysis, Comparison, ModelFigures, Thresholds
from alignstudy.records import Estimate, ScoredResponse
from alignstudy.report.inputs import ReportInputs

AXES = ("harmless", "helpful")

JUDGE = "a/judge"
THRESHOLDS = Thresholds(
    values={"harmless": -1.0, "helpful": 0.0}, origin={"harmless": "given", "helpful": "given"}
)


def scored(models=("base", "sft"), *, n=12, judge=JUDGE, score=None, text=None, seeds=(0,)):
    """Rows of every model on n prompts an axis; sft scores 2 higher than base."""
    rng = random.Random(0)
    return [
        ScoredResponse(
            model=model,
            seed=seed,
            prompt_id=f"{axis}-{i}",
            axis=axis,
            prompt=f"Human: {text or 'question'} {i}",
            response=text or f"answer {i} of {model}",
            scores={judge: 2.0 * place + rng.gauss(0, 0.4) if score is None else score},
            num_tokens=7,
            stop_reason="eos",
        )
        for place, model in enumerate(models)
        for seed in seeds
        for axis in AXES
        for i in range(n)
    ]


def analysed(rows, *, judge=JUDGE, base="base", thresholds=THRESHOLDS):
    return analyze_judge(rows, thresholds, judge=judge, base=base, draws=50)


def inputs(rows=None, **changes):
    rows = scored() if rows is None else rows
    given = {
        "study": "a-study",
        "settings": {},
        "protocol": None,
        "findings": None if "findings" in changes else Findings(analyses=(analysed(rows),)),
        "responses": tuple(rows),
    }
    return ReportInputs(**(given | changes))


def estimate(value, *, half=5.0, n=50):
    return Estimate(value=value, low=value - half, high=value + half, n=n, method="wilson")


def hand_made(cas, comparisons, *, base="base", judge=JUDGE):
    """An analysis that holds only CAS: model -> value, (model, reference, points, p) rows."""
    models = tuple(
        ModelFigures(
            model=name,
            num_seeds=1,
            hmr=None,
            hpr=None,
            cas=None if value is None else estimate(value, n=100),
            score_harmless=None,
            score_helpful=None,
            hygiene={},
            missing_scores=0,
        )
        for name, value in cas.items()
    )
    rows = tuple(
        Comparison(
            metric="cas",
            model=model,
            reference=reference,
            difference=estimate(points),
            p_value=p,
            p_holm=p,
            test="sign-flip permutation" if p is not None else "none",
            wins=1,
            losses=1,
            ties=0,
            n=100,
        )
        for model, reference, points, p in comparisons
    )
    return Analysis(
        judge=judge,
        thresholds=THRESHOLDS,
        models=models,
        improvements=(),
        comparisons=rows,
        notes=(),
        base=base,
        seeds=(0,),
    )
