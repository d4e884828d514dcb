"""``lis-spark plan``: reads the evaluated days, and a finished run where there is one, and makes the plan of a run."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lis_spark.config import RunConfig, WorldSource
from lis_spark.errors import InputError
from lis_spark.folds import user_fold
from lis_spark.lake import Lake
from lis_spark.power.pilot import pilot_scores
from lis_spark.power.plan import PowerPlan, make_plan
from lis_spark.power.sizes import EvaluatedSizes, evaluated_sizes
from lis_spark.progress import described
from lis_spark.ranker.training_rows import rows_of_scenario
from lis_spark.sources.configured import read_source
from lis_spark.sources.days import Day
from lis_spark.sources.duplicates import unique_rows
from lis_spark.sources.source import context_names
from lis_spark.sources.validation import accepted_rows, judged


def plan_run(spark: SparkSession, config: RunConfig) -> PowerPlan:
    """The plan of the configured run; nothing is written.

    The evaluated days are read from the lake where its training rows have them, else from the source.

    Raises:
        InputError: an evaluated day has no impressions, or a simulated world has not been simulated yet.
    """
    counting = f"plan: users of {len(config.evaluation.dates)} evaluated days"
    with _impressions(spark, config) as (rows, days), described(spark, counting):
        sizes = planned_sizes(config, rows, days)
    with described(spark, "plan: what the scores of a finished run scatter by"):
        pilot = pilot_scores(Lake(spark, config, step="plan", measurement=True))
    return make_plan(config, sizes, days, pilot)


def planned_sizes(config: RunConfig, rows: DataFrame, days: Mapping[dt.date, Day]) -> EvaluatedSizes:
    """The sizes of the evaluated dates; of a single one with a second day, which tells how many users return.

    Args:
        config: dates and folds.
        rows: date, user_id, label (0 or 1) of accepted impressions.
        days: what each day holds.

    Raises:
        InputError: an evaluated day has no impressions.
    """
    dates = config.evaluation.dates
    present = sorted(date for date, day in days.items() if day.accepted)
    absent = [date for date in dates if date not in present]
    if absent:
        raise InputError(
            "an evaluated day has no impressions",
            table="impressions",
            partition=", ".join(map(str, absent[:5])),
            found=f"days from {present[0]} to {present[-1]}" if present else "no day",
            expected="impressions of both classes",
            remedy="choose evaluation.dates among the days of the data",
        )
    earlier = [date for date in present if date < dates[0]]
    read = [*dates, *(earlier[-1:] if len(dates) == 1 else [])]
    found = evaluated_sizes(rows.where(F.col("date").isin(read)).withColumn("fold", user_fold(config.evaluation.folds)))
    return found.of_date(dates[0]) if len(dates) == 1 else found


@contextmanager
def _impressions(spark: SparkSession, config: RunConfig) -> Iterator[tuple[DataFrame, dict[dt.date, Day]]]:
    """date, user_id and label of all accepted impressions, and what each day holds, while the block runs."""
    lake = Lake(spark, config, step="plan")
    label = F.col(f"label_{config.label}").alias("label")
    if lake.exists("training_rows"):
        rows = lake.read("training_rows")
        counts = {row["date"]: int(row["count"]) for row in rows.groupBy("date").count().collect()}
        if all(date in counts for date in config.evaluation.dates):
            yield rows.select("date", "user_id", label), _days(counts)
            return
    if isinstance(config.source, WorldSource):
        raise InputError(
            "a simulated world is planned from its impressions, and it has none yet",
            table="training_rows",
            partition=", ".join(map(str, config.evaluation.dates)),
            found="no training rows of these days",
            expected="the impressions of the world",
            remedy="run lis-spark simulate, vocabulary and training-rows first",
        )
    source = read_source(spark, config)
    candidates = judged(source.impressions, config, source.has_impression_id)
    with unique_rows(candidates, source.has_impression_id) as unique:
        accepted = accepted_rows(unique, config, context_names(config))
        with described(spark, "plan: one pass over the source"):
            found = scenario_impressions(accepted, config)
        yield found


def scenario_impressions(accepted: DataFrame, config: RunConfig) -> tuple[DataFrame, dict[dt.date, Day]]:
    """date, user_id and label of the accepted rows of the configured scenario, and what each day holds of it."""
    label = F.col(f"label_{config.label}").alias("label")
    counts = rows_of_scenario(accepted, config.scenario)
    return accepted.where(F.col("scenario") == config.scenario).select("date", "user_id", label), _days(counts)


def _days(counts: Mapping[dt.date, int]) -> dict[dt.date, Day]:
    return {date: Day(accepted=count) for date, count in counts.items()}
