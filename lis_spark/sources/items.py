"""The table `items`: one row an item; and how many rows of a source there must be."""

from __future__ import annotations

import math
from collections.abc import Mapping

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lis_spark.config import RunConfig, fingerprint
from lis_spark.expected_rows import ExpectedRows
from lis_spark.lake import Lake
from lis_spark.progress import described
from lis_spark.sources.days import content_sums
from lis_spark.sources.duplicates import Doubled, with_first_of_each_id
from lis_spark.sources.item_images import unusable_images
from lis_spark.sources.source import ITEM_COLUMNS, SourceData, attribute_names
from lis_spark.sources.validation import NO_DATE, rejected_rows

STEP_VERSION = 1
ROWS_PER_FILE = 4_000_000


def as_counted(rows: int) -> ExpectedRows:
    """What a table must get of a source that was counted before: other rows say that it changed meanwhile."""
    return ExpectedRows(
        count=rows,
        unit="rows: as counted before",
        problem="the source changed while it was read",
        remedy="run the step again when nobody writes to the source",
    )


class Items:
    """The table `items`: one row an item, whole, with one fingerprint; further rows of an item, and items whose
    image cannot be used, are quarantined."""

    def __init__(self, spark: SparkSession, config: RunConfig, source: SourceData) -> None:
        self.source = source
        self.known = source.items is not None
        self.rejected = 0
        self.fingerprint = ""
        self._doubled: Doubled | None = None
        if source.items is None:
            return
        reason = F.when(F.col("item_id").isNull(), F.lit("null_item_id"))
        judged_items = source.items.withColumn("date", F.lit(NO_DATE))
        if source.has_images:
            with described(spark, "ingest: images of items"):
                unusable = unusable_images(source.items, config.ingest.largest_image_pixels)
            hashed = judged_items.withColumn("image_hash", F.xxhash64("image"))
            judged_items = hashed.join(F.broadcast(unusable), "image_hash", "left")
            reason = F.coalesce(reason, "image_reason")
        judged_items = judged_items.withColumn("reason", reason).drop("image_hash", "image_reason")
        with described(spark, "ingest: duplicate items"):
            self._doubled = Doubled(judged_items, F.col("item_id"))
        self.rows = with_first_of_each_id(judged_items, self._doubled, "item_id", "duplicate_item_id")
        self.columns = ["item_id", *ITEM_COLUMNS, *(f"attribute_{name}" for name in attribute_names(config))]
        with described(spark, "ingest: what items holds"):
            upper, lower = content_sums([*self.columns, "reason"])
            found = self.rows.agg(
                F.count(F.lit(1)).alias("rows"), F.count("reason").alias("rejected"), upper.alias("u"), lower.alias("l")
            ).collect()[0]
        self.accepted, self.rejected = found["rows"] - found["rejected"], found["rejected"]
        self.fingerprint = fingerprint("items", STEP_VERSION, found["rows"], found["u"], found["l"])

    @property
    def rejected_frame(self) -> DataFrame:
        """Rejected rows, as `quarantine` has them."""
        return rejected_rows(self.rows, f"{self.source.name} (items)")

    def write(self, lake: Lake, force: bool, versions: Mapping[str, int]) -> int:
        """Writes the table where it changed; returns how many partitions were written (0 or 1)."""
        if not self.known or (not force and lake.fingerprints("items") == {(): self.fingerprint}):
            return 0
        frame = self.rows.where("reason IS NULL").select(*self.columns)
        files = max(1, math.ceil(self.accepted / ROWS_PER_FILE))
        frame = frame.coalesce(1) if files == 1 else frame.repartitionByRange(files, "item_id")
        expected = as_counted(self.accepted)
        lake.write_partitions("items", frame, {(): self.fingerprint}, versions, expected=expected)
        return 1

    def release(self) -> None:
        """Gives the memory back."""
        if self._doubled is not None:
            self._doubled.release()
