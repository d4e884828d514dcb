"""Exact sums and sums of products of integer columns by group, in one pass: partial in Arrow, added by Spark."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lis_spark.errors import StepFailed
from lis_spark.metrics.integers import exact_dot, exact_sum

_SCHEMA = "group int, left int, right int, rows bigint, total decimal(38,0), too_large bigint"
_EXACT, _LARGEST = pa.decimal128(38, 0), 10**38
# Column number of the constant 1: its products are plain sums.
ONE = -1


@dataclass(frozen=True)
class GroupSums:
    """``rows`` of a group; ``sums`` [columns] and ``products`` [columns][columns] as integers of any size."""

    rows: int
    sums: tuple[int, ...]
    products: tuple[tuple[int, ...], ...]


def partial_sums(frame: DataFrame, columns: Sequence[str]) -> DataFrame:
    """Narrow rows of partial sums, for :func:`added`.

    Args:
        frame: ``group`` INT and the ``columns`` BIGINT, none of them null.
        columns: at least one.
    """
    return frame.select("group", *columns).mapInArrow(_of_batches(len(columns)), _SCHEMA)


def added(partial: DataFrame, columns: int, what: str) -> dict[int, GroupSums]:
    """Group -> its sums.

    Args:
        partial: of :func:`partial_sums`, or a union of such frames with as many columns or fewer.
        columns: the most that any of them has.
        what: named in the error.

    Raises:
        StepFailed: a sum is beyond decimal(38,0).
    """
    keys = ("group", "left", "right")
    total = partial.groupBy(*keys).agg(
        F.sum("rows").alias("rows"), F.try_sum("total").alias("total"), F.sum("too_large").alias("too_large")
    )
    rows: dict[int, int] = {}
    found: dict[int, dict[tuple[int, int], int]] = {}
    for row in total.collect():
        if row["too_large"] or row["total"] is None:
            raise StepFailed(
                "a sum of products over the users is beyond decimal(38,0)",
                table=what,
                remedy="count in coarser units: experiment.units",
            )
        rows[row["group"]] = row["rows"]
        found.setdefault(row["group"], {})[row["left"], row["right"]] = int(row["total"])
    places = range(columns)
    return {
        group: GroupSums(
            rows[group],
            tuple(totals.get((ONE, place), 0) for place in places),
            tuple(tuple(totals.get((min(left, right), max(left, right)), 0) for right in places) for left in places),
        )
        for group, totals in found.items()
    }


def _of_batches(columns: int) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def sums(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        totals: dict[tuple[int, int, int], int] = {}
        rows: dict[int, int] = {}
        for batch in batches:
            groups = batch.column(0).to_numpy()
            order = np.argsort(groups, kind="stable")
            bounds = np.flatnonzero(np.diff(groups[order], prepend=groups[order][:1] - 1))
            values = [batch.column(1 + place).to_numpy()[order] for place in range(columns)]
            for start, end in zip(bounds, [*bounds[1:], len(order)], strict=True):
                group = int(groups[order[start]])
                rows[group] = rows.get(group, 0) + int(end - start)
                for left in range(columns):
                    own = values[left][start:end]
                    _add(totals, (group, ONE, left), exact_sum(own))
                    for right in range(left, columns):
                        _add(totals, (group, left, right), exact_dot(own, values[right][start:end]))
        if totals:
            yield _to_arrow(totals, rows)

    return sums


def _add(totals: dict[tuple[int, int, int], int], key: tuple[int, int, int], value: int) -> None:
    totals[key] = totals.get(key, 0) + value


def _to_arrow(totals: dict[tuple[int, int, int], int], rows: dict[int, int]) -> pa.RecordBatch:
    fits = [abs(value) < _LARGEST for value in totals.values()]
    return pa.RecordBatch.from_arrays(
        [
            *[pa.array([key[place] for key in totals], pa.int32()) for place in range(3)],
            pa.array([rows[group] for group, _, _ in totals], pa.int64()),
            pa.array([Decimal(value if fit else 0) for value, fit in zip(totals.values(), fits, strict=True)], _EXACT),
            # a null would be skipped by the sum that follows, so what does not fit is counted
            pa.array([int(not fit) for fit in fits], pa.int64()),
        ],
        names=["group", "left", "right", "rows", "total", "too_large"],
    )
