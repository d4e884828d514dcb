"""``lis-spark measure --scores TABLE``: LIS with its interval and a verdict from logits of one's own ranker.

Two columns of logits, a user and a label are enough. Without a fold and an evaluated date nothing says whether the
leaked arm has seen the labels that it is scored on: the result is then called naive (method 1.7).
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Sequence

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from lis_spark.config import fingerprint
from lis_spark.config.leaks import HONEST, NAIVE
from lis_spark.lis.plan.comparisons import SPLIT_COMPARISONS
from lis_spark.lis.plan.strata import ALL, SEVERAL_ROWS
from lis_spark.lis.results.estimates import fill_row, fill_several_rows
from lis_spark.lis.results.measure import add_simultaneous, comparisons_of
from lis_spark.lis.results.pools import Pool
from lis_spark.lis.results.result_row import ResultRow
from lis_spark.lis.results.rows import ResultSet
from lis_spark.lis.results.scores_table import CONTROL, LEAKED, check_columns, check_rows, rankings_of, read_scores
from lis_spark.metrics import influence, part_arm, split_scores
from lis_spark.progress import described

NAIVE_NOTE = "naive: may contain the evaluated labels (give the columns fold and evaluated_date for an honest score)"
_GROUPS = ("evaluated_date", "fold", "stratum", "arm")
_PLACE, _ROW = ("evaluated_date", "fold"), ("user_id", "impression_id", "label")
_ALL_DATES = "all dates"


def measure_scores(
    spark: SparkSession, table: str, columns: dict[str, str], threshold: float = 0.0010
) -> list[ResultRow]:
    """Measures the LIS of a table of scores.

    Args:
        spark: session.
        table: a Delta or Parquet path (with a slash in it), or catalog.schema.table.
        columns: ``control``, ``leaked``, ``user``, ``label`` and, where the table has them, ``impression``, ``fold``,
            ``date`` and ``request`` -> column names. A name that is not there is taken as absent for the last four.
        threshold: absolute AUC that counts.

    Returns:
        One row for each evaluated date (one row where there is none), and one for all dates together.

    Raises:
        InputError: a column is missing or of another type, a score is NaN or null (its row named), a label is not 0
            or 1, the arms cover different impressions, or a date has one class only.
    """
    frame, version = read_scores(spark, table)
    versions = {} if version is None else {table: version}
    check_columns(frame, table, columns)
    has_fold, has_date = columns["fold"] in frame.columns, columns["date"] in frame.columns
    has_impression, has_request = (columns[role] in frame.columns for role in ("impression", "request"))
    rows = frame.select(
        (F.col(columns["date"]).try_cast("date") if has_date else F.lit(None).cast("date")).alias("evaluated_date"),
        (F.col(columns["fold"]).try_cast("int") if has_fold else F.lit(-1)).alias("fold"),
        F.col(columns["user"]).cast("string").alias("user_id"),
        (
            F.col(columns["impression"]).cast("string")
            if has_impression
            else F.monotonically_increasing_id().cast("string")
        ).alias("impression_id"),
        *([_request(columns)] if has_request else []),
        F.col(columns["label"]).try_cast("double").alias("label"),
        F.col(columns["control"]).alias(CONTROL),
        F.col(columns["leaked"]).alias(LEAKED),
    )
    check_rows(rows, table, has_impression, has_fold, has_date)
    rankings = rankings_of(rows, table)
    with described(spark, f"LIS of {table}"):
        per_user = influence(_scores(rows), _GROUPS, table=table)
        try:
            return _measured(per_user, rankings, columns, versions or table, threshold, has_fold and has_date)
        finally:
            per_user.unpersist()


def _request(columns: dict[str, str]) -> Column:
    """The request of a row as a number; null where it has none."""
    number = F.xxhash64(columns["user"], columns["request"])
    return F.when(F.col(columns["request"]).isNotNull(), number).alias("request")


def _scores(rows: DataFrame) -> DataFrame:
    """Both arms over all impressions, and the parts of the change of logits over users with several of them."""
    arms = F.explode(
        F.array(*[F.struct(F.lit(arm).alias("arm"), F.col(arm).alias("logit")) for arm in (CONTROL, LEAKED)])
    )
    whole = rows.select(*_PLACE, F.lit(ALL).alias("stratum"), *_ROW, arms.alias("scored"))
    paired = rows.withColumns(
        {
            "control_arm": F.lit(CONTROL),
            "leaked_arm": F.lit(LEAKED),
            "emits_control": F.lit(True),
            "emits_leaked": F.lit(True),
        }
    )
    no_request = F.lit(None).cast("bigint").alias("request")
    knows_requests = "request" in rows.columns
    paired = paired if knows_requests else paired.select("*", no_request)
    parts = split_scores(paired, _PLACE).withColumn("stratum", F.lit(SEVERAL_ROWS))
    logit = F.col("scored.logit").cast("double").alias("logit")
    # the order within requests is counted where parts are told apart: a request of one row has no order
    both = whole.select(*_PLACE, "stratum", *_ROW, "scored.arm", logit, no_request).unionByName(parts)
    return both if knows_requests else both.drop("request")


def _measured(
    per_user: DataFrame,
    rankings: Sequence[tuple[dt.date | None, int]],
    columns: dict[str, str],
    version: object,
    threshold: float,
    is_honest: bool,
) -> list[ResultRow]:
    """A row for each date, and one for all of them together where there are several."""
    dates = list(dict.fromkeys(date for date, _ in rankings))
    pools = {Pool(str(date)): date for date in dates}
    if len(dates) > 1:
        pools[Pool(_ALL_DATES, dates=len(dates))] = None
    pairs = [pair for pool, date in pools.items() for pair in _pairs(pool, date, rankings)]
    present = {
        (row["evaluated_date"], row["fold"])
        for row in per_user.where((F.col("arm") == CONTROL) & (F.col("stratum") == SEVERAL_ROWS))
        .groupBy("evaluated_date", "fold")
        .agg(F.sum("positives").alias("p"), F.sum("negatives").alias("n"))
        .where("p > 0 AND n > 0")
        .collect()
    }
    possible = [pair for pair in pairs if pair["stratum"] == ALL or (pair["evaluated_date"], pair["fold"]) in present]
    found = comparisons_of(per_user, possible)
    results = ResultSet()
    for pool, date in pools.items():
        row = _row(columns, version, threshold, date, is_honest)
        fill_row(row, pool, found)
        fill_several_rows(row, pool, found.comparisons)
        results.rows.append(row)
        results.pools.append(pool)
    families = [
        [
            place
            for place, (row, pool) in enumerate(zip(results.rows, results.pools, strict=True))
            if (pool.dates > 1) == several and row.standard_error is not None
        ]
        for several in (False, True)
    ]
    add_simultaneous(results, [places for places in families if places], per_user, found)
    for row in results.rows:
        results.decide(row, threshold)
        row.verdict = row.verdict if is_honest else f"{row.verdict} (naive)"
    return results.rows


def _pairs(
    pool: Pool, date: dt.date | None, rankings: Sequence[tuple[dt.date | None, int]]
) -> Iterator[dict[str, object]]:
    for day, fold in rankings:
        if pool.dates == 1 and day != date:
            continue
        cell = {"evaluated_date": day, "fold": fold, "control_arm": CONTROL}
        yield {"comparison_id": pool.name, **cell, "stratum": ALL, "leaked_arm": LEAKED}
        for part in SPLIT_COMPARISONS:
            arm = LEAKED if part == SEVERAL_ROWS else part_arm(part, LEAKED, CONTROL)
            yield {"comparison_id": pool.part(part).name, **cell, "stratum": SEVERAL_ROWS, "leaked_arm": arm}


def _row(
    columns: dict[str, str], version: object, threshold: float, date: dt.date | None, is_honest: bool
) -> ResultRow:
    return ResultRow(
        measurement_id=fingerprint("scores", version, columns, date),
        run_name="own_scores",
        scenario="default",
        protocol="scores",
        leak="user_scores",
        variant=HONEST if is_honest else NAIVE,
        slot=None,
        swap_scope=None,
        label=columns["label"],
        evaluated_date=date,
        horizon_days=None,
        stratum=ALL,
        seed="",
        config_fingerprint=fingerprint(columns, threshold),
        created_ts=dt.datetime.now(dt.UTC),
        table_versions=json.dumps(version if isinstance(version, dict) else {}),
        note="as its fold and evaluated_date columns say, held out by fold" if is_honest else NAIVE_NOTE,
    )
