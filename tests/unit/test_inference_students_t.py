"""Quantiles against scipy's distributions; draws against the marginal distribution and against samples."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lis_spark.inference.students_t import (
    critical_value,
    drawn_statistics,
    smallest_chances,
    smallest_expected,
    upper_chance,
)

DEGREES = [1.0, 2.0, 3.4, 12.0, 49.0, 51.0, 300.0, math.inf]


@given(st.floats(0.5, 1e5), st.floats(1e-9, 0.999))
def test_critical_value_is_the_quantile_of_scipy(degrees: float, chance: float) -> None:
    assert critical_value(degrees, chance) == pytest.approx(stats.t.isf(chance / 2, degrees), rel=1e-9)


def test_critical_value_and_chance_of_infinite_degrees_are_normal() -> None:
    assert critical_value(math.inf, 0.05) == pytest.approx(stats.norm.isf(0.025), rel=1e-12)
    assert upper_chance(1.3, math.inf) == pytest.approx(stats.norm.sf(1.3), rel=1e-12)


@given(st.floats(-40, 40), st.floats(0.5, 1e5))
def test_upper_chance_is_that_of_scipy(statistic: float, degrees: float) -> None:
    assert upper_chance(statistic, degrees) == pytest.approx(stats.t.sf(statistic, degrees), rel=1e-9, abs=1e-300)


@pytest.mark.parametrize("degrees", DEGREES)
def test_drawn_statistics_have_students_distribution(degrees: float) -> None:
    drawn = drawn_statistics(np.eye(4), np.full(4, degrees), 20_000, 1)
    assert stats.kstest(drawn.ravel(), stats.t(min(degrees, 1e9)).cdf).pvalue > 0.001
    for chance in (1e-3, 1e-2, 0.05):  # of the tails, in which the critical values lie
        share = (np.abs(drawn) > stats.t.isf(chance / 2, min(degrees, 1e9))).mean()
        assert share == pytest.approx(chance, abs=4 * math.sqrt(chance / 80_000))


def test_drawn_statistics_are_correlated_as_those_of_samples() -> None:
    # signs as the estimates, sizes as the estimates and their variances: both against samples of six users each
    correlation, users = 0.8, 6
    random = np.random.default_rng(4)
    shared, own = random.standard_normal((60_000, users, 1)), random.standard_normal((60_000, users, 2))
    sample = math.sqrt(correlation) * shared + math.sqrt(1 - correlation) * own
    seen = sample.mean(axis=1) / (sample.std(axis=1, ddof=1) / math.sqrt(users))
    drawn = drawn_statistics(np.array([[1, correlation], [correlation, 1]]), np.full(2, users - 1.0), 60_000, 1)
    for measure in (np.sign, np.arctan, lambda t: np.log(np.abs(t)), lambda t: np.arctan(np.abs(t))):
        expected = np.corrcoef(measure(seen).T)[0, 1]
        assert np.corrcoef(measure(drawn).T)[0, 1] == pytest.approx(expected, abs=0.02)


def test_drawn_statistics_of_one_estimate_under_two_names_are_equal() -> None:
    drawn = drawn_statistics(np.ones((3, 3)), np.full(3, 7.0), 500, 1)
    assert drawn == pytest.approx(np.repeat(drawn[:, :1], 3, axis=1), rel=1e-6, abs=1e-7)


def test_smallest_chances_are_those_of_a_loop() -> None:
    random = np.random.default_rng(2)
    statistics, degrees = 3 * random.standard_normal((200, len(DEGREES))), np.array(DEGREES)
    expected = [min(stats.t.sf(t, df) for t, df in zip(row, degrees, strict=True)) for row in statistics]
    assert smallest_chances(statistics, degrees) == pytest.approx(expected, rel=2e-3)
    assert smallest_chances(np.full((1, 1), -1.2), np.array([5.0]))[0] == pytest.approx(stats.t.sf(-1.2, 5), rel=1e-4)
    assert (smallest_chances(statistics[:, :0], degrees[:0]) == 1).all()


def test_smallest_expected_is_undercut_as_often_as_it_says() -> None:
    # of n + 1 exchangeable numbers, the last is below the m-th smallest of the others with chance m / (n + 1)
    assert [smallest_expected(draws, 0.05) for draws in (19, 39, 999, 1000)] == [1, 2, 50, 50]
    with pytest.raises(ValueError, match="19 are needed"):
        smallest_expected(18, 0.05)
