"""Graphs of similar items of sets of clicks: Spark around the kernel (method 3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lis_spark.config.graph import GraphConfig
from lis_spark.graph.blocks import Blocks, block_rows, plan_blocks
from lis_spark.graph.kernel import Members, Neighbours, UserLists, cosine, swing
from lis_spark.graph.user_items import numbered_items, source_pairs, user_items
from lis_spark.progress import described, say

# What an entry of a user's list says: the cosine needs to know how many users each neighbour has.
LISTED = {"swing": ("item",), "cosine": ("item", "item_users")}
_FOUND = "request int, item int, neighbour int, rank int, score double, common_users int"


@contextmanager
def similar_items(clicks: DataFrame, graph: GraphConfig) -> Iterator[DataFrame]:
    """The most similar items of every item that has any, for each set of clicks; what it keeps, it lets go after.


    The same clicks give the same bits, whatever their order, partitions, the number of blocks, or the other sets.

    Args:
        clicks: request (int: which set), user_id, item_id, request_ts.
        graph: kind, weights, caps.

    Yields:
        DataFrame: request, item_id, neighbours (array of item_id, score, common_users: best first, ties by item_id).
    """
    spark = clicks.sparkSession
    with described(spark, f"graph {graph.name}: items of every user"):
        pairs = user_items(clicks, graph).persist()
        numbers = numbered_items(pairs)
        numbered = pairs.join(numbers, "item_id")
        if graph.kind == "cosine":
            degrees = pairs.groupBy("request", "item_id").agg(F.count(F.lit(1)).cast("int").alias("item_users"))
            numbered = numbered.join(degrees, ["request", "item_id"])
        numbered = numbered.persist()
        sources = source_pairs(numbered, graph).select("request", "user_id", "item", "user_items").persist()
    with described(spark, f"graph {graph.name}: what each item costs"):
        blocks = plan_blocks(sources, graph, spark.sparkContext.defaultParallelism)
    pairs.unpersist()
    say(_forecast(graph, blocks))
    rows = block_rows(numbered, sources, blocks, LISTED[graph.kind])
    found = rows.groupBy("request", "block").applyInArrow(_of_block(graph), _FOUND)
    try:
        yield _named(found, numbers)
    finally:
        numbered.unpersist()
        sources.unpersist()


def _forecast(graph: GraphConfig, blocks: Blocks) -> str:
    hot = f", {len(blocks.hot)} of them one hot item" if blocks.hot else ""
    count = len(blocks.hot) + blocks.ordinary
    work = f"at most {blocks.cost:.2g} steps over {blocks.entries:,} list entries"
    return f"graph {graph.name}: {work} in {count} blocks{hot}"


def _of_block(graph: GraphConfig) -> Callable[[pa.Table], pa.Table]:
    alpha, offset, exponent = graph.swing_weights
    k, least = graph.neighbours, graph.min_common_users

    def neighbours(table: pa.Table) -> pa.Table:
        table = _in_one_order(table)
        lists, members = _block(table, offset, exponent)
        if graph.kind == "swing":
            found = swing(lists, members, alpha=alpha, neighbours=k, min_common_users=least)
        else:
            item_users = _flat(table["item_users_list"])[1].astype(np.int64)
            found = cosine(lists, members, item_users, neighbours=k, min_common_users=least)
        return _table(table["request"][0], members, found)

    return neighbours


def _in_one_order(table: pa.Table) -> pa.Table:
    """The users of a block in the order of their hashes: one order wherever they come from."""
    hashes = table["user_hash"].to_numpy()
    order = np.argsort(hashes, kind="stable")
    if (hashes[order][1:] == hashes[order][:-1]).any():  # equal hashes: by the lists; equal lists are exchangeable
        lists = table["item_list"].to_pylist()
        order = np.array(sorted(order, key=lambda row: (hashes[row], lists[row])))
    return table.take(pa.array(order))


def _block(table: pa.Table, offset: float, exponent: float) -> tuple[UserLists, Members]:
    """The rows of a block as arrays."""
    offsets, items = _flat(table["item_list"])
    weights = 1.0 / (offset + np.diff(offsets)) ** exponent
    source_offsets, source_items = _flat(table["sources"])
    users = np.repeat(np.arange(len(table), dtype=np.int32), np.diff(source_offsets))
    by_item = np.argsort(source_items, kind="stable")  # users stay in their order within an item
    distinct, first = np.unique(source_items[by_item], return_index=True)
    members = Members(distinct, np.append(first, len(by_item)).astype(np.int64), users[by_item])
    return UserLists(offsets, items, weights), members


def _flat(lists: pa.ChunkedArray) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """Offsets [lists + 1] and values of an array of lists."""
    lengths = pc.list_value_length(lists).to_numpy()
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return offsets, pc.list_flatten(lists).to_numpy()


def _table(request: pa.Scalar, members: Members, found: Neighbours) -> pa.Table:
    item, rank = np.nonzero(found.items >= 0)
    return pa.table(
        {
            "request": pa.repeat(request, len(item)),
            "item": pa.array(members.items[item], pa.int32()),
            "neighbour": pa.array(found.items[item, rank], pa.int32()),
            "rank": pa.array(rank, pa.int32()),
            "score": pa.array(found.scores[item, rank]),
            "common_users": pa.array(found.common_users[item, rank], pa.int32()),
        }
    )


def _named(found: DataFrame, numbers: DataFrame) -> DataFrame:
    """Numbers back to ids; one row an item."""
    of_neighbour = numbers.select(F.col("item").alias("neighbour"), F.col("item_id").alias("neighbour_id"))
    entry = F.struct("rank", F.col("neighbour_id").alias("item_id"), "score", "common_users")
    listed = (
        found.join(of_neighbour, "neighbour")
        .groupBy("request", "item")
        .agg(F.sort_array(F.collect_list(entry)).alias("entries"))
    )
    plain = F.transform("entries", lambda entry: F.struct(entry["item_id"], entry["score"], entry["common_users"]))
    return listed.join(numbers, "item").select("request", "item_id", plain.alias("neighbours"))
