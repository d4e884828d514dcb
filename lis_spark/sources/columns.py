"""Columns of an outside table as fields of `impressions`: names and types checked, ids as text, labels as numbers."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import (
    BinaryType,
    BooleanType,
    ByteType,
    DataType,
    DateType,
    DecimalType,
    DoubleType,
    FloatType,
    IntegerType,
    LongType,
    ShortType,
    StringType,
    TimestampNTZType,
    TimestampType,
)

from lis_spark.errors import InputError
from lis_spark.sources.times import instant

# What a JSON or CSV reader could not parse; see sources/table.py.
MALFORMED = "_corrupt_record"

TypeNames = Mapping[str, tuple[type[DataType], ...]]
_INTEGERS: tuple[type[DataType], ...] = (ByteType, ShortType, IntegerType, LongType)
_NUMBERS: tuple[type[DataType], ...] = (*_INTEGERS, FloatType, DoubleType, DecimalType)
# Fractional ids are refused: a BIGINT that was read as DOUBLE has lost digits above 2^53.
ID: tuple[type[DataType], ...] = (StringType, *_INTEGERS)
LABEL: tuple[type[DataType], ...] = (BooleanType, StringType, *_NUMBERS)
TEXT: tuple[type[DataType], ...] = (StringType, BooleanType, DateType, *_NUMBERS)
WHOLE: tuple[type[DataType], ...] = (StringType, *_INTEGERS)
BYTES: tuple[type[DataType], ...] = (BinaryType,)
DAY: tuple[type[DataType], ...] = (DateType, StringType)
INSTANT: tuple[type[DataType], ...] = (TimestampType, TimestampNTZType, StringType)
EPOCH: tuple[type[DataType], ...] = (StringType, *_NUMBERS)


def column_of(name: str) -> Column:
    """A column by its literal name, dots and all."""
    return F.col(f"`{name}`")


def check_columns(frame: DataFrame, expected: TypeNames, table: str, section: str = "source") -> None:
    """Checks that the columns are there and have one of the types; ``section`` of the configuration names them.

    Raises:
        InputError: a column is missing (with the nearest name) or has another type.
    """
    types = {field.name: field.dataType for field in frame.schema.fields}
    for name, allowed in expected.items():
        if name not in types:
            near = difflib.get_close_matches(name, types, 1)
            raise InputError(
                f"column {name!r} is missing",
                table=table,
                found=", ".join(types),
                expected=name,
                remedy=(f"did you mean {near[0]!r}? " if near else "") + f"Correct the column map of `{section}`",
            )
        if not isinstance(types[name], allowed):
            raise InputError(
                f"column {name!r} has the wrong type",
                table=table,
                found=types[name].simpleString().upper(),
                expected=" or ".join(_name(kind) for kind in allowed),
                remedy="cast the column in the source, or map another one",
            )


def _name(kind: type[DataType]) -> str:
    return "DECIMAL" if kind is DecimalType else kind().simpleString().upper()


def candidate_rows(
    frame: DataFrame,
    *,
    user_id: str,
    item_id: str,
    time: str,
    time_format: str,
    time_zone: str,
    labels: Mapping[str, Column],
    scenario: Column,
    context: Mapping[str, Column],
    impression_id: str | None = None,
    request_id: str | None = None,
    position: str | None = None,
) -> DataFrame:
    """Every row of an outside table as a candidate for `impressions`, the row itself kept in ``raw``.

    Nothing is judged here: what cannot be read is null, and ``sources/validation.py`` says why a row is rejected.

    Args:
        frame: the outside table, its columns checked.
        labels: label name -> number (null where it cannot be read).
        context: context name -> text.

    Returns:
        DataFrame: ``raw`` STRUCT, ``malformed`` and ``has_time``, ``has_position`` BOOLEAN, ``impression_id`` (null
        where the source has none), ``request_id``, ``request_ts``, ``scenario``, ``user_id``, ``item_id``,
        ``position``, ``label_*`` DOUBLE, ``context_*`` STRING.
    """
    types = {field.name: field.dataType for field in frame.schema.fields}
    nothing = F.lit(None).cast("string")
    request_ts = instant(column_of(time), types[time], time_format, time_zone)
    derived_request = F.concat_ws("-", identifier(user_id), F.floor(F.unix_seconds(request_ts) / 60).cast("string"))
    return frame.select(
        F.struct("*").alias("raw"),
        (column_of(MALFORMED).isNotNull() if MALFORMED in types else F.lit(False)).alias("malformed"),
        F.coalesce(F.trim(column_of(time).cast("string")) != "", F.lit(False)).alias("has_time"),
        (column_of(position).isNotNull() if position else F.lit(False)).alias("has_position"),
        (identifier(impression_id) if impression_id else nothing).alias("impression_id"),
        (identifier(request_id) if request_id else derived_request).alias("request_id"),
        request_ts.alias("request_ts"),
        scenario.alias("scenario"),
        identifier(user_id).alias("user_id"),
        identifier(item_id).alias("item_id"),
        (column_of(position).try_cast("int") if position else F.lit(None).cast("int")).alias("position"),
        *[value.alias(f"label_{name}") for name, value in labels.items()],
        *[value.cast("string").alias(f"context_{name}") for name, value in context.items()],
    )


def identifier(name: str) -> Column:
    """An id as text; an empty one is no id."""
    text = column_of(name).cast("string")
    return F.when(F.trim(text) != "", text)


def number(name: str, data_type: DataType) -> Column:
    """A label as DOUBLE, null where it is no number."""
    if isinstance(data_type, BooleanType):
        return column_of(name).cast("int").cast("double")
    return column_of(name).try_cast("double")


def text_or_null(name: str) -> Column:
    """A value as text, null where it is empty."""
    text = F.trim(column_of(name).cast("string"))
    return F.when(text != "", text)
