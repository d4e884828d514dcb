"""Items in blocks, each with the lists of all users that it touches: what one task holds (method 3).

A user's list goes once to each block that holds one of the user's items, instead of once to each item. What a block
costs is known before anything runs: for an item the number of its users times the sum of the lengths of their lists.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from lis_spark.config.graph import GraphConfig

# Blocks for each task slot, so that slots that are done early find more.
BLOCKS_PER_SLOT = 4
# User-list entries of a block (4 bytes each on the way, about 20 in the kernel): more make more blocks.
ENTRIES_PER_BLOCK = 20_000_000


@dataclass(frozen=True)
class Blocks:
    """Hot items (request, item), each a block of its own, and the number of ordinary blocks of the others.

    ``cost`` in steps of the kernel, at most; ``entries``: lengths of all lists of all users of all items.
    """

    hot: tuple[tuple[int, int], ...]
    ordinary: int
    cost: int
    entries: int

    def of_item(self) -> Column:
        """The block of (request, item): the hot ones are -1, -2, .., the others 0 .. ordinary - 1."""
        hashed = F.pmod(F.xxhash64("request", "item"), F.lit(self.ordinary)).cast("int")
        if not self.hot:
            return hashed
        own = [F.lit(part) for number, item in enumerate(self.hot) for part in (_key(*item), -1 - number)]
        key = F.concat_ws("/", "request", "item")
        return F.coalesce(F.try_element_at(F.create_map(*own), key), hashed)


def plan_blocks(sources: DataFrame, graph: GraphConfig, slots: int) -> Blocks:
    """Decides the blocks by the cost of each item.

    Args:
        sources: request, item, user_items: one row for each user of each source item.
        graph: ``blocks`` where the number is given.
        slots: tasks that run at the same time.
    """
    of_item = cost_of_items(sources, "item")
    cost = F.col("cost")
    summed = [F.sum("cost").alias("cost"), F.sum("entries").alias("entries"), F.count(F.lit(1)).alias("items")]
    totals = of_item.agg(*summed).first()
    if totals is None or not totals["items"]:
        return Blocks((), 1, 0, 0)
    wanted = graph.blocks or max(BLOCKS_PER_SLOT * slots, -(-totals["entries"] // ENTRIES_PER_BLOCK))
    wanted = min(wanted, totals["items"])
    dear = of_item.where(cost * wanted > totals["cost"]).orderBy(cost.desc(), "request", "item").limit(wanted - 1)
    hot = tuple((row["request"], row["item"]) for row in dear.select("request", "item").collect())
    return Blocks(hot, wanted - len(hot), int(totals["cost"]), totals["entries"])


def cost_of_items(sources: DataFrame, item: str) -> DataFrame:
    """request, item, entries (lengths of the lists of its users), cost (that times the number of its users).

    Args:
        sources: request, item, user_items: one row for each user of each source item.
        item: the column that says which item.
    """
    of_item = sources.groupBy("request", item).agg(
        F.count(F.lit(1)).alias("users"), F.sum(F.col("user_items").cast("bigint")).alias("entries")
    )
    cost = F.col("users").cast("decimal(20,0)") * F.col("entries").cast("decimal(18,0)")
    return of_item.select("request", item, "entries", cost.alias("cost"))


def block_rows(pairs: DataFrame, sources: DataFrame, blocks: Blocks, listed: Sequence[str] = ("item",)) -> DataFrame:
    """One row for each user and block: the user's whole list, and which of the block's source items he counts for.

    Args:
        pairs: request, user_id, and the columns ``listed``.
        sources: request, user_id, item, as far as they count.
        blocks: see :func:`plan_blocks`.
        listed: what each entry of a list says, the item first.

    Returns:
        DataFrame: request, block, user_hash, an array of each listed column (items ascend), sources (array).
    """
    lists = pairs.groupBy("request", "user_id").agg(F.sort_array(F.collect_list(F.struct(*listed))).alias("list"))
    touched = (
        sources.withColumn("block", blocks.of_item())
        .groupBy("request", "user_id", "block")
        .agg(F.collect_list("item").alias("sources"))
    )
    columns = [F.col(f"list.{column}").alias(f"{column}_list") for column in listed]
    user_hash = F.xxhash64("user_id").alias("user_hash")
    return touched.join(lists, ["request", "user_id"]).select("request", "block", user_hash, *columns, "sources")


def _key(request: int, item: int) -> str:
    return f"{request}/{item}"
