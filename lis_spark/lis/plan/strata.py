"""Strata of the items at day T: by update count and by age (method 1.7)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

ALL = "all"
# Impressions of users with at least two of them on the day: only there can a user part be told from an item part.
SEVERAL_ROWS = "several_rows"
# Whether the item is one of the preference data that an encoder was aligned, chosen or validated by (method 6).
SEEN, UNSEEN = "alignment:seen", "alignment:unseen"


def bucket_names(name: str, edges: Sequence[int]) -> list[str]:
    """``update_count:<10``, ``update_count:10-29``, ..., ``update_count:>=300`` for edges 10, 30, ..., 300."""
    if not edges:
        return []
    middle = [f"{name}:{low}-{high - 1}" for low, high in pairwise(edges)]
    return [f"{name}:<{edges[0]}", *middle, f"{name}:>={edges[-1]}"]


def bucket(name: str, value: Column, edges: Sequence[int]) -> Column:
    """The bucket that an integer falls into, as in :func:`bucket_names`."""
    names = bucket_names(name, edges)
    chosen = F.lit(names[-1])
    for edge, label in reversed(list(zip(edges, names, strict=False))):
        chosen = F.when(value < edge, F.lit(label)).otherwise(chosen)
    return chosen


def memberships() -> Column:
    """All strata of a row: ``all``, and those of the column ``strata``, null where the item is not known."""
    return F.concat(F.array(F.lit(ALL)), F.coalesce("strata", F.array().cast("array<string>")))


def item_strata(
    table: DataFrame,
    vocabulary: DataFrame,
    update_count_edges: Sequence[int],
    item_age_edges: Sequence[int],
    aligned_on: DataFrame | None = None,
) -> DataFrame:
    """evaluated_date, row, strata (array): which strata each item belongs to on each evaluated day.

    Args:
        table: snapshot_date (= T), row, update_count of the control's table; a row that is not there has count 0.
        vocabulary: key, row, first_date of the slot: an item's age at T counts from its first impression in the data.
        update_count_edges: lower edges of all buckets but the first.
        item_age_edges: days, likewise.
        aligned_on: key of the items of preference data, each once; None where that is not asked for.
    """
    dates = table.select(F.col("snapshot_date").alias("evaluated_date")).distinct()
    counts = table.select(F.col("snapshot_date").alias("evaluated_date"), "row", "update_count")
    items = vocabulary.select("key", "row", "first_date")
    if aligned_on is not None:
        items = items.join(aligned_on.select("key", F.lit(True).alias("is_seen")), "key", "left")
    everything = items.crossJoin(F.broadcast(dates))
    joined = everything.join(counts, ["evaluated_date", "row"], "left")
    age = F.greatest(F.date_diff("evaluated_date", "first_date"), F.lit(0))
    updates = F.coalesce("update_count", F.lit(0))
    parts = []
    if update_count_edges:
        parts.append(bucket("update_count", updates, update_count_edges))
    if item_age_edges:
        parts.append(bucket("item_age", age, item_age_edges))
    if aligned_on is not None:
        parts.append(F.when(F.col("is_seen"), F.lit(SEEN)).otherwise(F.lit(UNSEEN)))
    return joined.select("evaluated_date", "row", F.array(*parts).cast("array<string>").alias("strata"))
