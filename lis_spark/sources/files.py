"""Outside files as DataFrames: every value of a CSV is text, and what cannot be parsed is kept, never dropped."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StringType, StructField, StructType

from lis_spark.errors import InputError
from lis_spark.sources.columns import MALFORMED


def read_parquet(spark: SparkSession, path: str) -> DataFrame:
    """A Parquet file or folder.

    Raises:
        InputError: there is no such file, it is empty, or a column has different types in different partitions.
    """
    try:
        return _opened(lambda: spark.read.option("mergeSchema", "true").parquet(path), path)
    except InputError as error:
        if "MERGE" not in str(error.found).upper():
            raise
        raise _different_types(spark, path, error) from error


def read_csv(spark: SparkSession, path: str) -> DataFrame:
    """A CSV with a header, all columns text; a row of another width keeps its text in ``_corrupt_record``."""
    header = _opened(lambda: spark.read.option("header", "true").csv(path), path)
    fields = [StructField(name, StringType()) for name in (*header.columns, MALFORMED)]
    # Without columnPruning=false the reader calls a row malformed or not depending on the columns that are asked for.
    options = {"header": "true", "columnNameOfCorruptRecord": MALFORMED, "columnPruning": "false"}
    return spark.read.options(**options).schema(StructType(fields)).csv(path)


def read_json(spark: SparkSession, path: str) -> DataFrame:
    """JSON lines, types inferred; a line that is no JSON keeps its text in ``_corrupt_record``."""
    return _opened(lambda: spark.read.option("columnNameOfCorruptRecord", MALFORMED).json(path), path)


def read_lines(spark: SparkSession, path: str, names: Sequence[str], separator: str = "::") -> DataFrame:
    """Lines of fields with a separator of several characters, all text; another number of fields is malformed."""
    lines = _opened(lambda: spark.read.text(path), path)
    parts = F.split("value", re.escape(separator), -1)
    fits = F.size(parts) == len(names)
    return lines.select(
        *[F.when(fits, parts[place]).alias(name) for place, name in enumerate(names)],
        F.when(~fits, F.col("value")).alias(MALFORMED),
    )


def _opened(read: Callable[[], Any], path: str) -> DataFrame:
    try:
        frame: DataFrame = read()
        if not frame.schema.fields:
            raise InputError("the file has no columns", table=path, remedy="check `source.path`")
    except (PySparkException, Py4JJavaError) as error:  # a failed merge of footers arrives unconverted
        java = getattr(error, "java_exception", None)
        raise InputError(
            "the source cannot be opened",
            table=path,
            found=str(error if java is None else java.getMessage()).splitlines()[0][:500],
            remedy="check the path (`source.path`) and the format (`source.format`)",
        ) from error
    return frame


def _different_types(spark: SparkSession, path: str, error: InputError) -> InputError:
    """Names the partitions between which a column changes type: one footer a folder is read, only after a failure."""
    folders: dict[str, str] = {}
    listed = spark.read.format("binaryFile").options(pathGlobFilter="*.parquet", recursiveFileLookup="true").load(path)
    for row in listed.select("path").collect():
        folders.setdefault(row["path"].rpartition("/")[0], row["path"])
    types: dict[str, dict[str, list[str]]] = {}
    for folder, file in sorted(folders.items()):
        for column in spark.read.parquet(file).schema.fields:
            by_type = types.setdefault(column.name, {})
            by_type.setdefault(column.dataType.simpleString().upper(), []).append(folder.rpartition("/")[2])
    changed = {name: by_type for name, by_type in types.items() if len(by_type) > 1}
    if not changed:
        return error
    name, by_type = next(iter(sorted(changed.items())))
    found = "; ".join(f"{kind} in {', '.join(days[:5])}" for kind, days in sorted(by_type.items()))
    return InputError(
        f"column {name!r} changes type between partitions",
        table=path,
        partition=", ".join(min(by_type.values(), key=len)[:5]),
        found=found,
        expected="one type in all partitions",
        remedy=f"write the column {name!r} again with one type; ids of two types may not mean the same things",
    )
