"""Training rows with the vectors of all arms beside them, as files that the ranks of protocol ``append`` read."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F
from pyspark.storagelevel import StorageLevel

from lis_spark.errors import InputError
from lis_spark.keyed_random import normals, salt
from lis_spark.lake import Lake
from lis_spark.lis.append_arms import AppendFeature
from lis_spark.lis.chains import base_name
from lis_spark.lis.features import VECTOR_COLUMN, snapshot_tables
from lis_spark.lis.plan import EvaluationPlan
from lis_spark.ranker.arm_scoring import read_vectors
from lis_spark.ranker.exchange import export_vectors, vector_folder
from lis_spark.ranker.plans import DaySpec, PortSpec
from lis_spark.ranker.readable_days import exported_days
from lis_spark.vectors import BYTES_PER_VALUE, pack, unpack, width_of

DISK_ONLY = StorageLevel.DISK_ONLY
# Pieces that keys are put in the wrong order within.
SHUFFLE_PIECES = 16

_LOOKED_UP = pa.schema(
    [
        ("date", pa.date32()),
        ("impression_id", pa.string()),
        ("place", pa.int32()),
        ("made", pa.string()),
        ("draw", pa.int32()),
        ("held_out_fold", pa.int32()),
        ("key", pa.int64()),
        ("vector", pa.binary()),
    ]
)
_LOOKED_UP_DDL = (
    "date date, impression_id string, place int, made string, draw int, held_out_fold int, key bigint, vector binary"
)


def export_append_rows(
    lake: Lake,
    plan: EvaluationPlan,
    seed: int,
    date: dt.date,
    days: Sequence[dt.date],
    features: Sequence[AppendFeature],
    folder: Path,
) -> tuple[dict[dt.date, DaySpec], list[PortSpec | None]]:
    """Writes the rows of some days with one column of vectors for each arm; returns their files and the arms' ports.

    Raises:
        InputError: a leak has no vector at all, or vectors of several widths.
        StepFailed: rows were lost or doubled.
    """
    key = (base_name(seed), date)
    export_vectors(snapshot_tables(lake, plan, {key}), ["chain", "snapshot_date"], folder / "lookup")
    vectors = _vectors(lake, seed, date, features, vector_folder(folder / "lookup", key)).persist(DISK_ONLY)
    try:
        ports = _ports(vectors, features)
        place = F.col("place")
        wide = vectors.groupBy("date", "impression_id").agg(
            *[
                F.first(F.when(place == number, F.col("vector")), True).alias(port.column)
                for number, port in enumerate(ports)
                if port is not None
            ]
        )
        rows = lake.read("training_rows").where(F.col("date").isin(list(days)))
        joined = rows.join(wide, ["date", "impression_id"], "left")
        return exported_days(lake, joined, plan.rows, days, folder / "rows"), ports
    finally:
        vectors.unpersist()


def _ports(vectors: DataFrame, features: Sequence[AppendFeature]) -> list[PortSpec | None]:
    """The column that holds each arm's vectors, and how wide they are; None for an arm without a port."""
    width = width_of("vector")
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
        if narrowest != widest or not widest:
            raise InputError(
                "no impression has the leak" if not widest else "vectors of one leak differ in width",
                table=feature.table,
                partition=f"{feature.leak.name}, T = {feature.arm.evaluated_date}, {feature.arm.name}",
                found=f"{narrowest} to {widest} numbers" if widest else "no vector on any day of the window",
                expected="vectors of one width",
                remedy="look at the ids and dates of the leak, or leave it out",
            )
        ports.append(PortSpec(column=f"{VECTOR_COLUMN[feature.table]}_{place}", width=widest))
    return ports


def _vectors(lake: Lake, seed: int, date: dt.date, features: Sequence[AppendFeature], table: str) -> DataFrame:
    """date, impression_id, place (of the arm), vector: of everything that an arm of this seed and day reads."""
    wanted = lake.spark.createDataFrame(
        [
            (f.table, f.leak.name, f.variant, f.horizon_days, place, f.made, f.draw)
            for place, f in enumerate(features)
            if f.table
        ],
        "source string, leak string, variant string, horizon_days int, place int, made string, draw int",
    )
    parts = []
    for name, column in VECTOR_COLUMN.items():
        rows = lake.read(name).where((F.col("evaluated_date") == F.lit(date)) & F.col("leak").isin(_leaks(features)))
        of_seed = (F.col("chain") == "") | F.col("chain").endswith(f"-s{seed}")
        parts.append(
            rows.where(of_seed).select(
                *("date", "impression_id", "item_id", "leak", "variant", "horizon_days", "held_out_fold"),
                F.lit(name).alias("source"),
                F.col(column).alias("vector"),
                F.col(column.replace("_vector", "_ids")).alias("ids"),
            )
        )
    chosen = parts[0].unionByName(parts[1]).join(F.broadcast(wanted), ["source", "leak", "variant", "horizon_days"])
    # where there is nothing to read the row is masked: the join to the training rows leaves a null
    keyed = _keyed(lake, chosen.where("vector IS NOT NULL"), features)
    narrow = keyed.select(*_LOOKED_UP.names, "ids")
    looked_up = narrow.mapInArrow(_looked_up(table, lake.config.ranker.dimension), _LOOKED_UP_DDL)
    return in_the_wrong_order(looked_up).select("date", "impression_id", "place", "vector")


def _leaks(features: Sequence[AppendFeature]) -> list[str]:
    return sorted({feature.leak.name for feature in features})


def _keyed(lake: Lake, rows: DataFrame, features: Sequence[AppendFeature]) -> DataFrame:
    """Rows with the hash of what their vector belongs to: its item, its user, or the impression itself."""
    keys = {kind: sorted({f.leak.name for f in features if f.leak.key == kind}) for kind in ("user", "impression")}
    made_of_users = any(f.leak.key == "user" and f.made != "as_is" for f in features)
    if made_of_users:
        users = lake.read("training_rows").select("date", "impression_id", "user_id")
        rows = rows.join(users, ["date", "impression_id"], "left")
    user = F.col("user_id") if made_of_users else F.col("item_id")  # nobody asks for it otherwise
    owner = F.when(F.col("leak").isin(keys["user"]), user)
    owner = owner.when(F.col("leak").isin(keys["impression"]), F.col("impression_id")).otherwise(F.col("item_id"))
    return rows.withColumn("key", F.xxhash64(owner))


def _looked_up(folder: str, dimension: int) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Ids become the mean of their items' rows in a table, before what stands beside it; or all a Gaussian draw."""

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
                if part["made"][0].as_py() == "gaussian":
                    width = len(vectors[0].as_py()) // BYTES_PER_VALUE
                    stream = salt("gaussian draw", part["draw"][0].as_py())
                    vectors = pack(normals(stream, part["key"].to_numpy(), width).T.astype(np.float32))
                kept = [part[name] for name in _LOOKED_UP.names[:-1]]
                yield pa.RecordBatch.from_arrays([*kept, vectors], schema=_LOOKED_UP)

    return look_up


def in_the_wrong_order(rows: DataFrame) -> DataFrame:
    """The same rows, where ``made`` says row_shuffled each key with the vector of another.

    Args:
        rows: place, held_out_fold, key, made, vector: the same vector in all rows of a key.
    """
    shuffled = rows.where(F.col("made") == "row_shuffled")
    group = ["place", "held_out_fold"]
    owners = shuffled.groupBy(*group, "key").agg(F.first("vector").alias("vector"))
    # Within pieces by hash: one window over all keys would be one task.
    order = F.xxhash64(F.lit("row shuffled"), "key")
    pieces = owners.withColumn("order", order).withColumn("piece", F.pmod("order", F.lit(SHUFFLE_PIECES)))
    by_hash = Window.partitionBy(*group, "piece").orderBy("order", "key")
    # each key takes what the next one in the order of hashes has, the last what the first has
    following = F.coalesce(F.lead("vector").over(by_hash), F.first("vector").over(by_hash))
    partners = pieces.select(*group, "key", following.alias("of_another"))
    exchanged = shuffled.drop("vector").join(partners, [*group, "key"]).withColumnRenamed("of_another", "vector")
    return rows.where(F.col("made") != "row_shuffled").unionByName(exchanged)


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
