"""A metric's record holds the code that runs: break it, and evaluation breaks."""

import json

import pytest

from alignstudy.metrics import METRICS
from alignstudy.study.tools import evaluate as tool

PROMPTS = ("harmful", "helpful", "honesty")
CLAIMS = """claims:
  - {metric: [median_honesty, sd_honesty, min_honesty, max_honesty], better: sft}
"""


class BrokenError(Exception):
    """Raised by a metric that was broken."""


@pytest.fixture
def broken(request):
    """One metric of the table, its function broken."""
    metric = METRICS.load(request.param)
    kept = metric.of

    def of(*_, **__):
        raise BrokenError

    object.__setattr__(metric, "of", of)
    yield request.param
    object.__setattr__(metric, "of", kept)


def evaluated(folder, text):
    """Evaluate two models on three axes; every text is new, so that nothing is remembered."""
    ratings = folder / "ratings"
    ratings.mkdir()
    for place, model in enumerate(("base", "sft")):
        for prompts in PROMPTS:
            rows = [
                {
                    "prompt": f"{prompts} {number}?",
                    "response": f"{text} {model} {number}",
                    "rating": (number % 5) - 4.0 + place,
                    "stop_reason": "cap",
                }
                for number in range(10)
            ]
            (ratings / f"{model}_{prompts}.json").write_text(json.dumps(rows))
    (folder / "claims.yaml").write_text(CLAIMS)
    claims = folder / "claims.yaml"
    limits = {"harmless": -3.0, "helpful": -2.0, "honesty": -2.0}
    tool.evaluate(ratings, out=folder / "run", thresholds=limits, claims=claims)


@pytest.fixture
def unwritten(monkeypatch):
    """Only the numbers are made: no table, figure or page."""
    monkeypatch.setattr(tool, "write_run", lambda *_, **__: None)


@pytest.mark.usefixtures("unwritten")
@pytest.mark.parametrize("broken", METRICS, indirect=True)
def test_breaking_a_metric_breaks_evaluation(broken, tmp_path):
    with pytest.raises(BrokenError):
        evaluated(tmp_path, f"words of {broken}")


@pytest.mark.usefixtures("unwritten")
def test_nothing_breaks_while_no_metric_is_broken(tmp_path):
    evaluated(tmp_path, "sound words")
