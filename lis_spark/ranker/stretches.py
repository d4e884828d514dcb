"""A day as several sorted files of about equal size, cut at whole minutes: the same data gives the same files.

petastorm hands whole row groups to ranks, so a day needs several; a sampled range partitioning would cut elsewhere in
every run. So minutes are counted, stretches are chosen from the counts, and each stretch is one task and one file.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import dataclass

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lis_spark.config import RunConfig

LARGEST_FILE_ROWS = 4_000_000


@dataclass(frozen=True)
class Stretches:
    """How days are cut.

    Args:
        counts: rows of each day.
        starts: first minute (since the epoch) of each stretch of a day, ascending.
    """

    counts: dict[dt.date, int]
    starts: dict[dt.date, list[int]]

    @property
    def total(self) -> int:
        """Number of stretches, which is the number of files."""
        return sum(len(starts) for starts in self.starts.values())


def cut_days(impressions: DataFrame, config: RunConfig, dates: Sequence[dt.date]) -> Stretches:
    """Counts the minutes of the given days (at most 1,500 a day reach the driver) and cuts each day."""
    chosen = impressions.where(F.col("date").isin(list(dates)))
    counted = chosen.groupBy("date", _minute().alias("minute")).count().collect()
    minutes: dict[dt.date, list[tuple[int, int]]] = {}
    for row in counted:
        minutes.setdefault(row["date"], []).append((row["minute"], row["count"]))
    counts = {day: sum(count for _, count in found) for day, found in minutes.items()}
    starts = {}
    for day, found in sorted(minutes.items()):
        pieces = max(config.ranker.row_groups_per_day, math.ceil(counts[day] / LARGEST_FILE_ROWS))
        starts[day] = cut(sorted(found), pieces)
    return Stretches(counts, starts)


def cut(minutes: Sequence[tuple[int, int]], pieces: int) -> list[int]:
    """First minutes of at most ``pieces`` stretches of about equal size.

    Args:
        minutes: (minute, rows), ascending.
        pieces: how many stretches are wanted; fewer where there are fewer minutes.
    """
    total = sum(rows for _, rows in minutes)
    starts: list[int] = []
    before = 0
    for place, (minute, rows) in enumerate(minutes):
        left = len(minutes) - place
        # A stretch begins once its share of the rows has gone by, and in any case when only as many minutes are left.
        if len(starts) < pieces and (before * pieces >= len(starts) * total or left <= pieces - len(starts)):
            starts.append(minute)
        before += rows
    return starts


def in_stretches(frame: DataFrame, stretches: Stretches) -> DataFrame:
    """The rows in one partition a stretch, sorted by (request_ts, impression_id)."""
    spark = frame.sparkSession
    addresses = _addresses(spark, stretches.total)
    rows, first = [], 0
    for day, starts in stretches.starts.items():
        rows.append((day, starts, addresses[first : first + len(starts)]))
        first += len(starts)
    schema = "date DATE, starts ARRAY<BIGINT>, addresses ARRAY<INT>"
    cuts = F.broadcast(spark.createDataFrame(rows, schema))
    stretch = F.size(F.filter("starts", lambda start: start <= _minute()))
    return (
        frame.join(cuts, "date", "left")
        .withColumn("address", F.element_at("addresses", stretch))
        .repartition(stretches.total, "address")
        .sortWithinPartitions("date", "request_ts", "impression_id")
        .select(*frame.columns)
    )


def _minute() -> F.Column:
    return F.floor(F.unix_seconds("request_ts") / 60)


def _addresses(spark: SparkSession, partitions: int) -> list[int]:
    """For each partition a number that Spark's hash partitioning sends there: one stretch is then one task."""
    tried = 16 * partitions
    while True:
        numbers = spark.range(tried).select(F.col("id").cast("int").alias("number"))
        partition = F.pmod(F.hash("number"), F.lit(partitions)).alias("partition")
        found = numbers.groupBy(partition).agg(F.min("number").alias("number")).collect()
        if len(found) == partitions:
            return [row["number"] for row in sorted(found, key=lambda row: row["partition"])]
        tried *= 2
