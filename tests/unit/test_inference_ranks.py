"""Rank sets against loops over all pairs with critical values from data sets that are drawn in the test."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lis_spark.inference import RankSets, rank_sets

USERS = 25


def world(seed: int, k: int, rank: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values [k] that can partly be told apart, covariance [k, k], and degrees of freedom of the pairs [k, k]."""
    random = np.random.default_rng(seed)
    loadings = random.standard_normal((k, rank))
    degrees = np.round(random.uniform(3, 200, (k, k)), 1)
    return 4 * random.standard_normal(k), loadings @ loadings.T, np.triu(degrees, 1) + np.triu(degrees, 1).T + np.eye(k)


def naive(values: np.ndarray, covariance: np.ndarray, users: int, data_sets: int = 6000) -> tuple[RankSets, float]:
    """Rank sets by loops, one-sided tests of both directions of every pair, all true at first; and how near the nearest
    statistic was to a critical value.

    The null distribution is that of t statistics of the differences of samples of ``users`` rows each.
    """
    k = len(values)
    tests = [(above, below) for above in range(k) for below in range(k) if above != below]
    random = np.random.default_rng(77)
    root = np.linalg.cholesky(users * covariance)
    drawn = np.empty((data_sets, len(tests)))
    for row in range(data_sets):
        sample = random.standard_normal((users, k)) @ root.T
        means, errors = sample.mean(axis=0), np.cov(sample.T) / users
        for column, (above, below) in enumerate(tests):
            variance = errors[above, above] + errors[below, below] - 2 * errors[above, below]
            drawn[row, column] = (means[above] - means[below]) / math.sqrt(variance)
    left, told, nearest = dict.fromkeys(range(len(tests))), np.zeros((k, k), bool), math.inf
    while True:
        critical = np.quantile(drawn[:, list(left)].max(axis=1), 0.95)
        found = []
        for column in left:
            above, below = tests[column]
            variance = covariance[above, above] + covariance[below, below] - 2 * covariance[above, below]
            statistic = (values[above] - values[below]) / math.sqrt(variance)
            nearest = min(nearest, abs(statistic / critical - 1))
            if statistic > critical:
                found.append(column)
                told[above, below] = True
        for column in found:
            del left[column]
        if not found:
            break
    lowest = [1 + sum(told[other, own] for other in range(k)) for own in range(k)]
    highest = [k - sum(told[own, other] for other in range(k)) for own in range(k)]
    return RankSets(np.array(lowest), np.array(highest), told), nearest


@pytest.mark.parametrize("correlation", [0.0, 0.8])
@pytest.mark.parametrize(
    "values", [[0.0, 0.0, 0.0, 0.0], [0.0, 2.2, 6.6, 9.5], [5.0, 0.0, 5.0, 0.0], [0.0, 4.5, -4.5, 2.5]]
)
def test_rank_sets_are_those_of_loops_over_all_pairs(values: list[float], correlation: float) -> None:
    covariance = np.full((4, 4), correlation) + np.diag([1.0, 0.5, 0.7, 1.5]) * (1 - correlation)
    covariance += np.diag([0.2, 0.0, 0.1, 0.0])
    expected, nearest = naive(np.array(values), covariance, USERS)
    assert nearest > 0.03, "choose other values: this one hangs on the noise of the draws"
    found = rank_sets(values, covariance, USERS - 1)
    assert (found.is_above == expected.is_above).all()
    assert (found.lowest == expected.lowest).all() and (found.highest == expected.highest).all()


@given(st.floats(-6, 6), st.floats(1, 400))
@settings(max_examples=60, deadline=None)
def test_rank_sets_of_two_are_a_t_test(difference: float, degrees: float) -> None:
    covariance = np.array([[1.0, 0.3], [0.3, 2.0]])
    statistic = difference / math.sqrt(1.0 + 2.0 - 0.6)
    p_value = 2 * stats.t.sf(abs(statistic), degrees)
    if abs(p_value - 0.05) < 1e-9:
        return
    found = rank_sets([difference, 0.0], covariance, degrees)
    if p_value > 0.05:
        assert found.lowest.tolist() == [1, 1] and found.highest.tolist() == [2, 2]
    else:
        best_first = [1, 2] if difference > 0 else [2, 1]
        assert found.lowest.tolist() == best_first and found.highest.tolist() == best_first


def test_rank_sets_find_more_in_steps_than_in_one() -> None:
    # three are far apart from the fourth; without their three tests the critical value of the rest is lower
    values, errors = np.array([20.0, 20.0, 23.2, 0.0]), np.eye(4)
    first = [stats.norm.isf(0.025), stats.norm.isf(0.025 / 6)]
    random = np.random.default_rng(1).standard_normal((200_000, 4))
    pairs = list(itertools.combinations(range(4), 2))
    drawn = np.stack([random[:, a] - random[:, b] for a, b in pairs], axis=1) / math.sqrt(2)
    critical = np.quantile(np.abs(drawn).max(axis=1), 0.95)
    # of the pairs with the fourth only the direction that was not found is left
    left = np.concatenate(
        [drawn[:, [pairs.index(one)]] * sign for one in [(0, 1), (0, 2), (1, 2)] for sign in (1, -1)]
        + [-drawn[:, [pairs.index(one)]] for one in [(0, 3), (1, 3), (2, 3)]],
        axis=1,
    )
    later = np.quantile(left.max(axis=1), 0.95)
    between = math.sqrt(2) * (critical + later) / 2
    assert first[0] < later < critical - 0.05 and critical < first[1]
    found = rank_sets([20.0, 20.0, 20.0 + between, 0.0], errors, math.inf, draws=40_000)
    assert found.is_above[2, 0] and found.is_above[2, 1] and values[2] > 20
    # the same three without the fourth and with its six tests left: not told apart
    assert not rank_sets([20.0, 20.0, 20.0 + between, 20.0 + between / 2], errors, math.inf).is_above[2, 0]


def test_rank_sets_of_populations_far_apart_are_their_ranks() -> None:
    found = rank_sets([3.0, 1.0, 4.0, 1.5, 9.0], 1e-6 * np.eye(5), 30)
    assert found.lowest.tolist() == found.highest.tolist() == [3, 5, 2, 4, 1]


def test_rank_sets_of_equal_populations_are_all_ranks() -> None:
    found = rank_sets(np.zeros(6), np.eye(6), 30)
    assert (found.lowest == 1).all() and (found.highest == 6).all() and not found.is_above.any()


def test_rank_sets_of_one_population_is_the_first_rank() -> None:
    found = rank_sets([3.0], [[1.0]], 5)
    assert (found.lowest.tolist(), found.highest.tolist(), found.is_above.tolist()) == ([1], [1], [[False]])


def test_rank_sets_of_one_population_under_two_names_are_tied_but_for_rounding() -> None:
    covariance = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    found = rank_sets([5.0, 5.0 + 1e-15, -5.0], covariance, 60)
    assert found.lowest.tolist() == [1, 1, 3] and found.highest.tolist() == [2, 2, 3]


def test_rank_sets_tell_apart_what_differs_without_error() -> None:
    # the same noise in both: their difference is known
    found = rank_sets([5.0, 5.1, 5.05], [[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]], 60)
    assert found.is_above.tolist() == [[False] * 3, [True, False, False], [False] * 3]
    assert rank_sets([1.0, 2.0, 1.0], np.zeros((3, 3)), 60).lowest.tolist() == [2, 1, 2]


@given(st.integers(0, 10**6), st.integers(2, 7), st.integers(1, 7), st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_rank_sets_in_another_order_are_the_same_exactly(seed: int, k: int, rank: int, shuffle: Any) -> None:
    values, covariance, degrees = world(seed, k, rank)
    order = list(range(k))
    shuffle.shuffle(order)
    square = np.ix_(order, order)
    here = rank_sets(values, covariance, degrees, draws=200)
    there = rank_sets(values[order], covariance[square], degrees[square], draws=200)
    assert (there.is_above == here.is_above[square]).all()
    assert (there.lowest == here.lowest[order]).all() and (there.highest == here.highest[order]).all()


@given(st.integers(0, 10**6), st.integers(1, 7), st.sampled_from([2.0**-40, 0.25, 1024.0]))
@settings(max_examples=30, deadline=None)
def test_rank_sets_in_another_unit_are_the_same_exactly(seed: int, k: int, scale: float) -> None:
    values, covariance, degrees = world(seed, k, k)
    here = rank_sets(values, covariance, degrees, draws=200)
    assert (rank_sets(scale * values, scale**2 * covariance, degrees, draws=200).is_above == here.is_above).all()


@pytest.mark.parametrize("seed", range(8))
def test_rank_sets_of_mirrored_values_are_mirrored(seed: int) -> None:
    # but for the noise of the draws, whose mirror images are other draws: of these worlds, none hangs on it
    values, covariance, degrees = world(seed, 6, 6)
    here, mirrored = rank_sets(values, covariance, degrees), rank_sets(-values, covariance, degrees)
    assert (mirrored.is_above == here.is_above.T).all()
    assert (mirrored.lowest == 7 - here.highest).all()


@given(st.integers(0, 10**6), st.integers(1, 7), st.floats(0.55, 0.95))
@settings(max_examples=40, deadline=None)
def test_rank_sets_of_a_higher_level_hold_those_of_a_lower_one(seed: int, k: int, level: float) -> None:
    values, covariance, degrees = world(seed, k, k)
    inner = rank_sets(values, covariance, degrees, level, draws=200)
    outer = rank_sets(values, covariance, degrees, level + 0.04, draws=200)
    assert (outer.is_above <= inner.is_above).all()
    assert (outer.lowest <= inner.lowest).all() and (outer.highest >= inner.highest).all()


@given(st.integers(0, 10**6), st.integers(1, 8), st.integers(1, 8))
@settings(max_examples=40, deadline=None)
def test_rank_sets_hold_the_measured_rank_and_claim_nothing_against_it(seed: int, k: int, rank: int) -> None:
    values, covariance, degrees = world(seed, k, rank)
    found = rank_sets(values, covariance, degrees, draws=200)
    measured = 1 + (values[:, None] > values[None, :]).sum(axis=0)
    assert (found.lowest <= measured).all() and (measured <= found.highest).all()
    assert (values[:, None] > values[None, :])[found.is_above].all()
    # every pair that is told apart is so by its own t test, too
    for above, below in zip(*np.nonzero(found.is_above), strict=True):
        variance = covariance[above, above] + covariance[below, below] - 2 * covariance[above, below]
        statistic = (values[above] - values[below]) / math.sqrt(max(variance, 1e-300))
        assert stats.t.sf(statistic, degrees[above, below]) < 0.05


@pytest.mark.parametrize("truth", [np.zeros(5), np.array([0.0, 0.0, 4.0, 4.0, 8.0]), np.arange(5) * 0.7])
def test_rank_sets_of_planted_truths_claim_nothing_wrong_as_often_as_they_say(truth: np.ndarray) -> None:
    random, held, worlds = np.random.default_rng(6), 0, 300
    above = truth[:, None] > truth[None, :]
    for number in range(worlds):
        influence = 5.0 * (random.standard_normal((USERS, 1)) + random.standard_normal((USERS, 5)))
        values, covariance = truth + influence.mean(axis=0), np.cov(influence.T) / USERS
        found = rank_sets(values, covariance, USERS - 1, draws=500, seed=number)
        held += not (found.is_above & ~above).any()
    assert held / worlds >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / worlds)


@pytest.mark.parametrize(
    ("degrees", "level", "said"),
    [
        ([[1, 2], [3, 1]], 0.95, "whichever of the two"),
        ([[0, -1], [-1, 0]], 0.95, "above 0"),
        ([5, 5, 5], 0.95, "one number or"),
        (5, 0.5, "level"),
        (5, 1.0, "level"),
    ],
)
def test_rank_sets_of_unusable_inputs_are_refused(degrees: Any, level: float, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        rank_sets([1.0, 2.0], np.eye(2), degrees, level)


def test_rank_sets_do_not_read_the_degrees_of_a_population_against_itself() -> None:
    values, covariance, degrees = world(1, 4, 4)
    other = degrees + np.diag([math.nan, 0.0, -5.0, 2.0])
    assert (rank_sets(values, covariance, other).is_above == rank_sets(values, covariance, degrees).is_above).all()
