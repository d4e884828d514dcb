"""Step ``simulate``: writes a world with known truth (method section 8) in place of an ingest.

Rows are functions of (seed, number): days that are there are not made again, more days are added, and the same
configuration gives the same rows from one partition or two hundred.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import astuple, replace

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from lis_spark.config import RunConfig, WorldSource, fingerprint
from lis_spark.errors import ConfigError, InputError
from lis_spark.expected_rows import ExpectedRows
from lis_spark.lake import Lake
from lis_spark.partitions import PartitionKey
from lis_spark.progress import described
from lis_spark.sources.ingest import create_tables
from lis_spark.step import StepResult
from lis_spark.world import frames
from lis_spark.world.calendar import Calendar
from lis_spark.world.catalogue import item_count, shelf
from lis_spark.world.clicks import LABELS
from lis_spark.world.content_probe import ContentProbe, probe_content
from lis_spark.world.people import users_on as world_users

STEP_VERSION = 1
BY_DAY = ("impressions", "truth", "user_days")
_PROBE_SCHEMA = "items bigint, signal double, latents double, features double, components double"
OF_ITEMS = ("items", "truth_items", "content_probe")


def run(spark: SparkSession, config: RunConfig, force: bool = False, *, run_id: str = "") -> StepResult:
    """Writes the tables of BY_DAY and OF_ITEMS where they are not there.

    Raises:
        ConfigError: the source is no world, or a label is none of its.
        StepFailed: a table has other rows than the world.
    """
    world = _checked(config)
    lake = Lake(spark, config, run_id=run_id, step="simulate")
    create_tables(lake, config)
    for name in ("truth", "truth_items", "user_days", "content_probe"):
        lake.create(name)
    calendar = Calendar.of(world, config.time_zone)
    wanted = _day_fingerprints(config, world)
    _refuse_another_world(lake, wanted)
    rows_out = written = skipped = 0
    for name in BY_DAY:
        stored = lake.fingerprints(name)
        stale = {key: value for key, value in wanted.items() if force or stored.get(key) != value}
        skipped += len(wanted) - len(stale)
        if not stale:
            continue
        days = [(dt.date.fromisoformat(key[0]) - world.first_date).days for key in sorted(stale)]
        expected = sum(
            int(calendar.first_request[day + 1] - calendar.first_request[day]) * world.traffic.impressions_a_request
            for day in days
        )
        with described(spark, f"simulate: {name} of {len(days)} days, {expected:,} impressions"):
            _write_days(lake, name, days, stale, expected)
        written += len(stale)
        rows_out += expected if name == "impressions" else 0
    of_items = _write_items(lake, config, world, force)
    probe = stored_probe(lake) if of_items else None
    size = f"{calendar.requests * world.traffic.impressions_a_request:,} impressions of {item_count(world):,} items"
    notes = (size, probe.line()) if probe is not None else (size,)
    return StepResult(
        "simulate",
        rows_out,
        rows_out,
        0,
        written + of_items,
        skipped + len(OF_ITEMS) - of_items,
        notes,
        outputs=dict(lake.written),
    )


def _refuse_another_world(lake: Lake, wanted: dict[PartitionKey, str]) -> None:
    """A lake holds one world: what was learned of another's items under the same ids would be wrong.

    Raises:
        InputError: a day of another world, or a day beyond this one's last.
    """
    others = sorted(key[0] for key, value in lake.fingerprints("impressions").items() if wanted.get(key) != value)
    if others:
        raise InputError(
            "the lake holds days of another world",
            table="impressions",
            partition=", ".join(others[:5]) + (f" and {len(others) - 5} more" if len(others) > 5 else ""),
            expected=f"days of this configuration: {min(wanted)[0]} to {max(wanted)[0]}, made with the same dials",
            remedy="give each world a lake.path and a lake.work_path of its own, or remove the old one",
        )


def _checked(config: RunConfig) -> WorldSource:
    if not isinstance(config.source, WorldSource):
        raise ConfigError(
            "simulate needs a world",
            found=f"source.kind: {config.source.kind}",
            expected="source.kind: world",
            remedy="see conf/world_reference.yaml; outside data are read by lis-spark ingest",
        )
    for ads in (False, True) if config.source.traffic.ads_share else (False,):
        shelf(config.source, 0, 0, ads)  # refuses a world that cannot fill a request
    unknown = [label for label in config.labels if label not in LABELS]
    if unknown:
        raise ConfigError(
            "the world has no such label",
            found=", ".join(unknown),
            expected=" or ".join(LABELS),
            remedy="correct labels",
        )
    return config.source


def _day_fingerprints(config: RunConfig, world: WorldSource) -> dict[PartitionKey, str]:
    """A day does not depend on how many follow."""
    part = fingerprint("simulate", STEP_VERSION, world.model_dump(exclude={"days"}), config.labels, config.time_zone)
    days = [(world.first_date + dt.timedelta(days=day)).isoformat() for day in range(world.days)]
    return {(day,): fingerprint(part, day) for day in days}


def _write_days(lake: Lake, name: str, days: list[int], stale: dict[PartitionKey, str], impressions: int) -> None:
    """Writes some days of a table, which stand for as many impressions."""
    config, spark = lake.config, lake.spark
    expected = _as_in_the_world(impressions, "impressions")
    if name == "impressions":
        schema = frames.impression_schema(config.labels)
        frame = frames.request_frame(spark, config, days, frames.impression_columns(config.labels), schema)
        lake.write_partitions(name, frame, stale, expected=expected)
        return
    if name == "truth":
        frame = frames.request_frame(spark, config, days, frames.truth_columns, frames.TRUTH_SCHEMA)
        lake.write_partitions(name, frame, stale, expected=expected)
        return
    feed = F.col("scenario") == frames.FEED
    of_days = F.col("date").isin([dt.date.fromisoformat(key[0]) for key in stale])
    chosen = lake.read("truth").where(of_days)
    of_users = chosen.groupBy("date", "user_id").agg(
        F.count_if(feed).alias("impressions"),
        F.count_if(feed & F.col("clicked")).alias("clicks"),
        F.count_if(feed & F.col("was_read")).alias("reads"),
        F.count_if(feed & F.col("engaged")).alias("engagements"),
        F.sum(F.col("time_spent_ms").cast("bigint")).alias("time_spent_ms"),
        F.count_if(~feed).alias("ad_impressions"),
        F.count_if(~feed & F.col("clicked")).alias("ad_clicks"),
        F.sum("advertiser_value_micros").alias("advertiser_value_micros"),
        F.sum("cost_micros").alias("cost_micros"),
    )
    # one file a day, or as many as its users need
    users = world_users(frames.world_of(config), max(days))
    pieces = max(1, -(-users // frames.ROWS_PER_FILE))
    placed = of_users.repartition("date", F.pmod(F.xxhash64("user_id"), F.lit(pieces)))
    shown = F.sum(F.col("impressions") + F.col("ad_impressions"))
    lake.write_partitions(name, placed, stale, expected=replace(expected, counted=shown))


def _as_in_the_world(count: int, unit: str) -> ExpectedRows:
    return ExpectedRows(
        count=count,
        unit=unit,
        problem="the table has other rows than the world",
        remedy="run the step again; if it comes back, it is a defect",
    )


def stored_probe(lake: Lake) -> ContentProbe | None:
    """What the content of the lake's world tells of its items, None where the lake holds no world."""
    if not lake.exists("content_probe"):
        return None
    row = lake.read("content_probe").drop("lis_fingerprint").first()
    return None if row is None else ContentProbe(**row.asDict())


def _write_items(lake: Lake, config: RunConfig, world: WorldSource, force: bool) -> int:
    """Writes the tables of items where they changed: more days bring more items. Returns how many were written."""
    ads = [world.traffic.ads_share, world.traffic.bid_sigma]
    part = fingerprint("simulate items", STEP_VERSION, world.model_dump(exclude={"traffic"}), ads)
    columns = {
        "items": (frames.item_columns, frames.ITEMS_SCHEMA),
        "truth_items": (frames.truth_item_columns, frames.TRUTH_ITEMS_SCHEMA),
    }
    written = 0
    stale = [name for name in OF_ITEMS if force or lake.fingerprints(name) != {(): part}]
    for name in stale:
        if name not in columns:
            probe = lake.spark.createDataFrame([astuple(probe_content(world))], _PROBE_SCHEMA)
            written += lake.write_partitions(name, probe, {(): part})
            continue
        make, schema = columns[name]
        with described(lake.spark, f"simulate: {name}, {item_count(world):,}"):
            frame, expected = frames.item_frame(lake.spark, world, make, schema), item_count(world)
            lake.write_partitions(name, frame, {(): part}, expected=_as_in_the_world(expected, "items"))
        written += 1
    return written
