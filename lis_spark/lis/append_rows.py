"""Training rows with the vectors of all arms beside them, as files that the ranks of protocol ``append`` read."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lis_spark.config import IdTableLeak
from lis_spark.lake import Lake
from lis_spark.lis.append_arms import AppendFeature
from lis_spark.lis.chains import base_name
from lis_spark.lis.features import VECTOR_COLUMN, snapshot_tables
from lis_spark.lis.plan import EvaluationPlan
from lis_spark.ranker.arm_scoring import read_vectors
from lis_spark.ranker.exchange import export_vectors, vector_folder
from lis_spark.ranker.plans import DaySpec, PortSpec
from lis_spark.ranker.readable_days import exported_days
from lis_spark.vectors import BYTES_PER_VALUE, pack, unpack

_LOOKED_UP = pa.schema(
    [("date", pa.date32()), ("impression_id", pa.string()), ("place", pa.int32()), ("vector", pa.binary())]
)


def port_of(place: int, feature: AppendFeature, dimension: int) -> PortSpec | None:
    """The column that holds an arm's vectors, and how wide they are; None for an arm without a port."""
    if feature.table is None:
        return None
    return PortSpec(column=f"{VECTOR_COLUMN[feature.table]}_{place}", width=feature.leak.port_width(dimension))


def export_append_rows(
    lake: Lake,
    plan: EvaluationPlan,
    seed: int,
    date: dt.date,
    days: Sequence[dt.date],
    features: Sequence[AppendFeature],
    folder: Path,
) -> dict[dt.date, DaySpec]:
    """Writes the rows of some days with one column of vectors for each arm; returns their files.

    Raises:
        StepFailed: rows were lost or doubled.
    """
    dimension = lake.config.ranker.dimension
    ports = {place: port_of(place, feature, dimension) for place, feature in enumerate(features)}
    table: str | None = None
    if any(not isinstance(feature.leak, IdTableLeak) for feature in features):
        key = (base_name(seed), date)
        export_vectors(snapshot_tables(lake, plan, {key}), ["chain", "snapshot_date"], folder / "lookup")
        table = vector_folder(folder / "lookup", key)
    vectors = _vectors(lake, seed, date, features, table)
    place = F.col("place")
    wide = vectors.groupBy("date", "impression_id").agg(
        *[
            F.first(F.when(place == number, F.col("vector")), True).alias(port.column)
            for number, port in ports.items()
            if port is not None
        ]
    )
    rows = lake.read("training_rows").where(F.col("date").isin(list(days)))
    return exported_days(lake, rows.join(wide, ["date", "impression_id"], "left"), plan.rows, days, folder / "rows")


def _vectors(lake: Lake, seed: int, date: dt.date, features: Sequence[AppendFeature], table: str | None) -> DataFrame:
    """date, impression_id, place (of the arm), vector: of everything that an arm of this seed and day reads."""
    wanted = lake.spark.createDataFrame(
        [(f.table, f.leak.name, f.variant, f.horizon_days, place) for place, f in enumerate(features) if f.table],
        "source string, leak string, variant string, horizon_days int, place int",
    )
    parts = []
    for name, column in VECTOR_COLUMN.items():
        rows = lake.read(name).where((F.col("evaluated_date") == F.lit(date)) & F.col("leak").isin(_leaks(features)))
        of_seed = (F.col("chain") == "") | F.col("chain").endswith(f"-s{seed}")
        parts.append(
            rows.where(of_seed).select(
                "date",
                "impression_id",
                "leak",
                "variant",
                "horizon_days",
                F.lit(name).alias("source"),
                F.col(column).alias("vector"),
                F.col(column.replace("_vector", "_ids")).alias("ids"),
            )
        )
    chosen = parts[0].unionByName(parts[1]).join(F.broadcast(wanted), ["source", "leak", "variant", "horizon_days"])
    # where there is nothing to read the row is masked: the join to the training rows leaves a null
    narrow = chosen.where("vector IS NOT NULL").select("date", "impression_id", "place", "vector", "ids")
    if table is None:
        return narrow.drop("ids")
    schema = "date date, impression_id string, place int, vector binary"
    return narrow.mapInArrow(_looked_up(table, lake.config.ranker.dimension), schema)


def _leaks(features: Sequence[AppendFeature]) -> list[str]:
    return sorted({feature.leak.name for feature in features})


def _looked_up(folder: str, dimension: int) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Rows with ids get the mean of their items' rows in a table, before what stands beside it."""

    def look_up(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        rows, vectors = read_vectors(folder, dimension)
        table = np.zeros((int(rows.max(initial=-1)) + 2, dimension), np.float32)  # the last row is that of no item
        known = np.zeros(len(table), bool)
        table[rows], known[rows] = vectors, True
        for batch in batches:
            arms = batch["place"].to_numpy()
            for arm in np.unique(arms):  # the arms' vectors are of different widths
                part = batch.filter(pa.array(arms == arm))
                vectors = part["vector"] if part["ids"].null_count else _pooled(part, table, known)
                columns = [part["date"], part["impression_id"], part["place"], vectors]
                yield pa.RecordBatch.from_arrays(columns, schema=_LOOKED_UP)

    return look_up


def _pooled(rows: pa.RecordBatch, table: np.ndarray, known: np.ndarray) -> pa.Array:
    """Vectors of the rows of one arm whose ids are looked up."""
    ids = unpack(rows["ids"], len(rows["ids"][0].as_py()) // BYTES_PER_VALUE, "<i4")
    beside = unpack(rows["vector"], len(rows["vector"][0].as_py()) // BYTES_PER_VALUE)
    return pack(np.concatenate([mean_of_known(ids, table, known), beside], axis=1))


def mean_of_known(ids: np.ndarray, table: np.ndarray, known: np.ndarray) -> np.ndarray:
    """float32 [rows, d]: the mean of the vectors of the items that the table has, 0 where it has none of them.

    Args:
        ids: int32 [rows, k], -1 where there are fewer.
        table: float32 [items + 1, d]; the last row is that of no item.
        known: bool [items + 1]: which rows the table has.
    """
    inside = np.where((ids >= 0) & (ids < len(table) - 1), ids, len(table) - 1)
    counts = known[inside]
    total = (table[inside] * counts[:, :, None]).sum(axis=1)
    return (total / np.maximum(counts.sum(axis=1), 1)[:, None]).astype(np.float32)
