"""Embedding snapshots as of a date: rows touched each day, over a full copy every few days (architecture, "Tables").

Full copies of every day would be 38 TB for 10^9 items, 30 days and 5 folds. A chain's table at a date is its own
snapshots back to its fork, then its parent's; of each row the latest counts.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lis_spark.errors import InputError
from lis_spark.vectors import width_of

SnapshotKey = tuple[str, dt.date]
Segments = Sequence[tuple[str, dt.date, dt.date]]
_SOURCES_DDL = "chain string, snapshot_date date, source_chain string, source_snapshot_date date"


def source_partitions(
    segments: Segments, date: dt.date, base_dates: Mapping[str, Iterable[dt.date]]
) -> list[tuple[str, dt.date]]:
    """The partitions that make up one table as of ``date``, back to the latest full copy.

    Args:
        segments: (chain, after, through), the oldest first: the lineage of the chain.
        date: t of M_t.
        base_dates: chain -> dates of its full copies.
    """
    chosen: list[tuple[str, dt.date]] = []
    for chain, after, through in reversed(list(segments)):
        last = min(through, date)
        bases = [base for base in base_dates.get(chain, ()) if after < base <= last]
        first = max(bases) if bases else after + dt.timedelta(days=1)
        chosen += [(chain, first + dt.timedelta(days=offset)) for offset in range((last - first).days + 1)]
        if bases:
            break
    return sorted(chosen)


def as_of(
    spark: SparkSession, snapshots: DataFrame, sources: Mapping[SnapshotKey, Sequence[tuple[str, dt.date]]]
) -> DataFrame:
    """Several tables as of their dates, in one pass.

    Args:
        spark: session.
        snapshots: ``embedding_snapshots`` of one slot.
        sources: (chain, snapshot_date) -> the partitions of :func:`source_partitions`.

    Returns:
        chain, snapshot_date, row, item_id, vector, update_count, touch_count, last_update_date: one row for each row
        of the table that any gradient has ever reached.
    """
    listed = [(*key, *source) for key, partitions in sources.items() for source in partitions]
    needed = spark.createDataFrame(listed, _SOURCES_DDL)
    renamed = snapshots.withColumnsRenamed({"chain": "source_chain", "snapshot_date": "source_snapshot_date"})
    chains = sorted({source[0] for partitions in sources.values() for source in partitions})
    # The join is by broadcast, which prunes no files: say the chains as a condition, so that Delta does.
    pruned = renamed.where(F.col("source_chain").isin(chains))
    latest = F.max_by(
        F.struct("item_id", "vector", "update_count", "touch_count", "last_update_date"), "source_snapshot_date"
    )
    joined = pruned.join(F.broadcast(needed), ["source_chain", "source_snapshot_date"])
    grouped = joined.groupBy("chain", "snapshot_date", "row").agg(latest.alias("latest"))
    return grouped.select("chain", "snapshot_date", "row", "latest.*")


def check_width(snapshots: DataFrame, width: int) -> None:
    """Refuses snapshots whose vectors have another width than the ranker's table.

    Raises:
        InputError: naming chain, date, found and expected width.
    """
    wrong = (
        snapshots.withColumn("width", width_of("vector"))
        .where(F.col("width") != width)
        .groupBy("chain", "snapshot_date", "width")
        .agg(F.count(F.lit(1)).alias("rows"))
        .orderBy("chain", "snapshot_date")
        .limit(3)
        .collect()
    )
    if wrong:
        first = wrong[0]
        raise InputError(
            "a snapshot has another width than the ranker's table",
            table="embedding_snapshots",
            partition={"chain": first["chain"], "snapshot_date": str(first["snapshot_date"])},
            found=f"{first['rows']} vectors of {first['width']} numbers",
            expected=f"{width} numbers (ranker.dimension)",
            remedy="snapshots of one table must come from one continued training; retrain, or set ranker.dimension",
        )
