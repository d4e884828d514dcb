"""A table of somebody's own scores: opened, its columns found, its rows checked (method 1.7)."""

from __future__ import annotations

import datetime as dt
import difflib
import json
from typing import Any

from delta.tables import DeltaTable
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from lis_spark.errors import InputError
from lis_spark.sources.state import delta_state
from lis_spark.sources.table import open_table

CONTROL, LEAKED = "control", "leaked"
_FLOATS = (T.FloatType, T.DoubleType)


def read_scores(spark: SparkSession, table: str) -> tuple[DataFrame, int | None]:
    """A table of scores, a Delta folder, a Parquet file or folder, or a table of the catalog; the version of a Delta
    table, which is read throughout."""
    if "/" in table or table.endswith(".parquet"):
        data_format = "delta" if DeltaTable.isDeltaTable(spark, table) else "parquet"
    elif spark.catalog.tableExists(table):
        data_format = "table"
    else:
        raise InputError(
            "there is no such table of scores",
            table=table,
            expected="a path or catalog.schema.table",
            remedy="look at its spelling; a path has a / in it or ends in .parquet",
        )
    state = None if data_format == "parquet" else delta_state(spark, table, data_format)
    version = None if state is None else state[1]
    return open_table(spark, table, data_format, version), version


def check_columns(frame: DataFrame, table: str, columns: dict[str, str]) -> None:
    types = {field.name: field.dataType for field in frame.schema.fields}
    for role in (CONTROL, LEAKED, "user", "label"):
        name = columns[role]
        if name not in types:
            near = difflib.get_close_matches(name, types, 1)
            raise InputError(
                f"the column {name!r} ({role}) is missing",
                table=table,
                found=", ".join(types),
                remedy=f"say --{role}-column {near[0] if near else 'NAME'}",
            )
        if role in (CONTROL, LEAKED) and not isinstance(types[name], _FLOATS):
            raise InputError(
                f"the column {name!r} is not a logit",
                table=table,
                found=types[name].simpleString(),
                expected="float or double",
                remedy="give logits, not decimals, strings or ranks",
            )


def check_rows(rows: DataFrame, table: str, has_impression: bool, has_fold: bool, has_date: bool) -> None:
    checks = {
        "the arms cover different impressions: a score is null": F.col(CONTROL).isNull() | F.col(LEAKED).isNull(),
        "a score is NaN": F.isnan(CONTROL) | F.isnan(LEAKED),
        "a label is not 0 or 1": F.col("label").isNull() | ~F.col("label").isin(0, 1),
        "a user is null": F.col("user_id").isNull(),
        "a fold is not a whole number": F.lit(has_fold) & F.col("fold").isNull(),
        "an evaluated date is not a date": F.lit(has_date) & F.col("evaluated_date").isNull(),
    }
    counts = rows.agg(
        F.count(F.lit(1)).alias("rows"), *[F.count_if(bad).alias(name) for name, bad in checks.items()]
    ).first()
    assert counts is not None
    if counts["rows"] == 0:
        raise InputError("the table of scores is empty", table=table, remedy="score the impressions of a day first")
    for name, bad in checks.items():
        if counts[name]:
            sample = [_plain(row) for row in rows.where(bad).orderBy("impression_id").limit(3).collect()]
            raise InputError(
                f"{name} in {counts[name]:,} of {counts['rows']:,} rows",
                table=table,
                found=json.dumps(sample),
                expected="a number in both arms, a user and a label of 0 or 1 in every row",
                remedy="score these impressions in both arms, or leave them out of both",
            )
    if has_impression:
        doubled = rows.groupBy("impression_id").count().where("count > 1").limit(3).collect()
        if doubled:
            raise InputError(
                "an impression is scored more than once",
                table=table,
                found=", ".join(f"{row['impression_id']} ({row['count']} rows)" for row in doubled),
                expected="one row an impression",
                remedy="keep one row of each impression_id",
            )


def rankings_of(rows: DataFrame, table: str) -> list[tuple[dt.date | None, int]]:
    """(evaluated date, fold) of the rankings, each with both classes."""
    counted = rows.groupBy("evaluated_date", "fold").agg(
        F.count(F.lit(1)).alias("rows"), F.count_if(F.col("label") == 1).alias("positives")
    )
    found = counted.collect()
    for row in found:
        if row["positives"] in (0, row["rows"]):
            raise InputError(
                "a ranking has one class only, so it has no AUC",
                table=table,
                partition={"evaluated_date": str(row["evaluated_date"]), "fold": row["fold"]},
                found=f"{row['positives']:,} positives and {row['rows'] - row['positives']:,} negatives",
                expected="both classes on every evaluated date and in every fold",
                remedy="leave the date out, or use fewer folds",
            )
    return sorted(((row["evaluated_date"], row["fold"]) for row in found), key=str)


def _plain(row: Any) -> dict[str, str]:
    return {key: str(value) for key, value in row.asDict().items()}
