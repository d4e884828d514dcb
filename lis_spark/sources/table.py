"""Any Delta, Parquet, CSV or JSON table, or a table of the catalog, with a column map."""

from __future__ import annotations

from collections.abc import Mapping

from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lis_spark.config import RunConfig, TableSource
from lis_spark.errors import ConfigError, InputError, StaleError
from lis_spark.sources.columns import (
    BYTES,
    DAY,
    EPOCH,
    ID,
    INSTANT,
    LABEL,
    TEXT,
    WHOLE,
    TypeNames,
    candidate_rows,
    check_columns,
    column_of,
    identifier,
    number,
    text_or_null,
)
from lis_spark.sources.files import read_csv, read_json, read_parquet
from lis_spark.sources.source import ITEM_COLUMNS, SourceData, attribute_names
from lis_spark.table_files import missing_files


def read(spark: SparkSession, config: RunConfig, versions: Mapping[str, int]) -> SourceData:
    """Reads the table and, where one is given, the table of items.

    Args:
        spark: session.
        config: its source is a :class:`TableSource`.
        versions: path -> version of the tables in Delta, so that a whole step reads one.

    Raises:
        ConfigError: a configured label has no column.
        InputError: the table cannot be opened, or a column is missing or of another type.
    """
    source = config.source
    assert isinstance(source, TableSource)
    columns = source.columns
    unmapped = [label for label in config.labels if label not in columns.labels]
    if unmapped:
        raise ConfigError(
            "a label has no column",
            found=", ".join(unmapped),
            expected=", ".join(columns.labels),
            remedy="add it to source.columns.labels",
        )
    frame = open_table(spark, source.path, source.format, versions.get(source.path, source.version))
    labels = {name: columns.labels[name] for name in config.labels}
    time_types = INSTANT if source.time_format == "timestamp" else EPOCH
    expected: dict[str, tuple] = {columns.user_id: ID, columns.item_id: ID, columns.time: time_types}
    expected |= dict.fromkeys(labels.values(), LABEL) | dict.fromkeys(columns.context.values(), TEXT)
    expected |= {name: ID for name in (columns.impression_id, columns.request_id) if name}
    expected |= {columns.scenario: TEXT} if columns.scenario else {}
    expected |= {columns.position: WHOLE} if columns.position else {}
    check_columns(frame, expected, source.path)
    types = {field.name: field.dataType for field in frame.schema.fields}
    scenario = F.lit(config.scenario)
    impressions = candidate_rows(
        frame,
        user_id=columns.user_id,
        item_id=columns.item_id,
        time=columns.time,
        time_format=source.time_format,
        time_zone=config.time_zone,
        labels={name: number(column, types[column]) for name, column in labels.items()},
        scenario=F.coalesce(text_or_null(columns.scenario), scenario) if columns.scenario else scenario,
        context={name: text_or_null(column) for name, column in columns.context.items()},
        impression_id=columns.impression_id,
        request_id=columns.request_id,
        position=columns.position,
    )
    notes = []
    if columns.impression_id is None:
        notes.append("impression ids are derived from (user, item, time, ordinal)")
    if columns.request_id is None:
        notes.append("request ids are derived from (user, minute)")
    return SourceData(
        name=f"table:{source.path}",
        impressions=impressions,
        items=_items(spark, config, versions),
        has_impression_id=columns.impression_id is not None,
        notes=tuple(notes),
        has_images="image" in source.items_columns,
    )


def open_table(spark: SparkSession, path: str, data_format: str, version: int | None) -> DataFrame:
    """An outside table, of a version where it is in Delta.

    Raises:
        InputError: it cannot be opened.
        StaleError: files of the version have been removed.
    """
    if data_format == "parquet":
        return read_parquet(spark, path)
    if data_format == "csv":
        return read_csv(spark, path)
    if data_format == "json":
        return read_json(spark, path)
    try:
        reader = spark.read if version is None else spark.read.option("versionAsOf", version)
        frame = reader.table(path) if data_format == "table" else reader.format("delta").load(path)
        files = [] if version is None else frame.inputFiles()
    except PySparkException as error:
        raise InputError(
            "the source cannot be opened",
            table=path,
            partition=None if version is None else f"version {version}",
            found=str(error).splitlines()[0][:500],
            remedy="check its path, format and version in the configuration",
        ) from error
    missing = missing_files(spark, files)
    if missing:
        raise StaleError(
            f"{len(missing)} of {len(files)} files of the version are gone (VACUUM?)",
            table=path,
            partition=f"version {version}",
            found=f"for instance {missing[0]} is not there",
            expected="every file of the version that is read",
            remedy="give a newer version, or none",
        )
    return frame


def _items(spark: SparkSession, config: RunConfig, versions: Mapping[str, int]) -> DataFrame | None:
    source = config.source
    assert isinstance(source, TableSource)
    if source.items_path is None:
        return None
    mapped = dict(source.items_columns)
    mapped.setdefault("item_id", source.columns.item_id)
    frame = open_table(spark, source.items_path, source.format, versions.get(source.items_path))
    kinds: TypeNames = {"item_id": ID, "author_id": ID, "born_date": DAY, "image": BYTES}
    check_columns(frame, {column: kinds.get(name, TEXT) for name, column in mapped.items()}, source.items_path)
    types = {"born_date": "date", "image": "binary"}
    fixed = [
        (column_of(mapped[name]).try_cast(types[name]) if name in types else text_or_null(mapped[name])).alias(name)
        if name in mapped
        else F.lit(None).cast(types.get(name, "string")).alias(name)
        for name in ITEM_COLUMNS
    ]
    attributes = [text_or_null(mapped[name]).alias(f"attribute_{name}") for name in attribute_names(config)]
    return frame.select(F.struct("*").alias("raw"), identifier(mapped["item_id"]).alias("item_id"), *fixed, *attributes)
