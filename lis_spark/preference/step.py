"""Step ``curate``: learned items -> ``preference_items``, what an encoder is aligned on (method 4)."""

from __future__ import annotations

import datetime as dt
import json
import math
from dataclasses import dataclass
from typing import Any

from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lis_spark.config import PreferenceConfig, RunConfig, fingerprint
from lis_spark.errors import ConfigError, InputError
from lis_spark.expected_rows import ExpectedRows
from lis_spark.lake import Lake
from lis_spark.lis.plan.chains import ONE_DAY, base_name, half_names
from lis_spark.lis.plan.evaluation import resolve
from lis_spark.lis.swap.features import snapshot_tables
from lis_spark.preference.curation import balance, histogram_of, keep_thresholds, t_of_budget, t_of_tail
from lis_spark.preference.entries import entries_of
from lis_spark.preference.reliability import Agreement, agreements, least_count
from lis_spark.preference.shown import content_points, looks
from lis_spark.preference.split import groups, near_duplicates, split_by_birth
from lis_spark.preference.whitening import Whitening, summed_moments, whitened, whitening
from lis_spark.progress import described
from lis_spark.step import StepResult

STEP_VERSION = 2
NAME = "curate"


@dataclass(frozen=True)
class Source:
    """Where vectors come from: the base chain's table as of a day."""

    chain: str
    date: dt.date


def run(spark: SparkSession, config: RunConfig, force: bool = False, *, run_id: str = "") -> StepResult:
    """Curates the learned items where their vectors, what they show, or the settings are new.

    Raises:
        ConfigError: no preference data is configured.
        InputError: no item is eligible, a column of items is not there, or the items cannot be split by time.
        StepFailed: items were lost or doubled.
    """
    preference = config.preference
    if preference is None:
        raise ConfigError(
            "no preference data is configured",
            expected="preference: {min_updates: 100, tail_share: .2} in the configuration, or on the command line",
            remedy="see lis_spark/config/preference.py for the keys",
        )
    lake = Lake(spark, config, run_id=run_id, step=NAME)
    lake.create("preference_items")
    lake.create("curations")
    source = Source(base_name(config.seeds[0]), config.preference_date)
    wanted = _fingerprint(lake, preference, source)
    if not force and lake.fingerprints("preference_items").get((preference.name,)) == wanted:
        return StepResult(NAME, partitions_skipped=1, versions=dict(lake.pinned))
    learned = _learned(lake, preference, source).persist(StorageLevel.DISK_ONLY)
    try:
        with described(spark, f"{NAME}: {preference.name}"):
            theta, found = _theta(lake, preference, source)
            items, report = _curated(lake, learned, preference, theta)
            expected = ExpectedRows(
                count=report["kept_items"],
                unit="kept items",
                problem="items were lost or doubled",
                remedy="look for doubled item ids in items",
            )
            rows = _rows(items, preference, source)
            written = lake.write_partitions("preference_items", rows, {(preference.name,): wanted}, expected=expected)
    finally:
        learned.unpersist()
    row = {
        "row_id": wanted,
        "run_name": config.run_name,
        "name": preference.name,
        "source_chain": source.chain,
        "as_of": source.date,
        "min_updates": theta,
        "agreement_by_count": json.dumps([vars(one) for one in found]) if found else None,
        "created_ts": dt.datetime.now(dt.UTC),
        **report,
    }
    schema = lake.read("curations").schema
    lake.merge("curations", spark.createDataFrame([tuple(row[name] for name in schema.names)], schema), "row_id")
    counts = (report["learned_items"], written, 0, 1, 0)
    said = f"from {theta:,} training examples on, halves of the users agree to {preference.reliability} or more"
    notes = (*([said] if found else []), *_notes(report))
    return StepResult(NAME, *counts, notes=notes, versions=dict(lake.pinned), outputs=dict(lake.written))


def _fingerprint(lake: Lake, preference: PreferenceConfig, source: Source) -> str:
    slot = lake.config.evaluation.slot
    snapshots = {
        key[2]: value
        for key, value in lake.fingerprints("embedding_snapshots").items()
        if key[:2] == (slot, source.chain) and key[2] <= source.date.isoformat()
    }
    if source.date.isoformat() not in snapshots:
        raise InputError(
            "there is no table of that day",
            table="embedding_snapshots",
            partition=f"{source.chain}, {source.date}",
            found=f"days {min(snapshots)} to {max(snapshots)}" if snapshots else "no day",
            expected="preference.as_of, or the first of evaluation.dates, among them",
            remedy="run lis-spark train, or change preference.as_of",
        )
    days = {key: value for key, value in lake.fingerprints("impressions").items() if key[0] < source.date.isoformat()}
    known: list[Any] = [sorted(found.items()) for found in (snapshots, days, lake.fingerprints("items"))]
    if preference.min_updates is None:
        known.append(_halves(lake, slot, source.date))
    return fingerprint(NAME, STEP_VERSION, preference, source.chain, known)


def _halves(lake: Lake, slot: str, date: dt.date) -> list[Any]:
    """Fingerprints of the two halves' tables."""
    halves, stored = half_names(lake.config), lake.fingerprints("embedding_snapshots")
    missing = [half for half in halves if (slot, half, date.isoformat()) not in stored]
    if missing:
        raise InputError(
            "two halves of the users are to say how well items have been learned, and are not trained",
            table="embedding_snapshots",
            partition=f"{', '.join(missing)}, {date}",
            remedy="run lis-spark train with this configuration, or give preference.min_updates",
        )
    return [(half, stored[slot, half, date.isoformat()]) for half in halves]


def _learned(lake: Lake, preference: PreferenceConfig, source: Source) -> DataFrame:
    """item_id, vector, update_count, born_date of the items of the table ``items`` that were trained on."""
    items = lake.read("items")
    unknown = [column for column in preference.entry_columns if column not in items.columns]
    if unknown:
        raise InputError(
            "a column of entries is not there",
            table="items",
            found=", ".join(items.columns),
            expected=", ".join(unknown),
            remedy="correct preference.entry_columns",
        )
    table = snapshot_tables(lake, resolve(lake), {(source.chain, source.date)}).where("update_count > 0")
    earlier = lake.read("impressions").where(F.col("date") < F.lit(source.date))
    first_days = earlier.groupBy("item_id").agg(F.min("date").alias("first_day"))
    return (
        table.select("item_id", "vector", "update_count")
        .join(items.select("item_id", "born_date"), "item_id")
        .join(first_days, "item_id")
        .select("item_id", "vector", "update_count", F.coalesce("born_date", "first_day").alias("born_date"))
    )


def _shown(lake: Lake, items: DataFrame, *columns: str) -> DataFrame:
    """item_id, title, image and other columns of some items: images are read where they are looked at, and not kept."""
    named = [column for column in columns if column not in ("title", "image")]
    return items.select("item_id").join(lake.read("items").select("item_id", "title", "image", *named), "item_id")


def _theta(lake: Lake, preference: PreferenceConfig, source: Source) -> tuple[int, list[Agreement]]:
    """The least count of training examples, and the agreement of two halves of the users where that says it."""
    if preference.min_updates is not None:
        return preference.min_updates, []
    config, halves = lake.config, half_names(lake.config)
    tables = snapshot_tables(lake, resolve(lake), {(half, source.date) for half in halves})
    tables = tables.persist(StorageLevel.DISK_ONLY)  # two maps are fitted, and each is applied
    width, minimum = config.ranker.dimension, config.evaluation.align_minimum_updates
    try:
        found = agreements(tables, halves, source.date, width, minimum)
    finally:
        tables.unpersist()
    return least_count(found, preference.reliability), found


def _curated(
    lake: Lake, learned: DataFrame, preference: PreferenceConfig, theta: int
) -> tuple[DataFrame, dict[str, Any]]:
    """Kept items (item_id, split, target, ...) and what the table ``curations`` says of them."""
    eligible = learned.where(F.col("update_count") >= theta)
    counted = learned.agg(
        F.count(F.lit(1)).alias("learned"),
        F.count_if(F.col("update_count") >= theta).alias("eligible"),
        F.max("update_count").alias("most"),
    ).first()
    assert counted is not None
    if not counted["eligible"]:
        raise InputError(
            "no item is eligible",
            table="embedding_snapshots",
            found=f"{counted['learned']:,} learned items, the best with {counted['most'] or 0:,} updates",
            expected=f"items with {theta:,} or more",
            remedy="lower preference.min_updates",
        )
    shown = _shown(lake, eligible, *preference.entry_columns)
    entries = entries_of(shown, content_points(shown), preference).localCheckpoint()
    before = histogram_of(entries)
    thresholds = keep_thresholds(entries, preference.seed).localCheckpoint()
    if preference.max_items is None:
        assert preference.tail_share is not None
        t = t_of_tail(before, preference.tail_share)
    else:
        t = t_of_budget(thresholds, preference.max_items)
    chosen = thresholds.withColumnRenamed("threshold", "keep_threshold").where(F.col("keep_threshold") < F.lit(t))
    kept = eligible.join(chosen, "item_id").localCheckpoint()
    pairs = near_duplicates(looks(_shown(lake, kept)), preference.near_duplicate_similarity)
    grouped = kept.join(groups(kept.select("item_id"), pairs), "item_id")
    split = split_by_birth(grouped, preference.validation_share).localCheckpoint()
    width = lake.config.ranker.dimension
    white = whitening(summed_moments(split.where("split = 'train'"), width), preference.popularity_correlation)
    if not white.directions.shape[1]:
        raise InputError(
            "the vectors have no direction to align with",
            table="embedding_snapshots",
            found=f"{width} numbers without variance, but for one that is popularity",
            expected="vectors that differ between items",
            remedy="raise preference.popularity_correlation, or train the ranker for longer",
        )
    items = split.join(whitened(split, white, width), "item_id")
    after = balance(histogram_of(entries.join(kept.select("item_id"), "item_id")))
    even = balance(before)
    report: dict[str, Any] = {
        "learned_items": counted["learned"],
        "eligible_items": counted["eligible"],
        **_counts(split),
        "t": None if math.isinf(t) else t,
        "entries_before": even.entries,
        "entries_after": after.entries,
        "entropy_before": even.entropy,
        "entropy_after": after.entropy,
        "largest_share_before": even.largest_share,
        "largest_share_after": after.largest_share,
        "gini_before": even.gini,
        "gini_after": after.gini,
        "keep_rate_by_decile": json.dumps(_keep_rates(eligible, kept)),
        **_of_targets(white),
    }
    return items, report


def _counts(split: DataFrame) -> dict[str, Any]:
    sides = [F.count_if(F.col("split") == name).alias(f"{name}_items") for name in ("train", "validation", "left_out")]
    duplicates = F.count_if(F.col("duplicate_of") != F.col("item_id")).alias("duplicate_items")
    row = split.agg(F.count(F.lit(1)).alias("kept_items"), *sides, duplicates).first()
    assert row is not None
    return row.asDict()


def _keep_rates(eligible: DataFrame, kept: DataFrame) -> list[dict[str, float]]:
    """Of each decile of update_count: its highest count, its items and the share that is kept; equal counts are one."""
    tenths = [tenth / 10 for tenth in range(1, 11)]
    row = eligible.agg(F.percentile_approx("update_count", tenths, 100_000).alias("edges")).first()
    assert row is not None
    edges = sorted(set(row["edges"]))
    above = F.size(F.filter(F.array(*map(F.lit, edges)), lambda edge: edge < F.col("update_count")))
    marked = eligible.join(kept.select("item_id", F.lit(1).alias("is_kept")), "item_id", "left")
    counted = (
        marked.groupBy(above.alias("decile"))
        .agg(F.count(F.lit(1)).alias("items"), F.count("is_kept").alias("kept"))
        .collect()
    )
    return [
        {"highest_count": edges[row["decile"]], "items": row["items"], "kept": row["kept"] / row["items"]}
        for row in sorted(counted, key=lambda row: row["decile"])
    ]


def _of_targets(white: Whitening) -> dict[str, Any]:
    return {
        "popularity_correlation": white.popularity_correlation,
        "drops_popularity": white.drops_popularity,
        "dimension": white.directions.shape[1],
    }


def _rows(items: DataFrame, preference: PreferenceConfig, source: Source) -> DataFrame:
    return items.select(
        *("item_id", "target", "split", "born_date", "duplicate_of", "keep_threshold", "update_count"),
        F.lit(source.chain).alias("source_chain"),
        F.lit(source.date - ONE_DAY).alias("source_date"),
        F.lit(preference.name).alias("name"),
    )


def _notes(report: dict[str, Any]) -> tuple[str, ...]:
    def of(name: str) -> str:
        return f"{report[f'{name}_before']:.3f} to {report[f'{name}_after']:.3f}"

    popularity = "left out of the targets" if report["drops_popularity"] else "kept"
    tenths = json.loads(report["keep_rate_by_decile"])
    rates = ", ".join(f"{tenth['kept']:.0%} up to {tenth['highest_count']:,}" for tenth in tenths)
    return (
        f"of {report['learned_items']:,} learned items {report['eligible_items']:,} are eligible and "
        f"{report['kept_items']:,} kept: {report['train_items']:,} to train on, {report['validation_items']:,} to "
        f"validate, {report['left_out_items']:,} left out",
        f"entries: entropy {of('entropy')}, largest share {of('largest_share')}, Gini {of('gini')}",
        f"kept by training examples: {rates}",
        f"targets of {report['dimension']} numbers; first component and log count correlate "
        f"{report['popularity_correlation']:+.2f}: {popularity}",
    )
