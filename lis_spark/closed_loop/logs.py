"""What the rankers of an experiment learn from: what their own arm has shown, or what every arm has."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow.parquet as pq
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lis_spark.closed_loop.candidates import representation_of
from lis_spark.config import ClosedLoopConfig
from lis_spark.errors import StepFailed
from lis_spark.lake import Lake
from lis_spark.lis.append.representation_source import vectors_of
from lis_spark.lis.plan.chains import days_between
from lis_spark.progress import described
from lis_spark.ranker.plans import DaySpec, file_url, local_path
from lis_spark.ranker.readable_days import files_of_days

TABLE = "experiment_impressions"


class Logs:
    """The impressions of one experiment as files that its rankers are trained on.

    A log of one's own is the table's own files. One that arms share is exported for each arm, in the order of time and
    with the vectors that the arm's own ranker reads, for the table holds those of the arm that showed an impression.

    Args:
        lake: whose impressions.
        loop: which experiment, and whether arms share their logs.
        folder: a new folder that every rank can open, for what is exported.
    """

    def __init__(self, lake: Lake, loop: ClosedLoopConfig, folder: Path) -> None:
        self.lake, self.loop, self.folder = lake, loop, folder

    def before(self, arm: str, date: dt.date) -> list[DaySpec]:
        """The days that the arm's ranker of a date is trained on, in order.

        Raises:
            StepFailed: rows were lost or doubled on the way to the ranks.
        """
        if date == self.loop.first_date:
            return []
        self.lake.unpin(TABLE)
        rows = self.lake.read(TABLE).where(
            (F.col("experiment") == self.loop.name)
            & (F.col("date") >= F.lit(self.loop.first_date))  # an earlier one of this name may have begun before
            & (F.col("date") < F.lit(date))
        )
        if self.loop.logs == "own":
            return self._specs(files_of_days(rows.where(F.col("arm") == arm)))
        days = days_between(self.loop.first_date, date)
        return self._specs(self._exported(arm, rows.where(F.col("arm").isin(list(self.loop.arms))), days))

    def _specs(self, files: Mapping[dt.date, Sequence[str]]) -> list[DaySpec]:
        return [day_spec(day, files[day]) for day in sorted(files)]

    def remove(self) -> None:
        """Removes what was exported."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _exported(self, arm: str, rows: DataFrame, days: Sequence[dt.date]) -> dict[dt.date, list[str]]:
        """Files of some days of all arms' rows, of which those of earlier calls are there already."""
        place = self.folder / arm
        missing = [day for day in days if not _folder(place, day).is_dir()]
        new = rows.where(F.col("date").isin(missing))
        if missing:
            with described(self.lake.spark, f"experiment: what {arm} learns of {missing[0]} to {missing[-1]}"):
                self._export(arm, new, place)
        files = {day: [str(file) for file in _folder(place, day).glob("*.parquet")] for day in days}
        for row in new.groupBy("date").count().collect():
            found = day_spec(row["date"], files[row["date"]]).rows
            if found != row["count"]:
                raise lost(self.loop, "exported impressions", row["date"], f"{found:,} rows", f"{row['count']:,} rows")
        return {day: found for day, found in files.items() if found}

    def _export(self, arm: str, rows: DataFrame, place: Path) -> None:
        read = representation_of(self.lake.config, arm)
        if read is not None:
            rows = rows.drop("vector").join(vectors_of(self.lake, read), "item_id", "left")
        # requests are numbered in the order of time
        timed = rows.withColumn("request", F.split_part("impression_id", F.lit("-"), F.lit(1)).cast("bigint"))
        placed = timed.repartition("date").sortWithinPartitions("date", "request", "position").drop("request")
        placed.write.mode("append").partitionBy("date").parquet(file_url(place))


def _folder(place: Path, date: dt.date) -> Path:
    return place / f"date={date.isoformat()}"


def lost(loop: ClosedLoopConfig, what: str, date: dt.date, found: str, expected: str) -> StepFailed:
    """What is raised where rows of a simulated day do not add up."""
    return StepFailed(
        f"{what} were lost or doubled",
        table=TABLE,
        partition={"experiment": loop.name, "date": date.isoformat()},
        found=found,
        expected=expected,
        remedy="run the experiment again; what is whole is kept",
    )


def day_spec(date: dt.date, files: Sequence[str]) -> DaySpec:
    """A day's files, their rows as their own footers say."""
    footers = [pq.ParquetFile(local_path(file)).metadata for file in files]
    return DaySpec(
        date=date,
        files=tuple(sorted(file if "://" in file else file_url(file) for file in files)),
        rows=sum(one.num_rows for one in footers),
        row_groups=sum(one.num_row_groups for one in footers),
    )
