"""Table ``running_counts``: how often values of features were shown and were positive before each day.

A day's partition holds each value that the day shows, with the sums of all days before it; a value that is not shown is
carried along by a full copy of all values every few days. One more day of impressions therefore takes a pass over that
day and over the partitions since the last full copy, never over the history.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from lis_spark.config import FeatureConfig, RunConfig, fingerprint
from lis_spark.errors import InputError
from lis_spark.expected_rows import ExpectedRows
from lis_spark.lake import Lake
from lis_spark.partitions import PartitionKey
from lis_spark.progress import described
from lis_spark.ranker.counts import ALL
from lis_spark.ranker.feature_columns import key_of
from lis_spark.ranker.input_tables import InputTables

TABLE = "running_counts"
VERSION = 1
FULL_COPY_DAYS = 7
_KEY = ("feature", "row")
_SUMS = ("impressions", "positives")
ONE_DAY = dt.timedelta(days=1)


def day_fingerprints(
    config: RunConfig, days: Mapping[dt.date, str], digests: Mapping[dt.date, Sequence[int]]
) -> dict[dt.date, str]:
    """Fingerprint of each day's counts: of the day, and of all days before it; empty where nothing is counted.

    Args:
        config: counted features, label, scenario and time zone matter.
        days: day of ``impressions`` -> fingerprint.
        digests: day -> digest of the attributes of its items.
    """
    if not config.counted_features:
        return {}
    settings = [config.counted_features, config.label, config.scenario, config.time_zone, FULL_COPY_DAYS]
    before, prints = fingerprint(TABLE, VERSION, settings), {}
    for day in sorted(days):
        before = prints[day] = fingerprint(before, day, days[day], digests.get(day))
    return prints


def update(
    lake: Lake, tables: InputTables, rows: Mapping[dt.date, int], wanted: Mapping[dt.date, str], force: bool
) -> None:
    """Writes the days that are missing or stale, in one job: from the first of them, all that follow.

    Args:
        lake: of the step ``training_rows``.
        tables: what the training rows are made of.
        rows: day -> impressions.
        wanted: day -> fingerprint, see :func:`day_fingerprints`.
        force: write all days again.

    Raises:
        StepFailed: the counts do not add up to the impressions; the table is as it was before.
    """
    lake.create(TABLE)
    stored = lake.fingerprints(TABLE)
    ceased = [key for key in stored if dt.date.fromisoformat(key[0]) not in wanted]
    if ceased:
        lake.empty_partitions(TABLE, ceased)
    ordered = sorted(wanted)
    wrong = [day for day in ordered if force or stored.get((day.isoformat(),)) != wanted[day]]
    if not wrong:
        return
    stale = [day for day in ordered if day >= wrong[0]]
    sums = daily_sums(tables, lake.config, stale)
    before = _state_before(lake, ordered, stale[0])
    with described(lake.spark, f"training_rows: counts of {len(stale)} days"):
        frame = running_counts(sums, before, stale, full_copies(ordered))
        keys: dict[PartitionKey, str] = {(day.isoformat(),): wanted[day] for day in stale}
        expected = ExpectedRows(
            count=sum(rows[day] for day in stale),
            unit="impressions: those of the days that are counted",
            problem="impressions were lost or counted twice",
            remedy="run lis-spark training-rows again",
            counted=F.sum(F.when(F.col("feature") == ALL, F.col("impressions"))),
        )
        lake.write_partitions(TABLE, frame.hint("rebalance", "date"), keys, expected=expected)


def full_copies(days: Sequence[dt.date]) -> list[dt.date]:
    """The days, of all in order, whose partitions hold every value: the first of each period of seven days."""
    periods = [day.toordinal() // FULL_COPY_DAYS for day in days]
    return [day for place, day in enumerate(days) if place == 0 or periods[place] != periods[place - 1]]


def daily_sums(tables: InputTables, config: RunConfig, dates: Sequence[dt.date]) -> DataFrame:
    """Impressions and positives of each value on each of some days.

    Returns:
        DataFrame: feature, row, date, impressions, positives. Row 0 of ``all`` is everything.
    """
    shown, label = tables.impressions.where(F.col("date").isin(list(dates))), f"label_{config.label}"
    sums = [F.count(F.lit(1)).alias("impressions"), F.sum(F.col(label).cast("bigint")).alias("positives")]
    of_all = shown.groupBy("date").agg(*sums).withColumns({"feature": F.lit(ALL), "row": F.lit(0)})
    parts = []
    own = [feature for feature in config.counted_features if feature.origin == "impressions"]
    if own:
        entries = F.array(*[_entry(feature, shown.columns, config) for feature in own])
        exploded = shown.select("date", label, F.explode(entries).alias("entry")).select("date", label, "entry.*")
        parts.append(exploded.groupBy("date", "slot", "feature", "key").agg(*sums))
    of_items = [feature for feature in config.counted_features if feature.origin == "items"]
    if of_items:
        by_item = shown.groupBy("date", "item_id").agg(*sums)
        parts.append(_by_attribute(by_item, _items(tables.items), of_items, config))
    columns = [*_KEY, "date", *_SUMS]
    counted = of_all.select(*columns)
    vocabulary = tables.vocabularies.select("slot", "key", "row")
    for part in parts:
        counted = counted.unionByName(part.join(vocabulary, ["slot", "key"]).select(*columns))
    return counted


def _by_attribute(
    by_item: DataFrame, items: DataFrame, features: Sequence[FeatureConfig], config: RunConfig
) -> DataFrame:
    """Sums of items -> sums of the values of their attributes."""
    entries = F.array(*[_entry(feature, items.columns, config) for feature in features])
    joined = by_item.join(items.select("item_id", entries.alias("entries")), "item_id")
    exploded = joined.select("date", *_SUMS, F.explode("entries").alias("entry")).select("date", *_SUMS, "entry.*")
    return exploded.groupBy("date", "slot", "feature", "key").agg(*[F.sum(name).alias(name) for name in _SUMS])


def _entry(feature: FeatureConfig, columns: Sequence[str], config: RunConfig) -> Column:
    return F.struct(
        F.lit(feature.table).alias("slot"),
        F.lit(feature.name).alias("feature"),
        key_of(feature, columns, config).alias("key"),
    )


def _items(items: DataFrame | None) -> DataFrame:
    if items is None:
        raise InputError(
            "counted features of items, but there is no table of items",
            table="items",
            remedy="run lis-spark ingest with a source that has items, or take them out of counts.features",
        )
    return items


def running_counts(
    sums: DataFrame, before: DataFrame | None, days: Sequence[dt.date], full: Sequence[dt.date]
) -> DataFrame:
    """Sums of days -> what each value had before each day that shows it, and full copies.

    Args:
        sums: see :func:`daily_sums`, of all of ``days``.
        before: feature, row, impressions, positives as of the end of the day before the first one; None where there is
            none.
        days: consecutive days of data, in order.
        full: days whose partitions hold every value.

    Returns:
        DataFrame: the columns of the table without its fingerprint.
    """
    if before is not None:
        sums = before.withColumn("date", F.lit(days[0] - ONE_DAY)).unionByName(sums)
    of_value = Window.partitionBy(*_KEY).orderBy("date")
    earlier = of_value.rowsBetween(Window.unboundedPreceding, -1)
    known = {f"{name}_before": F.coalesce(F.sum(name).over(earlier), F.lit(0)) for name in _SUMS}
    counted = sums.withColumns({**known, "next": F.lead("date").over(of_value)})
    columns = [*_KEY, *known, *_SUMS, "date"]
    shown = counted.where(F.col("date") >= F.lit(days[0])).select(*columns)
    copied = F.array(*[F.lit(day) for day in full if day >= days[0]])
    unseen = F.filter(copied, lambda day: (day > F.col("date")) & (F.col("next").isNull() | (day < F.col("next"))))
    after = {f"{name}_before": F.col(f"{name}_before") + F.col(name) for name in _SUMS}
    carried = counted.withColumns({**after, "copy": F.explode(unseen)}).withColumns(
        {**{name: F.lit(0).cast("bigint") for name in _SUMS}, "date": F.col("copy")}
    )
    return shown.unionByName(carried.select(*columns))


def totals_before(lake: Lake, first: dt.date) -> DataFrame | None:
    """feature, row, impressions, positives over all counted days before ``first``; None where there is none."""
    return _state_before(lake, sorted(dt.date.fromisoformat(key[0]) for key in lake.fingerprints(TABLE)), first)


def _state_before(lake: Lake, days: Sequence[dt.date], first: dt.date) -> DataFrame | None:
    """The same, where all days of data are known."""
    earlier = [day for day in days if day < first]
    if not earlier:
        return None
    since = max(day for day in full_copies(days) if day < first)
    stored = lake.read(TABLE).where(F.col("date").between(F.lit(since), F.lit(earlier[-1])))
    total = F.struct(*[(F.col(f"{name}_before") + F.col(name)).alias(name) for name in _SUMS])
    return stored.groupBy(*_KEY).agg(F.max_by(total, "date").alias("total")).select(*_KEY, "total.*")


def counts_before(lake: Lake, days: Sequence[dt.date]) -> DataFrame:
    """What training rows of some days may know: no outcome of the day itself.

    Returns:
        DataFrame: feature, row, date, impressions_before, positives_before of the values that the days show.
    """
    rows = lake.read(TABLE).where(F.col("date").isin(list(days)) & (F.col("impressions") > 0))
    return rows.select(*_KEY, "date", *[f"{name}_before" for name in _SUMS])


def days_column(feature: FeatureConfig) -> str:
    """Name of the column with the counts of a feature's value by day."""
    return f"counts_{feature.name}"


def with_days(keys: DataFrame, counts: DataFrame, feature: FeatureConfig) -> DataFrame:
    """Adds the counts of each value by day, so that one look-up brings the row of a key and its counts.

    Args:
        keys: of one vocabulary, with ``row_<feature>``.
        counts: see :func:`counts_before`.
        feature: whose values the keys are.
    """
    entry = F.struct("date", F.struct(*[f"{name}_before" for name in _SUMS]))
    own = counts.where(F.col("feature") == feature.name).groupBy(F.col("row").alias(f"row_{feature.name}"))
    by_day = own.agg(F.map_from_entries(F.collect_list(entry)).alias(days_column(feature)))
    return keys.join(by_day, f"row_{feature.name}", "left")


def on_its_day(rows: DataFrame, feature: FeatureConfig) -> DataFrame:
    """The counts by day of each row's value -> those before the row's own day; 0 where it has no value.

    A wanted row whose value is known and not counted is refused: the vocabulary and the counts are of the same rows.
    """
    found = F.try_element_at(days_column(feature), F.col("date"))
    is_lost = F.col("wanted") & F.col(f"row_{feature.name}").isNotNull() & found.isNull()
    lost = F.raise_error(F.lit(f"running_counts lacks a value of {feature.name} that a day shows"))
    columns = {
        f"{name}_before_{feature.name}": F.when(is_lost, lost).otherwise(F.coalesce(found[f"{name}_before"], F.lit(0)))
        for name in _SUMS
    }
    return rows.withColumns(columns).drop(days_column(feature))


def with_all(rows: DataFrame, counts: DataFrame) -> DataFrame:
    """Adds the counts of all impressions before each row's day."""
    of_all = counts.where(F.col("feature") == ALL).select(
        "date", *[F.col(f"{name}_before").alias(f"{name}_before_{ALL}") for name in _SUMS]
    )
    return rows.join(F.broadcast(of_all), "date", "left")
