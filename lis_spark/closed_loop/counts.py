"""Counts of values before a day of a simulated experiment, as the ranker of each arm has them."""

from __future__ import annotations

import datetime as dt

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lis_spark.errors import InputError
from lis_spark.lake import Lake
from lis_spark.ranker import running_counts
from lis_spark.ranker.counts import ALL

SUMS = ("impressions", "positives")


def with_counts(lake: Lake, candidates: DataFrame, date: dt.date) -> DataFrame:
    """Adds, for each counted feature, what its value had before the experiment and what the arm has shown of it since.

    Where arms share their logs, each knows what all have shown.

    Args:
        lake: of a simulated world, as a measurement.
        candidates: ``arm`` (number) and the rows of the features' values.
        date: the day of the candidates.

    Raises:
        InputError: nothing was counted before the experiment.
    """
    config = lake.config
    loop = config.closed_loop
    assert loop is not None
    names = [feature.name for feature in config.counted_features]
    if not names:
        return candidates
    before = running_counts.totals_before(lake, loop.first_date)
    if before is None:
        raise InputError(
            "nothing was counted before the experiment",
            table=running_counts.TABLE,
            found=f"no day before {loop.first_date}",
            remedy="run lis-spark training-rows, or begin the experiment later",
        )
    shown = _shown(lake, date)
    for name in (*names, ALL):
        key = F.lit(0) if name == ALL else F.col(f"row_{name}")
        value = f"value_{name}"
        columns = {sums: f"{sums}_before_{name}" for sums in SUMS}
        old = before.where(F.col("feature") == name).select(
            F.col("row").alias(value), *[F.col(s).alias(f"old_{s}") for s in SUMS]
        )
        new = shown.groupBy("arm", key.alias(value)).agg(
            F.count(F.lit(1)).alias("new_impressions"), F.sum("positive").alias("new_positives")
        )
        joined = candidates.withColumn(value, key).join(old, value, "left").join(new, ["arm", value], "left")
        summed = {
            column: F.coalesce(F.col(f"old_{sums}"), F.lit(0)) + F.coalesce(F.col(f"new_{sums}"), F.lit(0))
            for sums, column in columns.items()
        }
        parts = [f"{age}_{sums}" for age in ("old", "new") for sums in SUMS]
        candidates = joined.withColumns(summed).drop(value, *parts)
    return candidates


def _shown(lake: Lake, date: dt.date) -> DataFrame:
    """arm (number), positive and the rows of values of what each arm's ranker knows of the days before ``date``."""
    config = lake.config
    loop = config.closed_loop
    assert loop is not None
    lake.unpin("experiment_impressions")  # days are added while the step runs
    rows = lake.read("experiment_impressions").where(
        (F.col("experiment") == loop.name)
        & (F.col("date") >= F.lit(loop.first_date))
        & (F.col("date") < F.lit(date))
        & F.col("arm").isin(list(loop.arms))
    )
    own = F.array_position(F.array(*[F.lit(arm) for arm in loop.arms]), F.col("arm")).cast("int") - 1
    every = F.explode(F.array(*[F.lit(number) for number in range(len(loop.arms))]))
    numbered = rows.withColumn("arm", own if loop.logs == "own" else every)
    values = [f"row_{feature.name}" for feature in config.counted_features]
    return numbered.select("arm", F.col(f"label_{config.label}").cast("bigint").alias("positive"), *values)
