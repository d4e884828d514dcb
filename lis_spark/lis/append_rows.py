"""Training rows with the vectors of all arms beside them, as files that the ranks of protocol ``append`` read."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lis_spark.config import IdTableLeak
from lis_spark.lake import Lake
from lis_spark.leaks.next_click import FLAGS
from lis_spark.lis.append_arms import AppendFeature
from lis_spark.lis.chains import base_name
from lis_spark.lis.features import VECTOR_COLUMN, snapshot_tables
from lis_spark.lis.plan import EvaluationPlan
from lis_spark.ranker.arm_scoring import read_vectors
from lis_spark.ranker.exchange import export_vectors, vector_folder
from lis_spark.ranker.plans import DaySpec, PortSpec
from lis_spark.ranker.readable_days import exported_days
from lis_spark.vectors import pack, unpack


def port_of(place: int, feature: AppendFeature, dimension: int) -> PortSpec:
    """The column that holds an arm's vectors, and how wide they are."""
    width = dimension if isinstance(feature.leak, IdTableLeak) else dimension + len(FLAGS)
    return PortSpec(column=f"{VECTOR_COLUMN[feature.table]}_{place}", width=width)


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
    names = [port_of(place, feature, dimension).column for place, feature in enumerate(features)]
    table: str | None = None
    if any(not isinstance(feature.leak, IdTableLeak) for feature in features):
        key = (base_name(seed), date)
        export_vectors(snapshot_tables(lake, plan, {key}), ["chain", "snapshot_date"], folder / "lookup")
        table = vector_folder(folder / "lookup", key)
    vectors = _vectors(lake, seed, date, features, table)
    place = F.col("place")
    wide = vectors.groupBy("date", "impression_id").agg(
        *[F.first(F.when(place == number, F.col("vector")), True).alias(name) for number, name in enumerate(names)]
    )
    rows = lake.read("training_rows").where(F.col("date").isin(list(days)))
    return exported_days(lake, rows.join(wide, ["date", "impression_id"], "left"), plan.rows, days, folder / "rows")


def _vectors(lake: Lake, seed: int, date: dt.date, features: Sequence[AppendFeature], table: str | None) -> DataFrame:
    """date, impression_id, place (of the arm), vector: of everything that an arm of this seed and day reads."""
    wanted = lake.spark.createDataFrame(
        [(f.table, f.leak.name, f.variant, f.horizon_days, place) for place, f in enumerate(features)],
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
    narrow = chosen.select("date", "impression_id", "place", "vector", "ids")
    if table is None:
        return narrow.drop("ids")
    schema = "date date, impression_id string, place int, vector binary"
    return narrow.mapInArrow(_looked_up(table, lake.config.ranker.dimension), schema)


def _leaks(features: Sequence[AppendFeature]) -> list[str]:
    return sorted({feature.leak.name for feature in features})


def _looked_up(folder: str, dimension: int) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Rows with ids get the mean of their items' rows in a table, then the flags that stand behind the ids."""

    def look_up(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        rows, vectors = read_vectors(folder, dimension)
        table = np.zeros((int(rows.max(initial=-1)) + 2, dimension), np.float32)  # the last row is that of no item
        known = np.zeros(len(table), bool)
        table[rows], known[rows] = vectors, True
        for batch in batches:
            with_ids = pc.is_valid(batch["ids"])
            filled = batch["vector"]
            if pc.any(with_ids).as_py():
                packed = batch["ids"].drop_null()
                width = len(packed[0].as_py()) // 4
                pooled = pool(unpack(packed, width, "<i4"), table, known)
                filled = pc.replace_with_mask(filled, with_ids, pack(pooled))
            yield pa.RecordBatch.from_arrays(
                [batch["date"], batch["impression_id"], batch["place"], filled],
                ["date", "impression_id", "place", "vector"],
            )

    return look_up


def pool(ids: np.ndarray, table: np.ndarray, known: np.ndarray) -> np.ndarray:
    """float32 [rows, d + flags]: mean of the known items' vectors (0 where there is none), then the flags.

    Args:
        ids: int32 [rows, k + flags]; items are -1 where there are fewer.
        table: float32 [items, d].
        known: which items the table has.
    """
    items, flags = ids[:, : -len(FLAGS)], ids[:, -len(FLAGS) :]
    inside = np.where((items >= 0) & (items < len(table)), items, len(table) - 1)
    counts = known[inside]
    total = (table[inside] * counts[:, :, None]).sum(axis=1)
    mean = total / np.maximum(counts.sum(axis=1), 1)[:, None]
    return np.concatenate([mean, flags.astype(np.float32)], axis=1).astype(np.float32)
