"""Step `ingest`: a source becomes `impressions`, `items` and `quarantine`; only days whose content changed are written.

Every row of the source is accepted or quarantined with a reason, and the counts are compared before and after writing.
"""

from __future__ import annotations

import datetime as dt
import math

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lis_spark.config import RunConfig, fingerprint
from lis_spark.errors import StepFailed
from lis_spark.lake import Lake
from lis_spark.partitions import PartitionKey
from lis_spark.progress import described
from lis_spark.sources.configured import read_source
from lis_spark.sources.days import Day, check_days, content_sums, profile
from lis_spark.sources.duplicates import Doubled, derived_id, with_derived_ids, with_first_of_each_id
from lis_spark.sources.source import ITEM_COLUMNS, SourceData, attribute_names, context_names
from lis_spark.sources.validation import NO_DATE, accepted_rows, judged, rejected_rows
from lis_spark.step import StepResult

STEP_VERSION = 1
ROWS_PER_FILE = 4_000_000


def run(spark: SparkSession, config: RunConfig, force: bool = False, *, run_id: str = "") -> StepResult:
    """Reads the configured source and writes what changed.

    Raises:
        ConfigError, InputError: the source cannot be used (nothing is written).
        StepFailed: rows were lost between reading and writing.
    """
    lake = Lake(spark, config, run_id=run_id, step="ingest")
    source = read_source(spark, config)
    candidates = judged(source.impressions, config, source.has_impression_id)
    with described(spark, "ingest: duplicate impressions"):
        key = F.col("impression_id") if source.has_impression_id else derived_id()
        doubled = Doubled(candidates, key)
    try:
        if source.has_impression_id:
            rows = with_first_of_each_id(candidates, doubled, "impression_id", "duplicate_impression_id")
        else:
            rows = with_derived_ids(candidates, doubled)
        return _write(spark, config, lake, source, rows, force)
    finally:
        doubled.release()


def create_tables(lake: Lake, config: RunConfig) -> None:
    """Creates `impressions`, `items` and `quarantine` where they are missing."""
    labels = [f"label_{name} TINYINT NOT NULL COMMENT '1 = {name}, 0 = not'" for name in config.labels]
    contexts = [f"context_{name} STRING COMMENT 'Known before the request'" for name in context_names(config)]
    attributes = [f"attribute_{name} STRING COMMENT 'As in the source'" for name in attribute_names(config)]
    lake.create("impressions", {"label_columns": ",\n  ".join(labels), "context_columns": ",\n  ".join(contexts)})
    lake.create("items", {"attribute_columns": ",\n  ".join(attributes)})
    lake.create("quarantine")


def _write(
    spark: SparkSession, config: RunConfig, lake: Lake, source: SourceData, rows: DataFrame, force: bool
) -> StepResult:
    accepted = accepted_rows(rows, config, context_names(config))
    columns = [column for column in accepted.columns if column != "date"]
    with described(spark, "ingest: what each day holds"):
        days = profile(rows, config, columns)
    check_days(days, rows, config, source.name)
    items = _Items(spark, config, source)
    try:
        create_tables(lake, config)
        wanted, bad = _fingerprints(config, days, items)
        stale = _stale(lake, "impressions", wanted, force)
        stale_bad = _stale(lake, "quarantine", bad, force)
        gone = _emptied(lake, config, bad)
        written = 0
        with described(spark, f"ingest: impressions of {len(stale)} days"):
            if stale:
                expected = sum(days[dt.date.fromisoformat(key[0])].accepted for key in stale)
                chosen = accepted.where(F.col("date").isin([dt.date.fromisoformat(key[0]) for key in stale]))
                frame = _in_files(chosen, days)
                written = lake.write_partitions("impressions", frame, stale, {})
                _check_count(lake, "impressions", frame, written, expected, stale)
        with described(spark, "ingest: items"):
            items_written = items.write(lake, force)
        with described(spark, "ingest: quarantine"):
            _write_quarantine(lake, source, rows, items, {**stale_bad, **gone}, days)
    finally:
        items.release()
    rejected = sum(day.rejected.total() for day in days.values())
    total = sum(day.accepted for day in days.values())
    return StepResult(
        step="ingest",
        rows_read=total + rejected,
        rows_written=written,
        rows_quarantined=rejected + items.rejected,
        partitions_written=len(stale) + items_written + len(stale_bad) + len(gone),
        partitions_skipped=len(wanted) - len(stale) + len(bad) - len(stale_bad) + (items.known and not items_written),
        notes=source.notes,
    )


def _fingerprints(
    config: RunConfig, days: dict[dt.date, Day], items: _Items
) -> tuple[dict[PartitionKey, str], dict[PartitionKey, str]]:
    """Of the days of `impressions` and of `quarantine`. The source's place is left out: a copy is the same data."""
    part = ("ingest", STEP_VERSION, config.source.kind, config.time_zone, config.labels)
    wanted: dict[PartitionKey, str] = {
        (day.isoformat(),): fingerprint(*part, day, found.content) for day, found in days.items() if found.accepted
    }
    bad: dict[PartitionKey, str] = {
        (day.isoformat(),): fingerprint(*part, day, found.rejected_content)
        for day, found in days.items()
        if found.rejected
    }
    if items.rejected:
        key = (NO_DATE.isoformat(),)
        bad[key] = fingerprint(bad.get(key, ""), items.fingerprint)
    return wanted, bad


def _stale(lake: Lake, table: str, wanted: dict[PartitionKey, str], force: bool) -> dict[PartitionKey, str]:
    stored = lake.fingerprints(table)
    return {key: value for key, value in wanted.items() if force or stored.get(key) != value}


def _emptied(lake: Lake, config: RunConfig, bad: dict[PartitionKey, str]) -> dict[PartitionKey, str]:
    """Days of `quarantine` inside the range that was read whose rows are all good now."""
    first = config.ingest.start_date or dt.date.min
    last = config.ingest.end_date or dt.date.max
    stored = lake.fingerprints("quarantine")
    inside = {key for key in stored if key[0] == NO_DATE.isoformat() or first <= dt.date.fromisoformat(key[0]) <= last}
    return dict.fromkeys(inside - set(bad), "emptied")


def _in_files(accepted: DataFrame, days: dict[dt.date, Day]) -> DataFrame:
    """Few files a day: one, or as many as its rows need, filled by a hash of the id."""
    buckets = math.ceil(max(day.accepted for day in days.values()) / ROWS_PER_FILE)
    if buckets == 1:
        return accepted.repartition("date")
    return accepted.repartition("date", F.pmod(F.xxhash64("impression_id"), F.lit(buckets)))


def _write_quarantine(
    lake: Lake,
    source: SourceData,
    rows: DataFrame,
    items: _Items,
    stale: dict[PartitionKey, str],
    days: dict[dt.date, Day],
) -> None:
    if not stale:
        return
    chosen = [dt.date.fromisoformat(key[0]) for key in stale]
    frame = rejected_rows(rows, source.name)
    if items.rejected:
        frame = frame.unionByName(items.rejected_frame)
    expected = sum(day.rejected.total() for date, day in days.items() if date in chosen)
    expected += items.rejected if NO_DATE in chosen else 0
    # few rows, but coalesce would read the whole source in as few tasks
    frame = frame.where(F.col("date").isin(chosen)).repartition(8)
    written = lake.write_partitions("quarantine", frame, stale, {})
    _check_count(lake, "quarantine", frame, written, expected, stale)


def _check_count(
    lake: Lake, table: str, frame: DataFrame, written: int, expected: int, keys: dict[PartitionKey, str]
) -> None:
    if written != expected:
        lake.write_partitions(table, frame.limit(0), keys, {})
        raise StepFailed(
            "the source changed while it was read; what was written of it has been taken out again",
            table=table,
            partition=", ".join("/".join(key) for key in sorted(keys)[:5]),
            found=f"{written:,} rows written",
            expected=f"{expected:,} rows, as counted before",
            remedy="run the step again when nobody writes to the source",
        )


class _Items:
    """The table `items`: one row an item, whole, with one fingerprint; further rows of an item are quarantined."""

    def __init__(self, spark: SparkSession, config: RunConfig, source: SourceData) -> None:
        self.source = source
        self.known = source.items is not None
        self.rejected = 0
        self.fingerprint = ""
        self._doubled: Doubled | None = None
        if source.items is None:
            return
        no_id = F.when(F.col("item_id").isNull(), F.lit("null_item_id"))
        judged_items = source.items.withColumn("reason", no_id).withColumn("date", F.lit(NO_DATE))
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

    def write(self, lake: Lake, force: bool) -> int:
        """Writes the table where it changed; returns how many partitions were written (0 or 1)."""
        if not self.known or (not force and lake.fingerprints("items") == {(): self.fingerprint}):
            return 0
        frame = self.rows.where("reason IS NULL").select(*self.columns)
        files = max(1, math.ceil(self.accepted / ROWS_PER_FILE))
        frame = frame.coalesce(1) if files == 1 else frame.repartitionByRange(files, "item_id")
        written = lake.write_partitions("items", frame, {(): self.fingerprint}, {})
        _check_count(lake, "items", frame, written, self.accepted, {(): self.fingerprint})
        return 1

    def release(self) -> None:
        """Gives the memory back."""
        if self._doubled is not None:
            self._doubled.release()
