"""Intervals that hold at once against the joint distribution itself, and Holm against statsmodels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from lis_spark.inference import SimultaneousIntervals, combine_seeds, holm, holm_lower_bounds, simultaneous_intervals

# Of the share of draws at the 5 % level, three standard deviations with 20,000 draws.
NOISE = 3 * math.sqrt(0.05 * 0.95 / 20_000)


def world(seed: int, k: int, rank: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values [k], covariance [k, k] of the rank, and degrees of freedom [k]."""
    random = np.random.default_rng(seed)
    loadings = random.standard_normal((k, rank)) * random.lognormal(0, 1, (k, 1))
    return random.standard_normal(k), loadings @ loadings.T, np.round(random.uniform(2, 300, k), 1)


def equicorrelated(k: int, correlation: float) -> np.ndarray:
    return np.full((k, k), correlation) + (1 - correlation) * np.eye(k)


def chances(found: SimultaneousIntervals, values: np.ndarray, covariance: np.ndarray, degrees: Any) -> np.ndarray:
    """What the half widths miss one at a time, by scipy."""
    return 2 * stats.t.sf((found.high - values) / np.sqrt(np.diag(covariance)), degrees)


def test_intervals_of_one_estimate_are_its_t_interval_exactly() -> None:
    one = combine_seeds([0.3], cluster_variance=0.04, clusters=12)
    found = simultaneous_intervals([0.3], [[0.04]], 11)
    assert (found.low[0], found.high[0]) == one.interval()
    assert found.p_values[0] == pytest.approx(2 * stats.t.sf(0.3 / 0.2, 11), rel=1e-12)


@pytest.mark.parametrize("correlation", [-0.7, 0.0, 0.5, 0.95])
def test_intervals_of_two_normal_estimates_hold_both_as_the_bivariate_normal_says(correlation: float) -> None:
    covariance = equicorrelated(2, correlation)
    found = simultaneous_intervals([0.0, 0.0], covariance, math.inf)
    joint = stats.multivariate_normal([0, 0], covariance).cdf(found.high, lower_limit=found.low)
    assert joint == pytest.approx(0.95, abs=NOISE)


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_intervals_of_independent_estimates_are_taken_at_the_chance_of_sidak(level: float) -> None:
    # of independent T, P(all hold) = (1 - a)^k, whatever the degrees of freedom of each
    degrees = np.array([2.0, 2.5, 6.0, 40.0, 60.0, 1000.0, math.inf])
    values, covariance = np.zeros(7), np.diag([1.0, 4.0, 0.01, 9.0, 1.0, 1.0, 25.0])
    found = simultaneous_intervals(values, covariance, degrees, level)
    missed = chances(found, values, covariance, degrees)
    assert missed == pytest.approx(np.full(7, missed[0]), rel=1e-9)
    assert (1 - missed[0]) ** 7 == pytest.approx(level, abs=3 * math.sqrt(level * (1 - level) / 20_000))


@pytest.mark.parametrize("correlation", [0.0, 0.6, 0.95, 1.0])
def test_intervals_of_small_samples_hold_as_often_in_samples_themselves(correlation: float) -> None:
    # the t statistics of 40,000 data sets of seven users each, with nothing taken for known but their correlation
    k, users = 4, 7
    random = np.random.default_rng(2)
    shared, own = random.standard_normal((40_000, users, 1)), random.standard_normal((40_000, users, k))
    sample = math.sqrt(correlation) * shared + math.sqrt(1 - correlation) * own
    statistics = sample.mean(axis=1) / (sample.std(axis=1, ddof=1) / math.sqrt(users))
    found = simultaneous_intervals(np.zeros(k), equicorrelated(k, correlation), users - 1)
    held = (np.abs(statistics) <= found.high).all(axis=1).mean()
    assert held == pytest.approx(0.95, abs=0.008)


@pytest.mark.parametrize("k", [2, 20, 60])
def test_intervals_of_one_estimate_under_many_names_are_its_own(k: int) -> None:
    found = simultaneous_intervals(np.full(k, 0.4), np.full((k, k), 0.09), 12)
    low, high = stats.t.interval(0.95, 12, loc=0.4, scale=0.3)
    assert chances(found, np.full(k, 0.4), np.full((k, k), 0.09), 12) == pytest.approx(np.full(k, 0.05), abs=NOISE)
    assert (found.low <= low + 1e-9).all() and (found.high >= high - 1e-9).all()
    assert found.p_values == pytest.approx(np.full(k, 2 * stats.t.sf(4 / 3, 12)), abs=3 * 0.5 / math.sqrt(20_000))


def test_adjusted_p_values_of_independent_estimates_are_those_of_sidak() -> None:
    values = np.array([0.5, 1.0, 2.0, 2.5, 3.0, -3.5])
    plain = 2 * stats.t.sf(np.abs(values), 30)
    found = simultaneous_intervals(values, np.eye(6), 30)
    expected = 1 - (1 - plain) ** 6
    noise = np.sqrt(expected * (1 - expected) / 20_000)
    assert (np.abs(found.p_values - expected) <= 4 * noise + 1e-4).all()


def test_p_values_too_small_for_the_draws_are_those_of_bonferroni() -> None:
    found = simultaneous_intervals([9.0, 0.1], np.eye(2), 200)
    assert found.p_values[0] == pytest.approx(2 * 2 * stats.t.sf(9.0, 200), rel=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_adjusted_p_values_agree_with_the_intervals(seed: int) -> None:
    values, covariance, degrees = world(seed, 12, 6)
    values = 3 * values * np.sqrt(np.diag(covariance))
    found = simultaneous_intervals(values, covariance, degrees)
    assert ((found.p_values <= 0.05) == ((found.low > 0) | (found.high < 0))).all()


@pytest.mark.parametrize("draws", [999, 1000, 1018, 20_000])
def test_adjusted_p_values_turn_where_the_intervals_do(draws: int) -> None:
    _, covariance, degrees = world(7, 5, 5)
    edge = simultaneous_intervals(np.zeros(5), covariance, degrees, draws=draws).high
    inside, outside = (simultaneous_intervals(edge * c, covariance, degrees, draws=draws) for c in (1 - 1e-9, 1 + 1e-9))
    assert (inside.low < 0).all() and (inside.p_values > 0.05).all()
    assert (outside.low > 0).all() and (outside.p_values <= 0.05).all()


@given(st.integers(0, 10**6), st.integers(2, 9), st.integers(1, 9))
@settings(max_examples=40, deadline=None)
def test_intervals_lie_between_pointwise_and_bonferroni(seed: int, k: int, rank: int) -> None:
    values, covariance, degrees = world(seed, k, rank)
    found = simultaneous_intervals(values, covariance, degrees, draws=500)
    errors = np.sqrt(np.diag(covariance))
    half = (found.high - found.low) / 2
    assert (half >= stats.t.isf(0.025, degrees) * errors * (1 - 1e-9)).all()
    assert (half <= stats.t.isf(0.025 / k, degrees) * errors * (1 + 1e-9)).all()
    plain = 2 * stats.t.sf(np.abs(values) / errors, degrees)
    assert (found.p_values >= plain * (1 - 1e-9)).all()
    assert (found.p_values <= np.minimum(1, k * plain) * (1 + 1e-9)).all()


@given(st.integers(0, 10**6), st.integers(2, 9), st.integers(1, 9), st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_intervals_in_another_order_have_the_same_bits(seed: int, k: int, rank: int, shuffle: Any) -> None:
    values, covariance, degrees = world(seed, k, rank)
    order = list(range(k))
    shuffle.shuffle(order)
    here = simultaneous_intervals(values, covariance, degrees, draws=300)
    there = simultaneous_intervals(values[order], covariance[np.ix_(order, order)], degrees[order], draws=300)
    for name in ("low", "high", "p_values"):
        assert (getattr(there, name) == getattr(here, name)[order]).all()


def test_intervals_of_estimates_that_differ_in_correlations_alone_have_the_same_bits_in_another_order() -> None:
    # each is correlated with its neighbours on a line, more so to the right; values, variances and degrees are equal
    reach = np.array([0.9, 0.5, 0.7, 0.3, 0.8])
    covariance = np.eye(6)
    for left, right in ((i, j) for i in range(6) for j in range(i + 1, 6)):
        covariance[left, right] = covariance[right, left] = reach[left:right].prod()
    here = simultaneous_intervals(np.ones(6), covariance, 9, draws=300)
    for order in ([5, 4, 3, 2, 1, 0], [2, 0, 5, 1, 4, 3], [1, 0, 2, 3, 4, 5]):
        there = simultaneous_intervals(np.ones(6), covariance[np.ix_(order, order)], 9, draws=300)
        assert (there.low == here.low[order]).all() and (there.p_values == here.p_values[order]).all()


@given(st.integers(0, 10**6), st.integers(1, 6), st.floats(0.5, 0.96))
@settings(max_examples=40, deadline=None)
def test_intervals_of_a_higher_level_hold_those_of_a_lower_one(seed: int, k: int, level: float) -> None:
    values, covariance, degrees = world(seed, k, k)
    inner = simultaneous_intervals(values, covariance, degrees, level, draws=500)
    outer = simultaneous_intervals(values, covariance, degrees, level + 0.03, draws=500)
    assert (outer.low <= inner.low).all() and (outer.high >= inner.high).all()


@given(st.integers(0, 10**6), st.integers(1, 6), st.sampled_from([2.0**-40, 0.25, 1024.0]))
@settings(max_examples=30, deadline=None)
def test_intervals_in_another_unit_or_sign_are_the_same_intervals(seed: int, k: int, scale: float) -> None:
    values, covariance, degrees = world(seed, k, k)
    here = simultaneous_intervals(values, covariance, degrees, draws=300)
    there = simultaneous_intervals(scale * values, scale**2 * covariance, degrees, draws=300)
    # powers of two: nothing is rounded
    assert (there.low == scale * here.low).all() and (there.p_values == here.p_values).all()
    mirrored = simultaneous_intervals(-values, covariance, degrees, draws=300)
    assert (mirrored.low == -here.high).all() and (mirrored.p_values == here.p_values).all()


def test_estimates_without_variance_are_points_and_change_nothing_for_the_others() -> None:
    values, covariance, degrees = world(3, 4, 4)
    wider = np.zeros((6, 6))
    places = [0, 2, 3, 5]
    wider[np.ix_(places, places)] = covariance
    more, freedom = np.array([0.0, 7.0, 0.0, 0.0, 0.0, 0.0]), np.full(6, 5.0)
    more[places], freedom[places] = values, degrees
    alone, found = simultaneous_intervals(values, covariance, degrees), simultaneous_intervals(more, wider, freedom)
    assert (found.low[places] == alone.low).all() and (found.p_values[places] == alone.p_values).all()
    assert (found.low[[1, 4]] == [7.0, 0.0]).all() and (found.high[[1, 4]] == [7.0, 0.0]).all()
    assert (found.p_values[[1, 4]] == [0.0, 1.0]).all()


def test_intervals_do_not_depend_on_what_was_drawn_before() -> None:
    values, covariance, degrees = world(4, 5, 2)
    here = simultaneous_intervals(values, covariance, degrees)
    simultaneous_intervals(values[:3], covariance[:3, :3], degrees[:3], seed=9)
    np.random.default_rng(0).standard_normal(7)
    there = simultaneous_intervals(values, covariance, degrees)
    other = simultaneous_intervals(values, covariance, degrees, seed=1)
    assert (here.low == there.low).all() and (here.low != other.low).any()


def test_intervals_of_nearly_singular_correlations_are_those_of_the_singular_ones() -> None:
    covariance = np.ones((3, 3)) + np.diag([1e-13, 2e-13, 0.0])
    found = simultaneous_intervals(np.zeros(3), covariance, 30)
    assert found.high == pytest.approx(simultaneous_intervals(np.zeros(3), np.ones((3, 3)), 30).high, rel=0.01)


def test_intervals_of_planted_truths_hold_all_of_them_as_often_as_they_say() -> None:
    random, held, worlds, k, users = np.random.default_rng(8), 0, 400, 10, 40
    truth = np.linspace(-2, 2, k)
    for number in range(worlds):
        influence = random.standard_normal((users, 1)) + random.standard_normal((users, k))
        found = simultaneous_intervals(
            truth + influence.mean(axis=0), np.cov(influence.T) / users, users - 1, draws=999, seed=number
        )
        held += bool(((found.low <= truth) & (truth <= found.high)).all())
    assert held / worlds == pytest.approx(0.95, abs=3 * math.sqrt(0.05 * 0.95 / worlds))


@pytest.mark.parametrize(
    ("values", "covariance", "degrees", "settings_", "said"),
    [
        ([1.0, 2.0], [[1.0]], 5, {}, "need a covariance"),
        ([], np.zeros((0, 0)), 5, {}, "need a covariance"),
        ([math.nan], [[1.0]], 5, {}, "not finite"),
        ([1.0], [[-1.0]], 5, {}, "below 0"),
        ([1.0, 2.0], [[1.0, 2.0], [2.0, 1.0]], 5, {}, "larger than its variances"),
        ([1.0, 2.0], [[1.0, 0.5], [0.1, 1.0]], 5, {}, "not symmetric"),
        ([1.0, 2.0], np.eye(2), [5, 6, 7], {}, "degrees of freedom are one number"),
        ([1.0, 2.0], np.eye(2), [5, 0], {}, "above 0"),
        ([1.0, 2.0], np.eye(2), [5, math.nan], {}, "above 0"),
        ([1.0, 2.0], np.eye(2), 5, {"level": 1.0}, "level"),
        ([1.0, 2.0], np.eye(2), 5, {"draws": 10}, "19 are needed"),
    ],
)
def test_intervals_of_unusable_inputs_are_refused(
    values: Any, covariance: Any, degrees: Any, settings_: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        simultaneous_intervals(values, covariance, degrees, **settings_)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_of_any_p_values_is_that_of_statsmodels(p_values: list[float]) -> None:
    assert holm(p_values) == pytest.approx(list(multipletests(p_values, method="holm")[1]), abs=1e-15)


@pytest.mark.parametrize(
    ("p_values", "expected"),
    [
        ([0.5, 0.2, 0.9], [0.025 / 3] * 3),
        ([1e-6, 0.2, 0.9], [0.0, 0.025 / 2, 0.025 / 2]),
        ([1e-6, 0.012, 0.9], [0.0, 0.0, 0.025]),  # 2 x .012 is below .025
        ([1e-6, 1e-6], [0.0125, 0.0125]),  # all are shown: how large they are can be said again
    ],
)
def test_holm_lower_bounds_are_those_of_strassburger_and_bretz(p_values: list[float], expected: list[float]) -> None:
    """Of bounds that are the chance they are taken at."""
    assert holm_lower_bounds(p_values, lambda _, chance: chance) == pytest.approx(expected)


@pytest.mark.parametrize("truth", [[0.0, 0.0, 0.0], [3.0, 0.0, 0.0], [3.0, -3.0, 0.2], [2.0, 2.5, 3.0]])
def test_holm_lower_bounds_of_both_sides_hold_all_truths(truth: list[float]) -> None:
    random, held, worlds = np.random.default_rng(4), 0, 4000
    for values in np.array(truth) + random.standard_normal((worlds, 3)):
        held += bool(((_bounds(values) <= truth) & (truth <= -_bounds(-values))).all())
    assert held / worlds > 0.945


def _bounds(values: np.ndarray) -> np.ndarray:
    """Lower bounds of estimates with standard error 1."""
    p_values = list(stats.norm.sf(values))
    return np.array(holm_lower_bounds(p_values, lambda place, chance: values[place] + stats.norm.ppf(chance)))
