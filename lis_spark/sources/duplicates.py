"""Unique ids: derived where the source has none, and of rows with one id only the first is accepted.

A key that occurs twice is rare, so only hashes of keys are shuffled to find those, and only their rows are ordered.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from lis_spark.progress import described
from lis_spark.sources.validation import row_json

# Below it the doubled keys are sent to every task instead of shuffling the rows.
BROADCAST_LIMIT = 1_000_000


class Doubled:
    """The rows of a frame split by whether their key occurs more than once among the accepted rows.

    Args:
        rows: candidate rows with ``reason``; only those without a reason compete for a key.
        key: the key.
    """

    def __init__(self, rows: DataFrame, key: Column) -> None:
        keyed = rows.withColumn("key_hash", F.when(F.col("reason").isNull(), F.xxhash64(key)))
        counted = keyed.where("key_hash IS NOT NULL").groupBy("key_hash").count()
        self.hashes = counted.where("count > 1").select("key_hash").persist()
        self.count = self.hashes.count()
        self._keyed = keyed

    def release(self) -> None:
        """Gives the memory back."""
        self.hashes.unpersist()

    @property
    def single(self) -> DataFrame:
        """Rows whose key occurs once, and rows that are rejected already."""
        return self._keyed.join(self._hint(), "key_hash", "left_anti").drop("key_hash")

    @property
    def several(self) -> DataFrame:
        """Rows whose key (or, once in 2^64 pairs, whose hash of it) occurs more often."""
        return self._keyed.join(self._hint(), "key_hash", "left_semi").drop("key_hash")

    def _hint(self) -> DataFrame:
        return F.broadcast(self.hashes) if self.count < BROADCAST_LIMIT else self.hashes


@contextmanager
def unique_rows(candidates: DataFrame, has_impression_id: bool) -> Iterator[DataFrame]:
    """Judged rows whose accepted ones have ids of their own, the source's or derived ones, while the block runs."""
    with described(candidates.sparkSession, "duplicate impressions"):
        doubled = Doubled(candidates, F.col("impression_id") if has_impression_id else derived_id())
    try:
        if has_impression_id:
            yield with_first_of_each_id(candidates, doubled, "impression_id", "duplicate_impression_id")
        else:
            yield with_derived_ids(candidates, doubled)
    finally:
        doubled.release()


def with_first_of_each_id(rows: DataFrame, doubled: Doubled, key: str, reason: str) -> DataFrame:
    """Of the rows with one id the first stays and the others get a reason.

    The order is by time and then by the whole row, so a day that arrives later never takes an id from an earlier one.

    Args:
        rows: what ``doubled`` was made from.
        key: column of the id.
        reason: for rows of other content; a copy of the first gets ``duplicate_row``.
    """
    if doubled.count == 0:
        return rows
    time = [F.col("request_ts")] if "request_ts" in rows.columns else []
    order = Window.partitionBy(key).orderBy(*time, "row_text")
    ranked = (
        doubled.several.withColumn("row_text", row_json())
        .withColumn("place", F.row_number().over(order))
        .withColumn("first_text", F.first("row_text").over(order))
    )
    refused = F.when(F.col("row_text") == F.col("first_text"), "duplicate_row").otherwise(reason)
    first = ranked.withColumn("reason", F.when(F.col("place") > 1, refused))
    return doubled.single.unionByName(first.drop("row_text", "place", "first_text"))


def derived_id() -> Column:
    """(user, item, millisecond): the closest to an impression id where the source has none."""
    return F.concat_ws("-", "user_id", "item_id", F.unix_millis("request_ts").cast("string"))


def with_derived_ids(rows: DataFrame, doubled: Doubled) -> DataFrame:
    """``impression_id`` = user-item-millisecond-ordinal.

    Rows of one user, item and millisecond with other content are impressions of their own, numbered by their content;
    copies of a row get the reason ``duplicate_row``.
    """
    zero = F.concat_ws("-", derived_id(), F.lit("0"))
    if doubled.count == 0:
        return rows.withColumn("impression_id", zero)
    key = derived_id().alias("base_id")
    by_content = Window.partitionBy("base_id").orderBy("row_text")
    copies = Window.partitionBy("base_id", "row_text").orderBy("row_text")
    numbered = (
        doubled.several.withColumn("row_text", row_json())
        .withColumn("base_id", key)
        .withColumn("ordinal", F.dense_rank().over(by_content) - 1)
        .withColumn("reason", F.when(F.row_number().over(copies) > 1, "duplicate_row"))
        .withColumn("impression_id", F.concat_ws("-", "base_id", F.col("ordinal").cast("string")))
    )
    single = doubled.single.withColumn("impression_id", zero)
    return single.unionByName(numbered.drop("row_text", "base_id", "ordinal"))
