"""The passes over an audited table's rows: each a job that hands back what its columns, bins and windows need, no more.

Rows are dealt out by key (users, or items), so that a task holds whole keys; a chunk of them lies in NumPy at a time.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lis_spark.arrow_batches import whole_keys
from lis_spark.audit.excess import Bound, Fit, Influence, fitted, influence, moments, past
from lis_spark.audit.key_rows import NONE, UNITS, KeyRows, Numbers
from lis_spark.audit.later_labels import FOLDS, WINDOWS, Later
from lis_spark.audit.scales import Scale, number_of_codes, scales_of

# Blocks of keys, and of days, for the jackknife.
BLOCKS = 40
BY = ("key", "day")
CHUNK_ROWS, TASK_ROWS, SAMPLE_ROWS = 250_000, 1_000_000, 200_000
_ORDER = ("key_hash", "time_ms", "tie")
_CELLS = pa.schema([(name, pa.int32()) for name in ("place", "unit", "side", "by", "block", "cell", "label")])
_CELLS = _CELLS.append(pa.field("n", pa.int64()))
_CELLS_DDL = "place int, unit int, side int, by int, block int, cell int, label int, n bigint"
_SUMS = pa.schema([("bound", pa.int32()), ("sums", pa.binary())])
_SUMS_DDL = "bound int, sums binary"
# Whether only pairs of different sessions count, and the window.
_BOUNDS = [(apart, milliseconds) for apart in (False, True) for milliseconds in WINDOWS.values()]


@dataclass(frozen=True)
class KeyedRows:
    """Rows of :func:`lis_spark.audit.joined.key_rows`, and which of all columns are numbers and which ids."""

    rows: DataFrame
    numbers: tuple[int, ...]
    ids: tuple[int, ...]

    @property
    def places(self) -> tuple[int, ...]:
        """All columns, ascending."""
        return tuple(sorted((*self.numbers, *self.ids)))

    def chunks(self) -> Callable[[Iterable[pa.RecordBatch]], Iterator[KeyRows]]:
        """Whole keys in NumPy; columns in the order of ``places``."""
        renamed = {place: index for index, place in enumerate(self.places)}
        numbers, ids = [renamed[place] for place in self.numbers], [renamed[place] for place in self.ids]

        def cut(batches: Iterable[pa.RecordBatch]) -> Iterator[KeyRows]:
            for table in whole_keys(batches, "key_hash", CHUNK_ROWS):
                names = [_renamed(name, renamed) for name in table.column_names]
                yield KeyRows.of(table.rename_columns(names), numbers, ids, BLOCKS)

        return cut


def dealt(keyed: KeyedRows, rows: int) -> KeyedRows:
    """Dealt out by key and in order. The number of tasks depends on the rows alone: sums come in the same order."""
    tasks = -(-rows // TASK_ROWS)
    return KeyedRows(keyed.rows.repartition(tasks, "key_hash").sortWithinPartitions(*_ORDER), keyed.numbers, keyed.ids)


def sampled_scales(keyed: KeyedRows, rows: int) -> list[Scale]:
    """Scales of all columns, from one task's sample of whole keys."""
    share = min(SAMPLE_ROWS / max(rows, 1), 1.0)
    drawn = keyed.rows
    if share < 1:
        drawn = drawn.where(F.pmod("key_hash", F.lit(1_000_003)) < int(1_000_003 * share))
    chunks = keyed.chunks()

    def scales(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        tables = [batch for batch in batches if batch.num_rows]
        if tables:
            whole = pa.Table.from_batches(tables).combine_chunks().to_batches()
            for rows_of_keys in chunks(whole):
                yield pa.RecordBatch.from_pydict({"scales": [pickle.dumps(scales_of(rows_of_keys))]})

    answer = drawn.repartition(1).sortWithinPartitions(*_ORDER).mapInArrow(scales, "scales binary").collect()
    if not answer:
        return []
    found: list[Scale] = pickle.loads(answer[0]["scales"])
    return found


def counted_cells(keyed: KeyedRows, scales: Sequence[Scale]) -> dict[tuple[int, int, int, int], Numbers]:
    """(place, unit, side, by) -> [blocks, cells, 2], rows without and with a click; side 0 is before, 1 is after."""
    chunks = keyed.chunks()

    def count(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for rows in chunks(batches):
            blocks = (rows.blocks, np.mod(rows.day, BLOCKS))
            for unit, name in enumerate(UNITS):
                before, after = rows.neighbours(name)
                both = (before != NONE) & (after != NONE)
                label = rows.label[both].astype(np.int64)
                for place, scale in enumerate(scales):
                    for side, cells in enumerate(scale.cells(rows, place, name)):
                        for by, block in enumerate(blocks):
                            yield _listed((place, unit, side, by), block[both], cells[both], label)

    partial = keyed.rows.mapInArrow(count, _CELLS_DDL)
    keys = [name for name in _CELLS.names if name != "n"]
    table = partial.groupBy(*keys).agg(F.sum("n").alias("n")).toArrow()
    columns = {name: table.column(name).to_numpy() for name in table.column_names}
    found: dict[tuple[int, int, int, int], Numbers] = {}
    for place, scale in enumerate(scales):
        of_place = columns["place"] == place
        for unit in range(len(UNITS)):
            cells = number_of_codes(scale.value_edges) * number_of_codes(scale.change_edges[unit])
            for side in (0, 1):
                for by in range(len(BY)):
                    mine = of_place & (columns["unit"] == unit) & (columns["side"] == side) & (columns["by"] == by)
                    counts = np.zeros((BLOCKS, cells, 2))
                    at = columns["block"][mine], columns["cell"][mine], columns["label"][mine]
                    counts[at] = columns["n"][mine]
                    found[place, unit, side, by] = counts
    return found


def bounds(keyed: KeyedRows, scales: Sequence[Scale], half_way: Callable[[], None]) -> list[list[Bound]]:
    """What is to be known within each window, and what each column says above it.

    Args:
        keyed: dealt out.
        scales: of its columns.
        half_way: called between the two passes over the rows.

    Returns:
        A list of all pairs and one of pairs of different sessions, each in the order of WINDOWS.
    """
    chunks = keyed.chunks()

    def summed(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for rows in chunks(batches):
            known, values = past(rows), _standardised(rows, scales)
            for bound, (apart, milliseconds) in enumerate(_BOUNDS):
                yield _packed(bound, moments(rows, known, values, Later.of(rows, milliseconds, apart)))

    width = _width_of_past()
    whole = width + len(scales) + 3
    sums = _added(keyed.rows.mapInArrow(summed, _SUMS_DDL))
    fits: list[Fit] = [fitted(total.reshape(FOLDS, whole, whole), width) for total in sums]
    half_way()

    def influenced(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for rows in chunks(batches):
            known, values = past(rows), _standardised(rows, scales)
            for bound, ((apart, milliseconds), fit) in enumerate(zip(_BOUNDS, fits, strict=True)):
                later = Later.of(rows, milliseconds, apart)
                yield _packed(bound, influence(rows, known, values, later, fit).sums)

    found = [
        Bound(fit, Influence.of(total))
        for fit, total in zip(fits, _added(keyed.rows.mapInArrow(influenced, _SUMS_DDL)), strict=True)
    ]
    return [found[: len(WINDOWS)], found[len(WINDOWS) :]]


def _renamed(name: str, places: dict[int, int]) -> str:
    stem, _, place = name.rpartition("_")
    return f"{stem}_{places[int(place)]}" if stem in ("value", "id", "named") else name


def _standardised(rows: KeyRows, scales: Sequence[Scale]) -> Numbers:
    return np.column_stack([scale.standardised(rows.values[:, place]) for place, scale in enumerate(scales)])


def _listed(key: tuple[int, ...], block: np.ndarray, cell: np.ndarray, label: np.ndarray) -> pa.RecordBatch:
    """How many rows of each (block, cell, label) there are, without those of which there are none."""
    width = int(cell.max(initial=0)) + 1
    counts = np.bincount((block * width + cell) * 2 + label)
    there = np.flatnonzero(counts)
    columns = [np.full(len(there), value) for value in key]
    columns += [there // 2 // width, there // 2 % width, there % 2]
    arrays = [pa.array(column.astype(np.int32)) for column in columns]
    return pa.RecordBatch.from_arrays([*arrays, pa.array(counts[there].astype(np.int64))], schema=_CELLS)


def _packed(bound: int, sums: Numbers) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(
        [pa.array([bound], pa.int32()), pa.array([np.ascontiguousarray(sums).tobytes()])], schema=_SUMS
    )


def _width_of_past() -> int:
    """Columns of :func:`lis_spark.audit.excess.past`, from a row that stands alone."""
    zero, one = np.zeros(1, np.int64), np.zeros((1, 1), np.int64)
    alone = KeyRows(zero, zero, zero, zero, zero, np.zeros(1), np.zeros((1, 1)), one, one, np.zeros(1, bool))
    return past(alone).shape[1]


def _added(partial: DataFrame) -> list[Numbers]:
    """Sums by bound, added up by one task each, in one order."""

    def add(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        totals: dict[int, Numbers] = {}
        for batch in batches:
            for bound, sums in zip(batch["bound"].to_pylist(), batch["sums"].to_pylist(), strict=True):
                totals[bound] = totals.get(bound, 0.0) + np.frombuffer(sums)
        for bound, total in totals.items():
            yield _packed(bound, total)

    numbered = partial.withColumn("order", F.monotonically_increasing_id())
    ordered = numbered.repartition(len(_BOUNDS), "bound").sortWithinPartitions("order").select("bound", "sums")
    found = {row["bound"]: np.frombuffer(row["sums"]) for row in ordered.mapInArrow(add, _SUMS_DDL).collect()}
    return [found[bound] for bound in range(len(_BOUNDS))]
