"""Where files lie, whether they are still there, and columns that no file of training data may have."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from lis_spark.errors import LisError

LEAKED_COLUMNS = ("leaked_vector", "leaked_ids")


def absolute(path: str) -> str:
    """A path without scheme made absolute; URIs (dbfs:, s3a:, abfss:) stay as they are."""
    return path if "://" in path or path.startswith("dbfs:") else str(Path(path).resolve())


def missing_files(spark: SparkSession, files: Sequence[str]) -> list[str]:
    """Those of the given files that do not exist, by one listing a folder."""
    jvm: Any = spark._jvm
    configuration = spark._jsc.hadoopConfiguration()  # type: ignore[attr-defined]
    by_folder: dict[str, list[str]] = {}
    for file in files:
        by_folder.setdefault(file.rpartition("/")[0], []).append(file)
    missing: list[str] = []
    for folder, members in by_folder.items():
        path = jvm.org.apache.hadoop.fs.Path(folder)
        file_system = path.getFileSystem(configuration)
        present = (
            {status.getPath().getName() for status in file_system.listStatus(path)}
            if file_system.exists(path)
            else set()
        )
        for member in members:
            name = jvm.org.apache.hadoop.fs.Path(member).getName()
            if name not in present:
                missing.append(member)
    return missing


def refuse_leaked_columns(columns: Iterable[str], table: str) -> None:
    """The second half of the leak guard: names and properties of a table do not survive a copy, its columns do.

    Raises:
        LisError: a column carries information from the future.
    """
    leaked = [name for name in columns if name.removeprefix("row_").startswith(LEAKED_COLUMNS)]
    if leaked:
        raise LisError(
            "a column with information from after the impression cannot be trained on",
            table=table,
            found=", ".join(leaked),
            expected="a table without the columns " + " and ".join(LEAKED_COLUMNS),
            remedy="leaked columns are for measurements only; train on the table that this one was made from",
        )
