"""The interval of a share whose observations come in clusters."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alignstudy.errors import MetricError
from alignstudy.stats.intervals import wilson
from alignstudy.stats.resampling.clustered_share import clustered_share, effective_wilson


@given(st.lists(st.booleans(), min_size=2, max_size=60))
def test_one_observation_a_cluster_is_wilsons(hits):
    found = clustered_share(np.array([hits], dtype=float))
    plain = wilson(sum(hits), len(hits))
    # The variance between clusters divides by one less: the effective n is a little smaller,
    # and so taken as the number of clusters.
    assert (found.value, found.n) == (pytest.approx(plain.value), plain.n)
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high))


@given(st.integers(1, 200), st.data())
def test_whole_counts_are_wilsons(n, data):
    hits = data.draw(st.integers(0, n))
    plain = wilson(hits, n)
    assert effective_wilson(hits / n, n) == pytest.approx((plain.low, plain.high))


def test_copies_in_a_cluster_add_nothing():
    once = np.array([[1, 1, 0, 1, 0, 1, 1, 1]], dtype=float)
    found, copied = clustered_share(once), clustered_share(np.repeat(once, 5, axis=0))
    assert (copied.low, copied.high) == pytest.approx((found.low, found.high))
    assert (found.n, copied.n) == (8, 40)


def test_intervals_cover_where_observations_of_a_cluster_resemble_each_other():
    rng = np.random.default_rng(0)
    covered = naive = 0
    studies, clusters, size = 1500, 60, 10
    for _ in range(studies):
        chance = rng.beta(3.5, 1.5, size=clusters)
        hits = (rng.random((size, clusters)) < chance).astype(float)
        found, plain = clustered_share(hits), wilson(int(hits.sum()), hits.size)
        covered += found.low <= 70.0 <= found.high
        naive += plain.low <= 70.0 <= plain.high
    assert 0.93 <= covered / studies <= 0.97
    assert naive / studies < 0.88


def test_clusters_of_many_sizes_and_absent_observations():
    hits = np.array([[1.0, np.nan, 0.0, 1.0], [np.nan, np.nan, 1.0, 1.0]])
    found = clustered_share(hits)
    assert (found.value, found.n) == (80.0, 5)
    assert found.low < 80.0 < found.high


@pytest.mark.parametrize("hits", [np.zeros((0, 0)), np.full((2, 3), np.nan)])
def test_no_observation_has_no_share(hits):
    with pytest.raises(MetricError):
        clustered_share(hits)
    with pytest.raises(MetricError):
        effective_wilson(0.5, 0)
