"""Training rows with the vectors of all arms beside them, as files that the ranks of protocol ``append`` read."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T
from pyspark.storagelevel import StorageLevel

from lis_spark.config import Representation
from lis_spark.errors import InputError
from lis_spark.lake import Lake
from lis_spark.lis.append.content_vectors import content_vectors
from lis_spark.lis.append.looked_up import is_owned, looked_up_vectors, owner_of_row, owners_of
from lis_spark.lis.append.representation_source import vector_width
from lis_spark.lis.append.rung_vectors import rung_parts, with_rungs
from lis_spark.lis.append.wrong_order import in_the_wrong_order
from lis_spark.lis.plan.append_feature import AppendFeature
from lis_spark.lis.plan.chains import base_name
from lis_spark.lis.plan.evaluated_rows import count_evaluated_rows, is_evaluated, rows_of_days
from lis_spark.lis.plan.evaluation import EvaluationPlan
from lis_spark.lis.swap.features import VECTOR_COLUMN, snapshot_tables
from lis_spark.ranker.plans import DaySpec, PortSpec, file_url
from lis_spark.ranker.readable_days import exported_days
from lis_spark.ranker.vector_files import export_vectors, vector_folder
from lis_spark.vectors import width_of

DISK_ONLY = StorageLevel.DISK_ONLY

# Column of the rows that says under which number the vectors of the impression's item lie.
OWNER = "leaked_vector_owner"
_NARROW = ("date", "impression_id", "place", "vector")


def export_append_rows(
    lake: Lake,
    plan: EvaluationPlan,
    date: dt.date,
    days: Sequence[dt.date],
    features: Sequence[AppendFeature],
    folder: Path,
) -> tuple[dict[dt.date, DaySpec], list[PortSpec | None]]:
    """Writes the rows of some days and the vectors of all arms; returns the rows' files and the arms' ports.

    What belongs to items is a table for each arm, of whose rows the training rows have the numbers; what belongs to
    users or single impressions is a column for each arm.

    Args:
        lake: with the feature tables.
        plan: how many rows each day has.
        date: T.
        days: T - w .. T.
        features: of the arms of all training seeds, see :func:`lis_spark.lis.plan.append_feature.of_seeds`.
        folder: a new folder that every rank can open.

    Raises:
        InputError: a leak has no vector at all, or vectors of several widths.
        StepFailed: rows were lost or doubled.
    """
    seeds = sorted({feature.seed for feature in features if feature.seed is not None})
    keys = {seed: (base_name(seed), date) for seed in seeds}
    if keys:
        snapshots = snapshot_tables(lake, plan, set(keys.values()))
        export_vectors(snapshots, ["chain", "snapshot_date"], folder / "lookup")
    owners_of(lake, days).write.parquet(file_url(folder / "owners"))
    owners = lake.spark.read.parquet(file_url(folder / "owners"))
    tables = {seed: vector_folder(folder / "lookup", key) for seed, key in keys.items()}
    known = looked_up_vectors(lake, date, features, owners, tables)
    vectors = in_the_wrong_order(known.where("made != 'content'")).select(*_NARROW)
    content = lake.config.append.content if lake.config.append else None
    if content is not None:
        targets = known.where("made = 'content'")
        vectors = vectors.unionByName(content_vectors(lake, targets, owners, features, content, folder / "content"))
    vectors = with_rungs(lake, date, vectors, features, owners).persist(DISK_ONLY)
    try:
        ports = _ports(lake, vectors, features, folder / "vectors")
        columns = {place: port.column for place, port in enumerate(ports) if port and port.table is None}
        owned = vectors.where(~F.col("place").isin(list(columns)))
        keyed = owned.join(owners.select("date", "impression_id", F.col("key").alias("row")), ["date", "impression_id"])
        export_vectors(keyed, ["place"], folder / "vectors")
        rows = rows_of_days(lake, days)
        is_scored = (F.col("date") != F.lit(date)) | is_evaluated(lake.config.evaluation.user_share)
        wide = rows.where(is_scored).withColumn(OWNER, owner_of_row(lake))
        if columns:
            wide = _with_columns(wide, vectors.where(F.col("place").isin(list(columns))), columns)
        counts = {**plan.rows, **count_evaluated_rows(lake, plan.rows, [date])}
        return exported_days(lake, wide, counts, days, folder / "rows"), ports
    finally:
        vectors.unpersist()


def _with_columns(rows: DataFrame, vectors: DataFrame, columns: Mapping[int, str]) -> DataFrame:
    """The rows with the vectors of some arms, a column each, null where there is none."""
    listed = vectors.groupBy("date", "impression_id").agg(F.collect_list(F.struct("place", "vector")).alias("vectors"))
    joined = rows.join(listed, ["date", "impression_id"], "left")
    # A hundred arms are a hundred columns: as expressions they would be more than Spark compiles.
    schema = T.StructType(
        [*rows.schema.fields, *(T.StructField(column, T.BinaryType()) for column in columns.values())]
    )
    return joined.select(*rows.columns, "vectors").mapInArrow(_widened(columns), schema)


def _widened(columns: Mapping[int, str]) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Lists of (place, vector) become a column for each place, null where there is none."""

    def widen(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            lists = batch["vectors"]
            lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy()
            entries = pc.list_flatten(lists)
            of_row = np.repeat(np.arange(batch.num_rows), lengths)
            places, vectors = entries.field("place").to_numpy(), entries.field("vector")
            kept = [name for name in batch.schema.names if name != "vectors"]
            wide = []
            for place in columns:
                entry = np.zeros(batch.num_rows, np.int64)
                missing = np.ones(batch.num_rows, bool)
                own = np.flatnonzero(places == place)
                entry[of_row[own]], missing[of_row[own]] = own, False
                wide.append(vectors.take(pa.array(entry, mask=missing)))
            yield pa.RecordBatch.from_arrays([*(batch[name] for name in kept), *wide], names=[*kept, *columns.values()])

    return widen


def _ports(lake: Lake, vectors: DataFrame, features: Sequence[AppendFeature], tables: Path) -> list[PortSpec | None]:
    """Where each arm's vectors are, and how wide they are; None for an arm without a port."""
    width, rungs = width_of("vector"), rung_parts(lake, features)
    found = {
        row["place"]: (row["narrowest"], row["widest"])
        for row in vectors.groupBy("place").agg(F.min(width).alias("narrowest"), F.max(width).alias("widest")).collect()
    }
    ports: list[PortSpec | None] = []
    for place, feature in enumerate(features):
        if feature.table is None:
            ports.append(None)
            continue
        narrowest, widest = found.get(place, (0, 0))
        if not widest and isinstance(feature.leak, Representation):  # none of its items is alive: all rows are masked
            narrowest = widest = vector_width(lake, feature.leak)
        if narrowest != widest or not widest:
            raise InputError(
                "no impression has the leak" if not widest else "vectors of one leak differ in width",
                table=feature.table,
                partition=f"{feature.leak.name}, T = {feature.arm.evaluated_date}, {feature.arm.name}",
                found=f"{narrowest} to {widest} numbers" if widest else "no vector on any day of the window",
                expected="vectors of one width",
                remedy="look at the ids and dates of the leak, or leave it out",
            )
        widths = rungs[place].widths if place in rungs else (widest,)
        owned = is_owned(feature) and place in found  # where there is no vector at all a column says so: all null
        ports.append(
            PortSpec(
                column=OWNER if owned else f"{VECTOR_COLUMN[feature.table]}_{place}",
                table=vector_folder(tables, (place,)) if owned else None,
                widths=widths,
                hidden=feature.port_hidden,
            )
        )
    return ports
