"""The audited table joined to impressions as its owner joins it, and what its dates say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql import types as T

from lis_spark.config import AuditConfig, RunConfig
from lis_spark.errors import InputError
from lis_spark.lake import Lake
from lis_spark.sources.columns import column_of
from lis_spark.sources.table import open_table
from lis_spark.sources.times import instant, local_date, local_hour

_TEXT = (T.StringType, T.CharType, T.VarcharType)
_SINGLE = (T.NumericType, T.BooleanType, T.DateType, T.TimestampType, *_TEXT)
Kind = Literal["number", "id", "day", "instant"]
_KINDS: Mapping[Kind, type[T.DataType]] = {"day": T.DateType, "instant": T.TimestampType}
MATCHED, AFTER = "_matched", "_after"


@dataclass(frozen=True)
class AuditedColumn:
    """One column: where it stands among the others, of what kind it is, and what its values name where they are ids."""

    name: str
    place: int
    kind: Kind
    names: str | None = None


@dataclass(frozen=True)
class Joined:
    """Impressions, and beside them MATCHED, AFTER (whether the row is dated or made after the impression), and of each
    column ``value_<place>`` DOUBLE, or ``id_<place>`` BIGINT of an id, and ``later_<place>`` of a date: whether it is
    after the impression."""

    rows: DataFrame
    columns: tuple[AuditedColumn, ...]


def joined(lake: Lake, audit: AuditConfig) -> Joined:
    """Every impression of the scenario with what the table gives it: one row each.

    Raises:
        InputError: a column is missing or of a type that cannot be looked at, or a key stands twice.
    """
    assert audit.path is not None
    config = lake.config
    table = open_table(lake.spark, audit.path, audit.format, audit.version)
    columns = _columns(table, audit)
    values = _values(table, audit, columns, config)
    impressions = lake.read("impressions").where(F.col("scenario") == config.scenario)
    narrow = impressions.select(
        "impression_id", "user_id", "item_id", "request_ts", "date", F.col(f"label_{config.label}").alias("label")
    )
    narrow = narrow.withColumn("key", F.col(f"{audit.keyed_by}_id"))
    dated = audit.date_column is not None and audit.keyed_by != "impression"
    _refuse_doubled(values, audit, dated)
    if dated:
        values = values.withColumn("until", F.lead("dated").over(Window.partitionBy("key").orderBy("dated")))
        newest = F.date_sub("date", audit.lag_days)
        serves = (newest >= F.col("dated")) & (F.col("until").isNull() | (newest < F.col("until")))
        rows = narrow.alias("shown").join(values.alias("told"), F.expr("shown.key = told.key") & serves, "left")
        rows = rows.drop(F.col("told.key"))
    else:
        rows = narrow.join(values, "key", "left")
    after = (F.col("dated") > F.col("date")) if audit.keyed_by == "impression" else (F.col("dated") >= F.col("date"))
    flags = {
        MATCHED: F.coalesce("there", F.lit(False)),
        AFTER: F.coalesce(after, F.lit(False)) | F.coalesce(F.col("made") > F.col("request_ts"), F.lit(False)),
        "hour": local_hour(F.col("request_ts"), config.time_zone),
    }
    now = {"day": F.unix_date("date"), "instant": F.unix_micros("request_ts") / F.lit(1e6)}
    for column in columns:
        if column.kind in now:
            later = F.col(f"value_{column.place}") > now[column.kind]
            flags[f"later_{column.place}"] = F.coalesce(later, F.lit(False))
    return Joined(rows.withColumns(flags), columns)


def key_rows(source: Joined, key: str, numbers: Sequence[int], ids: Sequence[int], share: float) -> DataFrame:
    """What :meth:`lis_spark.audit.key_rows.KeyRows.of` reads: whole keys in order, narrow.

    Args:
        source: see :func:`joined`.
        key: ``user`` or ``item``.
        numbers: places of the columns of numbers that are wanted.
        ids: places of the columns of ids.
        share: share of the keys, by hash.
    """
    hashed = F.xxhash64(F.lit("audit"), F.col(f"{key}_id"))
    names = {column.place: column.names for column in source.columns}
    rows = source.rows.select(
        hashed.alias("key_hash"),
        F.unix_millis("request_ts").alias("time_ms"),
        F.xxhash64("impression_id").alias("tie"),
        F.unix_date("date").alias("day"),
        "hour",
        "label",
        *[f"value_{place}" for place in numbers],
        *[F.coalesce(f"id_{place}", F.lit(0)).alias(f"id_{place}") for place in ids],
        *[F.xxhash64(F.col(names[place] or "item_id")).alias(f"named_{place}") for place in ids],
    )
    if share < 1:
        rows = rows.where(F.pmod(F.shiftright("key_hash", 20), F.lit(1_000_000)) < int(1_000_000 * share))
    return rows


def _columns(table: DataFrame, audit: AuditConfig) -> tuple[AuditedColumn, ...]:
    types = {field.name: field.dataType for field in table.schema.fields}
    aside = {audit.key, audit.date_column, audit.made_column}
    wanted = audit.columns or tuple(name for name in types if name not in aside)
    missing = [
        name for name in (audit.key, audit.date_column, audit.made_column, *wanted) if name and name not in types
    ]
    if missing:
        raise InputError(
            f"column {missing[0]!r} of the audited table is missing",
            table=audit.path,
            found=", ".join(types),
            expected=", ".join(missing),
            remedy="correct the section audit: key_column, date_column, made_column, columns",
        )
    odd = [f"{name} {types[name].simpleString()}" for name in wanted if not isinstance(types[name], _SINGLE)]
    if odd or not wanted:
        raise InputError(
            "an audit looks at numbers, dates and ids, each in a column of its own",
            table=audit.path,
            found=", ".join(odd) or "no column beside the key",
            expected="numbers, booleans, dates, instants or text",
            remedy="name the columns in audit.columns, or take arrays apart into columns",
        )
    found = []
    for place, name in enumerate(wanted):
        names = audit.names.get(name, "item_id" if isinstance(types[name], _TEXT) else None)
        kind: Kind = next((kind for kind, of in _KINDS.items() if isinstance(types[name], of)), "number")
        found.append(AuditedColumn(name, place, "id" if names else kind, names))
    return tuple(found)


def _values(table: DataFrame, audit: AuditConfig, columns: Sequence[AuditedColumn], config: RunConfig) -> DataFrame:
    selected = []
    for column in columns:
        value = column_of(column.name)
        if column.kind == "id":
            text = value.cast("string")
            selected.append(F.when(text.isNotNull(), F.xxhash64(text)).alias(f"id_{column.place}"))
        else:
            numbers = {"day": F.unix_date(value), "instant": F.unix_micros(value) / F.lit(1e6)}
            selected.append(numbers.get(column.kind, value).cast("double").alias(f"value_{column.place}"))
    types = {field.name: field.dataType for field in table.schema.fields}
    dated, made = F.lit(None).cast("date"), F.lit(None).cast("timestamp")
    if audit.date_column is not None:
        dated = column_of(audit.date_column)
        if isinstance(types[audit.date_column], T.TimestampType):
            dated = local_date(dated, config.time_zone)
        dated = dated.cast("date")
    if audit.made_column is not None:
        made = instant(column_of(audit.made_column), types[audit.made_column], "timestamp", config.time_zone)
    key = column_of(audit.key).cast("string").alias("key")
    return table.select(key, dated.alias("dated"), made.alias("made"), F.lit(True).alias("there"), *selected)


def _refuse_doubled(values: DataFrame, audit: AuditConfig, dated: bool) -> None:
    """A key that stands twice would be joined twice: the first error of a point-in-time join."""
    keys = ["key", "dated"] if dated else ["key"]
    doubled = values.groupBy(*keys).count().where("count > 1 OR key IS NULL").orderBy(*keys).limit(3).collect()
    if doubled:
        raise InputError(
            "a key of the audited table stands more than once, or is null: its impressions would be doubled",
            table=audit.path,
            found=", ".join(f"{tuple(row)[:-1]} {row['count']} times" for row in doubled),
            expected=f"one row for each {audit.key}" + (f" and {audit.date_column}" if dated else ""),
            remedy="keep one row a key" if dated else "keep one row a key, or give audit.date_column",
        )
