"""What state a source is in, told without reading its rows: versions of Delta tables, names, sizes and times of files.

A source that is in the state of the last ingest need not be read again. Files are told apart as rsync does it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lis_spark.config import RunConfig, TableSource, WorldSource, fingerprint
from lis_spark.sources.days import content_sums


@dataclass(frozen=True)
class SourceState:
    """``versions``: Delta table -> version that this run reads. ``digest``: None where rows must be read to tell."""

    versions: Mapping[str, int] = field(default_factory=dict)
    digest: str | None = None


def source_state(spark: SparkSession, config: RunConfig) -> SourceState:
    """The state of everything that the configured source reads; places that cannot be opened are left to the reader."""
    source = config.source
    if isinstance(source, WorldSource):
        return SourceState()
    if not isinstance(source, TableSource):
        return SourceState({}, _files(spark, source.path))
    paths = [path for path in (source.path, source.items_path) if path is not None]
    versions: dict[str, int] = {}
    digests: list[object] = []
    for path in paths:
        if source.format in ("delta", "table"):
            found = delta_state(spark, path, source.format)
            if found is None:
                digests.append(None)
                continue
            identity, newest = found
            version = source.version if path == source.path and source.version is not None else newest
            versions[path] = version
            digests.append([identity, version])
        else:
            digests.append(_files(spark, path))
    return SourceState(versions, None if None in digests else fingerprint(digests))


def table_state(spark: SparkSession, path: str, data_format: str, version: int | None = None) -> object:
    """What tells the states of one outside table apart; None where only its rows could tell."""
    if data_format not in ("delta", "table"):
        return _files(spark, path)
    found = delta_state(spark, path, data_format)
    return None if found is None else (found[0], found[1] if version is None else version)


def rows_state(frame: DataFrame) -> object:
    """A digest of all rows, whatever their order."""
    upper, lower = content_sums(frame.columns)
    row = frame.agg(F.count(F.lit(1)).alias("rows"), upper.alias("upper"), lower.alias("lower")).first()
    return None if row is None else (row["rows"], row["upper"], row["lower"])


def delta_state(spark: SparkSession, path: str, data_format: str) -> tuple[str, int] | None:
    """(table id, newest version) of a folder (``delta``) or of a table of the catalog (``table``); None for a view, a
    table of another format, or no table."""
    identifier = path if data_format == "table" else f"delta.`{path}`"
    try:
        detail = spark.sql(f"DESCRIBE DETAIL {identifier}").select("id", "format").first()
        if detail is None or detail["format"] != "delta":
            return None
        newest = spark.sql(f"DESCRIBE HISTORY {identifier} LIMIT 1").first()
    except PySparkException:
        return None
    return None if newest is None else (detail["id"], newest["version"])


def _files(spark: SparkSession, path: str) -> str | None:
    """A digest of the files' names, sizes and times; their content is not opened."""
    try:
        listed = spark.read.format("binaryFile").option("recursiveFileLookup", "true").load(path)
        columns = ["path", "length", "modificationTime"]
        upper, lower = content_sums(columns)
        summed = listed.select(*columns).agg(
            F.count(F.lit(1)).alias("files"), upper.alias("upper"), lower.alias("lower")
        )
        row = summed.first()
    except PySparkException:
        return None
    return None if row is None or not row["files"] else fingerprint(row["files"], row["upper"], row["lower"])
