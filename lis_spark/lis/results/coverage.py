"""How much of an evaluated day a table covers, by stratum: items that it has, items that have died (method 1.6)."""

from __future__ import annotations

from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lis_spark.lake import Lake
from lis_spark.leaks.id_embedding import LEAK
from lis_spark.lis.plan.arms import REPRESENTATION
from lis_spark.lis.plan.comparisons import Measurement
from lis_spark.lis.plan.evaluated_rows import evaluated_rows
from lis_spark.lis.plan.strata import memberships


def coverage(lake: Lake, strata: DataFrame) -> dict[tuple[Any, ...], tuple[float, float | None]]:
    """(seed, T, variant, n, stratum) -> shares of impressions: item in the table, item without an update since T.

    The second is null for n <= 0: no day lies between T and such a table.
    """
    columns = ["evaluated_date", "variant", "horizon_days", "chain", "row", "present", "last_update_date"]
    parts = [
        lake.read(name).where(F.col("leak") == LEAK).select(*columns)
        for name in ("leaked_features", "control_features")
    ]
    seed = F.regexp_extract("chain", "-s([0-9]+)$", 1)
    dead = F.coalesce(F.col("last_update_date") < F.col("evaluated_date"), F.lit(True))
    # by row first: strata belong to items, of which there are fewer than impressions
    counted = (
        parts[0]
        .unionByName(parts[1])
        .groupBy("evaluated_date", "variant", "horizon_days", seed.alias("seed"), "row")
        .agg(
            F.count(F.lit(1)).alias("impressions"), F.count_if("present").alias("there"), F.count_if(dead).alias("dead")
        )
    )
    rows = (
        counted.join(strata, ["evaluated_date", "row"], "left")
        .withColumn("stratum", F.explode(memberships()))
        .groupBy("seed", "evaluated_date", "variant", "horizon_days", "stratum")
        .agg(F.sum("impressions").alias("impressions"), F.sum("there").alias("there"), F.sum("dead").alias("dead"))
        .collect()
    )
    return {
        (row["seed"], row["evaluated_date"], row["variant"], row["horizon_days"], row["stratum"]): (
            row["there"] / row["impressions"],
            row["dead"] / row["impressions"] if row["horizon_days"] > 0 else None,
        )
        for row in rows
    }


def append_coverage(lake: Lake) -> dict[tuple[Any, ...], float]:
    """(seed, T, leak, variant, n) of protocol append -> share of the impressions of T that have a vector, or a click.

    The seed is empty where the leak is the same under every seed.
    """
    seed = F.regexp_extract("chain", "-s([0-9]+)$", 1)
    columns = ("chain", "evaluated_date", "leak", "variant", "horizon_days", "present", "date", "impression_id")
    represented = lake.read("control_features").where(F.col("variant") == REPRESENTATION).select(*columns)
    given = lake.read("leaked_features").select(*columns).unionByName(represented)
    given = given.where((F.col("leak") != LEAK) & (F.col("date") == F.col("evaluated_date")))
    evaluation = lake.config.evaluation
    if evaluation.user_share < 1:  # these tables have the vectors of all users
        scored = evaluated_rows(lake, evaluation.dates).select("date", "impression_id")
        given = given.join(scored, ["date", "impression_id"], "left_semi")
    rows = (
        given.groupBy(seed.alias("seed"), "evaluated_date", "leak", "variant", "horizon_days")
        .agg(F.mean(F.col("present").cast("int")).alias("share"))
        .collect()
    )
    return {tuple(row)[:-1]: row["share"] for row in rows}


def coverage_key(measurement: Measurement) -> tuple[Any, ...]:
    """Where :func:`coverage` has the shares of a measurement."""
    variant = {"row_permuted": "naive", "whole": "naive"}.get(measurement.variant, measurement.variant)
    day = measurement.evaluated_date
    return str(measurement.seed), day, variant, measurement.horizon_days, measurement.stratum
