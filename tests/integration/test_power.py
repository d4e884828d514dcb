"""Sizes of evaluated days and what scores scatter by, held against pandas."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lis_spark.metrics import LIS, WITHIN_USER, compare, influence
from lis_spark.metrics.spread import ErrorWeights, spreads_of
from lis_spark.power.sizes import SampleSize, evaluated_sizes

DAYS = (dt.date(2026, 1, 1), dt.date(2026, 1, 2), dt.date(2026, 1, 3))
GROUPS = ("seed", "date", "arm", "fold", "stratum")


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    random = np.random.default_rng(5)
    user = random.zipf(1.6, 900) % 60
    frame = pd.DataFrame(
        {
            "date": random.choice(np.array(DAYS, object), 900),
            "user_id": [f"u{one}" for one in user],
            "fold": user % 2,
            "label": (random.random(900) < 0.3).astype(int),
        }
    )
    frame["impression_id"] = [f"i{place}" for place in range(900)]
    for arm in ("control", "leaked"):
        frame[arm] = random.standard_normal(900) + frame["label"] * (0.5 if arm == "control" else 0.6)
    return frame


def naive_weights(rows: pd.DataFrame) -> tuple[ErrorWeights, ErrorWeights]:
    """From the definitions, one user's day at a time."""
    totals = {key: (own["label"].sum(), (1 - own["label"]).sum()) for key, own in rows.groupby(["date", "fold"])}
    pairs = sum(positives * negatives for positives, negatives in totals.values())
    within_pairs = own_lis = own_within = 0.0
    shared: dict[str, dict[dt.date, tuple[float, float]]] = {}
    for (date, fold, user), own in rows.groupby(["date", "fold", "user_id"]):
        positives, negatives = totals[date, fold]
        p, n = own["label"].sum(), (1 - own["label"]).sum()
        own_lis += p * negatives**2 + n * positives**2
        own_within += p * n * (p + n)
        within_pairs += p * n
        shared.setdefault(user, {})[date] = (p * negatives + n * positives, p * n)
    found = []
    for place, (own_sum, total) in enumerate(((own_lis, pairs), (own_within, within_pairs))):
        days = [[values[place] for values in of_user.values()] for of_user in shared.values()]
        found.append(
            ErrorWeights(
                impressions=own_sum / total**2,
                user_days=sum(value**2 for of_user in days for value in of_user) / total**2,
                users=sum(sum(of_user) ** 2 for of_user in days) / total**2,
            )
        )
    return found[0], found[1]


def assert_weights(found: ErrorWeights, expected: ErrorWeights) -> None:
    for name in ("impressions", "user_days", "users"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-9), name


def test_evaluated_sizes_of_days_are_those_of_pandas(spark: Any, rows: pd.DataFrame) -> None:
    found = evaluated_sizes(spark.createDataFrame(rows[["date", "fold", "user_id", "label"]]))

    def check(size: SampleSize, part: pd.DataFrame) -> None:
        lis, within = naive_weights(part)
        assert_weights(size.lis, lis)
        assert_weights(size.within_user, within)
        assert size.users == part["user_id"].nunique()
        assert (size.positives, size.negatives) == (part["label"].sum(), (1 - part["label"]).sum())
        by_day = part.groupby(["date", "user_id"])["label"].mean().reset_index()
        assert size.users_of_both == by_day[(by_day["label"] > 0) & (by_day["label"] < 1)]["user_id"].nunique()

    check(found.together, rows)
    for date in DAYS:
        check(found.by_date[date], rows[rows["date"] == date])
        for fold in (0, 1):
            check(found.by_fold[date, fold], rows[(rows["date"] == date) & (rows["fold"] == fold)])
    assert found.lis_returning is not None and 0 < found.lis_returning <= 1
    doubled = found.on_dates(6)
    assert doubled.lis.impressions == pytest.approx(found.together.lis.impressions / 2)
    assert doubled.lis.users > found.together.lis.users / 2, "the same users return"
    assert found.of_date(DAYS[0]).together == found.by_date[DAYS[0]]


def test_evaluated_sizes_of_users_who_all_return_keep_their_weight(spark: Any) -> None:
    same = [
        (date, fold, f"u{fold}{user}", label)
        for date in DAYS
        for fold in (0, 1)
        for user in range(9)
        for label in (0, 1)
    ]
    every_day = evaluated_sizes(spark.createDataFrame(same, "date date, fold int, user_id string, label int"))
    assert every_day.lis_returning == pytest.approx(1.0)
    assert every_day.on_dates(30).lis.users == pytest.approx(every_day.together.lis.users)
    once = [(date, fold, f"{date}{user}", label) for date, fold, user, label in same]
    strangers = evaluated_sizes(spark.createDataFrame(once, "date date, fold int, user_id string, label int"))
    assert strangers.within_returning == pytest.approx(0.0)
    assert strangers.on_dates(30).lis.users == pytest.approx(strangers.together.lis.users / 10)


def test_evaluated_sizes_without_rows_are_empty(spark: Any) -> None:
    empty = evaluated_sizes(spark.createDataFrame([], "date date, fold int, user_id string, label int"))
    assert empty.together.users == 0 and not empty.by_date


def test_spreads_of_several_seeds_weigh_each_impression_once(spark: Any, rows: pd.DataFrame) -> None:
    arms = pd.concat(
        [
            rows.rename(columns={arm: "logit"})[["date", "user_id", "fold", "label", "impression_id", "logit"]].assign(
                arm=arm, seed=seed, stratum="all"
            )
            for seed in (1, 2)
            for arm in ("control", "leaked")
        ]
    )
    per_user = influence(spark.createDataFrame(arms), GROUPS)
    pairs = [
        {
            "comparison_id": "one",
            **{"seed": seed, "date": date, "fold": fold, "stratum": "all"},
            "control_arm": "control",
            "leaked_arm": "leaked",
        }
        for seed in (1, 2)
        for date in DAYS
        for fold in (0, 1)
    ]
    comparison = compare(per_user, pairs)[0]
    errors = {LIS: 0.001, WITHIN_USER: 0.003}
    spreads, without_order = spreads_of(per_user, [comparison, comparison], [errors, {LIS: 0.001}])
    per_user.unpersist()
    weights = dict(zip((LIS, WITHIN_USER), naive_weights(rows), strict=True))
    for kind, error in errors.items():
        spread = spreads[kind]
        assert spread is not None
        assert spread.error(weights[kind]) == pytest.approx(error, rel=1e-9), "of all seeds as of one"
    assert without_order[LIS] == spreads[LIS] and without_order[WITHIN_USER] is None
