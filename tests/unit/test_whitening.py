"""Whitened targets have unit covariance, know popularity no more where it was found, and come back the same."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA

from lis_spark.preference.whitening import moments, whitening

RNG = np.random.default_rng(7)
COUNTS = RNG.integers(1, 10_000, 4000)
MIXED = (RNG.normal(size=(4000, 6)) * [3, 2, 1, 1, 0.5, 0.1]) @ np.linalg.qr(RNG.normal(size=(6, 6)))[0] + 5


def test_targets_are_those_of_whitening_by_principal_components() -> None:
    vectors = MIXED.astype(np.float32)
    white = whitening(moments(vectors[:1500], COUNTS[:1500]) + moments(vectors[1500:], COUNTS[1500:]), 0.3)
    found = white.applied(vectors)
    expected = PCA(whiten=True, svd_solver="full").fit_transform(vectors.astype(np.float64))
    expected *= np.sqrt(4000 / 3999)  # scikit-learn divides by n - 1
    assert not white.drops_popularity and abs(white.popularity_correlation) < 0.1
    for place in range(6):  # up to the sign of each direction
        assert abs(np.corrcoef(found[:, place], expected[:, place])[0, 1]) == pytest.approx(1, abs=1e-4)
    np.testing.assert_allclose(np.cov(found.T, ddof=0), np.eye(6), atol=2e-3)
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-3)


def test_a_first_component_that_is_popularity_is_left_out() -> None:
    direction = np.full(6, 1 / np.sqrt(6))
    vectors = (MIXED + 10 * np.outer(np.log1p(COUNTS), direction)).astype(np.float32)
    white = whitening(moments(vectors, COUNTS), 0.5)
    assert white.drops_popularity and white.popularity_correlation > 0.9
    found = white.applied(vectors)
    assert found.shape == (4000, 5)
    assert np.abs(np.corrcoef(found.T, np.log1p(COUNTS))[-1, :-1]).max() < 0.1
    kept = whitening(moments(vectors, COUNTS), 1.0)
    assert kept.applied(vectors).shape == (4000, 6) and not kept.drops_popularity


def test_directions_without_variance_are_no_targets() -> None:
    vectors = np.column_stack([MIXED[:, :3], MIXED[:, :3].sum(1), np.full(4000, 2.0)]).astype(np.float32)
    assert whitening(moments(vectors, COUNTS), 1.0).applied(vectors).shape[1] <= 4
    same = np.ones((10, 3), np.float32)
    assert whitening(moments(same, COUNTS[:10]), 0.5).applied(same).shape == (10, 0)
