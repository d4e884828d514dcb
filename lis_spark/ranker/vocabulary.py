"""Step `vocabulary`: which row of an embedding table belongs to which key, append-only (method 1.1, invariant 3).

New keys get the rows after the largest, in order of (first day, key), so that equal data gives equal rows whatever
the partitioning. The order is made by a range sort and per-partition offsets, never by a global window.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lis_spark.config import RunConfig, fingerprint
from lis_spark.errors import InputError, StaleError, StepFailed
from lis_spark.expected_rows import ExpectedRows
from lis_spark.lake import Lake
from lis_spark.partitions import PartitionKey
from lis_spark.progress import described
from lis_spark.ranker.feature_columns import key_of, of_origin
from lis_spark.step import StepResult

STEP_VERSION = 1
COLUMNS = "slot STRING, key STRING, row INT, key_hash BIGINT, first_date DATE"
KEYS_PER_FILE = 8_000_000
# monotonically_increasing_id() holds the place within the partition in its lower 33 bits.
_PLACE_BITS = 33


def run(spark: SparkSession, config: RunConfig, force: bool = False, *, run_id: str = "") -> StepResult:
    """Extends the vocabularies of all configured features by the keys of `impressions` and `items`.

    ``force`` looks for new keys again; it never renumbers.

    Raises:
        InputError: `impressions` is missing.
        StaleError: a stored vocabulary is not what this step writes (a row twice, or a gap).
    """
    lake = Lake(spark, config, run_id=run_id, step="vocabulary")
    impressions = lake.read("impressions")
    items = lake.read("items") if of_origin(config, "items") else None
    lake.create("vocabularies")
    wanted = _fingerprints(lake, config)
    stored = lake.fingerprints("vocabularies")
    stale = {key: value for key, value in wanted.items() if force or stored.get(key) != value}
    if not stale:
        return StepResult("vocabulary", partitions_skipped=len(wanted), versions=dict(lake.pinned))
    slots = [key[0] for key in stale]
    old = lake.read("vocabularies").where(F.col("slot").isin(slots)).drop("lis_fingerprint")
    known = _checked(old)
    with described(spark, f"vocabulary: new keys of {len(slots)} tables"):
        keys = observed_keys(impressions, items, config, slots)
        new = keys.join(old.select("slot", "key"), ["slot", "key"], "left_anti")
        placed = _Placed(new, known)
    try:
        frame = old.unionByName(placed.rows())
        versions = {name: lake.pinned[name] for name in lake.pinned if name != "vocabularies"}
        with described(spark, f"vocabulary: {sum(placed.added.values()):,} new keys"):
            expected = sum(known.values()) + sum(placed.added.values())
            rows = ExpectedRows(
                count=expected,
                unit="rows: known keys and new ones",
                problem="keys were lost",
                remedy="run lis-spark vocabulary again; if it comes back, look for doubled keys",
            )
            written = lake.write_partitions("vocabularies", frame, stale, versions, expected=rows)
    finally:
        placed.release()
    _check_unchanged(lake, old, slots)
    return StepResult(
        "vocabulary",
        rows_read=expected,
        rows_written=written,
        partitions_written=len(stale),
        partitions_skipped=len(wanted) - len(stale),
        notes=tuple(f"{slot}: {known.get(slot, 0)} keys known, {placed.added.get(slot, 0)} new" for slot in slots),
        versions=versions,
        outputs=dict(lake.written),
    )


def observed_keys(
    impressions: DataFrame, items: DataFrame | None, config: RunConfig, slots: Sequence[str]
) -> DataFrame:
    """Every key of the given tables with the day of its first impression.

    One pass: keys of impressions are counted by (slot, key), keys of items by the first day of the item.

    Returns:
        DataFrame: slot STRING, key STRING, first_date DATE, one row a key.
    """
    wanted = [feature for feature in of_origin(config, "impressions") if feature.table in slots]
    entries = [
        F.struct(F.lit(feature.table).alias("slot"), key_of(feature, impressions.columns, config).alias("key"))
        for feature in wanted
    ]
    parts = []
    if entries:
        parts.append(_exploded(impressions, entries, F.col("date")))
    of_items = [feature for feature in of_origin(config, "items") if feature.table in slots]
    if of_items:
        if items is None:
            raise InputError(
                "features of items, but the source has no items",
                table="items",
                remedy="give the source items, or take these features out of features",
            )
        shown = impressions.groupBy("item_id").agg(F.min("date").alias("shown"))
        entries = [
            F.struct(F.lit(feature.table).alias("slot"), key_of(feature, items.columns, config).alias("key"))
            for feature in of_items
        ]
        # Images and titles stay behind: only what the features read is joined.
        narrow = items.select("item_id", F.array(*entries).alias("entries"))
        joined = shown.join(narrow, "item_id").select(F.explode("entries").alias("entry"), "shown")
        parts.append(joined.select("entry.slot", "entry.key", F.col("shown").alias("date")))
    union = parts[0] if len(parts) == 1 else parts[0].unionByName(parts[1])
    present = union.where("key IS NOT NULL")
    return present.groupBy("slot", "key").agg(F.min("date").alias("first_date"))


def _exploded(frame: DataFrame, entries: Sequence, date: F.Column) -> DataFrame:
    exploded = frame.select(F.explode(F.array(*entries)).alias("entry"), date.alias("date"))
    return exploded.select("entry.slot", "entry.key", "date")


class _Placed:
    """New keys in the order of their rows, held while offsets are added (a second sort would cut elsewhere)."""

    def __init__(self, new: DataFrame, known: dict[str, int]) -> None:
        order = ("slot", "first_date", "key")
        place = F.monotonically_increasing_id()
        self._sorted = new.repartitionByRange(*order).sortWithinPartitions(*order).withColumn("place", place).persist()
        partition = F.shiftright("place", _PLACE_BITS).alias("partition")
        counts = self._sorted.groupBy(partition, "slot").agg(
            F.min("place").alias("first_place"), F.count(F.lit(1)).alias("keys")
        )
        self.added: dict[str, int] = {}
        offsets = []
        for row in sorted(counts.collect(), key=lambda row: row["first_place"]):
            before = known.get(row["slot"], 0) + self.added.get(row["slot"], 0)
            offsets.append((row["partition"], row["slot"], before - row["first_place"]))
            self.added[row["slot"]] = self.added.get(row["slot"], 0) + row["keys"]
        self._offsets = offsets

    def rows(self) -> DataFrame:
        """The new rows of `vocabularies`."""
        schema = "partition BIGINT, slot STRING, offset BIGINT"
        offsets = F.broadcast(self._sorted.sparkSession.createDataFrame(self._offsets, schema))
        numbered = self._sorted.withColumn("partition", F.shiftright("place", _PLACE_BITS))
        return numbered.join(offsets, ["partition", "slot"]).select(
            "slot",
            "key",
            (F.col("place") + F.col("offset")).cast("int").alias("row"),
            F.xxhash64("key").alias("key_hash"),
            "first_date",
        )

    def release(self) -> None:
        """Gives the memory back."""
        self._sorted.unpersist()


def _fingerprints(lake: Lake, config: RunConfig) -> dict[PartitionKey, str]:
    days = sorted(lake.fingerprints("impressions").items())
    items = sorted(lake.fingerprints("items").items()) if lake.exists("items") else []
    wanted: dict[PartitionKey, str] = {}
    for slot in sorted({feature.table for feature in config.features}):
        features = [feature for feature in config.features if feature.table == slot]
        with_items = items if any(feature.origin == "items" for feature in features) else []
        wanted[(slot,)] = fingerprint("vocabulary", STEP_VERSION, config.time_zone, features, days, with_items)
    return wanted


def _checked(old: DataFrame) -> dict[str, int]:
    """Number of keys by slot, after checking that the rows of each are exactly 0 .. keys - 1."""
    summed = old.groupBy("slot").agg(
        F.count(F.lit(1)).alias("keys"), F.max("row").alias("last"), F.sum(F.col("row").cast("bigint")).alias("sum")
    )
    known: dict[str, int] = {}
    for row in summed.collect():
        keys = row["keys"]
        if row["last"] != keys - 1 or row["sum"] != keys * (keys - 1) // 2:
            raise StaleError(
                "the vocabulary has gaps or a row twice",
                table="vocabularies",
                partition={"slot": row["slot"]},
                found=f"{keys} keys, largest row {row['last']}",
                expected=f"rows 0 .. {keys - 1}",
                remedy="restore an older version of the table; rows that changed meaning make every snapshot wrong",
            )
        known[row["slot"]] = keys
    return known


def _check_unchanged(lake: Lake, old: DataFrame, slots: Sequence[str]) -> None:
    """The table holds every old row unchanged, and the rows of each slot are dense, whoever else has written to it."""
    now = lake.read("vocabularies").where(F.col("slot").isin(list(slots)))
    changed = old.join(now, ["slot", "key", "row"], "left_anti").limit(3).collect()
    if changed:
        raise StepFailed(
            "a row of a vocabulary changed its meaning",
            table="vocabularies",
            found="; ".join(str(row.asDict()) for row in changed),
            expected="append-only rows",
            remedy="another run has written to the table: restore the version before its commit",
        )
    _checked(now)
