"""Shrunken estimates against closed forms, dense matrices and numerical integration, and the best of many in worlds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from lis_spark.inference import Shrunken, shrink

SPREAD_OUT = np.array([0.3, 2.0, 3.1, 4.5, 8.0])
CORRELATED = 0.4 * np.ones((5, 5)) + np.diag([0.5, 1.0, 0.6, 0.9, 0.7])


def world(seed: int, k: int, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """Values [k] and their covariance [k, k] of the rank."""
    random = np.random.default_rng(seed)
    loadings = random.standard_normal((k, rank))
    return random.uniform(0, 3) * random.standard_normal(k), loadings @ loadings.T / rank


def restricted_loss(spread: float, values: np.ndarray, covariance: np.ndarray) -> float:
    """-2 log restricted likelihood with dense matrices, as in the textbooks."""
    k = len(values)
    inverse = np.linalg.inv(covariance + spread**2 * np.eye(k))
    ones = np.ones(k)
    mean = ones @ inverse @ values / (ones @ inverse @ ones)
    apart = values - mean
    return -np.linalg.slogdet(inverse)[1] + math.log(ones @ inverse @ ones) + apart @ inverse @ apart


def assert_same(here: Shrunken, there: Shrunken, scale: float = 1.0, shift: float = 0.0, rel: float = 1e-6) -> None:
    assert there.values == pytest.approx(scale * here.values + shift, rel=rel, abs=rel * abs(scale))
    assert there.standard_errors == pytest.approx(abs(scale) * here.standard_errors, rel=rel, abs=rel * abs(scale))


@pytest.mark.parametrize("error", [0.2, 1.0, 2.0, 6.0])
def test_shrink_of_independent_equal_errors_is_the_closed_form(error: float) -> None:
    k, variance = 5, SPREAD_OUT.var(ddof=1)
    found = shrink(SPREAD_OUT, error**2 * np.eye(k))
    spread = max(0.0, variance - error**2)  # restricted likelihood of one variance, and the other is known
    kept = spread / (spread + error**2)
    assert found.mean == pytest.approx(SPREAD_OUT.mean(), rel=1e-9)
    assert found.spread == pytest.approx(math.sqrt(spread), rel=1e-4, abs=1e-9)
    assert found.values == pytest.approx(kept * SPREAD_OUT + (1 - kept) * SPREAD_OUT.mean(), rel=1e-4)
    posterior = kept * error**2 + (1 - kept) ** 2 * (spread + error**2) / k
    assert found.standard_errors == pytest.approx(np.full(k, math.sqrt(posterior)), rel=1e-4)
    assert found.is_shrunken


@pytest.mark.parametrize("seed", range(6))
def test_shrink_finds_the_largest_restricted_likelihood(seed: int) -> None:
    values, covariance = world(seed, 7, 12)
    found = shrink(values, covariance)
    best = optimize.minimize_scalar(
        restricted_loss, bounds=(0, 10), args=(values, covariance), method="bounded", options={"xatol": 1e-10}
    )
    assert found.spread is not None
    assert restricted_loss(found.spread, values, covariance) <= best.fun + 1e-6


def test_shrink_of_correlated_errors_is_bayes_with_dense_matrices() -> None:
    found = shrink(SPREAD_OUT, CORRELATED)
    assert found.spread is not None and found.spread > 1
    inverse = np.linalg.inv(CORRELATED + found.spread**2 * np.eye(5))
    ones = np.ones(5)
    mean = ones @ inverse @ SPREAD_OUT / (ones @ inverse @ ones)
    expected = mean + found.spread**2 * inverse @ (SPREAD_OUT - mean)
    unsure = ones - found.spread**2 * inverse @ ones
    posterior = found.spread**2 * np.eye(5) - found.spread**4 * inverse
    posterior += np.outer(unsure, unsure) / (ones @ inverse @ ones)
    inside = (expected - mean) * (SPREAD_OUT - expected) >= 0
    assert inside.sum() >= 3 and found.mean == pytest.approx(mean, rel=1e-9)
    assert found.values[inside] == pytest.approx(expected[inside], rel=1e-9)
    assert found.standard_errors == pytest.approx(np.sqrt(np.diag(posterior)), rel=1e-9)


def test_shrink_of_three_is_the_posterior_by_numerical_integration() -> None:
    values, covariance = np.array([0.0, 1.0, 4.0]), np.array([[0.8, 0.3, 0.2], [0.3, 0.6, 0.1], [0.2, 0.1, 0.9]])
    found = shrink(values, covariance)
    assert found.spread is not None and found.spread > 1
    axes = [np.linspace(value - 6, value + 6, 121) for value in values]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    apart = grid - values
    likelihood = np.einsum("ni,ij,nj->n", apart, np.linalg.inv(covariance), apart)
    # the mean of the truths has a flat prior: what is left of the prior is how far they are apart from their own mean
    prior = ((grid - grid.mean(axis=1, keepdims=True)) ** 2).sum(axis=1) / found.spread**2
    weight = np.exp(-(likelihood + prior) / 2)
    weight /= weight.sum()
    means = weight @ grid
    assert found.values == pytest.approx(means, rel=1e-5, abs=1e-5)
    assert found.standard_errors == pytest.approx(np.sqrt(weight @ (grid - means) ** 2), rel=1e-5)


def test_shrink_of_errors_that_explain_all_differences_is_the_mean() -> None:
    found = shrink([1.0, 1.1, 0.9, 1.05], np.diag([1.0, 4.0, 1.0, 2.0]))
    weights = 1 / np.array([1.0, 4.0, 1.0, 2.0])
    mean = weights @ [1.0, 1.1, 0.9, 1.05] / weights.sum()
    assert found.spread == 0.0 and found.values == pytest.approx(np.full(4, mean), rel=1e-12)
    assert found.standard_errors == pytest.approx(np.full(4, weights.sum() ** -0.5), rel=1e-9)


@pytest.mark.parametrize(
    ("values", "covariance"),
    [([1.0], [[4.0]]), ([1.0, 2.0], np.diag([4.0, 9.0])), ([3.0, 3.0, 3.0], np.zeros((3, 3)))],
)
def test_shrink_of_too_few_or_of_what_does_not_vary_leaves_them(values: list[float], covariance: Any) -> None:
    found = shrink(values, covariance)
    assert not found.is_shrunken and (found.mean, found.spread) == (None, None)
    assert found.values.tolist() == values
    assert found.standard_errors.tolist() == np.sqrt(np.diag(covariance)).tolist()


def test_shrink_counts_one_estimate_under_two_names_once() -> None:
    names = [0, 1, 2, 3, 4, 4, 2]
    alone, named = shrink(SPREAD_OUT, CORRELATED), shrink(SPREAD_OUT[names], CORRELATED[np.ix_(names, names)])
    assert (named.values == alone.values[names]).all() and named.spread == alone.spread
    # three names of two things are two
    assert not shrink([1.0, 2.0, 2.0], [[1.0, 0.0, 0.0], [0.0, 1.0, 1.0], [0.0, 1.0, 1.0]]).is_shrunken


def test_shrink_leaves_what_is_known_without_error() -> None:
    found = shrink([0.0, 3.0, 5.0, 9.0], np.diag([1.0, 0.0, 1.0, 0.0]))
    assert found.values[[1, 3]] == pytest.approx([3.0, 9.0], rel=1e-9)
    assert found.standard_errors[[1, 3]] == pytest.approx([0.0, 0.0], abs=1e-12)
    exact = shrink([0.0, 3.0, 5.0], np.zeros((3, 3)))
    assert exact.values == pytest.approx([0.0, 3.0, 5.0], abs=1e-9) and (exact.standard_errors == 0).all()


@given(st.integers(0, 10**6), st.integers(3, 9), st.integers(1, 12))
@settings(max_examples=60, deadline=None)
def test_shrink_lies_between_the_estimate_and_the_mean(seed: int, k: int, rank: int) -> None:
    values, covariance = world(seed, k, rank)
    found = shrink(values, covariance)
    assert found.is_shrunken and found.mean is not None
    assert (np.minimum(values, found.mean) <= found.values).all()
    assert (found.values <= np.maximum(values, found.mean)).all()
    assert np.isfinite(found.standard_errors).all()


@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 9), st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_shrink_in_another_order_has_the_same_bits(seed: int, k: int, rank: int, shuffle: Any) -> None:
    values, covariance = world(seed, k, rank)
    order = list(range(k))
    shuffle.shuffle(order)
    here, there = shrink(values, covariance), shrink(values[order], covariance[np.ix_(order, order)])
    assert (there.values == here.values[order]).all() and there.spread == here.spread
    assert (there.standard_errors == here.standard_errors[order]).all()


@given(st.integers(0, 10**6), st.integers(3, 8), st.sampled_from([2.0**-30, 0.25, 1024.0]))
@settings(max_examples=40, deadline=None)
def test_shrink_in_another_unit_or_from_another_zero_is_the_same(seed: int, k: int, scale: float) -> None:
    values, covariance = world(seed, k, k + 3)
    here = shrink(values, covariance)
    assert_same(here, shrink(scale * values, scale**2 * covariance), scale=scale)
    assert_same(here, shrink(-values, covariance), scale=-1.0, rel=1e-3)
    assert_same(here, shrink(values + 2.0, covariance), shift=2.0, rel=1e-3)


def test_shrink_takes_most_of_the_luck_off_the_best() -> None:
    random, before, after, held = np.random.default_rng(9), [], [], []
    covariance = 0.5 * np.ones((20, 20)) + 0.5 * np.eye(20)
    for _ in range(300):
        truth = 0.7 * random.standard_normal(20)
        values = random.multivariate_normal(truth, covariance)
        found, best = shrink(values, covariance), int(np.argmax(values))
        before.append(values[best] - truth[best])
        after.append(found.values[best] - truth[best])
        held.append(abs(after[-1]) <= stats.norm.ppf(0.975) * found.standard_errors[best])
    assert np.mean(before) > 0.5 and abs(np.mean(after)) < 0.25 * np.mean(before)
    assert np.mean(np.square(after)) < 0.8 * np.mean(np.square(before))
    assert np.mean(held) > 0.9


@pytest.mark.parametrize(("values", "covariance"), [([1.0, math.inf, 0.0], np.eye(3)), ([1.0, 2.0, 3.0], np.eye(2))])
def test_shrink_of_unusable_inputs_is_refused(values: list[float], covariance: Any) -> None:
    with pytest.raises(ValueError):
        shrink(values, covariance)
