"""Times and days: formats, naive times in the configured zone, a daylight-saving night, any session zone."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pyspark.sql import functions as F
from pyspark.sql.types import DataType, DecimalType, DoubleType, LongType, StringType, TimestampNTZType

from lis_spark.config import parse_config
from lis_spark.lake import Lake
from lis_spark.sources import ingest
from lis_spark.sources.times import instant, local_date, local_hour, start_of_day

INSTANT = dt.datetime(2022, 4, 30, 16, 30, 5, 250_000, tzinfo=dt.UTC)  # 00:30:05.25 of 05-01 in Shanghai


@pytest.fixture(params=["UTC", "America/New_York"])
def session_zone(spark: Any, request: pytest.FixtureRequest) -> Iterator[str]:
    """The days must not depend on it."""
    before = spark.conf.get("spark.sql.session.timeZone")
    spark.conf.set("spark.sql.session.timeZone", request.param)
    yield request.param
    spark.conf.set("spark.sql.session.timeZone", before)


def _micros(spark: Any, value: str, kind: DataType, time_format: str) -> int | None:
    frame = spark.range(1).select(F.expr(f"CAST({value} AS {kind.simpleString()})").alias("t"))
    read = instant(F.col("t"), kind, time_format, "Asia/Shanghai")
    return frame.select(F.unix_micros(read)).first()[0]


@pytest.mark.parametrize(
    ("source_format", "time_format", "written"),
    [
        ("csv", "timestamp", "2022-05-01 00:30:05.250"),
        ("json", "epoch_seconds", 1651336205),
        ("csv", "epoch_milliseconds", 1651336205250),
    ],
)
def test_a_table_of_ones_own_says_what_its_times_and_requests_are(
    spark: Any, config_data: dict[str, Any], source_format: str, time_format: str, written: str | int
) -> None:
    """A naive time is one of the configured zone; three impressions of one request, and one of another."""
    rows = [(f"{number % 3}", f"v{number}", written, number % 2, f"r{number // 3}") for number in range(4)]
    kind = "string" if isinstance(written, str) else "bigint"
    frame = spark.createDataFrame(rows, f"user string, item string, time {kind}, click int, request string")
    frame.write.format(source_format).option("header", True).save(config_data["source"]["path"])
    source = config_data["source"] | {"format": source_format, "time_format": time_format}
    source["columns"] = source["columns"] | {"request_id": "request"}
    config = parse_config(config_data | {"source": source, "time_zone": "Asia/Shanghai"})
    assert ingest.run(spark, config).rows_written == 4
    found = Lake(spark, config).read("impressions").orderBy("item_id").collect()
    micros = {"timestamp": 250_000, "epoch_seconds": 0, "epoch_milliseconds": 250_000}[time_format]
    assert [row["request_id"] for row in found] == ["r0", "r0", "r0", "r1"]
    assert {str(row["date"]) for row in found} == {"2022-05-01"}
    instants = Lake(spark, config).read("impressions").select(F.unix_micros("request_ts")).distinct().collect()
    assert [row[0] for row in instants] == [int(INSTANT.replace(microsecond=micros).timestamp() * 1_000_000)]


def test_all_forms_of_one_instant_agree(spark: Any, session_zone: str) -> None:
    micros = int(INSTANT.timestamp() * 1_000_000)
    assert micros == 1651336205250000
    forms = [
        ("'2022-05-01 00:30:05.25'", TimestampNTZType(), "timestamp"),
        ("'2022-05-01 00:30:05.25'", StringType(), "timestamp"),
        ("'2022-05-01T00:30:05.25'", StringType(), "timestamp"),
        ("'2022-04-30T16:30:05.25Z'", StringType(), "timestamp"),
        ("'2022-04-30 18:30:05.25+02:00'", StringType(), "timestamp"),
        ("'2022-04-30 12:30:05.25 America/New_York'", StringType(), "timestamp"),
        ("1651336205250", LongType(), "epoch_milliseconds"),
        ("'1651336205250'", StringType(), "epoch_milliseconds"),
        ("1651336205.25", DoubleType(), "epoch_seconds"),
        ("'1651336205.25'", StringType(), "epoch_seconds"),
        ("1651336205.25", DecimalType(20, 6), "epoch_seconds"),
    ]
    for value, kind, time_format in forms:
        assert _micros(spark, value, kind, time_format) == micros, (value, kind)


@pytest.mark.parametrize(
    ("value", "kind", "time_format"),
    [
        ("'yesterday'", StringType(), "timestamp"),
        ("'10:30'", StringType(), "timestamp"),  # Spark would take today's date
        ("'2022-13-45 00:00'", StringType(), "timestamp"),
        ("'soon'", StringType(), "epoch_seconds"),
        ("9223372036854775807", LongType(), "epoch_seconds"),
        ("9223372036854775807", LongType(), "epoch_milliseconds"),
        ("-9223372036854775808", LongType(), "epoch_milliseconds"),
        ("'NaN'", DoubleType(), "epoch_seconds"),
        ("'Infinity'", DoubleType(), "epoch_seconds"),
    ],
)
def test_what_is_no_time_is_null_and_no_crash(spark: Any, value: str, kind: DataType, time_format: str) -> None:
    assert _micros(spark, value, kind, time_format) is None


def test_day_and_hour_are_those_of_the_zone(spark: Any, session_zone: str) -> None:
    """Every 20 minutes through two nights in which Berlin's clocks change, and before 1970."""
    starts = [dt.datetime(2022, 3, 26, tzinfo=dt.UTC), dt.datetime(2022, 10, 29, tzinfo=dt.UTC)]
    starts.append(dt.datetime(1969, 12, 30, tzinfo=dt.UTC))
    instants = [start + dt.timedelta(minutes=20 * step) for start in starts for step in range(200)]
    for zone in ("Europe/Berlin", "Asia/Shanghai", "Asia/Kolkata", "UTC"):
        rows = [(int(moment.timestamp()),) for moment in instants]
        frame = spark.createDataFrame(rows, "seconds bigint").select(F.timestamp_seconds("seconds").alias("t"))
        found = frame.select(local_date(F.col("t"), zone), local_hour(F.col("t"), zone)).collect()
        expected = [(local.date(), local.hour) for local in (m.astimezone(ZoneInfo(zone)) for m in instants)]
        assert [tuple(row) for row in found] == expected


def test_a_day_begins_at_the_zones_midnight() -> None:
    moment = start_of_day(dt.date(2022, 5, 1), "Asia/Shanghai")
    assert moment.astimezone(dt.UTC) == dt.datetime(2022, 4, 30, 16, tzinfo=dt.UTC)
