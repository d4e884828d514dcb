"""Step `ingest`: a source becomes `impressions`, `items` and `quarantine`; only days whose content changed are written.

Every row of the source is accepted or quarantined with a reason, and the counts are compared before and after writing.
"""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from zoneinfo import ZoneInfo

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lis_spark.config import RunConfig, fingerprint
from lis_spark.errors import InputError
from lis_spark.lake import Lake
from lis_spark.partitions import PartitionKey
from lis_spark.progress import described
from lis_spark.sources.configured import read_source
from lis_spark.sources.days import Day, check_days, profile
from lis_spark.sources.duplicates import unique_rows
from lis_spark.sources.items import ROWS_PER_FILE, Items, as_counted
from lis_spark.sources.source import SourceData, attribute_names, context_names
from lis_spark.sources.state import SourceState, source_state
from lis_spark.sources.validation import NO_DATE, accepted_rows, judged, rejected_rows
from lis_spark.step import StepResult

STEP_VERSION = 1
TABLES = ("impressions", "items", "quarantine")
# Key in the inputs of a run: what was asked of which state of the source.
STATE = "source state"
ZONE_PROPERTY = "lis.time_zone"


def run(spark: SparkSession, config: RunConfig, force: bool = False, *, run_id: str = "") -> StepResult:
    """Reads the configured source and writes what changed.

    Raises:
        ConfigError, InputError: the source cannot be used (nothing is written).
        StepFailed: rows were lost between reading and writing.
    """
    lake = Lake(spark, config, run_id=run_id, step="ingest")
    with described(spark, "ingest: state of the source"):
        state = source_state(spark, config)
        asked = _asked(config, state)
        done = None if force else _done_before(lake, asked)
    if done is not None:
        return done
    source = read_source(spark, config, state.versions)
    candidates = judged(source.impressions, config, source.has_impression_id)
    with unique_rows(candidates, source.has_impression_id) as rows:
        result = _write(spark, config, lake, source, rows, force, state.versions)
    read: dict[str, int | str] = {**state.versions, STATE: asked or "not told"}
    return replace(result, versions=read, outputs=_outputs(lake))


def _asked(config: RunConfig, state: SourceState) -> str | None:
    """What is asked of which state of the source; None where the state cannot be told."""
    if state.digest is None:
        return None
    # what was in the future may have come
    newest = dt.datetime.now(ZoneInfo(config.time_zone)).date() if config.ingest.latest_date is None else None
    part = (config.source, config.ingest, config.labels, config.label, config.scenario, config.time_zone)
    return fingerprint("ingest", STEP_VERSION, state.digest, part, newest)


def _done_before(lake: Lake, asked: str | None) -> StepResult | None:
    """The last ingest of this lake, where it was asked the same and nobody has written to its tables since."""
    if asked is None or not lake.exists("runs"):
        return None
    of_ingest = lake.read("runs").where("step = 'ingest' AND outcome IN ('done', 'nothing to do')")
    last = of_ingest.orderBy(F.desc("finished_ts")).first()
    if last is None or json.loads(last["inputs"]).get(STATE) != asked:
        return None
    outputs = json.loads(last["outputs"])
    if outputs != _outputs(lake):
        return None
    return StepResult(
        step="ingest",
        partitions_skipped=last["partitions_written"] + last["partitions_skipped"],
        notes=("the source is as the last ingest left it (by versions, sizes and times); --force reads it again",),
        versions=json.loads(last["inputs"]),
        outputs=outputs,
    )


def _outputs(lake: Lake) -> dict[str, int]:
    versions = {name: lake.version(name) for name in TABLES}
    return {name: version for name, version in versions.items() if version is not None}


def create_tables(lake: Lake, config: RunConfig) -> None:
    """Creates `impressions`, `items` and `quarantine` where they are missing."""
    labels = [f"label_{name} TINYINT NOT NULL COMMENT '1 = {name}, 0 = not'" for name in config.labels]
    contexts = [f"context_{name} STRING COMMENT 'Known before the request'" for name in context_names(config)]
    attributes = [f"attribute_{name} STRING COMMENT 'As in the source'" for name in attribute_names(config)]
    lake.create("impressions", {"label_columns": ",\n  ".join(labels), "context_columns": ",\n  ".join(contexts)})
    lake.create("items", {"attribute_columns": ",\n  ".join(attributes)})
    lake.create("quarantine")
    _check_zone(lake, config)


def _write(
    spark: SparkSession,
    config: RunConfig,
    lake: Lake,
    source: SourceData,
    rows: DataFrame,
    force: bool,
    versions: Mapping[str, int],
) -> StepResult:
    accepted = accepted_rows(rows, config, context_names(config))
    columns = [column for column in accepted.columns if column != "date"]
    with described(spark, "ingest: what each day holds"):
        days = profile(rows, config, columns)
    check_days(days, rows, config, source.name)
    items = Items(spark, config, source)
    try:
        create_tables(lake, config)
        wanted, bad = _fingerprints(config, days, items)
        stale = _stale(lake, "impressions", wanted, force)
        stale_bad = _stale(lake, "quarantine", bad, force)
        gone = _emptied(lake, config, bad)
        ceased = _ceased(lake, config, wanted)
        written = 0
        with described(spark, f"ingest: impressions of {len(stale)} days"):
            if stale:
                expected = sum(days[dt.date.fromisoformat(key[0])].accepted for key in stale)
                chosen = accepted.where(F.col("date").isin([dt.date.fromisoformat(key[0]) for key in stale]))
                frame = _in_files(chosen, days)
                written = lake.write_partitions("impressions", frame, stale, versions, as_counted(expected))
        with described(spark, "ingest: items"):
            items_written = items.write(lake, force, versions)
        with described(spark, "ingest: quarantine"):
            _write_quarantine(lake, source, rows, items, {**stale_bad, **gone}, days)
    finally:
        items.release()
    if ceased:
        lake.write_partitions("impressions", accepted.limit(0), ceased, versions)
    rejected = sum(day.rejected.total() for day in days.values())
    total = sum(day.accepted for day in days.values())
    return StepResult(
        step="ingest",
        rows_read=total + rejected,
        rows_written=written,
        rows_quarantined=rejected + items.rejected,
        partitions_written=len(stale) + items_written + len(stale_bad) + len(gone) + len(ceased),
        partitions_skipped=len(wanted) - len(stale) + len(bad) - len(stale_bad) + (items.known and not items_written),
        notes=source.notes,
    )


def _fingerprints(
    config: RunConfig, days: dict[dt.date, Day], items: Items
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


def _ceased(lake: Lake, config: RunConfig, wanted: dict[PartitionKey, str]) -> dict[PartitionKey, str]:
    """Days of ``impressions`` between the first and the last of the source that it has no rows of any more.

    Earlier and later days may have left a source that keeps only some days: they stay.
    """
    first, last = min(wanted)[0], max(wanted)[0]
    stored = lake.fingerprints("impressions")
    return {key: "emptied" for key in stored if first < key[0] < last and key not in wanted}


def _check_zone(lake: Lake, config: RunConfig) -> None:
    """A lake's days are cut in one zone.

    Raises:
        InputError: they were cut in another: the day at the edge would hold rows that also stand in the next.
    """
    zone = lake.table_property("impressions", ZONE_PROPERTY)
    if zone is None:
        lake.set_table_property("impressions", ZONE_PROPERTY, config.time_zone)
    elif zone != config.time_zone:
        raise InputError(
            "the days of the lake are cut in another time zone",
            table="impressions",
            found=f"time_zone: {config.time_zone}",
            expected=zone,
            remedy="use that zone, or a lake.path and a lake.work_path of its own for the new one",
        )


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
    items: Items,
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
    lake.write_partitions("quarantine", frame, stale, {}, as_counted(expected))
