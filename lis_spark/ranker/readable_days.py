"""Days of training rows as files that every rank can open: the table's own, or an export (architecture, "Scale")."""

from __future__ import annotations

import datetime as dt
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lis_spark.errors import InputError, StepFailed
from lis_spark.lake import Lake
from lis_spark.progress import described
from lis_spark.ranker.plans import DaySpec, file_url, local_path
from lis_spark.ranker.stretches import cut_days, in_stretches
from lis_spark.table_files import absolute, refuse_leaked_columns


@contextmanager
def readable_days(
    lake: Lake, rows: Mapping[dt.date, int], dates: Iterable[dt.date]
) -> Iterator[dict[dt.date, DaySpec]]:
    """Files of some days of ``training_rows`` at its pinned version that every rank can open while the block runs.

    They are the table's own files, or, with ``lake.staging_path``, an export of them (a table of a catalog may lie
    where a Python process cannot open it), sorted and cut as the table is, and removed afterwards.

    Args:
        lake: whose table.
        rows: day -> the rows that it must hold; days that are not there are left out.
        dates: the days that are wanted.

    Raises:
        StepFailed: the export has lost or doubled rows.
    """
    chosen = sorted({date for date in dates if date in rows})
    table = lake.read("training_rows")
    refuse_leaked_columns(table.columns, "training_rows")
    if not chosen:
        yield {}
        return
    days = table.where(F.col("date").isin(chosen))
    staging = lake.config.lake.staging_path
    if staging is None:
        yield _day_specs(files_of_days(days), rows)
        return
    folder = Path(absolute(staging)) / f"training_rows-{uuid.uuid4().hex[:12]}"
    try:
        with described(lake.spark, f"training rows of {len(chosen)} days exported for the ranks"):
            specs = exported_days(lake, days, rows, chosen, folder)
        yield specs
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def exported_days(
    lake: Lake, frame: DataFrame, rows: Mapping[dt.date, int], dates: Sequence[dt.date], folder: Path
) -> dict[dt.date, DaySpec]:
    """Writes training rows, and what else stands beside them, sorted and cut as the table is.

    Args:
        lake: whose settings.
        frame: columns of ``training_rows`` and others.
        rows: day -> the rows that it must hold.
        dates: the days of ``frame``.
        folder: a new folder that every rank can open.

    Raises:
        StepFailed: rows were lost or doubled.
    """
    in_stretches(frame, cut_days(lake.read("training_rows"), lake.config, dates)).write.partitionBy("date").parquet(
        file_url(folder)
    )
    files = {date: [file_url(file) for file in folder.glob(f"date={date}/*.parquet")] for date in dates}
    specs = _day_specs(files, rows)
    exported = {date: sum(pq.ParquetFile(local_path(file)).metadata.num_rows for file in files[date]) for date in dates}
    wrong = [date for date in dates if exported[date] != rows[date]]
    if wrong:
        raise StepFailed(
            "rows were lost or doubled in the export for the ranks",
            table="training_rows",
            partition=", ".join(map(str, wrong[:5])),
            found=f"{exported[wrong[0]]:,} rows",
            expected=f"{rows[wrong[0]]:,} rows",
            remedy="run the step again; if it comes back, run lis-spark training-rows --force",
        )
    return specs


def files_of_days(days: DataFrame) -> dict[dt.date, list[str]]:
    """The data files that rows with a ``date`` come from, by day."""
    files: dict[dt.date, list[str]] = {}
    for row in days.select("date", F.col("_metadata.file_path").alias("file")).distinct().collect():
        files.setdefault(row["date"], []).append(row["file"])
    return files


def _day_specs(files: Mapping[dt.date, list[str]], rows: Mapping[dt.date, int]) -> dict[dt.date, DaySpec]:
    for date, found in files.items():
        for file in found:
            if not Path(local_path(file)).is_file():
                raise InputError(
                    "the files of the training rows cannot be opened by a Python process",
                    table="training_rows",
                    partition={"date": date.isoformat()},
                    found=file,
                    expected="a file that every rank can open",
                    remedy="set lake.staging_path to a mounted folder (a Volume, NFS), to which rows are exported",
                )
    return {
        date: DaySpec(
            date=date,
            files=tuple(sorted(found)),
            rows=rows[date],
            row_groups=sum(pq.ParquetFile(local_path(file)).num_row_groups for file in found),
        )
        for date, found in sorted(files.items())
    }
