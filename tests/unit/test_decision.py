"""Verdicts: a test for each row of the table of rules in docs/method.md 1.7, and what hypothesis finds between them."""

from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm, t

from lis_spark.lis.results.decision import (
    BELOW_BASELINE,
    CLEARLY_USEFUL,
    CONFLICTING,
    HARMFUL,
    NEGLIGIBLE,
    NOT_MEASURABLE,
    NOT_SHOWN,
    ONE_SEED,
    ORDER_NOT_RESOLVED,
    TELLS_USERS_APART,
    TOO_FEW,
    USEFUL,
    VERDICTS,
    BaselineGap,
    Evidence,
    Score,
    judge,
    smallest_effect,
)

THRESHOLD = 0.001
DEGREES = 999.0


def score(value: float, half: float = 0.0008, clusters: int = 1000) -> Score:
    """A score with a simultaneous interval of ``half`` on either side, which is a little wider than the plain one."""
    return Score(value, half / 2.4, DEGREES, value - half, value + half, clusters, half / 2.4)


def gap(value: float, half: float) -> BaselineGap:
    """How far a baseline is above the ranker."""
    return BaselineGap("a baseline", 0.7 + value, 0.7, value, value - half, value + half)


def evidence(**changes: object) -> Evidence:
    """A clear gain that orders the items of a user, on two dates."""
    base = Evidence(
        lis=score(0.0025),
        within_user=score(0.0030, 0.0020),
        by_date=(score(0.0021), score(0.0028)),
        users=1000,
        positives=5_000,
        negatives=10_000,
        coverage=0.99,
        is_trained_once=False,
        threshold=THRESHOLD,
    )
    return dataclasses.replace(base, **changes)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"users": 29}, TOO_FEW),
        ({"positives": 29}, TOO_FEW),
        ({"negatives": 29}, TOO_FEW),
        ({"lis": None}, TOO_FEW),
        ({"is_trained_once": True}, ONE_SEED),
        ({"baselines": [gap(0.0040, 0.0010)]}, BELOW_BASELINE),
        ({"baselines": [gap(-0.0100, 0.0010), gap(0.0040, 0.0010)], "is_trained_once": True}, BELOW_BASELINE),
        ({"baselines": [gap(0.0040, 0.0050)]}, CLEARLY_USEFUL),  # not shown to be above the ranker
        ({"baselines": [gap(0.0040, 0.0010)], "users": 29}, TOO_FEW),
        ({"by_date": (score(0.004), score(-0.0001))}, CONFLICTING),
        ({"within_user": None}, ORDER_NOT_RESOLVED),
        ({}, CLEARLY_USEFUL),
        ({"lis": score(0.0015)}, USEFUL),
        ({"within_user": score(-0.0008, 0.0015)}, TELLS_USERS_APART),
        ({"within_user": score(0.0004, 0.0003)}, TELLS_USERS_APART),  # above 0, and surely below what counts
        ({"within_user": score(0.0008, 0.0020)}, ORDER_NOT_RESOLVED),
        ({"lis": score(0.0001, 0.0006), "within_user": None}, NEGLIGIBLE),
        ({"lis": score(0.0001, 0.0006), "coverage": 0.31}, NOT_MEASURABLE),
        ({"lis": score(0.0002, 0.0040), "by_date": (score(0.004, 0.001), score(-0.004, 0.001))}, CONFLICTING),
        ({"lis": score(-0.0030)}, HARMFUL),
        ({"lis": score(0.0009, 0.0005)}, NOT_SHOWN),  # above 0, below the threshold
        ({"lis": score(0.0025, 0.0030)}, NOT_SHOWN),  # its interval reaches 0
    ],
)
def test_judge_each_rule_gives_its_verdict(changes: dict[str, object], expected: str) -> None:
    verdict = judge(evidence(**changes))
    assert verdict.name == expected
    assert expected in VERDICTS and verdict.reason


def test_judge_noise_that_no_part_orders_is_never_useful() -> None:
    """A gain of a user intercept: large, sure, and nothing within users."""
    found = judge(evidence(lis=score(0.05, 0.001), within_user=score(0.0, 0.0004)))
    assert found.name == TELLS_USERS_APART
    assert "tells users apart" in found.reason


def test_judge_unresolved_order_names_the_effect_and_the_users() -> None:
    within = score(0.0008, 0.0024, clusters=400)
    found = judge(evidence(within_user=within))
    # the interval is a simultaneous one, of 2.4 standard errors on either side
    effect = (2.4 + norm.ppf(0.8)) * within.standard_error
    assert smallest_effect(within) == pytest.approx(effect, rel=1e-9)
    assert f"could have shown is {effect:.4f}" in found.reason
    needed = int(found.reason.split("about ")[1].split(" users")[0].replace(",", ""))
    assert needed == pytest.approx(400 * (effect / THRESHOLD) ** 2, abs=1)


def test_judge_users_needed_do_not_shrink_what_training_seeds_add() -> None:
    error = THRESHOLD / (2.4 + norm.ppf(0.8))
    within = dataclasses.replace(
        score(0.0008, 2.4 * 5 * error, clusters=400), cluster_standard_error=math.sqrt(24.5) * error
    )
    needed = judge(evidence(within_user=within)).reason.split("about ")[1].split(" users")[0]
    # 24.5 of users and .5 of seeds, in squares of the error that is wanted: users may leave .5
    assert int(needed.replace(",", "")) == pytest.approx(400 * 24.5 / 0.5, abs=1)
    seeds = dataclasses.replace(within, cluster_standard_error=math.sqrt(23.9) * error)
    assert "needs more training seeds" in judge(evidence(within_user=seeds)).reason


def test_judge_impressions_needed_to_be_negligible_follow_the_users_alone() -> None:
    wanted = THRESHOLD / (norm.ppf(0.95) + norm.ppf(0.9))
    lis = dataclasses.replace(score(0.0009, 0.0030), standard_error=2 * wanted, cluster_standard_error=2 * wanted)
    reason = judge(evidence(lis=lis, by_date=(lis,))).reason
    assert "needs about 60,000 impressions" in reason  # (5,000 + 10,000) x 4
    of_seeds = dataclasses.replace(lis, cluster_standard_error=0.5 * wanted)
    assert "needs more training seeds" in judge(evidence(lis=of_seeds, by_date=(of_seeds,))).reason


def test_judge_a_date_without_an_interval_is_named_in_the_reason() -> None:
    assert "dates are too small" not in judge(evidence()).reason
    found = judge(evidence(small_dates=[0.0004]))
    assert found.name == CLEARLY_USEFUL and "(1 of 3 dates are too small for an interval of their own)" in found.reason
    against = judge(evidence(small_dates=[-0.0004]))
    assert against.name == CONFLICTING and "not above 0 on 1 of 3 dates" in against.reason


@given(st.floats(-0.003, 0.003), st.floats(1e-5, 0.002))
def test_judge_negligible_is_two_one_sided_tests_at_five_percent(value: float, error: float) -> None:
    p_above = t.sf((value + THRESHOLD) / error, DEGREES)  # against: at or below -threshold
    p_below = t.cdf((value - THRESHOLD) / error, DEGREES)  # against: at or above +threshold
    lis = Score(value, error, DEGREES, value - 2.4 * error, value + 2.4 * error, 1000, error)
    verdict = judge(evidence(lis=lis, by_date=(lis,)))
    if abs(max(p_above, p_below) - 0.05) > 1e-9 and value < THRESHOLD:
        assert (verdict.name == NEGLIGIBLE) == (max(p_above, p_below) < 0.05)


@given(st.floats(-0.01, 0.01), st.floats(1e-4, 0.02), st.floats(-0.01, 0.01), st.floats(1e-4, 0.02), st.booleans())
def test_judge_a_useful_verdict_never_claims_more_than_its_intervals(
    value: float, half: float, within: float, within_half: float, once: bool
) -> None:
    lis, order = score(value, half), score(within, within_half)
    verdict = judge(evidence(lis=lis, within_user=order, by_date=(lis,), is_trained_once=once))
    if verdict.name in (USEFUL, CLEARLY_USEFUL):
        assert lis.low > 0 and order.low > 0 and order.high >= THRESHOLD and lis.value >= THRESHOLD and not once
    if verdict.name == CLEARLY_USEFUL:
        assert lis.low >= THRESHOLD
    if verdict.name == TELLS_USERS_APART:
        assert order.high < THRESHOLD
    if verdict.name == HARMFUL:
        assert lis.high < 0


@given(st.permutations([score(0.002), score(0.001), score(-0.0005, 0.0001)]))
def test_judge_the_order_of_the_dates_changes_nothing(dates: list[Score]) -> None:
    assert judge(evidence(by_date=dates)) == judge(evidence(by_date=sorted(dates, key=lambda one: one.value)))
