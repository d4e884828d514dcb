"""Rows of lis_results: which are read together, whose verdict is whose, what one training seed leaves open."""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import t

from lis_spark.lis.plan.arms import Arm
from lis_spark.lis.plan.comparisons import Measurement
from lis_spark.lis.plan.strata import UNSEEN
from lis_spark.lis.results.decision import CLEARLY_USEFUL, ONE_SEED, TELLS_USERS_APART, TOO_FEW
from lis_spark.lis.results.pools import Pool, over_dates, over_seeds
from lis_spark.lis.results.result_row import ResultRow
from lis_spark.lis.results.rows import MEAN, ResultSet, pool_id, pools_of
from lis_spark.lis.results.slots import rank_slots
from lis_spark.metrics import LIS, WITHIN_USER, JointErrors

DATES = (dt.date(2022, 5, 1), dt.date(2022, 5, 2))
THRESHOLD = 0.001
DEGREES = 999.0


def a_row(lis: float, error: float = 0.0003, **changes: Any) -> ResultRow:
    """An honest score on one date whose order within users is as clear as the score."""
    values: dict[str, Any] = {
        "measurement_id": "m", "run_name": "run", "scenario": "feed", "protocol": "swap", "leak": "id_embedding",
        "variant": "honest", "slot": "item", "swap_scope": "both", "label": "click", "evaluated_date": DATES[0],
        "horizon_days": 7, "stratum": "all", "seed": "17", "config_fingerprint": "0",
        "created_ts": dt.datetime(2022, 6, 1, tzinfo=dt.UTC), "positives": 1_000, "negatives": 2_000, "users": 1_000,
        "lis": lis, "standard_error": error, "cluster_standard_error": error, "degrees_of_freedom": DEGREES,
        "ci_low": lis - 2 * error, "ci_high": lis + 2 * error, "coverage": 1.0, "within_user_users": 900,
        "within_user_effective_users": 900.0,
        "lis_within_user": lis, "lis_within_user_standard_error": error,
        "lis_within_user_cluster_standard_error": error, "lis_within_user_degrees_of_freedom": DEGREES,
    }  # fmt: skip
    return ResultRow(**(values | changes))


def judged(*rows: ResultRow, correlation: float = 0.0) -> ResultSet:
    """A result set whose families have had their intervals and verdicts."""
    pools = [Pool(str(place), dates=row.evaluated_dates) for place, row in enumerate(rows)]
    results = ResultSet(list(rows), pools)
    for places in results.families().values():
        matrix = np.full((len(places), len(places)), correlation)
        np.fill_diagonal(matrix, 1.0)
        names = tuple(pools[place].name for place in places)
        errors = JointErrors(names, matrix, tuple(None for _ in places))
        results.add_simultaneous(places, {LIS: errors, WITHIN_USER: errors})
    results.judge(THRESHOLD)
    return results


def a_measurement(seed: int, date: dt.date, variant: str = "honest", horizon: int = 7) -> Measurement:
    arm = Arm("swap", variant, horizon, "both", date, "chain", date)
    return Measurement(seed, date, "swap", "id_embedding", variant, "both", horizon, "all", (arm,))


def test_add_simultaneous_one_score_has_its_plain_t_interval() -> None:
    (row,) = judged(a_row(0.003)).rows
    half = t.ppf(0.975, DEGREES) * 0.0003
    assert (row.simultaneous_low, row.simultaneous_high) == pytest.approx((0.003 - half, 0.003 + half), rel=1e-9)
    assert row.p_holm == pytest.approx(2 * t.sf(10, DEGREES), rel=1e-6)


def test_add_simultaneous_many_scores_lie_between_plain_and_bonferroni() -> None:
    rows = judged(*(a_row(0.003, horizon_days=n) for n in range(1, 11))).rows
    bonferroni, plain = (t.ppf(1 - chance / 2, DEGREES) * 0.0003 for chance in (0.005, 0.05))
    for row in rows:
        assert row.simultaneous_low is not None and row.lis is not None
        assert plain < row.lis - row.simultaneous_low <= bonferroni * (1 + 1e-9)
    same = judged(*(a_row(0.003, horizon_days=n) for n in range(1, 11)), correlation=1.0).rows[0]
    assert same.simultaneous_low is not None and rows[0].simultaneous_low is not None
    assert same.simultaneous_low > rows[0].simultaneous_low, "scores that are one are one test"


def test_add_simultaneous_what_seeds_add_is_not_shared() -> None:
    """Two scores that are one over the users, with errors of training seeds of their own, are not one test."""
    shared = judged(*(a_row(0.003, horizon_days=n) for n in (1, 3)), correlation=1.0).rows[0]
    of_seeds = {"cluster_standard_error": 0.0001, "training_seeds": 3, "seed_degrees_of_freedom": 2.0, "seed": MEAN}
    own = judged(*(a_row(0.003, horizon_days=n, **of_seeds) for n in (1, 3)), correlation=1.0).rows[0]
    assert own.simultaneous_low is not None and shared.simultaneous_low is not None
    assert own.simultaneous_low < shared.simultaneous_low


def test_judge_other_variants_scopes_strata_and_n_0_have_no_verdict() -> None:
    rows = judged(
        a_row(0.003),
        a_row(0.003, variant="label_shuffled"),
        a_row(0.003, swap_scope="target"),
        a_row(0.003, stratum="item_age:3-6"),
        a_row(0.0, horizon_days=0),
    ).rows
    assert [row.verdict for row in rows] == [CLEARLY_USEFUL, None, None, None, None]
    assert rows[0].drift_penalty == 0.003


def test_judge_the_order_within_users_decides_between_two_gains() -> None:
    rows = judged(a_row(0.003), a_row(0.003, horizon_days=3, lis_within_user=0.0, lis_within_user_standard_error=1e-4))
    assert [row.verdict for row in rows.rows] == [CLEARLY_USEFUL, TELLS_USERS_APART]


def test_judge_arms_that_were_trained_once_are_not_judged() -> None:
    protocols = ("swap", "swap+refit", "append")
    once = judged(*(a_row(0.003, protocol=protocol) for protocol in protocols))
    assert [row.verdict for row in once.rows] == [CLEARLY_USEFUL, ONE_SEED, ONE_SEED]
    seeds = [a_row(0.003, protocol="append", seed=str(seed)) for seed in (17, 18, 19)]
    thrice = judged(*seeds, a_row(0.003, protocol="append", seed=MEAN, training_seeds=3))
    assert [row.verdict for row in thrice.rows] == [None, None, None, CLEARLY_USEFUL], "their mean is judged"


def test_judge_one_seed_with_a_known_sigma_is_judged() -> None:
    of_seed = {"sigma_seed": 0.0001, "seed_degrees_of_freedom": 1e9, "cluster_standard_error": 0.00028}
    rows = judged(*(a_row(0.003, protocol="append", horizon_days=n, **of_seed) for n in (1, 3, 5))).rows
    assert [row.verdict for row in rows] == [CLEARLY_USEFUL] * 3


def test_judge_a_date_below_the_floor_is_told_in_the_pooled_reason() -> None:
    small = a_row(0.004, evaluated_date=DATES[1], standard_error=None, ci_low=None, ci_high=None)
    pooled = a_row(0.003, evaluated_date=None, evaluated_dates=2)
    rows = judged(a_row(0.003), small, pooled).rows
    assert rows[2].verdict == CLEARLY_USEFUL and "1 of 2 dates are too small" in str(rows[2].reason)
    assert rows[1].verdict == TOO_FEW and "too small" not in str(rows[0].reason)


@pytest.mark.parametrize(
    ("variant", "scope", "stratum", "is_pooled"),
    [
        ("honest", "both", "all", True),
        ("honest", "target", "all", False),
        ("slot_permuted", "tab", "all", True),
        ("honest", "both", UNSEEN, True),
        ("honest", "both", "item_age:3-6", False),
    ],
)
def test_pools_over_dates_are_headlines_features_and_unseen_items(
    variant: str, scope: str, stratum: str, is_pooled: bool
) -> None:
    measurements = [replace(a_measurement(17, date, variant), scope=scope, stratum=stratum) for date in DATES]
    assert any(pool.dates == 2 for pool in pools_of(measurements, (17,))) == is_pooled


def test_rank_slots_takes_the_row_of_all_dates_and_seeds() -> None:
    rows = [
        {**asdict(a_row(-lis, variant="slot_permuted", swap_scope=feature)), **own}
        for feature, lis in (("user", 0.02), ("tab", 0.05))
        for own in (
            {"lis": -0.9, "ci_low": -0.95, "ci_high": -0.85},
            {"seed": MEAN, "training_seeds": 3, "evaluated_dates": 2, "ci_low": -lis - 0.01, "ci_high": -lis + 0.01},
        )
    ]
    tab, user = rank_slots(rows)
    assert (tab.feature, user.feature) == ("tab", "user")
    assert (tab.auc_drop, tab.ci_low, tab.ci_high) == pytest.approx((0.05, 0.04, 0.06))


def test_pools_seeds_and_dates_are_put_together_once() -> None:
    seeds = (17, 18)
    measurements = [a_measurement(seed, date) for seed in seeds for date in DATES]
    pools = pools_of(measurements, seeds)
    assert [(len(pool.members), pool.dates, pool.seeds) for pool in pools] == [
        *[(1, 1, (17,))] * 2,
        *[(1, 1, (18,))] * 2,
        *[(2, 1, (17, 18))] * 2,
        (2, 2, (17,)),
        (2, 2, (18,)),
        (4, 2, (17, 18)),
    ]
    everything = pools[-1]
    assert everything.replicates == (pools[-3].name, pools[-2].name)
    ids = {one.comparison_id: f"id of {one.comparison_id}" for one in measurements}
    assert len({pool_id(pool, ids) for pool in pools}) == len(pools)
    listed = list(everything.pairs(folds=5))
    assert len({tuple(sorted(map(str, pair.items()))) for pair in listed}) == len(listed), "no pair stands twice"
    assert {pair["seed"] for pair in listed} == set(seeds) and {pair["date"] for pair in listed} == set(DATES)


def test_pools_a_measurement_that_a_seed_or_date_lacks_has_no_mean() -> None:
    measurements = [a_measurement(17, DATES[0]), a_measurement(18, DATES[0]), a_measurement(17, DATES[1])]
    assert [pool.members[0].evaluated_date for pool in over_seeds(measurements, (17, 18))] == [DATES[0]]
    assert over_dates(measurements, (17, 18), 2) == []


def test_pools_of_a_leak_against_its_own_order_know_the_comparisons_of_two_orders() -> None:
    seeds, measurements = (17, 18, 19), []
    for seed in seeds:
        for variant in ("honest", "row_shuffled"):
            arm = Arm("append", variant, 7, "port", DATES[0], None, None, leak="noise")
            arm = replace(arm, against_own_order=variant == "honest", compared_with=("control",))
            measurements.append(Measurement(seed, DATES[0], "append", "noise", variant, "port", 7, "all", (arm,)))
    pools = pools_of(measurements, seeds)
    (mean,) = [pool for pool in pools if len(pool.seeds) == 3 and pool.against_own_order]
    assert mean.checks == tuple(one.comparison_id for one in measurements if one.variant == "row_shuffled")
    assert all(pool.checks == () for pool in pools if pool is not mean)
    assert mean.part("user_part").against_own_order and not mean.part("user_part").checks


def test_measurement_controls_and_identities_are_not_split() -> None:
    assert list(a_measurement(17, DATES[0]).split_pairs(5))
    assert not list(a_measurement(17, DATES[0], "label_shuffled").split_pairs(5))
    assert not list(a_measurement(17, DATES[0], horizon=0).split_pairs(5))
