"""Arrays in, one number out; the record that says what a number is calls the code that makes it.

Rates and shares are in percent. What is not defined on the input raises `MetricError`; a number
that would only look like one is never given.
"""

from alignstudy.registry import Registry

_RATES, _FORM, _REPEATS, _REFUSAL = (
    f"alignstudy.metrics.{module}" for module in ("rates", "form", "repeats", "refusal")
)

METRICS = Registry(
    "metric",
    {
        "hmr": f"{_RATES}:HMR",
        "hpr": f"{_RATES}:HPR",
        "pass": f"{_RATES}:PASS",
        "cas": f"{_RATES}:CAS",
        "score": f"{_RATES}:SCORE",
        "median": f"{_RATES}:MEDIAN",
        "sd": f"{_RATES}:SD",
        "min": f"{_RATES}:LOWEST",
        "max": f"{_RATES}:HIGHEST",
        "win_rate": f"{_RATES}:WIN_RATE",
        "empty": f"{_FORM}:EMPTY",
        "cap": f"{_FORM}:CAP",
        "role_tag": f"{_FORM}:ROLE_TAG",
        "repetition": f"{_REPEATS}:REPETITION",
        "loop": f"{_REPEATS}:LOOP",
        "echo": f"{_FORM}:ECHO",
        "mean_words": f"{_FORM}:MEAN_WORDS",
        "distinct": f"{_REPEATS}:DISTINCT",
        "longest_loop": f"{_REPEATS}:LONGEST_LOOP",
        "compression": f"{_FORM}:COMPRESSION",
        "refusal": f"{_REFUSAL}:REFUSAL",
        "evasive": f"{_REFUSAL}:EVASIVE",
        "incoherent": f"{_REFUSAL}:INCOHERENT",
        "comply": f"{_REFUSAL}:COMPLY",
    },
)

__all__ = ["METRICS"]
