"""True scores given measured ones: against the formulas of a normal model, its limits, and repetition."""

from __future__ import annotations

import numpy as np

from lis_spark.lis.results.true_scores import true_scores


def test_with_many_data_sets_they_are_shrunk_as_the_normal_model_says() -> None:
    """With 60 sets and small errors the spread is known well; the mean of the draws is S (S + E)^-1 of the distance."""
    random = np.random.default_rng(3)
    spread, errors = np.array([[4.0, 3.0], [3.0, 4.0]]), np.diag([0.5, 1.0])
    true = random.multivariate_normal([5, -2], spread, 60).T
    measured = true + np.sqrt(np.diag(errors))[:, None] * random.normal(size=true.shape)
    drawn = true_scores(measured, np.kron(errors, np.eye(60)), seed=1, draws=1000)
    centre = measured.mean(axis=1, keepdims=True)
    known = np.cov(measured) - errors  # what is left of the measured spread without the errors
    expected = centre + known @ np.linalg.solve(known + errors, measured - centre)
    left = np.sqrt(np.diag(known - known @ np.linalg.solve(known + errors, known)))
    assert drawn.shape == (1000, 2, 60)
    apart = (drawn.mean(axis=0) - expected) / left[:, None]
    assert np.sqrt((apart**2).mean()) < 0.2
    np.testing.assert_allclose(drawn.std(axis=0).mean(axis=1), left, rtol=0.1)


def test_what_is_known_stays() -> None:
    """A score without errors is what was measured, in whatever company; errors that all share move all alike."""
    random = np.random.default_rng(4)
    measured = random.normal(size=(2, 8)) * [[0.001], [0.01]]
    drawn = true_scores(measured, np.kron(np.diag([0.0, 1e-6]), np.eye(8)), seed=1, draws=400)
    np.testing.assert_allclose(drawn[:, 0], np.broadcast_to(measured[0], (400, 8)), atol=1e-12)
    assert drawn[:, 1].std(axis=0).min() > 0.0005
    shared = true_scores(measured, np.full((16, 16), 1e-4), seed=1, draws=400)
    moved = shared - measured
    np.testing.assert_allclose(moved - moved[:, :1, :1], 0.0, atol=1e-9)
    assert moved[:, 0, 0].std() > 0.001


def test_scores_on_one_line_stay_on_it() -> None:
    """The spread of the true scores has no rank to spare: no seed, and no other way to round, may end the draws."""
    measured = np.array([[0.001 * n for n in range(8)], [0.002 * n for n in range(8)]])
    for seed in range(20):
        for one in true_scores(measured, np.full((16, 16), 1e-4), seed, 100):
            assert np.corrcoef(one)[0, 1] > 0.999999


def test_the_same_draws_again_and_others_of_another_seed() -> None:
    measured, covariance = np.arange(12.0).reshape(2, 6), np.eye(24 // 2)
    first = true_scores(measured, covariance, seed=1, draws=250)
    assert np.array_equal(first, true_scores(measured, covariance, seed=1, draws=250)) and len(first) == 250
    assert not np.array_equal(first, true_scores(measured, covariance, seed=2, draws=250))
