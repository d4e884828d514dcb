"""The leak of the paper's Table 1: the item-ID table of the model of a later day (method 1.1, 1.2).

Each impression of day T is joined to its item's row in ``E_{T+n}``: the same row for every impression of an item
within a variant, in honest variants the row of the chain that never trained on the fold of the impression's user.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from lis_spark.folds import Served, serves

LEAK = "id_embedding"
ROWS_PER_FILE = 4_000_000
_REQUESTS_DDL = (
    "variant string, horizon_days int, chain string, snapshot_date date, evaluated_date date, held_out_fold int, "
    "served string, first_date date, leak string, folds int"
)


@dataclass(frozen=True)
class FeatureRequest:
    """One snapshot that the impressions of ``first_date`` .. ``evaluated_date`` are joined to; of T alone without it.

    ``served``: ``all`` impressions, those of the held-out fold of ``folds`` (``own``), or those of the ``others``.
    """

    variant: str
    horizon_days: int
    chain: str
    snapshot_date: dt.date
    evaluated_date: dt.date
    held_out_fold: int = -1
    served: Served = "all"
    first_date: dt.date | None = None
    leak: str = LEAK
    folds: int = 1

    def serves(self, bucket: int) -> bool:
        """Whether it is for the users of a bucket."""
        return serves(self.served, bucket, self.folds, self.held_out_fold)

    @property
    def is_leaked(self) -> bool:
        """Whether the snapshot has seen the evaluated day or a later one."""
        return self.horizon_days > 0


def feature_rows(
    spark: SparkSession,
    impressions: DataFrame,
    tables: DataFrame,
    requests: Sequence[FeatureRequest],
    *,
    vector_column: str,
    layout: str,
    expected_rows: int,
) -> DataFrame:
    """Impressions joined to the snapshots that they are asked for: one row for each impression and request.

    The impressions are narrowed before they are shuffled; the result is clustered by item, so that Parquet's
    dictionary stores a vector once a row group.

    Args:
        spark: session.
        impressions: impression_id, item_id, row (of the item), fold and bucket (of the user), date.
        tables: the tables with the day that each is used on (:func:`lis_spark.ranker.procrustes.tables_in_use`).
        requests: all leaked, or all not.
        vector_column: ``leaked_vector`` or ``control_vector``.
        expected_rows: decides into how many files the rows go.
        layout: ``packed`` carries the vector, ``reference`` only the row and the snapshot.
    """
    wanted = spark.createDataFrame([tuple(vars(request).values()) for request in requests], _REQUESTS_DDL)
    narrow = impressions.select("impression_id", "item_id", "row", "fold", "bucket", "date")
    is_held_out = F.pmod("bucket", "folds") == F.col("held_out_fold")
    serves = (F.col("served") == "all") | ((F.col("served") == "own") == is_held_out)
    first = F.coalesce("first_date", "evaluated_date")
    asked = narrow.join(F.broadcast(wanted), F.col("date").between(first, F.col("evaluated_date")) & serves)
    vectors = tables.select(
        "chain", "snapshot_date", "evaluated_date", "row", F.col("vector").alias(vector_column), "last_update_date"
    )
    joined = asked.join(vectors, ["chain", "snapshot_date", "evaluated_date", "row"], "left").withColumn(
        "present", F.col(vector_column).isNotNull()
    )
    if layout == "reference":
        joined = joined.withColumn(vector_column, F.lit(None).cast("binary"))
    source_date = F.when(F.col("present"), F.date_sub("snapshot_date", 1))
    rows = joined.select(
        "impression_id",
        "item_id",
        "row",
        "variant",
        "horizon_days",
        "chain",
        "fold",
        "held_out_fold",
        vector_column,
        F.lit(None).cast("binary").alias(vector_column.replace("_vector", "_ids")),
        "present",
        "snapshot_date",
        source_date.alias("source_date"),
        "last_update_date",
        "leak",
        "evaluated_date",
        "date",
    )
    keys: list[str | Column] = ["leak", "evaluated_date", "variant"]
    pieces = max(1, -(-expected_rows // ROWS_PER_FILE))
    if pieces > 1:  # an item stays in one piece of its table, so that its vector is stored once a row group
        keys += ["horizon_days", F.pmod(F.xxhash64("chain", "row"), F.lit(pieces))]
    return rows.repartition(*keys).sortWithinPartitions(
        "leak", "evaluated_date", "date", "variant", "horizon_days", "chain", "row", "impression_id"
    )
