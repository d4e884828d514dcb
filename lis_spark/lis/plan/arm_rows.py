"""How many impressions each arm of an evaluated day scores: what its scores are held to, written and read."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from pyspark.sql import functions as F

from lis_spark.folds import serves
from lis_spark.lake import Lake
from lis_spark.lis.plan.arms import Arm

ArmKey = tuple[int, dt.date, str]


def rows_by_arm(lake: Lake, arms: Sequence[tuple[int, dt.date, Arm]]) -> dict[ArmKey, int]:
    """(seed, date, name of the arm) -> the training rows of that day whose users the arm is for.

    Args:
        lake: of which ``training_rows`` is counted by day and user bucket.
        arms: training seed, evaluated day, arm.
    """
    dates = sorted({date for _, date, _ in arms})
    rows = lake.read("training_rows").where(F.col("date").isin(dates)).groupBy("date", "user_bucket").count().collect()
    counts: dict[dt.date, dict[int, int]] = {date: {} for date in dates}
    for row in rows:
        counts[row["date"]][row["user_bucket"]] = row["count"]
    return {
        (seed, date, arm.name): sum(
            count for bucket, count in counts[date].items() if serves(arm.served, bucket, arm.folds, arm.held_out_fold)
        )
        for seed, date, arm in arms
    }
