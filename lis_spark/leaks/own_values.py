"""A leak of one's own: its rows as of a day, checked, packed and joined to impressions (method 1.2, 1.3, 1.8)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from typing import Literal

import pyarrow as pa
from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F
from pyspark.sql import types as T

from lis_spark.config.query import KEY_COLUMNS, Key
from lis_spark.errors import InputError
from lis_spark.folds import NO_FOLD
from lis_spark.leaks.encoding import encoder

_USES_DDL = "use int, variant string, horizon_days int, as_of date, held_out_fold int, served string"
_KEPT = pa.schema([("use", pa.int32()), ("key", pa.string())])
# Keys that the edges of the bins are taken from: those of smallest hash, so that they are the same in every run.
EDGE_SAMPLE = 200_000
ID_COLUMN = {key: column for column, key in KEY_COLUMNS.items()}


@dataclass(frozen=True)
class ValueUse:
    """Rows as of one day, without one fold of users, and the impressions that they are joined to."""

    variant: str
    horizon_days: int
    as_of: dt.date
    held_out_fold: int = NO_FOLD
    served: Literal["all", "own"] = "all"


@contextmanager
def own_value_rows(
    impressions: DataFrame,
    values: Callable[[ValueUse], DataFrame],
    uses: Sequence[ValueUse],
    key: Key,
    bins: int,
    name: str,
) -> Iterator[DataFrame]:
    """Impressions joined to one's own numbers: one row for each impression and use. Inside the block only.

    Args:
        impressions: impression_id, user_id, item_id, row, fold, date.
        values: use -> its rows: the id column of ``key`` and columns of numbers or arrays of numbers, every time the
            same.
        uses: which.
        key: what a row belongs to.
        bins: of a single number.
        name: of the leak, for messages.

    Yields:
        DataFrame: impression_id, item_id, row, fold, date, variant, horizon_days, as_of, held_out_fold, vector (packed;
            null where there is no row).

    Raises:
        InputError: a key is null or stands twice, a column holds no numbers, or arrays differ in length.
    """
    spark = impressions.sparkSession
    frames = [values(use) for use in uses]
    columns = _check_types(frames[0].schema, ID_COLUMN[key], name)
    arrays = [column for column in columns if isinstance(frames[0].schema[column].dataType, T.ArrayType)]
    numbers = [F.col(c).cast("array<float>" if c in arrays else "double").alias(c) for c in columns]
    tagged = [
        frame.select(F.lit(number).alias("use"), F.col(ID_COLUMN[key]).cast("string").alias("key"), *numbers)
        for number, frame in enumerate(frames)
    ]
    rows = reduce(DataFrame.unionByName, tagged).persist()
    try:
        singles = [column for column in columns if column not in arrays]
        lengths = _checked(rows, uses, arrays, name)
        edges = _edges(rows, len(uses), singles, bins)
        schema = "use int, key string, vector binary"
        packed = rows.select("use", "key", *columns).mapInArrow(encoder(columns, edges, lengths, _KEPT), schema)
        listed = [(number, *vars(use).values()) for number, use in enumerate(uses)]
        wanted = F.broadcast(spark.createDataFrame(listed, _USES_DDL))
        served = (F.col("served") == "all") | (F.col("fold") == F.col("held_out_fold"))
        asked = impressions.withColumn("key", F.col(ID_COLUMN[key])).join(wanted, served)
        kept = ("impression_id", "item_id", "row", "fold", "date", "variant", "horizon_days", "as_of", "held_out_fold")
        yield asked.join(packed, ["use", "key"], "left").select(*kept, "vector")
    finally:
        rows.unpersist()


def _check_types(schema: T.StructType, id_column: str, name: str) -> list[str]:
    """The columns of values, in order."""
    wrong = [
        f"{field.name} {field.dataType.simpleString()}"
        for field in schema.fields
        if field.name != id_column and not _is_number(getattr(field.dataType, "elementType", field.dataType))
    ]
    if wrong or len(schema.fields) < 2 or id_column not in schema.names:
        raise InputError(
            "a leak needs an id and columns of numbers, or of arrays of numbers",
            table=name,
            found=", ".join(wrong) or ", ".join(schema.names),
            expected=f"{id_column}, then numbers",
            remedy="cast the columns, or make numbers of them (one for each category)",
        )
    return [field.name for field in schema.fields if field.name != id_column]


def _is_number(data_type: T.DataType) -> bool:
    return isinstance(data_type, T.NumericType | T.BooleanType)


def _checked(rows: DataFrame, uses: Sequence[ValueUse], arrays: Sequence[str], name: str) -> dict[str, int]:
    """Lengths of the arrays, after a look at keys and lengths in one pass."""
    sizes = [F.min(F.array_size(column)).alias(f"min_{column}") for column in arrays]
    sizes += [F.max(F.array_size(column)).alias(f"max_{column}") for column in arrays]
    # one row a key first: Spark counts distinct values in the same way, and cannot say which stands twice
    keys = rows.groupBy("use", "key").agg(F.count(F.lit(1)).alias("times"), *sizes)
    twice = F.when(F.col("times") > 1, F.col("key"))
    looked_at = [F.min(f"min_{column}").alias(f"min_{column}") for column in arrays]
    looked_at += [F.max(f"max_{column}").alias(f"max_{column}") for column in arrays]
    found = {
        row["use"]: row
        for row in keys.groupBy("use")
        .agg(F.count_if(F.col("key").isNull()).alias("nulls"), F.min(twice).alias("twice"), *looked_at)
        .collect()
    }
    for number, use in enumerate(uses):
        row = found.get(number)
        broken = None
        if row is None:
            broken = "no row"
        elif row["nulls"] or row["twice"] is not None:
            broken = "a null key" if row["nulls"] else f"the key {row['twice']} more than once"
        if broken is not None:
            raise InputError(
                "a leak needs one row for each key",
                table=name,
                partition=f"as of {use.as_of}, n = {use.horizon_days}, fold {use.held_out_fold} left out",
                found=broken,
                expected="each key once",
                remedy="group by the key, or look at the dates that are asked for",
            )
    return {column: _one_length(found.values(), column, name) for column in arrays}


def _one_length(rows: Iterable[Row], column: str, name: str) -> int:
    lengths = {row[f"{end}_{column}"] for row in rows for end in ("min", "max")} - {None, -1}
    if len(lengths) != 1 or 0 in lengths:
        raise InputError(
            f"arrays in {column} differ in length, or are empty",
            table=name,
            found=f"{min(lengths, default=0)} to {max(lengths, default=0)} numbers",
            expected="arrays of one length in every row",
            remedy="pad them to one length, or take the column out",
        )
    return int(lengths.pop())


def _edges(rows: DataFrame, uses: int, columns: Sequence[str], bins: int) -> dict[int, dict[str, list[float]]]:
    """use -> column -> quantiles of its values: exact, on a sample that only the keys decide."""
    by_use: dict[int, dict[str, list[float]]] = {use: {} for use in range(uses)}
    if not columns:
        return by_use
    share = [number / bins for number in range(bins + 1)]
    counts = F.broadcast(rows.groupBy("use").agg(F.count(F.lit(1)).alias("keys")))
    drawn = F.pmod(F.xxhash64(F.lit("bins"), "key"), F.lit(1_000_000)) * F.col("keys") < 1_000_000 * EDGE_SAMPLE
    sampled = rows.join(counts, "use").where(drawn)
    finite = [F.when(~F.isnan(c) & (F.abs(c) < float("inf")), F.col(c)).alias(c) for c in columns]
    levels = F.array(*[F.lit(level) for level in share])
    found = sampled.select("use", *finite).groupBy("use").agg(*[F.percentile(c, levels).alias(c) for c in columns])
    for row in found.collect():
        for column in columns:
            by_use[row["use"]][column] = list(row[column] or [0.0] * (bins + 1))
    return by_use
