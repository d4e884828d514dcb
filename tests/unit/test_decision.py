"""Verdicts: the claim of no effect by two one-sided tests, against scipy's normal distribution; what one seed says."""

from __future__ import annotations

import datetime as dt
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from lis_spark.lis.results.decision import NEGLIGIBLE, NOT_MEASURABLE, USEFUL, negligible
from lis_spark.lis.results.rows import ONE_SEED, ResultRow, ResultSet

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


def _row(protocol: str, seed: str, lis: float) -> ResultRow:
    return ResultRow(
        measurement_id=f"{protocol}-{seed}",
        run_name="run",
        scenario="feed",
        protocol=protocol,
        leak="id_embedding",
        variant="honest",
        slot="item",
        swap_scope="both",
        label="click",
        evaluated_date=dt.date(2022, 5, 1),
        horizon_days=7,
        stratum="all",
        seed=seed,
        config_fingerprint="0",
        created_ts=dt.datetime(2022, 6, 1, tzinfo=dt.UTC),
        positives=1_000,
        negatives=2_000,
        lis=lis,
        standard_error=0.0001,
        ci_low=lis - 0.0002,
        ci_high=lis + 0.0002,
    )


def test_a_verdict_on_arms_that_were_trained_once_says_so() -> None:
    protocols = ("swap", "swap+refit", "append")
    once = ResultSet([_row(protocol, "17", 0.002) for protocol in protocols])
    once.add_seed_means([17])
    once.judge(THRESHOLD)
    assert {row.protocol: (row.verdict, row.note) for row in once.rows} == {
        "swap": (USEFUL, None),  # no part of it was trained for the measurement
        "swap+refit": (USEFUL, ONE_SEED),
        "append": (USEFUL, ONE_SEED),
    }
    thrice = ResultSet([_row(protocol, str(seed), 0.002) for protocol in protocols for seed in (17, 18, 19)])
    thrice.add_seed_means([17, 18, 19])
    thrice.judge(THRESHOLD)
    judged = {row.protocol: row.note for row in thrice.rows if row.verdict}
    assert judged == dict.fromkeys(protocols, "mean over 3 training seeds")


def test_what_one_seed_leaves_open_stands_beside_the_claim_of_no_effect() -> None:
    once = ResultSet([_row("append", "17", 0.0002)])
    once.judge(THRESHOLD, claimed_negligible=["id_embedding"])
    assert once.rows[0].note is not None and once.rows[0].note.startswith(f"{ONE_SEED}; TOST against")
