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
from lis_spark.keyed_random import normals
from lis_spark.lake import Lake
from lis_spark.lis.append.content_vectors import content_vectors
from lis_spark.lis.append.representation_source import vector_width
from lis_spark.lis.append.rung_vectors import rung_parts, with_rungs
from lis_spark.lis.append.wrong_order import in_the_wrong_order
from lis_spark.lis.plan.append_feature import AppendFeature, gaussian_stream
from lis_spark.lis.plan.chains import base_name
from lis_spark.lis.plan.evaluation import EvaluationPlan
from lis_spark.lis.swap.features import VECTOR_COLUMN, item_rows, snapshot_tables
from lis_spark.ranker.plans import DaySpec, PortSpec
from lis_spark.ranker.readable_days import exported_days
from lis_spark.ranker.vector_files import export_vectors, read_vectors, vector_folder
from lis_spark.vectors import BYTES_PER_VALUE, pack, unpack, width_of

DISK_ONLY = StorageLevel.DISK_ONLY

_LOOKED_UP = pa.schema(
    [
        ("date", pa.date32()),
        ("impression_id", pa.string()),
        ("place", pa.int32()),
        ("made", pa.string()),
        ("draw", pa.int32()),
        ("item_id", pa.string()),
        ("fold", pa.int32()),
        ("held_out_fold", pa.int32()),
        ("key", pa.int64()),
        ("vector", pa.binary()),
    ]
)
_LOOKED_UP_DDL = (
    "date date, impression_id string, place int, made string, draw int, item_id string, fold int, held_out_fold int, "
    "key bigint, vector binary"
)
_NARROW = ("date", "impression_id", "place", "vector")


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
    known = _vectors(lake, seed, date, features, vector_folder(folder / "lookup", key))
    vectors = in_the_wrong_order(known.where("made != 'content'")).select(*_NARROW)
    content = lake.config.append.content if lake.config.append else None
    if content is not None:
        shown = item_rows(lake, days).select("date", "impression_id", "item_id", "fold")
        targets = known.where("made = 'content'")
        vectors = vectors.unionByName(content_vectors(lake, targets, shown, features, content, folder / "content"))
    vectors = with_rungs(lake, seed, date, vectors, features).persist(DISK_ONLY)
    try:
        ports = _ports(lake, vectors, features)
        listed = vectors.groupBy("date", "impression_id").agg(
            F.collect_list(F.struct("place", "vector")).alias("vectors")
        )
        rows = lake.read("training_rows").where(F.col("date").isin(list(days)))
        joined = rows.join(listed, ["date", "impression_id"], "left")
        columns = {place: port.column for place, port in enumerate(ports) if port is not None}
        # A hundred arms are a hundred columns: as expressions they would be more than Spark compiles.
        schema = T.StructType(
            [*rows.schema.fields, *(T.StructField(column, T.BinaryType()) for column in columns.values())]
        )
        wide = joined.select(*rows.columns, "vectors").mapInArrow(_widened(columns), schema)
        return exported_days(lake, wide, plan.rows, days, folder / "rows"), ports
    finally:
        vectors.unpersist()


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


def _ports(lake: Lake, vectors: DataFrame, features: Sequence[AppendFeature]) -> list[PortSpec | None]:
    """The column that holds each arm's vectors, and how wide they are; None for an arm without a port."""
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
        ports.append(
            PortSpec(column=f"{VECTOR_COLUMN[feature.table]}_{place}", widths=widths, hidden=feature.port_hidden)
        )
    return ports


def _vectors(lake: Lake, seed: int, date: dt.date, features: Sequence[AppendFeature], table: str) -> DataFrame:
    """``_LOOKED_UP``: all vectors that an arm of this seed and day reads, or is predicted from."""
    wanted = lake.spark.createDataFrame(
        [
            (f.table, f.leak.name, f.variant, f.horizon_days, place, f.made, f.draw)
            for place, f in enumerate(features)
            if f.table and f.made != "content_shuffled"
        ],
        "source string, leak string, variant string, horizon_days int, place int, made string, draw int",
    )
    parts = []
    for name, column in VECTOR_COLUMN.items():
        rows = lake.read(name).where((F.col("evaluated_date") == F.lit(date)) & F.col("leak").isin(_leaks(features)))
        of_seed = (F.col("chain") == "") | F.col("chain").endswith(f"-s{seed}")
        parts.append(
            rows.where(of_seed).select(
                *("date", "impression_id", "item_id", "leak", "variant", "horizon_days"),
                *("fold", "held_out_fold"),
                F.lit(name).alias("source"),
                F.col(column).alias("vector"),
                F.col(column.replace("_vector", "_ids")).alias("ids"),
            )
        )
    chosen = parts[0].unionByName(parts[1]).join(F.broadcast(wanted), ["source", "leak", "variant", "horizon_days"])
    # where there is nothing to read the row is masked: the join to the training rows leaves a null
    keyed = _keyed(lake, chosen.where("vector IS NOT NULL"), features)
    narrow = keyed.select(*_LOOKED_UP.names, "ids")
    return narrow.mapInArrow(_looked_up(table, lake.config.ranker.dimension), _LOOKED_UP_DDL)


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
                    stream = gaussian_stream(part["draw"][0].as_py())
                    vectors = pack(normals(stream, part["key"].to_numpy(), width).T.astype(np.float32))
                kept = [part[name] for name in _LOOKED_UP.names[:-1]]
                yield pa.RecordBatch.from_arrays([*kept, vectors], schema=_LOOKED_UP)

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
