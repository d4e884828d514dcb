"""Instants and days: an outside time becomes an instant, an instant becomes a day of the configured zone.

Nothing here depends on the session's time zone: naive times are read in the configured zone by name, and a day is
cut from the shifted instant by arithmetic, so that a Databricks session in any zone gives the same days.
"""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql.types import DataType, IntegralType, StringType, TimestampNTZType, TimestampType

SECONDS_PER_DAY = 86_400
# Beyond this Spark's own timestamps overflow; such a number is no time.
LARGEST_EPOCH_SECONDS = 9_000_000_000_000

_HAS_TIME = r"^\s*\d{4}-\d{1,2}-\d{1,2}[ T]\d{1,2}:\d{2}"
_HAS_ZONE = r"(Z|UTC|GMT|[+-]\d{1,2}(:?\d{2})?|\s[A-Za-z]+/[A-Za-z_/+-]+)\s*$"


def instant(column: Column, data_type: DataType, time_format: str, time_zone: str) -> Column:
    """An outside time as TIMESTAMP; null where it cannot be read.

    Args:
        column: the time.
        data_type: its type in the source.
        time_format: ``timestamp`` (an instant, a naive time, or text of either), ``epoch_seconds`` or
            ``epoch_milliseconds`` (numbers or text of numbers).
        time_zone: zone of naive times.
    """
    if time_format == "timestamp":
        if isinstance(data_type, TimestampType):
            return column
        if isinstance(data_type, TimestampNTZType | StringType):
            text = F.trim(column.cast("string"))
            zoned = F.when(text.rlike(_HAS_ZONE), text).otherwise(F.concat_ws(" ", text, F.lit(time_zone)))
            return F.when(text.rlike(_HAS_TIME), zoned.try_cast("timestamp"))
        raise ValueError(f"not a time: {data_type.simpleString()}")
    micros_per_unit = 1_000 if time_format == "epoch_milliseconds" else 1_000_000
    largest = LARGEST_EPOCH_SECONDS * 1_000_000 // micros_per_unit
    # Whole numbers stay in 64 bits: decimals are exact as well, but ten times slower.
    whole = isinstance(data_type, IntegralType)
    units = column.cast("bigint") if whole else column.try_cast("decimal(26,6)")
    micros = (units * micros_per_unit).cast("bigint")
    return F.when(units.between(-largest, largest), F.timestamp_micros(micros))


def local_seconds(instants: Column, time_zone: str) -> Column:
    """Seconds of the zone's wall clock since its 1970-01-01 00:00."""
    return F.unix_seconds(F.from_utc_timestamp(instants, time_zone))


def local_date(instants: Column, time_zone: str) -> Column:
    """The day of an instant in a zone."""
    return F.date_from_unix_date(F.floor(local_seconds(instants, time_zone) / SECONDS_PER_DAY).cast("int"))


def local_hour(instants: Column, time_zone: str) -> Column:
    """The hour 0..23 of an instant in a zone."""
    return F.pmod(F.floor(local_seconds(instants, time_zone) / 3600), F.lit(24)).cast("int")


def start_of_day(date: dt.date, time_zone: str) -> dt.datetime:
    """The instant at which a day begins in a zone."""
    return dt.datetime.combine(date, dt.time(), ZoneInfo(time_zone))


def days_between(first: dt.date, last: dt.date) -> list[dt.date]:
    """All days from the first to the last, both included."""
    return [first + dt.timedelta(days=offset) for offset in range((last - first).days + 1)]
