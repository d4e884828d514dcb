"""``lis-spark measure --scores TABLE``: LIS with its interval and a verdict from logits of one's own ranker.

Two columns of logits, a user and a label are enough. Without a fold and an evaluated date nothing says whether the
leaked arm has seen the labels that it is scored on: the result is then called naive (method 1.7).
"""

from __future__ import annotations

import datetime as dt
import difflib
import json
from typing import Any

from delta.tables import DeltaTable
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from lis_spark.config import fingerprint
from lis_spark.errors import InputError
from lis_spark.lis.results.decision import verdict
from lis_spark.lis.results.rows import ResultRow
from lis_spark.metrics import compare, influence
from lis_spark.progress import described
from lis_spark.sources.state import delta_state
from lis_spark.sources.table import open_table

CONTROL, LEAKED = "control", "leaked"
NAIVE_NOTE = "naive: may contain the evaluated labels (give the columns fold and evaluated_date for an honest score)"
_GROUPS = ("evaluated_date", "fold", "stratum", "arm")
_FLOATS = (T.FloatType, T.DoubleType)


def measure_scores(
    spark: SparkSession, table: str, columns: dict[str, str], threshold: float = 0.0010
) -> list[ResultRow]:
    """Measures the LIS of a table of scores.

    Args:
        spark: session.
        table: a Delta or Parquet path (with a slash in it), or catalog.schema.table.
        columns: ``control``, ``leaked``, ``user``, ``label`` and, where the table has them, ``impression``, ``fold``
            and ``date`` -> column names. A default name that is not there is taken as absent for the last three.
        threshold: absolute AUC that counts.

    Returns:
        One row for each evaluated date (one row where there is none).

    Raises:
        InputError: a column is missing or of another type, a score is NaN or null (its row named), a label is not 0
            or 1, the arms cover different impressions, or a date has one class only.
    """
    frame, version = read_scores(spark, table)
    versions = {} if version is None else {table: version}
    _check_columns(frame, table, columns)
    has_fold, has_date = columns["fold"] in frame.columns, columns["date"] in frame.columns
    has_impression = columns["impression"] in frame.columns
    rows = frame.select(
        (F.col(columns["date"]).try_cast("date") if has_date else F.lit(None).cast("date")).alias("evaluated_date"),
        (F.col(columns["fold"]).try_cast("int") if has_fold else F.lit(-1)).alias("fold"),
        F.col(columns["user"]).cast("string").alias("user_id"),
        (
            F.col(columns["impression"]).cast("string")
            if has_impression
            else F.monotonically_increasing_id().cast("string")
        ).alias("impression_id"),
        F.col(columns["label"]).try_cast("double").alias("label"),
        F.col(columns["control"]).alias(CONTROL),
        F.col(columns["leaked"]).alias(LEAKED),
    )
    _check_rows(rows, table, has_impression, has_fold, has_date)
    rankings = _rankings(rows, table)
    dates = list(dict.fromkeys(date for date, _ in rankings))
    arms = F.explode(
        F.array(*[F.struct(F.lit(arm).alias("arm"), F.col(arm).alias("logit")) for arm in (CONTROL, LEAKED)])
    )
    scores = rows.select(
        "evaluated_date",
        "fold",
        F.lit("all").alias("stratum"),
        "user_id",
        "impression_id",
        "label",
        arms.alias("scored"),
    ).select("evaluated_date", "fold", "stratum", "user_id", "impression_id", "label", "scored.*")
    with described(spark, f"LIS of {table}"):
        per_user = influence(scores, _GROUPS, table=table)
        pairs = [
            {
                "comparison_id": str(date),
                "evaluated_date": date,
                "fold": fold,
                "stratum": "all",
                "control_arm": CONTROL,
                "leaked_arm": LEAKED,
            }
            for date, fold in rankings
        ]
        comparisons = {comparison.comparison_id: comparison for comparison in compare(per_user, pairs, table)}
        per_user.unpersist()
    results = []
    honest = has_fold and has_date
    for date in dates:
        row = ResultRow(
            measurement_id=fingerprint("scores", versions or table, columns, date),
            run_name="own_scores",
            scenario="default",
            protocol="scores",
            leak="user_scores",
            variant="honest" if honest else "naive",
            slot=None,
            swap_scope=None,
            label=columns["label"],
            evaluated_date=date,
            horizon_days=None,
            stratum="all",
            seed="",
            config_fingerprint=fingerprint(columns, threshold),
            created_ts=dt.datetime.now(dt.UTC),
            table_versions=json.dumps(versions),
            note="as its fold and evaluated_date columns say, held out by fold" if honest else NAIVE_NOTE,
        )
        row.take(comparisons[str(date)])
        results.append(row)
    by_date = [row.lis for row in results if row.lis is not None]
    for row in results:
        assert row.lis is not None and row.ci_low is not None and row.ci_high is not None
        judged = verdict(row.lis, row.ci_low, row.ci_high, by_date, threshold)
        row.verdict = judged if honest else f"{judged} (naive)"
    return results


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


def _check_columns(frame: DataFrame, table: str, columns: dict[str, str]) -> None:
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


def _check_rows(rows: DataFrame, table: str, has_impression: bool, has_fold: bool, has_date: bool) -> None:
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


def _rankings(rows: DataFrame, table: str) -> list[tuple[dt.date | None, int]]:
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
