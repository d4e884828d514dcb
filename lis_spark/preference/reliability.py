"""From how many training examples on an item's vector is more than noise: agreement of two halves of the users.

Two chains that share no user and no cold row learn the same item twice. What is of the item shows in both vectors,
what is of the users and of chance does not. Two trainings differ by a rotation, so one table is mapped onto the other
first, by a map that was fitted on other items: one that has seen an item turns its noise, too, and they would seem to
agree. Agreement is the correlation, over items of like counts, of the numbers of their two vectors: what such items
share (a vector that nothing was learned of is about the cold row, and its distance from the mean of the table is the
same for all of them) says nothing of one item and is taken off. It grows with the examples, so it is made monotone in
them; theta is the least count whose items agree well enough (method 4, which asks for the cosine of each item: the
mean of cosines gives an item whose vector is nearly the mean as much weight as any other).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lis_spark.errors import InputError
from lis_spark.ranker.procrustes import TableUse, aligned_tables
from lis_spark.vectors import unpack

Numbers = npt.NDArray[np.float64]

# Bins of counts to a doubling.
BINS_PER_DOUBLING = 2
# A bin of fewer items says little by itself: it is pooled with the one below.
FEWEST_ITEMS = 30


@dataclass(frozen=True)
class Agreement:
    """Items whose counts begin at ``count``: how many there are, and how well their two vectors correlate."""

    count: int
    items: int
    correlation: float


def agreements(
    tables: DataFrame, halves: tuple[str, str], date: dt.date, width: int, minimum_updates: int
) -> list[Agreement]:
    """By count, ascending; bins of fewer than FEWEST_ITEMS items are joined with the one below.

    Args:
        tables: of both halves as of ``date``, as returned by :func:`lis_spark.ranker.snapshots.as_of`.
        halves: names of the chains.
        date: of the tables.
        width: of the vectors.
        minimum_updates: the tables are mapped onto each other by rows with more in both, half of them each time.

    Raises:
        InputError: too few such rows.
    """
    uses = {TableUse(half, date, date, halves[1]) for half in halves}
    of_first = F.pmod(F.xxhash64("row", F.lit("rotation")), F.lit(2)) == 0
    parts = [
        aligned_tables(tables, uses, width, minimum_updates, fitted_on=others).where(items)
        for items, others in ((of_first, ~of_first), (~of_first, of_first))
    ]
    learned = parts[0].unionByName(parts[1]).where("update_count > 0")
    first, second = (
        learned.where(F.col("chain") == half).select("row", F.col("vector").alias(name), F.col("update_count").alias(n))
        for half, name, n in zip(halves, ("first", "second"), ("first_count", "second_count"), strict=True)
    )
    count = (F.col("first_count") + F.col("second_count")) / 2
    pairs = first.join(second, "row").select("first", "second", count.alias("count"))

    def sums(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Of each bin of a task's items: how many, the two sums of vectors, and the sums of products."""
        found: dict[int, Numbers] = {}
        for batch in batches:
            left, right = (unpack(batch[name], width).astype(np.float64) for name in ("first", "second"))
            products = np.stack([(left * right).sum(1), (left * left).sum(1), (right * right).sum(1)], axis=1)
            terms = np.column_stack([np.ones(len(left)), left, right, products])
            bins = np.floor(BINS_PER_DOUBLING * np.log2(batch["count"].to_numpy())).astype(np.int32)
            for number in np.unique(bins):
                found[number] = found.get(number, 0.0) + terms[bins == number].sum(0)
        columns = [pa.array(list(found), pa.int32()), pa.array([one.tobytes() for one in found.values()], pa.binary())]
        yield pa.RecordBatch.from_arrays(columns, names=["bin", "sums"])

    by_bin: dict[int, Numbers] = {}
    for row in pairs.mapInArrow(sums, "bin int, sums binary").collect():
        by_bin[row["bin"]] = by_bin.get(row["bin"], 0.0) + np.frombuffer(row["sums"])
    return _correlated({number: _less_shared(by_bin[number], width) for number in sorted(by_bin)})


def _less_shared(summed: Numbers, width: int) -> Numbers:
    """Items of a bin, and their sums of products less what all of them share: [4] of [2 width + 4]."""
    items, left, right = summed[0], summed[1 : width + 1], summed[width + 1 : 2 * width + 1]
    shared = np.array([left @ right, left @ left, right @ right]) / items
    return np.concatenate([[items], summed[-3:] - shared])


def _correlated(bins: dict[int, Numbers]) -> list[Agreement]:
    """Correlations of bins of enough items."""
    joined: list[tuple[int, Numbers]] = []
    for number, products in bins.items():
        joined.append((number, products))
        while len(joined) > 1 and min(joined[-1][1][0], joined[-2][1][0]) < FEWEST_ITEMS:
            (_, above), (lowest, below) = joined.pop(), joined.pop()
            joined.append((lowest, above + below))
    return [
        # of the order of the rows in a sum, a millionth is more than is left of it
        Agreement(int(np.ceil(2 ** (number / BINS_PER_DOUBLING))), int(items), round(_ratio(together, one, other), 6))
        for number, (items, together, one, other) in joined
    ]


def _ratio(together: float, one: float, other: float) -> float:
    """0 where vectors do not differ."""
    return float(together / np.sqrt(one * other)) if min(one, other) > 0 else 0.0


def monotone(found: Sequence[Agreement]) -> list[Agreement]:
    """The curve that never falls with the count and is nearest, items as weights (pool adjacent violators)."""
    pooled: list[Agreement] = []
    for one in found:
        pooled.append(one)
        while len(pooled) > 1 and pooled[-1].correlation < pooled[-2].correlation:
            above, below = pooled.pop(), pooled.pop()
            items = above.items + below.items
            mean = (above.items * above.correlation + below.items * below.correlation) / items
            pooled.append(Agreement(below.count, items, mean))
    return pooled


def least_count(found: Sequence[Agreement], wanted: float) -> int:
    """Theta: from this count on, items agree at least so well.

    Raises:
        InputError: none do; the curve is told instead.
    """
    curve = monotone(found)
    for one in curve:
        if one.items >= FEWEST_ITEMS and one.correlation >= wanted:
            return one.count
    told = ", ".join(f"{one.count:,} or more: {one.correlation:.2f} ({one.items:,} items)" for one in curve)
    raise InputError(
        "no item has been learned so well that two halves of the users agree on it",
        table="embedding_snapshots",
        found=f"correlation by training examples in each half: {told or 'no item in both halves'}",
        expected=f"{wanted} or more for {FEWEST_ITEMS} items or more",
        remedy="train on more days, lower preference.reliability, or choose preference.min_updates by this curve",
    )
