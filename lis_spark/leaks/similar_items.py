"""The paper's counter-example: the neighbours of the target in a graph of similar items (method 1.5).

Each impression gets the rows of its item's best neighbours, to be looked up in the ranker's own table, with their
scores and which places are filled; an item without neighbours has nothing, and its row is masked.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from lis_spark.folds import NO_FOLD
from lis_spark.vectors import pack

_USES_DDL = (
    "variant string, horizon_days int, graph string, as_of date, held_out_fold int, served string, shuffled boolean"
)
_PACKED_DDL = "graph string, as_of date, shuffled boolean, item_id string, ids binary, beside binary"


@dataclass(frozen=True)
class GraphUse:
    """One graph that the impressions of a window are joined to: all, or those of the fold that it does not know.

    ``shuffled``: each item gets the neighbours of another.
    """

    variant: str
    horizon_days: int
    graph: str
    as_of: dt.date
    held_out_fold: int = NO_FOLD
    served: Literal["all", "own"] = "all"
    shuffled: bool = False


def similar_item_rows(
    impressions: DataFrame, graphs: DataFrame, item_rows: DataFrame, uses: Sequence[GraphUse], count: int
) -> DataFrame:
    """Impressions joined to the neighbours of their items: one row for each impression and use.

    Args:
        impressions: impression_id, item_id, row, fold, date.
        graphs: ``item_graph``: at least the graphs of the uses.
        item_rows: item_id, row: the vocabulary of items.
        uses: which graphs.
        count: k: how many neighbours.

    Returns:
        DataFrame: the columns of ``impressions``, variant, horizon_days, held_out_fold, as_of, ids (int32, packed),
        beside (float32, packed: scores, then 1 where a place is filled); both null where there are no neighbours.
    """
    spark = impressions.sparkSession
    wanted = F.broadcast(spark.createDataFrame([tuple(vars(use).values()) for use in uses], _USES_DDL))
    neighbours = _packed(graphs, item_rows, uses, count)
    served = (F.col("served") == "all") | (F.col("fold") == F.col("held_out_fold"))
    asked = impressions.join(wanted, served)
    return asked.join(neighbours, ["graph", "as_of", "shuffled", "item_id"], "left").select(
        *impressions.columns, "variant", "horizon_days", "held_out_fold", "as_of", "ids", "beside"
    )


def _packed(graphs: DataFrame, item_rows: DataFrame, uses: Sequence[GraphUse], count: int) -> DataFrame:
    """graph, as_of, shuffled, item_id -> ids and what stands beside them."""
    spark = graphs.sparkSession
    kinds = sorted({(use.graph, use.as_of, use.shuffled) for use in uses})
    chosen = F.broadcast(spark.createDataFrame(kinds, "graph string, as_of date, shuffled boolean"))
    of_graph = graphs.select(
        "graph", F.col("date").alias("as_of"), "item_id", F.slice("neighbours", 1, count).alias("n")
    )
    entries = of_graph.select("graph", "as_of", "item_id", F.posexplode("n").alias("place", "n"))
    numbered = entries.join(
        item_rows.select(F.col("item_id").alias("neighbour"), "row"), F.col("n.item_id") == F.col("neighbour")
    )
    listed = numbered.groupBy("graph", "as_of", "item_id").agg(
        F.sort_array(F.collect_list(F.struct("place", "row", "n.score"))).alias("entries")
    )
    straight = listed.join(chosen, ["graph", "as_of"])
    key = ["graph", "as_of"]
    by_hash = Window.partitionBy(*key).orderBy(F.xxhash64(F.lit("shuffled graph"), "item_id"), "item_id")
    # each item takes what the next one in the order of hashes has, the last what the first has
    following = F.coalesce(F.lead("entries").over(by_hash), F.first("entries").over(by_hash))
    shuffled = straight.where("shuffled").withColumn("entries", following)
    both = (
        straight.where("NOT shuffled").unionByName(shuffled).select("graph", "as_of", "shuffled", "item_id", "entries")
    )
    return both.mapInArrow(_pack(count), _PACKED_DDL)


def _pack(count: int) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def packed(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            entries = batch["entries"]
            lengths = pc.list_value_length(entries).to_numpy()
            flat = pc.list_flatten(entries)
            row = np.repeat(np.arange(batch.num_rows), lengths)
            place = flat.field("place").to_numpy()
            ids = np.full((batch.num_rows, count), -1, np.int32)
            beside = np.zeros((batch.num_rows, 2 * count), np.float32)
            ids[row, place] = flat.field("row").to_numpy()
            beside[row, place] = flat.field("score").to_numpy()
            beside[row, count + place] = 1
            columns = [batch[name] for name in ("graph", "as_of", "shuffled", "item_id")]
            yield pa.RecordBatch.from_arrays(
                [*columns, pack(ids), pack(beside)], ["graph", "as_of", "shuffled", "item_id", "ids", "beside"]
            )

    return packed
