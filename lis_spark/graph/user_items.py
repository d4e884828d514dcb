"""Which clicks a graph is made of: each user's items, each item once, with the caps of method 3 applied."""

from __future__ import annotations

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from lis_spark.config.graph import GraphConfig

# A partition's place in `monotonically_increasing_id` stands above these bits.
_ROW_BITS = 33


def user_items(clicks: DataFrame, graph: GraphConfig) -> DataFrame:
    """The pairs of user and item that count.

    Users with fewer than ``min_user_items`` items are left out; of those with more than ``max_user_items`` the most
    recent stay (of equally recent ones the smaller ids).

    Args:
        clicks: request, user_id, item_id, request_ts; an item may stand several times.
        graph: its caps.

    Returns:
        DataFrame: request, user_id, item_id, user_items (how many of the user's items count).
    """
    key = ["request", "user_id"]
    latest = clicks.repartition(*key).groupBy(*key, "item_id").agg(F.max("request_ts").alias("last_ts"))
    of_user = Window.partitionBy(*key)
    ranked = latest.withColumns(
        {
            "found": F.count(F.lit(1)).over(of_user),
            "rank": F.row_number().over(of_user.orderBy(F.desc("last_ts"), "item_id")),
        }
    )
    kept = ranked.where((F.col("found") >= graph.min_user_items) & (F.col("rank") <= graph.max_user_items))
    counted = F.least("found", F.lit(graph.max_user_items)).cast("int")
    return kept.select(*key, "item_id", counted.alias("user_items"))


def numbered_items(pairs: DataFrame) -> DataFrame:
    """item_id, item: the distinct items numbered from 0 in the order of their ids, without a global window."""
    distinct = pairs.select("item_id").distinct().repartitionByRange("item_id").sortWithinPartitions("item_id")
    # fixed: the numbers of a partition start where the counts of those before it end
    ordered = distinct.select("item_id", F.monotonically_increasing_id().alias("place")).localCheckpoint()
    partition = F.shiftright("place", _ROW_BITS)
    counts = ordered.groupBy(partition.alias("partition")).count().orderBy("partition").collect()
    starts, start = [F.lit(-1), F.lit(0)], 0
    for row in counts:
        starts += [F.lit(row["partition"]), F.lit(start)]
        start += row["count"]
    first = F.element_at(F.create_map(*starts), partition.cast("int"))
    within = F.col("place").bitwiseAND(F.lit((1 << _ROW_BITS) - 1))
    return ordered.select("item_id", (first + within).cast("int").alias("item"))


def source_pairs(pairs: DataFrame, graph: GraphConfig) -> DataFrame:
    """The pairs whose user counts among the users of the item, when that item's neighbours are looked for.

    Of an item with more than ``max_item_users`` users those of the smallest hashes of (seed, item, user) count:
    independent of order and partitions. The lists of the users themselves are not touched by it.

    Args:
        pairs: request, user_id, item_id and what else is wanted.
        graph: ``max_item_users`` and ``seed``.
    """
    hashed = F.xxhash64(F.lit(graph.seed), "item_id", "user_id")
    by_hash = Window.partitionBy("request", "item_id").orderBy(hashed, "user_id")
    ranked = pairs.withColumn("rank", F.row_number().over(by_hash))
    return ranked.where(F.col("rank") <= graph.max_item_users).drop("rank")
