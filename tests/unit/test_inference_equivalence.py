"""Two one-sided tests against statsmodels and scipy, and the units that they need against their power."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.weightstats import DescrStatsW

from lis_spark.inference import is_negligible, largest_error, smallest_margin

VALUES, ERRORS, DEGREES = st.floats(-0.003, 0.003), st.floats(1e-6, 0.002), st.floats(1.0, 5000.0)


@pytest.mark.parametrize("threshold", [0.05, 0.2, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("count", [5, 12, 80])
def test_is_negligible_of_a_mean_is_tost_of_statsmodels(count: int, threshold: float) -> None:
    sample = np.random.default_rng(count).normal(0.1, 0.5, count)
    p_value = DescrStatsW(sample).ttost_mean(-threshold, threshold)[0]
    error = sample.std(ddof=1) / math.sqrt(count)
    assert is_negligible(sample.mean(), error, count - 1, threshold) == (p_value < 0.05)


@given(VALUES, ERRORS, DEGREES, st.floats(1e-5, 0.01))
def test_is_negligible_rejects_both_one_sided_tests(
    value: float, error: float, degrees: float, threshold: float
) -> None:
    p_above = stats.t.sf((value + threshold) / error, degrees)  # against: at or below -threshold
    p_below = stats.t.cdf((value - threshold) / error, degrees)  # against: at or above +threshold
    if abs(max(p_above, p_below) - 0.05) > 1e-9:
        assert is_negligible(value, error, degrees, threshold) == (max(p_above, p_below) < 0.05)


@given(VALUES, ERRORS, DEGREES)
def test_smallest_margin_is_where_the_verdict_turns(value: float, error: float, degrees: float) -> None:
    margin = smallest_margin(value, error, degrees)
    assert is_negligible(value, error, degrees, margin * (1 + 1e-12))
    assert not is_negligible(value, error, degrees, margin)
    low, high = stats.t.interval(0.9, degrees, loc=value, scale=error)
    assert margin == pytest.approx(max(-low, high), rel=1e-9)


@given(VALUES, ERRORS, DEGREES, st.floats(1e-3, 1e3))
def test_smallest_margin_in_another_unit_is_the_same_margin(
    value: float, error: float, degrees: float, scale: float
) -> None:
    here = smallest_margin(value, error, degrees)
    assert smallest_margin(scale * value, scale * error, degrees) == pytest.approx(scale * here, rel=1e-12)
    assert smallest_margin(-value, error, degrees) == here


def test_smallest_margin_with_infinite_degrees_is_normal() -> None:
    assert smallest_margin(-0.1, 0.2, math.inf) == pytest.approx(0.1 + 0.2 * stats.norm.ppf(0.95), rel=1e-12)


def test_is_negligible_without_error_compares_the_value() -> None:
    assert is_negligible(0.0009, 0.0, 5, 0.001) and not is_negligible(0.001, 0.0, 5, 0.001)


def test_largest_error_uses_the_quantiles_of_the_method() -> None:
    # z_.95 + z_.90, as the verdicts of LIS have it
    assert largest_error(0.001) == pytest.approx(0.001 / 2.926405192, rel=1e-9)


@pytest.mark.parametrize("power", [0.5, 0.8, 0.95])
def test_largest_error_gives_the_power(power: float) -> None:
    reached = 2 * stats.norm.cdf(0.001 / largest_error(0.001, power) - stats.norm.ppf(0.95)) - 1
    assert reached == pytest.approx(power, abs=1e-9)


def test_largest_error_is_found_in_simulation() -> None:
    random, error = np.random.default_rng(5), largest_error(0.001)
    estimates = error * random.standard_normal(20_000)
    told = np.mean([is_negligible(one, error, math.inf, 0.001) for one in estimates])
    assert told == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize("threshold", [0.0, -1.0, math.nan, math.inf])
def test_thresholds_that_are_none_are_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match="threshold"):
        is_negligible(0.0, 1.0, 5, threshold)
    with pytest.raises(ValueError, match="threshold"):
        largest_error(threshold)


@pytest.mark.parametrize(
    ("value", "error", "degrees"), [(math.nan, 1.0, 5), (0.0, -1.0, 5), (0.0, 1.0, 0), (0.0, math.inf, 5)]
)
def test_smallest_margin_of_no_estimate_is_refused(value: float, error: float, degrees: float) -> None:
    with pytest.raises(ValueError, match="no estimate"):
        smallest_margin(value, error, degrees)


@pytest.mark.parametrize("power", [0.0, 1.0, math.nan])
def test_largest_error_of_no_power_is_refused(power: float) -> None:
    with pytest.raises(ValueError, match="power"):
        largest_error(0.001, power)
