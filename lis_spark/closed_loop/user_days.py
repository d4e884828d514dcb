"""Users of a simulated experiment by day: who they are, what they did before it, and what each day leaves behind."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

import numpy as np
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from lis_spark.closed_loop.people import NOBODY, People, satisfaction_after
from lis_spark.config import ClosedLoopConfig
from lis_spark.config.closed_loop import OUTCOMES, TOTALS
from lis_spark.expected_rows import ExpectedRows
from lis_spark.experiment.assigned import OWN_TABLE
from lis_spark.lake import Lake
from lis_spark.lis.plan.chains import ONE_DAY
from lis_spark.partitions import PartitionKey
from lis_spark.progress import described
from lis_spark.world.frames import world_of
from lis_spark.world.people import users_on


class UserDays:
    """The table ``experiment_users`` of one experiment.

    Args:
        lake: of a simulated world, as a measurement.
        loop: the experiment.
    """

    def __init__(self, lake: Lake, loop: ClosedLoopConfig) -> None:
        self.lake, self.loop = lake, loop
        self.arms = list(loop.arms)
        self.world = world_of(lake.config)

    def assigned(self) -> DataFrame:
        """user_id, arm."""
        return self.lake.read(OWN_TABLE).where(F.col("experiment") == self.loop.name).select("user_id", "arm")

    def write_before(self, before: list[dt.date], wanted: Mapping[PartitionKey, str]) -> int:
        """Outcomes of the experiment's users on days when the world chose what they saw."""
        rows = (
            self.truth(before)
            .join(self.assigned(), "user_id")
            .groupBy("user_id", "date")
            .agg(*_counted())
            .withColumns({"satisfaction": F.lit(0.0), "experiment": F.lit(self.loop.name)})
        )
        with described(self.lake.spark, f"experiment: {len(before)} days before it"):
            return self.lake.write_partitions("experiment_users", rows.repartition("date"), dict(wanted))

    def truth(self, dates: list[dt.date]) -> DataFrame:
        """Of the run's scenario."""
        of_scenario = F.col("scenario") == self.lake.config.scenario
        return self.lake.read("truth").where(F.col("date").isin(dates) & of_scenario)

    def usual(self) -> float:
        """Reads an impression on the last day on which the world chose what users saw."""
        row = self.truth([self.loop.first_date - ONE_DAY]).agg(F.avg(F.col("was_read").cast("int"))).first()
        return float(row[0]) if row is not None and row[0] is not None else 0.0

    def people(self, date: dt.date) -> People:
        """Arms, and satisfaction as it was on the evening before."""
        day = (date - self.world.first_date).days
        arms = np.full(users_on(self.world, day), NOBODY, np.int8)
        satisfaction = np.zeros(len(arms))
        assigned = self.assigned().toArrow()
        numbers = np.array([int(user[1:]) for user in assigned["user_id"].to_pylist()], np.int64)
        arms[numbers] = [self.arms.index(arm) for arm in assigned["arm"].to_pylist()]
        if date > self.loop.first_date:
            yesterday = self.of_day("experiment_users", date - ONE_DAY).select("user_id", "satisfaction").toArrow()
            numbers = np.array([int(user[1:]) for user in yesterday["user_id"].to_pylist()], np.int64)
            satisfaction[numbers] = yesterday["satisfaction"].to_numpy()
        return People(arms, satisfaction)

    def of_day(self, table: str, date: dt.date) -> DataFrame:
        """Rows of the experiment on a day, the newest."""
        self.lake.unpin(table)  # days are added while the step runs
        return self.lake.read(table).where((F.col("experiment") == self.loop.name) & (F.col("date") == F.lit(date)))

    def write(self, date: dt.date, people: People, usual: float, part: str) -> None:
        """A row for every user of the experiment; satisfaction is computed where its users are."""
        loop = self.loop
        done = (
            self.of_day("experiment_impressions", date)
            .where(F.col("arm").isin(self.arms))  # of another configuration there may be others
            .groupBy("user_id")
            .agg(*_counted())
        )
        numbers = np.flatnonzero(people.arms != NOBODY)
        before = self.lake.spark.createDataFrame(
            [(f"u{number}", float(people.satisfaction[number])) for number in numbers], "user_id string, before double"
        )
        everyone = before.join(done, "user_id", "left").fillna(0)

        rows = everyone.withColumns(
            {
                "satisfaction": satisfaction_after(loop, usual),
                "experiment": F.lit(loop.name),
                "date": F.lit(date),
            }
        ).select("user_id", *OUTCOMES, "satisfaction", "experiment", "date")
        expected = ExpectedRows(
            count=len(numbers),
            unit="users: those that arms were drawn for",
            problem="users were lost or doubled",
            remedy="run the experiment again; what is whole is kept",
        )
        keys: dict[PartitionKey, str] = {(loop.name, date.isoformat()): part}
        self.lake.write_partitions("experiment_users", rows.coalesce(1), keys, expected=expected)


def _counted() -> list[Column]:
    """``OUTCOMES`` of impressions, whoever chose them."""
    flags = {"clicked": "clicks", "was_read": "reads", "engaged": "engagements"}
    return [
        F.count(F.lit(1)).alias("impressions"),
        *[F.count_if(name).alias(outcome) for name, outcome in flags.items()],
        *[F.sum(F.col(name).cast("bigint")).alias(name) for name in TOTALS],
    ]
