"""Seconds of a read-out of user-days beside DuckDB, which computes the same moments of the same files.

    python -m tests.perf.bench_read_out --rows 100000000

Both read the Parquet files of one Delta table, join them to the assignments, sum every user's outcomes before and after
entry, and give sums and sums of products by arm, and the same of each day. The sums must be the same integers.
"""

from __future__ import annotations

import argparse
import datetime as dt
import glob
import os
import time
from pathlib import Path

import duckdb
from pyspark.sql import SparkSession

from lis_spark.config import ExperimentConfig
from lis_spark.experiment.assigned import read_assigned
from lis_spark.experiment.user_days import ArmSums, sum_outcomes, user_columns
from lis_spark.session import get_session

START, DAYS, COVARIATE_DAYS = dt.date(2026, 3, 1), 30, 14
METRICS = [
    {"name": "time", "column": "time_spent_ms"},
    {"name": "reads", "column": "reads"},
    {"name": "engagements", "column": "engagements"},
    {"name": "lt30", "kind": "days_active", "column": "impressions", "days": 30},
]


def make(spark: SparkSession, folder: Path, rows: int) -> None:
    """A Delta table of user-days, a partition a day, and assignments of all users to two arms."""
    days = DAYS + COVARIATE_DAYS
    users = rows // days
    if (folder / "user_days" / "_delta_log").exists():
        return
    spark.sql(
        f"SELECT concat('user-', id) AS user_id, IF(id % 2 = 0, 'control', 'treatment') AS arm FROM range({users})"
    ).write.format("delta").save(str(folder / "assignments"))
    spark.sql(
        f"""
        SELECT concat('user-', id % {users}) AS user_id,
          date_add(DATE'{START - dt.timedelta(days=COVARIATE_DAYS)}', int(id div {users})) AS date,
          pmod(xxhash64(id, 1), 40) AS impressions, pmod(xxhash64(id, 2), 12) AS reads,
          pmod(xxhash64(id, 3), 3) AS engagements, pmod(xxhash64(id, 4), 3600000) AS time_spent_ms
        FROM range({users * days})
        """
    ).write.format("delta").partitionBy("date").save(str(folder / "user_days"))


def _products(values: list[str]) -> list[str]:
    return [f"sum(({left})::HUGEINT * {right})" for i, left in enumerate(values) for right in values[i:]]


def by_duckdb(folder: Path, experiment: ExperimentConfig) -> tuple[list[tuple], list[tuple]]:
    """(sums and products by arm, sums by arm and day) as integers."""
    files = glob.glob(f"{folder}/user_days/date=*/*.parquet")
    users = glob.glob(f"{folder}/assignments/*.parquet")
    connection = duckdb.connect()
    connection.execute(f"SET threads = {len(os.sched_getaffinity(0))}")  # as many as Spark has
    # 100 million joined rows want 17 GB otherwise, beside Spark's own; what does not fit is spilled, as Spark's is
    connection.execute(f"SET memory_limit = '8GB'; SET temp_directory = '{folder}/duckdb'")
    after, before = f"date >= DATE '{START}'", f"date < DATE '{START}'"
    columns = ("time_spent_ms", "reads", "engagements")
    windows = (("", after), ("_before", before))
    sums = [f"coalesce(sum({c}) FILTER ({when}), 0) AS {c}{suffix}" for suffix, when in windows for c in columns]
    active = "count(DISTINCT date) FILTER (%s AND impressions > 0) AS lt30%s"
    totals = ", ".join([*sums, *[active % (when, suffix) for suffix, when in windows]])
    names = [name.replace(" ", "_") for name in user_columns(experiment)]
    pairs = _products(names)
    values = [*columns, "(impressions > 0)::BIGINT"]  # of a day
    daily, daily_pairs = [f"sum({value})" for value in values], _products(values)
    connection.execute(
        f"CREATE TEMP TABLE joined AS SELECT a.arm, d.user_id, d.date, impressions, {', '.join(columns)} "
        f"FROM read_parquet({files}, hive_partitioning = true) d JOIN read_parquet({users}) a USING (user_id)"
    )
    of_users = connection.execute(
        f"SELECT arm, {', '.join(f'sum({name})' for name in names)}, {', '.join(pairs)} "
        f"FROM (SELECT arm, user_id, {totals} FROM joined GROUP BY arm, user_id) GROUP BY arm ORDER BY arm"
    ).fetchall()
    of_days = connection.execute(
        f"SELECT arm, date, {', '.join([*daily, *daily_pairs])} FROM joined "
        f"WHERE {after} GROUP BY arm, date ORDER BY arm, date"
    ).fetchall()
    connection.close()
    return of_users, of_days


def check(found: ArmSums, of_users: list[tuple], of_days: list[tuple]) -> None:
    """Raises where one integer differs."""
    theirs = [(found.of_users[arm], values) for arm, *values in of_users]
    theirs += [(found.of_days[arm, date], values) for arm, date, *values in of_days]
    assert len(theirs) == len(found.of_users) + len(found.of_days)
    for own, values in theirs:
        size = len(own.columns)
        products = [own.products[i][j] for i in range(size) for j in range(i, size)]
        assert [*own.sums, *products] == [int(value) for value in values], own.columns


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000_000)
    parser.add_argument("--folder", type=Path, default=Path("build/bench_read_out"))
    parser.add_argument("--partitions", type=int, default=32, help="of the shuffle")
    options = parser.parse_args()
    folder = options.folder / str(options.rows)
    spark = get_session({"spark.sql.shuffle.partitions": str(options.partitions), "spark.ui.enabled": "false"})
    make(spark, folder, options.rows)
    experiment = ExperimentConfig.model_validate(
        {
            "name": "bench",
            "start_date": START,
            "end_date": START + dt.timedelta(days=DAYS - 1),
            "shares": {"control": 0.5, "treatment": 0.5},
            "assignments": {"path": str(folder / "assignments")},
            "outcomes": {"path": str(folder / "user_days")},
            "covariate_days": COVARIATE_DAYS,
            "metrics": METRICS,
        }
    )
    assert experiment.assignments is not None and experiment.outcomes is not None
    for _ in range(2):
        begun = time.monotonic()
        found = sum_outcomes(
            spark, experiment, read_assigned(spark, experiment, experiment.assignments), experiment.outcomes
        )
        ours = time.monotonic() - begun
        begun = time.monotonic()
        theirs = by_duckdb(folder.resolve(), experiment)
        seconds = time.monotonic() - begun
        check(found, *theirs)
        print(
            f"{options.rows:,} user-days: {ours:.0f} s, DuckDB {seconds:.0f} s, ratio {ours / seconds:.1f}", flush=True
        )


if __name__ == "__main__":
    main()
