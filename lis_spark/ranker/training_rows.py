"""Step `training_rows`: impressions as the ranker reads them, with point-in-time histories and counts.

Two shuffles: by user for the histories (``ranker/history.py``), and by stretches of the day for the files
(``ranker/stretches.py``). Counts come with the look-up of each feature's row (``ranker/running_counts.py``).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import replace

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import BinaryType, StructField, StructType

from lis_spark.config import FeatureConfig, RunConfig, fingerprint
from lis_spark.errors import InputError, StepFailed
from lis_spark.folds import fold_columns
from lis_spark.lake import Lake
from lis_spark.partitions import PartitionKey
from lis_spark.progress import described
from lis_spark.ranker import running_counts
from lis_spark.ranker.counts import ALL, count_columns
from lis_spark.ranker.feature_columns import column_name, key_of, of_origin
from lis_spark.ranker.history import CLICKS, SKIPS, with_histories
from lis_spark.ranker.input_tables import InputTables
from lis_spark.ranker.stretches import cut_days, in_stretches
from lis_spark.sources.days import content_sums
from lis_spark.step import StepResult

STEP_VERSION = 2


def run(spark: SparkSession, config: RunConfig, force: bool = False, *, run_id: str = "") -> StepResult:
    """Writes the days whose impressions, look-back window, item attributes or settings changed.

    Raises:
        InputError: an input table is missing, or no impression is of the configured scenario.
        StepFailed: a day has not as many training rows as impressions.
    """
    lake = Lake(spark, config, run_id=run_id, step="training_rows")
    impressions = lake.read("impressions")
    with described(spark, f"training_rows: days of scenario {config.scenario}"):
        rows = rows_of_scenario(impressions, config.scenario)
    tables = InputTables(
        impressions=impressions.where(F.col("scenario") == config.scenario),
        items=lake.read("items") if of_origin(config, "items") else None,
        vocabularies=lake.read("vocabularies"),
    )
    create_table(lake, config)
    stored_days = {dt.date.fromisoformat(key[0]): value for key, value in lake.fingerprints("impressions").items()}
    days = {day: value for day, value in stored_days.items() if day in rows}
    with described(spark, "training_rows: item attributes of each day"):
        digests = item_digests(tables, config)
    counted = running_counts.day_fingerprints(config, days, digests)
    wanted = day_fingerprints(config, days, digests, counted)
    stored = lake.fingerprints("training_rows")
    stale = {key: value for key, value in wanted.items() if force or stored.get(key) != value}
    versions, skipped = dict(lake.pinned), len(wanted) - len(stale)
    ceased = stored.keys() - wanted.keys()
    if ceased:  # days that are no longer in `impressions`, or no longer of this scenario
        lake.empty_partitions("training_rows", ceased)
    if not stale:
        return StepResult("training_rows", partitions_skipped=skipped, versions=versions)
    dates = [dt.date.fromisoformat(key[0]) for key in stale]
    if config.counted_features:
        running_counts.update(lake, tables, rows, counted, force)
        tables = replace(tables, counts=running_counts.counts_before(lake, dates))
    with described(spark, f"training_rows: {len(dates)} days"):
        impressions_of_days, frame = training_files(tables, config, dates)
        written = lake.write_partitions("training_rows", frame, stale)
        _check_rows(lake, impressions_of_days, written)
    return StepResult(
        "training_rows",
        rows_read=written,
        rows_written=written,
        partitions_written=len(stale),
        partitions_skipped=skipped,
        versions=versions,
        outputs=dict(lake.written),
    )


def rows_of_scenario(impressions: DataFrame, scenario: str) -> dict[dt.date, int]:
    """Day -> impressions of a scenario, of the days that have any: each scenario has a ranker of its own.

    Raises:
        InputError: there is none, with the scenarios that are there.
    """
    counted = impressions.groupBy("scenario", "date").count().collect()
    days = {row["date"]: int(row["count"]) for row in counted if row["scenario"] == scenario}
    if not days:
        rows: dict[str, int] = {}
        for row in counted:
            rows[row["scenario"]] = rows.get(row["scenario"], 0) + row["count"]
        raise InputError(
            f"no impression is of scenario {scenario!r}",
            table="impressions",
            found=", ".join(f"{name} ({count:,} rows)" for name, count in sorted(rows.items())[:10]) or "no rows",
            expected=scenario,
            remedy="set the key `scenario` to one of them; each scenario is trained and measured in a lake of its own",
        )
    return days


def create_table(lake: Lake, config: RunConfig) -> None:
    """Creates `training_rows` where it is missing."""
    lake.create("training_rows", columns_of_ranker(config))


def columns_of_ranker(config: RunConfig) -> dict[str, str]:
    """Placeholder of a schema -> the columns that the configured ranker reads: labels, rows of its tables, counts."""
    labels = [f"label_{name} TINYINT NOT NULL COMMENT '1 = {name}, 0 = not'" for name in config.labels]
    rows = [
        f"row_{feature.name} INT NOT NULL COMMENT 'Row in vocabulary {feature.table}; -1 = missing or unseen'"
        for feature in config.features
    ]
    names = [feature.name for feature in config.counted_features]
    counts = [f"{column} BIGINT COMMENT '{_meaning(column)}'" for column in count_columns(names)]
    listed = {"label_columns": labels, "row_columns": rows, "count_columns": counts}
    return {placeholder: ",\n  ".join(columns) for placeholder, columns in listed.items()}


def _meaning(column: str) -> str:
    sums, _, name = column.partition("_before_")
    whose = "of the scenario" if name == ALL else f"with the value of {name}"
    return f"{sums.capitalize()} {whose} on all days before the day of the row, whatever the hour"


def training_rows(tables: InputTables, config: RunConfig, dates: Iterable[dt.date]) -> DataFrame:
    """The training rows of some days, in no particular order.

    Args:
        tables: impressions of at least the given days and ``history.lookback_days`` before each; counts where the
            configuration counts features.
        config: labels, features, history, folds, time zone.
        dates: the days that are wanted.

    Returns:
        DataFrame: the columns of `training_rows`.
    """
    wanted = sorted(set(dates))
    labels = [f"label_{label}" for label in config.labels]
    rows = [f"row_{feature.name}" for feature in config.features]
    keyed = _with_rows(replace(tables, impressions=_window(tables.impressions, config, wanted)), config)
    parts = fold_columns(config.evaluation.folds, config.evaluation.buckets)
    counted = config.counted_features if tables.counts is not None else ()
    counts = count_columns([feature.name for feature in counted])
    output = ["impression_id", "request_ts", "user_id", "item_id", *parts, *labels, *rows, *counts, "date"]
    prepared = keyed.withColumns(parts).select(*output, F.unix_date("date").alias("day"), "wanted")
    ordered = prepared.sortWithinPartitions("user_id", "request_ts", "impression_id")
    length, lookback = config.history.length, config.history.lookback_days
    label = f"label_{config.label}"

    def add(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
        return with_histories(batches, output, label, length, lookback)

    fields = [ordered.schema[name] for name in output]
    packed = [StructField(name, BinaryType(), False) for name in (CLICKS, SKIPS)]
    return ordered.mapInArrow(add, StructType([*fields, *packed]))


def training_files(
    tables: InputTables, config: RunConfig, dates: Sequence[dt.date]
) -> tuple[dict[dt.date, int], DataFrame]:
    """The number of impressions of each day, and its training rows laid out as sorted files."""
    with described(tables.impressions.sparkSession, "training_rows: cutting days into files"):
        stretches = cut_days(tables.impressions, config, dates)
    frame = training_rows(tables, config, dates)
    return stretches.counts, in_stretches(frame, stretches)


def item_digests(tables: InputTables, config: RunConfig) -> dict[dt.date, list[int]]:
    """For each day a digest of the attributes of its items: a new item makes no other day stale."""
    features, items = of_origin(config, "items"), tables.items
    if items is None or not features:
        return {}
    columns = sorted({column_name(feature, items.columns) for feature in features})
    shown = tables.impressions.select("date", "item_id").distinct()
    upper, lower = content_sums(["item_id", *columns])
    joined = shown.join(items.select("item_id", *columns), "item_id")
    summed = joined.groupBy("date").agg(upper.alias("upper"), lower.alias("lower"))
    return {row["date"]: [row["upper"], row["lower"]] for row in summed.collect()}


def day_fingerprints(
    config: RunConfig, days: dict[dt.date, str], digests: dict[dt.date, list[int]], counted: dict[dt.date, str]
) -> dict[PartitionKey, str]:
    """Fingerprint of each day of `training_rows`.

    The vocabularies are not in it: they are append-only, and a day's keys were all there when it was written.

    Args:
        config: history, features, labels, folds and row groups matter.
        days: day of `impressions` -> fingerprint.
        digests: see :func:`item_digests`.
        counted: day -> fingerprint of its counts, which come from all days before it; empty where none are counted.
    """
    part = (
        "training_rows",
        STEP_VERSION,
        config.history,
        config.features,
        config.labels,
        config.label,
        config.scenario,
        config.time_zone,
        config.evaluation.folds,
        config.evaluation.buckets,
        config.ranker.row_groups_per_day,
    )
    back = dt.timedelta(days=config.history.lookback_days)
    return {
        (day.isoformat(),): fingerprint(
            *part,
            [[other, value] for other, value in sorted(days.items()) if day - back <= other <= day],
            digests.get(day),
            counted.get(day),
        )
        for day in days
    }


def _window(impressions: DataFrame, config: RunConfig, wanted: Sequence[dt.date]) -> DataFrame:
    """The wanted days and the days that their histories look back on, marked by ``wanted``."""
    back = config.history.lookback_days
    needed = {day - dt.timedelta(days=offset) for day in wanted for offset in range(back + 1)}
    used = {column_name(feature, impressions.columns) for feature in of_origin(config, "impressions")}
    fixed = ["impression_id", "request_ts", "user_id", "item_id", *(f"label_{name}" for name in config.labels)]
    columns = [*fixed, *sorted(used - set(fixed) - {"date"}), "date"]
    inside = impressions.where(F.col("date").isin(sorted(needed)))
    return inside.select(*columns, F.col("date").isin(list(wanted)).alias("wanted"))


def _with_rows(tables: InputTables, config: RunConfig) -> DataFrame:
    """Adds the row of each feature's value, and its counts where they are wanted.

    The join by user comes last, behind the shuffle by user that the histories need.
    """
    joined, items = tables.impressions, tables.items
    columns, counted = joined.columns, config.counted_features if tables.counts is not None else ()
    of_items = of_origin(config, "items")
    if of_items:
        if items is None:
            raise InputError(
                "features of items, but there is no table of items",
                table="items",
                remedy="run lis-spark ingest with a source that has items, or take these features out",
            )
        table = items.select("item_id", *sorted({column_name(feature, items.columns) for feature in of_items}))
        for feature in of_items:
            table = _looked_up(table, feature, tables, items.columns, config)
        found = [f"row_{feature.name}" for feature in of_items]
        days = [running_counts.days_column(feature) for feature in of_items if feature in counted]
        joined = joined.join(table.select("item_id", *found, *days), "item_id", "left")
        for feature in of_items:
            joined = running_counts.on_its_day(joined, feature) if feature in counted else joined
    by_user = [feature for feature in of_origin(config, "impressions") if feature.column == "user_id"]
    for feature in of_origin(config, "impressions"):
        if feature not in by_user:
            joined = _looked_up(joined, feature, tables, columns, config)
            joined = running_counts.on_its_day(joined, feature) if feature in counted else joined
    joined = joined.repartition("user_id")
    for feature in by_user:
        joined = _looked_up(joined, feature, tables, columns, config)
        joined = running_counts.on_its_day(joined, feature) if feature in counted else joined
    if tables.counts is not None:
        joined = running_counts.with_all(joined, tables.counts)
    missing = {f"row_{feature.name}": F.coalesce(f"row_{feature.name}", F.lit(-1)) for feature in config.features}
    return joined.withColumns(missing)


def _looked_up(
    frame: DataFrame, feature: FeatureConfig, tables: InputTables, columns: Sequence[str], config: RunConfig
) -> DataFrame:
    """Adds the row of a feature's key in its vocabulary, and the key's counts by day where they are wanted."""
    vocabulary = tables.vocabularies.where(F.col("slot") == feature.table)
    keys = vocabulary.select(F.col("key").alias("looked_up"), F.col("row").alias(f"row_{feature.name}"))
    if tables.counts is not None and feature in config.counted_features:
        keys = running_counts.with_days(keys, tables.counts, feature)
    if feature.transform == "id":  # on the bare column, so that a frame that is partitioned by it stays where it is
        source = column_name(feature, columns)
        return frame.join(keys, frame[source] == keys["looked_up"], "left").drop("looked_up")
    keyed = frame.withColumn("looked_up", key_of(feature, columns, config))
    return keyed.join(keys, "looked_up", "left").drop("looked_up")


def _check_rows(lake: Lake, expected: dict[dt.date, int], written: int) -> None:
    """Every impression has one training row, by day; where one has not the table is put back as it was."""
    stored = lake.read("training_rows").where(F.col("date").isin(list(expected)))
    found = {row["date"]: row["count"] for row in stored.groupBy("date").count().collect()}
    wrong = {day: (found.get(day, 0), count) for day, count in expected.items() if found.get(day, 0) != count}
    if not wrong and written == sum(expected.values()):
        return
    lake.take_back("training_rows")
    raise StepFailed(
        "there are not as many training rows as impressions; the table is as it was before",
        table="training_rows",
        partition=", ".join(str(day) for day in sorted(wrong)[:5]),
        found=", ".join(f"{rows:,}" for rows, _ in list(wrong.values())[:5]),
        expected=", ".join(f"{count:,}" for _, count in list(wrong.values())[:5]),
        remedy="report this with the versions of the tables; it is a defect of the step",
    )
