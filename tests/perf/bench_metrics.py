"""Seconds of influence and comparisons for N score rows, beside a naive Spark SQL version with one window a ranking.

    python tests/perf/bench_metrics.py 4000000 --groups 75 --naive

The naive version counts the same integers and must give the same ones; the ratio of the two, paired run by run, is the
figure to watch, because it depends less on the machine than seconds do.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("PYSPARK_PYTHON", sys.executable)

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lis_spark.metrics import compare, influence
from lis_spark.session import get_session

GROUPS = ("evaluated_date", "arm", "fold", "stratum")

NAIVE = """
WITH ranked AS (
  SELECT *, 1 - label AS negative,
    sum(1 - label) OVER below AS negatives_to, sum(1 - label) OVER tied AS negatives_tied,
    sum(label) OVER above AS positives_from, sum(label) OVER tied AS positives_tied,
    sum(1 - label) OVER own_below AS own_negatives_to, sum(1 - label) OVER own_tied AS own_negatives_tied
  FROM scores
  WINDOW below AS (PARTITION BY {groups} ORDER BY logit), above AS (PARTITION BY {groups} ORDER BY logit DESC),
    tied AS (PARTITION BY {groups}, logit), own_below AS (PARTITION BY {groups}, user_id ORDER BY logit),
    own_tied AS (PARTITION BY {groups}, user_id, logit)
)
SELECT {groups}, user_id, sum(label) AS positives, sum(negative) AS negatives,
  sum(label * (2 * negatives_to - negatives_tied)) AS u2_positives,
  sum(negative * (2 * positives_from - positives_tied)) AS u2_negatives,
  sum(label * (2 * own_negatives_to - own_negatives_tied)) AS u2_within_user,
  sum(ln(1 + exp(if(label = 1, -logit, logit)))) AS log_loss, sum(1 / (1 + exp(-logit))) AS probability
FROM ranked GROUP BY {groups}, user_id
"""


def random_scores(spark: SparkSession, rows: int, groups: int, users: int) -> DataFrame:
    """The same impressions scored by one arm a group; logits on a grid, so that many are tied."""
    impressions = rows // groups
    base = spark.range(impressions, numPartitions=4).select(
        F.concat(F.lit("impression-"), "id").alias("impression_id"),
        F.concat(F.lit("user-"), (F.pow(F.rand(1), 2) * users).cast("int")).alias("user_id"),
        (F.rand(2) < 0.2).cast("tinyint").alias("label"),
        F.randn(3).alias("base"),
    )
    arms = spark.range(groups).select(F.format_string("swap|naive|%d|both|-1", "id").alias("arm"))
    logit = F.round(F.col("base") + F.col("label") * 0.5 + F.randn(4) * 0.3, 4).cast("float")
    return base.crossJoin(arms).select(
        F.lit("2022-05-01").cast("date").alias("evaluated_date"),
        "arm",
        F.lit(-1).alias("fold"),
        F.lit("all").alias("stratum"),
        "user_id",
        "impression_id",
        "label",
        logit.alias("logit"),
    )


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds and the result."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def checksum(frame: DataFrame) -> tuple[int, ...]:
    """Sums by which two influence tables are told apart."""
    names = ("positives", "negatives", "u2_positives", "u2_negatives", "u2_within_user")
    mixed = F.pmod(F.xxhash64(*GROUPS, "user_id", *[F.col(name).cast("bigint") for name in names]), F.lit(2**31))
    row = frame.agg(F.count(F.lit(1)), *[F.sum(name) for name in names], F.sum(mixed)).first()
    assert row is not None
    return tuple(int(value) for value in row)


def main() -> None:
    """Prints one line a run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=int, nargs="+")
    parser.add_argument("--groups", type=int, default=75)
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--rows-per-partition", type=int, default=1_000_000)
    parser.add_argument("--naive", action="store_true", help="run the naive version beside it")
    options = parser.parse_args()
    spark = get_session({"spark.ui.enabled": "false"}, app_name="bench_metrics")
    for rows in options.rows:
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "scores.parquet")
            random_scores(spark, rows, options.groups, options.users).write.parquet(path)
            for run in range(options.runs):
                print(f"rows {rows:,} groups {options.groups} run {run}: {one_run(spark, path, options)}", flush=True)


def one_run(spark: Any, path: str, options: argparse.Namespace) -> str:
    """Seconds of each part, on scores that lie in ``path``."""
    scores = spark.read.parquet(path)
    seconds, per_user = timed(lambda: influence(scores, GROUPS, options.rows_per_partition))
    line = f"influence {seconds:.1f} s"
    if options.groups > 1:
        line += f", compare {timed(lambda: compare(per_user, pairs_of(options.groups)))[0]:.1f} s"
    if options.naive:
        scores.createOrReplaceTempView("scores")
        naive = spark.sql(NAIVE.format(groups=", ".join(GROUPS)))
        naive_seconds, expected = timed(lambda: checksum(naive))
        if checksum(per_user) != expected:
            raise SystemExit("the naive version counts other integers")
        line += f", naive {naive_seconds:.1f} s, naive / influence {naive_seconds / seconds:.2f}"
    per_user.unpersist(blocking=True)
    return line


def pairs_of(groups: int) -> list[dict[str, Any]]:
    """Every arm against the first."""
    cell = {"evaluated_date": "2022-05-01", "fold": -1, "stratum": "all", "control_arm": "swap|naive|0|both|-1"}
    arms = [f"swap|naive|{number}|both|-1" for number in range(1, groups)]
    return [{**cell, "comparison_id": arm, "leaked_arm": arm} for arm in arms]


if __name__ == "__main__":
    main()
