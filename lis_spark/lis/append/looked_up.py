"""The vectors of the feature tables that arms read, ids looked up and Gaussian draws made (method 1.3 to 1.6).

What belongs to an item is the same in all impressions that show it to a fold of users, so it is read of one of them
(:func:`owners_of`): the vectors of a hundred arms are then of the size of the items, not of the impressions.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import reduce

import numpy as np
import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from lis_spark.keyed_random import normals
from lis_spark.lake import Lake
from lis_spark.lis.plan.append_feature import AppendFeature, gaussian_stream
from lis_spark.lis.plan.evaluated_rows import rows_of_days
from lis_spark.lis.swap.features import VECTOR_COLUMN, item_rows
from lis_spark.ranker.vector_files import read_vectors
from lis_spark.vectors import BYTES_PER_VALUE, pack, unpack

_LOOKED_UP = pa.schema(
    [
        ("date", pa.date32()),
        ("impression_id", pa.string()),
        ("place", pa.int32()),
        ("seed", pa.int32()),
        ("made", pa.string()),
        ("draw", pa.int32()),
        ("item_id", pa.string()),
        ("fold", pa.int32()),
        ("held_out_fold", pa.int32()),
        ("key", pa.int64()),
        ("shuffled_within", pa.date32()),
        ("vector", pa.binary()),
    ]
)
_LOOKED_UP_DDL = (
    "date date, impression_id string, place int, seed int, made string, draw int, item_id string, fold int, "
    "held_out_fold int, key bigint, shuffled_within date, vector binary"
)


def owner_of_row(lake: Lake) -> Column:
    """Of training rows: the number under which the vectors of their item lie.

    It is a hash of the item, its row in the swapped table, and the fold of the user. Two owners of one number are found
    when the ranks read the table, for a number with two vectors is refused; not where only one of them has a vector (of
    10^7 owners any two have one number once in 4 * 10^5 times).
    """
    slot = next(feature for feature in lake.config.features if feature.table == lake.config.evaluation.slot)
    return _owner_key(f"row_{slot.name}", "user_fold")


def owners_of(lake: Lake, days: Sequence[dt.date]) -> DataFrame:
    """item_id, row, fold, key of what is shown on some days, with date and impression_id of one impression of each."""
    owner = ["item_id", "row", "fold"]
    found = (
        item_rows(lake.config, rows_of_days(lake, days))
        .groupBy(owner)
        .agg(F.min(F.struct("date", "impression_id")).alias("first"))
    )
    return found.select(*owner, _owner_key("row", "fold").alias("key"), "first.*")


def _owner_key(row: str, fold: str) -> Column:
    return F.xxhash64("item_id", row, fold)


def is_owned(feature: AppendFeature) -> bool:
    """Whether the vectors of an arm belong to items: those of items' leaks, and all that content predicts."""
    return feature.leak.key == "item" or feature.made in ("content", "content_shuffled")


def looked_up_vectors(
    lake: Lake, date: dt.date, features: Sequence[AppendFeature], owners: DataFrame, tables: Mapping[int, str]
) -> DataFrame:
    """All vectors that an arm of this day reads, or is predicted from: those of items for their owners only.

    Args:
        lake: with the feature tables.
        date: T.
        features: by place, see :func:`lis_spark.lis.plan.append_feature.of_seeds`.
        owners: see :func:`owners_of`.
        tables: training seed -> folder of the ID table that its ids are looked up in.

    Returns:
        DataFrame: date, impression_id, place, seed, made, draw, item_id, fold, held_out_fold, key (what the vector
            belongs to, hashed: its item, its user, or the impression itself), shuffled_within (the day, where vectors
            belong to impressions), vector.
    """
    wanted = lake.spark.createDataFrame(
        [
            (f.table, f.leak.name, f.variant, f.horizon_days, place, f.seed, f.made, f.draw)
            for place, f in enumerate(features)
            if f.table and f.made != "content_shuffled"
        ],
        "source string, leak string, variant string, horizon_days int, place int, seed int, made string, draw int",
    )
    of_items = sorted({f.leak.name for f in features if f.leak.key == "item"})
    of_others = sorted({f.leak.name for f in features} - set(of_items))
    first = owners.select("date", "impression_id")
    parts = []
    for name, column in VECTOR_COLUMN.items():
        chain_seed = seed_of_chain()
        of_seeds = chain_seed.isNull() | chain_seed.isin(list(tables))
        rows = lake.read(name).where((F.col("evaluated_date") == F.lit(date)) & of_seeds)
        given = rows.select(
            *("date", "impression_id", "item_id", "leak", "variant", "horizon_days"),
            *("fold", "held_out_fold", chain_seed.alias("chain_seed")),
            F.lit(name).alias("source"),
            F.col(column).alias("vector"),
            F.col(column.replace("_vector", "_ids")).alias("ids"),
        )
        parts.append(given.where(F.col("leak").isin(of_items)).join(first, ["date", "impression_id"], "left_semi"))
        parts.append(given.where(F.col("leak").isin(of_others)))
    chosen = reduce(DataFrame.unionByName, parts).join(
        F.broadcast(wanted), ["source", "leak", "variant", "horizon_days"]
    )
    chosen = chosen.where(F.col("chain_seed").isNull() | (F.col("chain_seed") == F.col("seed")))
    # where there is nothing to read the row is masked: the ranks find no vector
    keyed = _keyed(lake, chosen.where("vector IS NOT NULL"), features)
    narrow = keyed.select(*_LOOKED_UP.names, "ids")
    return narrow.mapInArrow(_looked_up(tables, lake.config.ranker.dimension), _LOOKED_UP_DDL)


def seed_of_chain() -> Column:
    """Of rows of a feature table: the training seed of their chain, which its name ends with; null without a chain."""
    return F.when(F.col("chain") != "", F.substring_index("chain", "-s", -1).cast("int"))


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
    day = F.when(F.col("leak").isin(keys["impression"]), F.col("date"))
    return rows.withColumns({"key": F.xxhash64(owner), "shuffled_within": day})


def _looked_up(
    tables: Mapping[int, str], dimension: int
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Ids become the mean of their items' rows in a table, before what stands beside it; or all a Gaussian draw."""

    def look_up(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        by_seed: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        for batch in batches:
            arms = batch["place"].to_numpy()
            for arm in np.unique(arms):  # the arms' vectors are of different widths
                part = batch.filter(pa.array(arms == arm))
                seed = part["seed"][0].as_py()
                if not part["ids"].null_count and seed not in by_seed:
                    by_seed[seed] = _known_vectors(tables[seed], dimension)
                vectors = part["vector"] if part["ids"].null_count else _pooled(part, *by_seed[seed])
                if part["made"][0].as_py() == "gaussian":
                    width = len(vectors[0].as_py()) // BYTES_PER_VALUE
                    stream = gaussian_stream(seed, part["draw"][0].as_py())
                    vectors = pack(normals(stream, part["key"].to_numpy(), width).T.astype(np.float32))
                kept = [part[name] for name in _LOOKED_UP.names[:-1]]
                yield pa.RecordBatch.from_arrays([*kept, vectors], schema=_LOOKED_UP)

    return look_up


def _known_vectors(folder: str, dimension: int) -> tuple[np.ndarray, np.ndarray]:
    """float32 [items + 1, d], whose last row is that of no item, and bool [items + 1]: which rows the table has."""
    rows, vectors = read_vectors(folder, dimension)
    table = np.zeros((int(rows.max(initial=-1)) + 2, dimension), np.float32)
    known = np.zeros(len(table), bool)
    table[rows], known[rows] = vectors, True
    return table, known


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
