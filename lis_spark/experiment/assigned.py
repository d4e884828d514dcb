"""The users of an experiment: read from a table of assignments, checked, and counted by arm and day of entry."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from lis_spark.config import DaysActiveMetric, ExperimentConfig
from lis_spark.config.experiment import AssignmentTable
from lis_spark.errors import InputError
from lis_spark.sources.columns import DAY, ID, TEXT, check_columns, column_of, identifier
from lis_spark.sources.table import open_table

SAMPLE_ROWS = 5
# Where lis-spark assign writes; a partition for each experiment.
OWN_TABLE = "experiment_assignments"
_OTHER = -1


@dataclass(frozen=True)
class Assigned:
    """``users``: ``user_id`` STRING, ``arm`` INT (number in ``arms``) and ``entered`` DATE, a row for each user.

    ``counts``: (arm, day of entry) -> users. ``others``: users of arms that are not compared.
    """

    users: DataFrame
    arms: tuple[str, ...]
    counts: Mapping[tuple[str, dt.date], int]
    others: int

    def by_arm(self, until: dt.date | None = None) -> dict[str, int]:
        """Arm -> users that had entered by the end of a day, all of them where none is given."""
        totals = dict.fromkeys(self.arms, 0)
        for (arm, entered), users in self.counts.items():
            if until is None or entered <= until:
                totals[arm] += users
        return totals


def read_assigned(spark: SparkSession, experiment: ExperimentConfig, table: AssignmentTable) -> Assigned:
    """Reads who was given what.

    Raises:
        InputError: a column is missing, a row has no user, arm or day of entry, a user has two rows, an arm has no
            users, or an entry lies outside the experiment.
    """
    frame = open_table(spark, table.path, table.format, table.version)
    expected = {table.user: ID, table.arm: TEXT, **({table.entered: DAY} if table.entered else {})}
    check_columns(frame, expected, table.path, "experiment.assignments")
    known, start = tuple(experiment.planned_shares), F.lit(experiment.start_date)
    entered = column_of(table.entered).try_cast("date") if table.entered else start
    if experiment.assignments is None:  # the lake's own table
        frame = frame.where(F.col("experiment") == experiment.name)
    rows = frame.select(
        identifier(table.user).alias("user_id"),
        _number_of(column_of(table.arm).cast("string"), known).alias("arm"),
        entered.alias("entered"),
    )
    latest = F.lit(experiment.last_entry)
    by_user = rows.groupBy("user_id").agg(
        F.count(F.lit(1)).alias("rows"),
        F.min("arm").alias("arm"),
        F.count("arm").alias("arms"),
        F.min("entered").alias("entered"),
        F.count("entered").alias("entries"),
    )
    counted = (
        by_user.groupBy("arm", "entered")
        .agg(
            F.count(F.lit(1)).alias("users"),
            F.sum("rows").alias("rows"),
            F.count_if(F.col("rows") > 1).alias("doubled"),
            F.count_if(F.col("user_id").isNull()).alias("nobody"),
            F.count_if(F.col("arms") < F.col("rows")).alias("no_arm"),
            F.count_if(F.col("entries") < F.col("rows")).alias("no_entry"),
        )
        .collect()
    )
    _check(by_user, counted, table)
    counts: dict[tuple[str, dt.date], int] = {}
    others = 0
    for row in counted:
        if row["arm"] == _OTHER:
            others += row["users"]
        else:
            counts[known[row["arm"]], row["entered"]] = row["users"]
    _check_entries(experiment, counts, table)
    empty = [arm for arm in known if not any(name == arm for name, _ in counts)]
    if empty:
        names = frame.select(column_of(table.arm).alias("arm")).distinct().limit(SAMPLE_ROWS).collect()
        raise InputError(
            f"no user is in the arm {', '.join(empty)}",
            table=table.path,
            found=", ".join(sorted(str(row["arm"]) for row in names)),
            expected=", ".join(known),
            remedy="correct experiment.shares, or experiment.assignments.arm",
        )
    users = by_user.where((F.col("arm") != _OTHER) & (F.col("entered") <= latest)).select("user_id", "arm", "entered")
    return Assigned(users, known, counts, others)


def _number_of(name: Column, arms: tuple[str, ...]) -> Column:
    """INT, for numbers are aggregated by hash and text by sorting; null where no arm is named."""
    number = F.when(name.isNotNull(), F.lit(_OTHER))
    for place, arm in enumerate(arms):
        number = F.when(name == arm, F.lit(place)).otherwise(number)
    return number


def _check_entries(
    experiment: ExperimentConfig, counts: Mapping[tuple[str, dt.date], int], table: AssignmentTable
) -> None:
    """Refuses users that entered before the experiment, or too late for the days that a metric needs."""
    early = min((entered for _, entered in counts), default=experiment.start_date)
    if early < experiment.start_date:
        too_early = sum(users for (_, day), users in counts.items() if day < experiment.start_date)
        raise InputError(
            "users entered before the experiment began",
            table=table.path,
            found=f"{too_early:,} users, the first {early}",
            expected=f"entries from experiment.start_date on, {experiment.start_date}",
            remedy="set experiment.start_date to the first entry: outcomes before a user's own entry are never counted",
        )
    last = max((entered for _, entered in counts if entered <= experiment.last_entry), default=experiment.start_date)
    for metric in experiment.metrics:
        if isinstance(metric, DaysActiveMetric) and last + dt.timedelta(days=metric.days - 1) > experiment.end_date:
            raise InputError(
                f"{metric.name} needs {metric.days} days from each user's entry",
                table=table.path,
                found=f"entries until {last}, outcomes until {experiment.end_date}",
                expected=f"entries until {experiment.end_date - dt.timedelta(days=metric.days - 1)}",
                remedy="set experiment.enrolled_until, which leaves later users out altogether, or a later end_date",
            )


def _check(by_user: DataFrame, counted: list, table: AssignmentTable) -> None:
    """Refuses rows that say nothing, and users that have two."""
    wrongs = (
        ("nobody", "rows have no user", F.col("user_id").isNull()),
        ("doubled", "users are assigned more than once", F.col("rows") > 1),
        ("no_arm", "users have no arm", F.col("arms") < F.col("rows")),
        ("no_entry", "users have no day of entry", F.col("entries") < F.col("rows")),
    )
    for name, wrong, condition in wrongs:
        number = sum(row["rows" if name == "nobody" else name] for row in counted if row[name])
        if number:
            sample = by_user.where(condition).orderBy("user_id").limit(SAMPLE_ROWS).collect()
            raise InputError(
                f"{number:,} {wrong}",
                table=table.path,
                found="; ".join(f"user {row['user_id']}: {row['rows']} rows" for row in sample),
                expected="one row for each user, with its arm" + (" and day of entry" if table.entered else ""),
                remedy="a user in two arms has seen both: leave such users out of all arms, not of one",
            )


def shares_of(experiment: ExperimentConfig, assigned: Assigned) -> tuple[dict[str, int], dict[str, float]]:
    """(users, planned shares) by arm for the check of the sample ratio, users in no arm among them where known.

    Raises:
        InputError: there are more users than the population, or users in no arm where every user has one.
    """
    shares = dict(experiment.planned_shares)
    if experiment.population is None:
        return assigned.by_arm(experiment.last_entry), shares
    users = assigned.by_arm()
    rest, left = experiment.population - sum(users.values()), 1.0 - sum(shares.values())
    if rest < 0 or (rest and left < 1e-9):
        raise InputError(
            "the sample ratio cannot be: "
            + (f"{rest:,} users are in no arm, and every user has one" if rest > 0 else "more users than there are"),
            found=", ".join(f"{arm}: {count:,}" for arm, count in users.items()),
            expected=f"{experiment.population:,} users in all (experiment.population)",
            remedy="find where users are lost or added between assignment and this table; nothing is read out",
        )
    return ({**users, "in no arm": rest}, {**shares, "in no arm": left}) if left >= 1e-9 else (users, shares)
