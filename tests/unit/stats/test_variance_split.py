"""Variance components against simulated tables whose components are known."""

import numpy as np
import pytest

from alignstudy.errors import MetricError
from alignstudy.stats.variance_split import variance_parts

TRUTH = {"prompts": 4.0, "seeds": 1.0, "seeds by prompt": 2.0, "samples": 9.0}


def table(rng, seeds, samples, prompts):
    def drawn(source, *shape):
        return np.sqrt(TRUTH[source]) * rng.normal(size=shape)

    return (
        drawn("prompts", 1, 1, prompts)
        + drawn("seeds", seeds, 1, 1)
        + drawn("seeds by prompt", seeds, 1, prompts)
        + drawn("samples", seeds, samples, prompts)
    )


def test_components_are_those_that_made_the_tables():
    rng = np.random.default_rng(3)
    found = [variance_parts(table(rng, 4, 3, 60)) for _ in range(800)]
    for source, truth in TRUTH.items():
        mean = np.mean([parts[source][0] for parts in found])
        assert mean == pytest.approx(truth, rel=0.06), source


def test_the_parts_make_up_the_variance_of_the_figure():
    rng = np.random.default_rng(4)
    tables = [table(rng, 3, 2, 40) for _ in range(3000)]
    seen = np.var([values.mean() for values in tables], ddof=1)
    told = np.mean([sum(error for _, error in variance_parts(t).values()) for t in tables])
    assert told == pytest.approx(seen, rel=0.08)


@pytest.mark.parametrize(
    ("seeds", "samples", "known", "prompts"),
    [
        (1, 3, {"prompts", "samples"}, 4.0 + 2.0),
        (3, 1, {"prompts", "seeds", "seeds by prompt"}, 4.0),
        (1, 1, {"prompts"}, 4.0 + 2.0 + 9.0),
    ],
)
def test_what_cannot_be_told_apart_is_left_out(seeds, samples, known, prompts):
    rng = np.random.default_rng(5)
    found = [variance_parts(table(rng, seeds, samples, 50)) for _ in range(600)]
    assert set(found[0]) == known
    assert np.mean([parts["prompts"][0] for parts in found]) == pytest.approx(prompts, rel=0.06)


def test_a_table_with_gaps_or_one_prompt_is_refused():
    for values in (np.full((2, 2, 3), np.nan), np.zeros((2, 2, 1))):
        with pytest.raises(MetricError, match="no split of the variance"):
            variance_parts(values)
