"""The frozen vectors that the ports of arms read, day by day, beside rows that are read once for all arms.

What belongs to items comes from a table of the arm, by the numbers that the rows have; what belongs to users or single
impressions from a column of the arm, which is then all that is read of the day again.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from lis_spark.errors import StepFailed
from lis_spark.ranker.day_reader import BUCKET_COLUMN, DayRows, read_columns
from lis_spark.ranker.plans import DaySpec, PortSpec
from lis_spark.ranker.processes import Rank
from lis_spark.ranker.vector_files import find_rows, read_vectors
from lis_spark.vectors import unpack


class ArmVectors:
    """Vectors of one arm for some rows.

    Args:
        table: float32 [m + 1, v], the last row zeros.
        places: int64 [rows], which row of the table each has, m where it has none.
    """

    def __init__(self, table: Tensor, places: np.ndarray) -> None:
        self.table = table
        self.places = torch.from_numpy(places).to(table.device)
        self.mask = (self.places < len(table) - 1).float()

    def of(self, rows: slice | np.ndarray) -> tuple[Tensor, Tensor]:
        """Vectors [n, v] of some of the rows and their mask [n]: zeros where there is none."""
        index = rows if isinstance(rows, slice) else torch.from_numpy(rows).to(self.table.device)
        return self.table.index_select(0, self.places[index]), self.mask[index]


def no_vectors(width: int, rows: int, device: torch.device) -> ArmVectors:
    """Of rows that have none."""
    return ArmVectors(torch.zeros(1, width, device=device), np.zeros(rows, np.int64))


def numbers_of(ports: Sequence[PortSpec | None]) -> tuple[str, ...]:
    """The columns of numbers by which ports look their vectors up."""
    return tuple(sorted({port.column for port in ports if port is not None and port.table is not None}))


class VectorReader:
    """The vectors of some arms on one rank; their tables are held as long as it is.

    Args:
        ports: of each arm, None where it has no port.
        numbers: which columns ``DayRows.numbers`` are, see :func:`numbers_of`.
        rank: whose share of the days is read.
    """

    def __init__(self, ports: Sequence[PortSpec | None], numbers: Sequence[str], rank: Rank) -> None:
        self.ports, self.rank = ports, rank
        self.tables: dict[int, tuple[int, np.ndarray, Tensor]] = {}
        for arm, port in enumerate(ports):
            if port is not None and port.table is not None:
                rows, vectors = read_vectors(port.table, port.width)
                self.tables[arm] = numbers.index(port.column), rows, self._with_nothing(vectors)

    def read(self, day: DaySpec, rows: DayRows) -> list[ArmVectors | None]:
        """Of each arm for this rank's rows of a day; None where it has no port.

        Raises:
            StepFailed: the columns are not those of the rows.
        """
        found: list[ArmVectors | None] = [None] * len(self.ports)
        columns = {arm: port for arm, port in enumerate(self.ports) if port is not None and port.table is None}
        if columns:
            wanted = sorted({port.column for port in columns.values()})
            batches = read_columns(day, [BUCKET_COLUMN, *wanted], self.rank.place, self.rank.group_size)
            self._check(day, rows, batches)
            for arm, port in columns.items():
                packed = [pa.array(batch[port.column], pa.binary()) for batch in batches]
                found[arm] = self._of_column(pa.chunked_array(packed, pa.binary()), port.width)
        for arm, (column, known, table) in self.tables.items():
            found[arm] = ArmVectors(table, find_rows(known, rows.numbers.T[column]))
        return found

    def _of_column(self, packed: pa.ChunkedArray, width: int) -> ArmVectors:
        present = pc.is_valid(packed).to_numpy().astype(bool)
        table = self._with_nothing(unpack(packed.drop_null(), width))
        return ArmVectors(table, np.where(present, np.cumsum(present) - 1, len(table) - 1))

    def _with_nothing(self, vectors: np.ndarray) -> Tensor:
        """float32 [n + 1, v] on the rank's device: the vectors and a row of zeros."""
        table = torch.zeros(len(vectors) + 1, vectors.shape[1])
        table[:-1] = torch.from_numpy(vectors.astype(np.float32))
        return table.to(self.rank.device)

    def _check(self, day: DaySpec, rows: DayRows, batches: Sequence[dict[str, np.ndarray]]) -> None:
        """Both readings have the same rows in the same order, as far as the buckets of the users tell."""
        buckets = np.concatenate([np.asarray(batch[BUCKET_COLUMN]) for batch in batches] or [np.empty(0, np.int32)])
        if not np.array_equal(buckets, rows.buckets):
            raise StepFailed(
                "two readings of a day differ in their rows",
                table="training_rows",
                partition={"date": day.date.isoformat()},
                found=f"{len(buckets):,} rows beside the vectors",
                expected=f"the {len(rows):,} rows that the arms are trained on, in their order",
                remedy="run again; if it happens twice, report the petastorm and pyarrow versions",
            )
