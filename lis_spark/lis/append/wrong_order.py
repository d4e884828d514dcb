"""Vectors that are given to other keys than their own: what a leak gains by its width alone (method 1.6, 1.8)."""

from __future__ import annotations

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

# Pieces that keys are put in the wrong order within.
SHUFFLE_PIECES = 16


def in_the_wrong_order(rows: DataFrame) -> DataFrame:
    """The same rows, where ``made`` says row_shuffled each key with the vector of another.

    Args:
        rows: place, draw, held_out_fold, key, made, vector: the same vector in all rows of a key.
    """
    shuffled = rows.where(F.col("made") == "row_shuffled")
    group = ["place", "held_out_fold"]
    owners = shuffled.groupBy(*group, "draw", "key").agg(F.first("vector").alias("vector"))
    # Within pieces by hash: one window over all keys would be one task.
    order = F.xxhash64(F.lit("row shuffled"), "draw", "key")
    pieces = owners.withColumn("order", order).withColumn("piece", F.pmod("order", F.lit(SHUFFLE_PIECES)))
    by_hash = Window.partitionBy(*group, "piece").orderBy("order", "key")
    # each key takes what the next one in the order of hashes has, the last what the first has
    following = F.coalesce(F.lead("vector").over(by_hash), F.first("vector").over(by_hash))
    partners = pieces.select(*group, "key", following.alias("of_another"))
    exchanged = shuffled.drop("vector").join(partners, [*group, "key"]).withColumnRenamed("of_another", "vector")
    return rows.where(F.col("made") != "row_shuffled").unionByName(exchanged)
