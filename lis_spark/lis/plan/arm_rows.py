"""How many impressions each arm of an evaluated day scores: what its scores are held to, written and read."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from lis_spark.folds import serves
from lis_spark.lake import Lake
from lis_spark.lis.plan.arms import Arm
from lis_spark.lis.plan.evaluated_rows import evaluated_rows

ArmKey = tuple[int, dt.date, str]


def rows_by_arm(lake: Lake, arms: Sequence[tuple[int, dt.date, Arm]]) -> dict[ArmKey, int]:
    """(seed, date, name of the arm) -> the evaluated rows of that day whose users the arm is for.

    Args:
        lake: of which ``training_rows`` is counted by day and user bucket.
        arms: training seed, evaluated day, arm.
    """
    dates = sorted({date for _, date, _ in arms})
    rows = evaluated_rows(lake, dates).groupBy("date", "user_bucket").count().collect()
    counts: dict[dt.date, dict[int, int]] = {date: {} for date in dates}
    for row in rows:
        counts[row["date"]][row["user_bucket"]] = row["count"]
    return {
        (seed, date, arm.name): sum(
            count for bucket, count in counts[date].items() if serves(arm.served, bucket, arm.folds, arm.held_out_fold)
        )
        for seed, date, arm in arms
    }
