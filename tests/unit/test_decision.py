"""The claim of no effect: two one-sided tests, against scipy's normal distribution."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from lis_spark.lis.decision import NEGLIGIBLE, NOT_MEASURABLE, negligible

THRESHOLD = 0.001


@given(st.floats(-0.003, 0.003), st.floats(1e-5, 0.002))
def test_negligible_is_two_one_sided_tests_at_five_percent(lis: float, error: float) -> None:
    p_above = norm.sf((lis + THRESHOLD) / error)  # against: at or below -threshold
    p_below = norm.cdf((lis - THRESHOLD) / error)  # against: at or above +threshold
    verdict, _ = negligible(lis, error, 0.9, 10_000, THRESHOLD)
    if abs(max(p_above, p_below) - 0.05) > 1e-9:
        assert (verdict == NEGLIGIBLE) == (max(p_above, p_below) < 0.05)


@pytest.mark.parametrize("error", [0.0002, 0.001, 0.004])
def test_the_impressions_that_would_be_needed_give_a_power_of_eighty_percent(error: float) -> None:
    _, note = negligible(0.0, error, 0.9, 50_000, THRESHOLD)
    needed = int(re.search(r"about ([\d,]+) impressions", note).group(1).replace(",", ""))  # type: ignore[union-attr]
    smaller = error * math.sqrt(50_000 / needed)
    power = 2 * norm.cdf(THRESHOLD / smaller - norm.ppf(0.95)) - 1
    assert power == pytest.approx(0.8, abs=1e-3)


def test_a_leak_that_few_impressions_have_is_not_measurable() -> None:
    verdict, note = negligible(0.0, 0.0001, 0.31, 10_000, THRESHOLD)
    assert verdict == NOT_MEASURABLE and "only 31%" in note
    assert negligible(0.0, 0.0001, 0.5, 10_000, THRESHOLD)[0] == NEGLIGIBLE
