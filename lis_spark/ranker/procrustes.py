"""Tables of a model that was trained anew, mapped orthogonally onto the control's table (method 1.1).

Two trainings from different cold rows give tables that differ by a rotation, which a dense part does not know. The
orthogonal Procrustes map (Schönemann 1966) takes it out: R = U V' of the singular value decomposition of A'B.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import astuple, dataclass

import numpy as np
import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from lis_spark.errors import InputError
from lis_spark.vectors import pack, unpack

# Far more rows than an orthogonal map of 1,000 numbers needs, and small enough for one task a table.
LARGEST_FIT = 200_000
_KEY = ("chain", "snapshot_date", "evaluated_date")
_KEY_DDL = "chain string, snapshot_date date, evaluated_date date"
_USES_DDL = f"{_KEY_DDL}, control_chain string"


@dataclass(frozen=True)
class TableUse:
    """A table that stands in for that of ``control_chain`` at ``evaluated_date``."""

    chain: str
    snapshot_date: dt.date
    evaluated_date: dt.date
    control_chain: str

    @property
    def is_identity(self) -> bool:
        """Whether it is the control's own table."""
        return self.chain == self.control_chain and self.snapshot_date == self.evaluated_date


def tables_in_use(tables: DataFrame, uses: set[TableUse]) -> DataFrame:
    """The tables with the day that they are used on: one copy a use.

    Args:
        tables: as returned by :func:`lis_spark.ranker.snapshots.as_of`.
        uses: which of them are wanted.

    Returns:
        The columns of ``tables`` and evaluated_date.
    """
    spark = tables.sparkSession
    wanted = spark.createDataFrame([astuple(use)[:3] for use in _ordered(uses)], _KEY_DDL)
    return tables.join(F.broadcast(wanted), ["chain", "snapshot_date"])


def aligned_tables(
    tables: DataFrame, uses: set[TableUse], width: int, minimum_updates: int, fitted_on: Column | None = None
) -> DataFrame:
    """As :func:`tables_in_use`, each table mapped onto its control's; the control's own table keeps its bits.

    Args:
        tables: as returned by :func:`lis_spark.ranker.snapshots.as_of`, the controls' tables among them.
        uses: which of them are wanted.
        width: numbers in a vector.
        minimum_updates: the map is fitted on rows with more updates than this in both tables.
        fitted_on: the rows of ``tables`` that it may be fitted on; all where absent.

    Raises:
        InputError: a table shares fewer such rows with its control than a vector has numbers.
    """
    used = tables_in_use(tables, uses)
    others = [use for use in _ordered(uses) if not use.is_identity]
    if not others:
        return used
    known = tables if fitted_on is None else tables.where(fitted_on)
    maps = _maps(known, others, width, minimum_updates)
    keyed = [(*astuple(use)[:3], number) for number, use in enumerate(others)]
    numbers = F.broadcast(tables.sparkSession.createDataFrame(keyed, f"{_KEY_DDL}, number int"))
    columns = used.columns

    def mapped(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            vectors = np.array(unpack(batch["vector"], width))
            number = batch["number"].fill_null(-1).to_numpy()
            for one in np.unique(number[number >= 0]):
                rows = number == one
                # einsum adds every row in one order; the last bits of a matrix product depend on the rows beside it
                vectors[rows] = np.einsum("nd,de->ne", vectors[rows].astype(np.float64), maps[one])
            kept = {name: pack(vectors) if name == "vector" else batch[name] for name in columns}
            yield pa.RecordBatch.from_pydict(kept)

    return used.join(numbers, list(_KEY), "left").mapInArrow(mapped, used.schema)  # type: ignore[arg-type]


def orthogonal_map(later: np.ndarray, control: np.ndarray) -> np.ndarray:
    """R [width, width], orthogonal, with the least ``|later R - control|``; both [rows, width], the same row order."""
    left, _, right = np.linalg.svd(later.T.astype(np.float64) @ control.astype(np.float64))
    return np.asarray(left @ right)


def _maps(tables: DataFrame, uses: list[TableUse], width: int, minimum_updates: int) -> list[np.ndarray]:
    """The map of each use, in their order."""
    spark = tables.sparkSession
    warm = tables.where(F.col("update_count") > minimum_updates)
    wanted = F.broadcast(spark.createDataFrame([astuple(use) for use in uses], _USES_DDL))
    control = warm.select(
        F.col("chain").alias("control_chain"),
        F.col("snapshot_date").alias("evaluated_date"),
        "row",
        F.col("vector").alias("control_vector"),
    )
    pairs = (
        warm.select("chain", "snapshot_date", "row", "vector")
        .join(wanted, ["chain", "snapshot_date"])
        .join(control, ["control_chain", "evaluated_date", "row"])
    )
    counts = {tuple(row[name] for name in _KEY): row["count"] for row in pairs.groupBy(*_KEY).count().collect()}
    for use in uses:
        shared = counts.get((use.chain, use.snapshot_date, use.evaluated_date), 0)
        if shared < width:
            raise InputError(
                "too few rows to align a table by",
                table="embedding_snapshots",
                partition={"chain": use.chain, "snapshot_date": use.snapshot_date.isoformat()},
                found=f"{shared} rows with more than {minimum_updates} updates here and in {use.control_chain}",
                expected=f"at least {width}, the numbers in a vector",
                remedy="lower evaluation.align_minimum_updates, or set evaluation.align: none",
            )
    shares = [(*key, -(-count // LARGEST_FIT)) for key, count in counts.items()]
    thinned = pairs.join(F.broadcast(spark.createDataFrame(shares, f"{_KEY_DDL}, share bigint")), list(_KEY))
    chosen = thinned.where(F.pmod(F.xxhash64("row"), "share") == 0).select(*_KEY, "row", "vector", "control_vector")

    def fit(table: pa.Table) -> pa.Table:
        ordered = table.sort_by("row")
        fitted = orthogonal_map(unpack(ordered["vector"], width), unpack(ordered["control_vector"], width))
        key = {name: ordered[name][:1] for name in _KEY}
        return pa.table({**key, "map": pa.array([fitted.tobytes()])})

    schema = "chain string, snapshot_date date, evaluated_date date, map binary"
    rows = chosen.groupBy(*_KEY).applyInArrow(fit, schema).collect()
    found = {tuple(row[name] for name in _KEY): np.frombuffer(row["map"], np.float64) for row in rows}
    return [found[astuple(use)[:3]].reshape(width, width) for use in uses]


def _ordered(uses: set[TableUse]) -> list[TableUse]:
    return sorted(uses, key=astuple)
