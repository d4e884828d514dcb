"""User-days of outcomes -> exact sums over the users of each arm, before and after their entry, in one Spark pass.

Outcomes are shuffled by user once. From there two small aggregations read the same shuffle: totals of each user, whose
sums and products all statistics are made of, and the sums of each day for the effect by day. Users without a row are
in no frame: they count as zeros because the numbers of users come from the assignments.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from lis_spark.config import DaysActiveMetric, ExperimentConfig
from lis_spark.config.experiment import MOST_DAYS_ACTIVE, OutcomeTable
from lis_spark.errors import InputError
from lis_spark.experiment.assigned import SAMPLE_ROWS, Assigned
from lis_spark.experiment.exact_sums import GroupSums, added, partial_sums
from lis_spark.experiment.moments import Sums
from lis_spark.sources.columns import DAY, ID, check_columns, column_of, identifier
from lis_spark.sources.table import open_table

BEFORE = " before"
# Of a fraction where experiment.units says nothing: a millionth.
_UNITS_OF_FRACTIONS = 1_000_000
# Above it a double no longer holds every integer, and sums of a user could leave 64 bits.
_LARGEST = 2**53
_WHOLE_NUMBERS = (T.ByteType, T.ShortType, T.IntegerType, T.LongType)
_NUMBERS = (*_WHOLE_NUMBERS, T.FloatType, T.DoubleType, T.DecimalType, T.StringType)  # a CSV has text alone
# Groups of the one collected frame: an arm's users, then its days, numbered from the first.
_DAYS_OF_ARM = 100_000
_UNUSABLE = -1


@dataclass(frozen=True)
class ArmSums:
    """``of_users``: arm -> sums of users' totals. ``of_days``: (arm, day) -> sums of users' outcomes of that day."""

    of_users: Mapping[str, Sums]
    of_days: Mapping[tuple[str, dt.date], Sums]


def sum_outcomes(spark: SparkSession, experiment: ExperimentConfig, assigned: Assigned, table: OutcomeTable) -> ArmSums:
    """The exact sums of all arms.

    Raises:
        InputError: a column is missing or holds no number, a user has two rows of a day, a value is null or NaN, or
            nobody has a row of a day of the experiment.
        StepFailed: a sum of products is beyond decimal(38,0).
    """
    rows = _outcomes(spark, experiment, table)
    joined = _joined(rows, experiment, assigned)
    names = user_columns(experiment)
    of_users = _of_users(joined, experiment)
    of_days = _of_days(joined, experiment)
    partial = partial_sums(of_users, names).unionByName(partial_sums(of_days, columns_by_day(experiment)))
    found = added(partial, len(names), table.path)
    unusable = found.pop(_UNUSABLE, None)
    if unusable is not None:
        raise _unusable(joined, experiment, table, unusable.rows)
    _refuse_empty_days(found, experiment, assigned, table)
    return _by_arm(found, experiment, assigned, rows.scales)


def totals_of_users(
    spark: SparkSession, experiment: ExperimentConfig, assigned: Assigned, table: OutcomeTable
) -> tuple[DataFrame, tuple[int, ...]]:
    """(``user_id`` and :func:`user_columns` of users with a row, in units; units in 1 by column).

    Raises:
        InputError: see :func:`sum_outcomes`.
    """
    rows = _outcomes(spark, experiment, table)
    joined = _joined(rows, experiment, assigned)
    totals = _of_users(joined, experiment)
    unusable = totals.where(F.col("group") == _UNUSABLE).count()
    if unusable:
        raise _unusable(joined, experiment, table, unusable)
    return totals.drop("arm", "group", "is_unusable"), _scales(user_columns(experiment), rows.scales)


def everybody(spark: SparkSession, experiment: ExperimentConfig, table: OutcomeTable) -> DataFrame:
    """``user_id``, ``arm`` 0 and ``entered`` on the first day, for every user with a row from then on or before."""
    users = _outcomes(spark, experiment, table).frame.select("user_id").distinct()
    return users.select("user_id", F.lit(0).alias("arm"), F.lit(experiment.start_date).alias("entered"))


def user_columns(experiment: ExperimentConfig) -> tuple[str, ...]:
    """Totals of each user: columns and days active, then the same before entry."""
    after = [*_totals(experiment)]
    return tuple(after + [name + BEFORE for name in after] if experiment.covariate_days else after)


def columns_by_day(experiment: ExperimentConfig) -> tuple[str, ...]:
    """Of each day: outcome columns, and whether the user was active."""
    return tuple(_totals(experiment))


def _totals(experiment: ExperimentConfig) -> dict[str, DaysActiveMetric | None]:
    of_metrics: dict[str, DaysActiveMetric | None] = {}
    for metric in experiment.metrics:
        if isinstance(metric, DaysActiveMetric):
            of_metrics[metric.name] = metric
        else:
            of_metrics |= dict.fromkeys(metric.columns)
    return of_metrics


@dataclass(frozen=True)
class _Outcomes:
    """``frame``: ``user_id``, ``date`` and columns in units, of the days that matter. ``scales``: units in 1."""

    frame: DataFrame
    scales: Mapping[str, int]


def _outcomes(spark: SparkSession, experiment: ExperimentConfig, table: OutcomeTable) -> _Outcomes:
    frame = open_table(spark, table.path, table.format, table.version)
    if experiment.outcomes is None:  # the lake's own table
        frame = frame.where(F.col("experiment") == experiment.name)
    expected = {table.user: ID, table.date: DAY, **dict.fromkeys(experiment.outcome_columns, _NUMBERS)}
    check_columns(frame, expected, table.path, "experiment.outcomes")
    _refuse_rows_of_nobody(frame, table)
    first = experiment.start_date - dt.timedelta(days=experiment.covariate_days)
    scales, units = {}, []
    for column in experiment.outcome_columns:
        whole = isinstance(frame.schema[column].dataType, _WHOLE_NUMBERS)
        scales[column] = experiment.units.get(column, 1 if whole else _UNITS_OF_FRACTIONS)
        value, scale = column_of(column), F.lit(scales[column])
        if isinstance(frame.schema[column].dataType, T.StringType):
            value = value.try_cast("double")
        scaled = value.cast("bigint") * scale if whole else F.round(value * scale)
        # NaN is above everything; what does not fit is null until its user is counted and refused
        fits = scaled.between(F.lit(-_LARGEST), F.lit(_LARGEST))
        units.append(F.when(fits, scaled.cast("bigint")).alias(column))
    date = column_of(table.date).try_cast("date").alias("date")
    rows = frame.select(identifier(table.user).alias("user_id"), date, *units)
    of_days = F.col("date").isNull() | F.col("date").between(F.lit(first), F.lit(experiment.end_date))
    return _Outcomes(rows.where(of_days), scales)


def _joined(rows: _Outcomes, experiment: ExperimentConfig, assigned: Assigned) -> DataFrame:
    """User-days of the experiment's users: ``arm``, ``day`` (of the experiment), ``age`` (days since entry), units."""
    # the smaller side is hashed, not sorted; both come by user, so that what follows needs no further exchange
    users = assigned.users.hint("shuffle_hash")
    return rows.frame.join(users, "user_id").select(
        "user_id",
        "arm",
        F.date_diff("date", F.lit(experiment.start_date)).alias("day"),
        F.date_diff("date", "entered").alias("age"),
        *rows.scales,
    )


def _of_users(joined: DataFrame, experiment: ExperimentConfig) -> DataFrame:
    """One row a user: ``group`` (the arm, or that of users whose rows cannot be used) and totals."""
    before_days = experiment.covariate_days
    totals = []
    for name, metric in _totals(experiment).items():
        after, before = F.col("age") >= 0, F.col("age").between(-before_days, -1)
        if metric is None:
            pair = [F.sum(F.when(window, F.col(name))) for window in (after, before)]
        else:
            active = F.col(metric.column) > 0
            pair = [
                _distinct_days(active & after, F.col("age"), metric.days),
                _distinct_days(active & before, F.col("age") + before_days, before_days),
            ]
        totals += [(name, pair[0]), *([(name + BEFORE, pair[1])] if before_days else [])]
    span = (experiment.end_date - experiment.start_date).days + 1 + before_days
    days = _distinct_days(F.lit(True), F.col("day") + before_days, span)
    lacks = reduce(lambda left, right: left | right, [F.col(column).isNull() for column in experiment.outcome_columns])
    by_user = joined.groupBy("user_id", "arm").agg(
        *[F.coalesce(total, F.lit(0)).cast("bigint").alias(name) for name, total in totals],
        (F.max(lacks) | (F.count(F.lit(1)) != days)).alias("is_unusable"),
    )
    return by_user.withColumn("group", F.when(F.col("is_unusable"), F.lit(_UNUSABLE)).otherwise(F.col("arm")))


def _distinct_days(counted: Column, place: Column, days: int) -> Column:
    """INT: how many different days there are among the counted rows; each of ``days`` places is a bit."""
    total = F.lit(0)
    for first in range(0, days, MOST_DAYS_ACTIVE):
        inside = counted & place.between(first, min(first + MOST_DAYS_ACTIVE, days) - 1)
        bit = F.call_function("shiftleft", F.lit(1).cast("bigint"), place - first)  # F.shiftleft takes no column
        total = total + F.coalesce(F.bit_count(F.bit_or(F.when(inside, bit))), F.lit(0))
    return total


def _of_days(joined: DataFrame, experiment: ExperimentConfig) -> DataFrame:
    """One row a user-day after entry: ``group`` of arm and day, and its outcomes."""
    active = [
        F.coalesce(F.col(metric.column) > 0, F.lit(False)).cast("bigint").alias(metric.name)
        for metric in experiment.metrics
        if isinstance(metric, DaysActiveMetric)
    ]
    own = [
        F.coalesce(F.col(name), F.lit(0)).alias(name) for name, metric in _totals(experiment).items() if metric is None
    ]
    group = ((F.col("arm") + 1) * F.lit(_DAYS_OF_ARM) + F.col("day")).cast("int").alias("group")
    return joined.where("age >= 0").select(group, *own, *active)


def _by_arm(
    found: Mapping[int, GroupSums], experiment: ExperimentConfig, assigned: Assigned, scales: Mapping[str, int]
) -> ArmSums:
    """The sums with their users: all that are assigned, whether anything is known of them or not."""
    until = experiment.last_entry
    users, names, daily = assigned.by_arm(until), user_columns(experiment), columns_by_day(experiment)
    of_users = {arm: _sums(names, scales, users[arm], found.get(number)) for number, arm in enumerate(assigned.arms)}
    of_days: dict[tuple[str, dt.date], Sums] = {}
    for number in range((experiment.end_date - experiment.start_date).days + 1):
        date = experiment.start_date + dt.timedelta(days=number)
        entered = assigned.by_arm(min(date, until))
        for place, arm in enumerate(assigned.arms):
            of_days[arm, date] = _sums(daily, scales, entered[arm], found.get((place + 1) * _DAYS_OF_ARM + number))
    return ArmSums(of_users, of_days)


def _refuse_empty_days(
    found: Mapping[int, GroupSums], experiment: ExperimentConfig, assigned: Assigned, table: OutcomeTable
) -> None:
    """Raises where no user of any arm has a row of a day: it has not come yet, or was lost, and is no day of zeros."""
    empty = []
    for number in range((experiment.end_date - experiment.start_date).days + 1):
        date = experiment.start_date + dt.timedelta(days=number)
        somebody = any(assigned.by_arm(min(date, experiment.last_entry)).values())
        groups = ((place + 1) * _DAYS_OF_ARM + number for place in range(len(assigned.arms)))
        if somebody and not any(group in found for group in groups):
            empty.append(date.isoformat())
    if empty:
        raise InputError(
            f"outcomes have no row of {len(empty)} days of {experiment.name}",
            table=table.path,
            found=f"nobody of any arm on {', '.join(empty[:SAMPLE_ROWS])}{' ...' if len(empty) > SAMPLE_ROWS else ''}",
            expected=f"rows on every day from {experiment.start_date} to {experiment.end_date}",
            remedy="wait for the data or set experiment.end_date; where really nobody did anything, a row with zeros "
            "says so",
        )


def _sums(columns: tuple[str, ...], scales: Mapping[str, int], users: int, found: GroupSums | None) -> Sums:
    size = len(columns)
    sums = found.sums[:size] if found else (0,) * size
    products = tuple(row[:size] for row in found.products[:size]) if found else ((0,) * size,) * size
    return Sums(columns, _scales(columns, scales), users, sums, products)


def _scales(columns: tuple[str, ...], scales: Mapping[str, int]) -> tuple[int, ...]:
    """Units in 1 of totals; days active are counted in ones."""
    return tuple(scales.get(name.removesuffix(BEFORE), 1) for name in columns)


def _refuse_rows_of_nobody(frame: DataFrame, table: OutcomeTable) -> None:
    """Raises where a row has no user or no day: Delta's statistics tell it without reading a file."""
    nobody, never = column_of(table.user).isNull(), column_of(table.date).isNull()
    sample = frame.where(nobody | never).limit(SAMPLE_ROWS).collect()
    if sample:
        raise InputError(
            "user-days have no user or no day",
            table=table.path,
            found="; ".join(str(row.asDict()) for row in sample),
            expected="one row for each user and day on which there was something to count",
            remedy="leave such rows out of the table: they belong to nobody",
        )


def _unusable(joined: DataFrame, experiment: ExperimentConfig, table: OutcomeTable, users: int) -> InputError:
    """Says which of the users' rows cannot be summed, and why."""
    columns = experiment.outcome_columns
    lacks = [F.when(F.col(column).isNull(), F.lit(column)) for column in columns]
    by_day = (
        joined.withColumn("lacking", F.concat_ws(", ", *lacks))
        .groupBy("user_id", "day")
        .agg(F.count(F.lit(1)).alias("rows"), F.max("lacking").alias("lacking"))
        .where("rows > 1 OR lacking <> '' OR day IS NULL")
        .orderBy("user_id", "day")
        .limit(SAMPLE_ROWS)
    )
    said = []
    for row in by_day.collect():
        wrong = f"{row['rows']} rows" if row["rows"] > 1 else f"no number in {row['lacking']}"
        day = "an unreadable day" if row["day"] is None else f"day {row['day']} of the experiment"
        said.append(f"user {row['user_id']}, {day}: {wrong}")
    return InputError(
        f"the outcomes of {users:,} users cannot be summed",
        table=table.path,
        found="; ".join(said),
        expected=f"one row for each user and day, with finite numbers of at most 2^53 units in {', '.join(columns)}",
        remedy="nothing was read out; correct the table, or write 0 where nothing happened",
    )
