"""Rules that a row of the source must keep; each row is accepted, or rejected with the name of the first rule broken.

A rule is a condition under which a row is refused. Rules look at one row; duplicates are found in
``sources/duplicates.py`` and rules over whole days in ``sources/days.py``.
"""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from lis_spark.config import RunConfig
from lis_spark.sources.times import local_date, start_of_day

# Day of a quarantined row whose time cannot be read or cannot be right.
NO_DATE = dt.date(1970, 1, 1)


def rules(config: RunConfig, has_impression_id: bool) -> dict[str, Column]:
    """Name of the rule -> condition under which a candidate row breaks it, most basic first."""
    zone, ingest = config.time_zone, config.ingest
    ts = F.col("request_ts")
    latest = ingest.latest_date or dt.datetime.now(ZoneInfo(zone)).date()
    found = {
        "malformed_row": F.col("malformed"),
        "null_user_id": F.col("user_id").isNull(),
        "null_item_id": F.col("item_id").isNull(),
        "null_time": ~F.col("has_time"),
        "unparsable_time": ts.isNull(),
        "time_at_epoch_zero": F.unix_seconds(ts) == 0,
        "time_before_earliest_date": ts < F.lit(start_of_day(ingest.earliest_date, zone)),
        "time_in_the_future": ts >= F.lit(start_of_day(latest + dt.timedelta(days=1), zone)),
    }
    if has_impression_id:
        found["null_impression_id"] = F.col("impression_id").isNull()
    found |= {
        "null_request_id": F.col("request_id").isNull(),
        "position_not_positive": F.col("has_position") & ~F.coalesce(F.col("position") >= 1, F.lit(False)),
    }
    for label in config.labels:
        found[f"label_{label}_not_0_or_1"] = ~F.coalesce(F.col(f"label_{label}").isin(0.0, 1.0), F.lit(False))
    return found


def judged(candidates: DataFrame, config: RunConfig, has_impression_id: bool) -> DataFrame:
    """Candidates with ``reason`` (the first rule broken, else null) and ``date``, restricted to the configured days.

    Rows without a plausible time belong to no day and always stay: they are rejected, never dropped.

    Returns:
        DataFrame: the candidate columns, ``reason`` STRING, ``date`` DATE (1970-01-01 without a plausible time).
    """
    broken = [F.when(condition, F.lit(name)) for name, condition in rules(config, has_impression_id).items()]
    timeless = ("malformed_row", "null_time", "unparsable_time", "time_at_epoch_zero")
    conditions = rules(config, has_impression_id)
    implausible = F.lit(False)
    for name in (*timeless, "time_before_earliest_date", "time_in_the_future"):
        implausible = implausible | F.coalesce(conditions[name], F.lit(False))
    zone, ts = config.time_zone, F.col("request_ts")
    day = F.when(implausible, F.lit(NO_DATE)).otherwise(local_date(ts, zone))
    inside = F.lit(True)
    if config.ingest.start_date is not None:
        inside = inside & (ts >= F.lit(start_of_day(config.ingest.start_date, zone)))
    if config.ingest.end_date is not None:
        inside = inside & (ts < F.lit(start_of_day(config.ingest.end_date + dt.timedelta(days=1), zone)))
    return (
        candidates.withColumn("reason", F.coalesce(*broken))
        .withColumn("date", day)
        .where((F.col("date") == F.lit(NO_DATE)) | inside)
    )


def row_json() -> Column:
    """The row as it was read, nulls included."""
    return F.to_json("raw", {"ignoreNullFields": "false"})


def accepted_rows(rows: DataFrame, config: RunConfig, contexts: tuple[str, ...]) -> DataFrame:
    """The accepted rows with the columns of `impressions`."""
    return rows.where("reason IS NULL").select(
        "impression_id",
        "request_id",
        "request_ts",
        "scenario",
        "user_id",
        "item_id",
        "position",
        *[F.col(f"label_{label}").cast("tinyint").alias(f"label_{label}") for label in config.labels],
        *[f"context_{name}" for name in contexts],
        "date",
    )


def rejected_rows(rows: DataFrame, source: str) -> DataFrame:
    """The rejected rows with the columns of `quarantine`."""
    return rows.where("reason IS NOT NULL").select(
        F.lit(source).alias("source"), "reason", row_json().alias("row_json"), "date"
    )
