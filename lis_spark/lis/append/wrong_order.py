"""Vectors that are given to other keys than their own: what a leak gains by its width alone (method 1.6, 1.8)."""

from __future__ import annotations

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

# Keys change places within pieces of about so many: one window over all keys would be one task.
PIECE_KEYS = 100_000


def in_the_wrong_order(rows: DataFrame) -> DataFrame:
    """The same rows, where ``made`` says row_shuffled each key with the vector of another.

    Args:
        rows: place, seed, draw, held_out_fold, key, shuffled_within, made, vector: the same vector in all rows of a
            key, one training seed and draw in all rows of a place; each seed and draw has an order of its own. Keys
            change places with keys of the same held_out_fold and shuffled_within (a day, null: of any).
    """
    shuffled = rows.where(F.col("made") == "row_shuffled")
    group = ["place", "held_out_fold", "shuffled_within"]
    shuffled = shuffled.withColumn("shuffled_within", F.coalesce("shuffled_within", F.lit("1970-01-01").cast("date")))
    owners = shuffled.groupBy(*group, "seed", "draw", "key").agg(F.first("vector").alias("vector"))
    order = F.xxhash64(F.lit("row shuffled"), "seed", "draw", "key")
    counts = owners.groupBy(*group).agg(F.ceil(F.count(F.lit(1)) / PIECE_KEYS).alias("piece_count"))
    placed = owners.join(F.broadcast(counts), group).withColumn("order", order)
    pieces = placed.withColumn("piece", F.pmod("order", "piece_count"))
    by_hash = Window.partitionBy(*group, "piece").orderBy("order", "key")
    # each key takes what the next one in the order of hashes has, the last what the first has
    following = F.coalesce(F.lead("vector").over(by_hash), F.first("vector").over(by_hash))
    partners = pieces.select(*group, "key", following.alias("of_another"))
    exchanged = shuffled.drop("vector").join(partners, [*group, "key"]).withColumnRenamed("of_another", "vector")
    return rows.where(F.coalesce(F.col("made") != "row_shuffled", F.lit(True))).unionByName(exchanged)
