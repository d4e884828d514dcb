"""Which items are kept so that no tag, author or phrase outweighs the others (MetaCLIP; Xu et al., ICLR 2024).

An item has entries: tags, authors, categories, phrases of its title. An entry that few items have is kept whole, one
that many have is thinned: with c_e items, p_e = min(1, t / c_e), and an item stays when its own uniform number is below
1 - prod_e (1 - p_e). The number is a hash of the item, so a larger t keeps what a smaller one kept, and more: each item
has a threshold of its own, the t from which on it stays, and a budget or a share of the tail is a quantile of those.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

Numbers = npt.NDArray[np.float64]
# Bits of the uniform number of an item, as many as a float64 holds exactly.
UNIT = 2**53
# Halvings of an item's interval: float64 knows no more places.
HALVINGS = 60


@dataclass(frozen=True)
class Balance:
    """How evenly entries are spread. ``entropy`` in nats; ``gini`` 0 when all entries have as many items."""

    entries: int
    mentions: int
    entropy: float
    largest_share: float
    gini: float


def keep_thresholds(entries: DataFrame, seed: int) -> DataFrame:
    """item_id, threshold (double): the item is kept when t is above it.

    Args:
        entries: item_id, entry; one row for each entry of an item, none doubled.
        seed: of the items' uniform numbers.
    """
    counts = entries.groupBy("entry").agg(F.count(F.lit(1)).alias("items"))
    of_items = (
        entries.join(counts, "entry").groupBy("item_id").agg(F.array_sort(F.collect_list("items")).alias("counts"))
    )
    uniform = F.pmod(F.xxhash64(F.lit(seed), "item_id"), F.lit(UNIT)) / F.lit(UNIT)  # Spark's hash is signed
    return of_items.withColumn("uniform", uniform).mapInArrow(_thresholds, "item_id string, threshold double")


def _thresholds(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        lengths = pc.list_value_length(batch["counts"]).to_numpy()
        counts = pc.list_flatten(batch["counts"]).to_numpy().astype(np.float64)
        found = thresholds(counts, lengths, batch["uniform"].to_numpy())
        yield pa.RecordBatch.from_arrays([batch["item_id"], pa.array(found)], names=["item_id", "threshold"])


def thresholds(counts: Numbers, lengths: npt.NDArray[np.int64], uniform: Numbers) -> Numbers:
    """The largest t at which each item is not kept, by bisection.

    Args:
        counts: items of each entry, those of one item after each other.
        lengths: entries of each item, at least 1.
        uniform: of each item, in [0, 1).
    """
    starts = np.r_[0, np.cumsum(lengths)[:-1]].astype(np.int64)
    low: Numbers = np.zeros(len(lengths))
    high: Numbers = np.minimum.reduceat(counts, starts)  # at the rarest entry's count all stay
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        dropped = keep_probability(middle, counts, lengths) <= uniform
        low, high = np.where(dropped, middle, low), np.where(dropped, high, middle)
    return low


def keep_probability(t: Numbers | float, counts: Numbers, lengths: npt.NDArray[np.int64]) -> Numbers:
    """1 - prod_e (1 - min(1, t / c_e)) of each item; arguments as in :func:`thresholds`, ``t`` one or of each item."""
    starts = np.r_[0, np.cumsum(lengths)[:-1]].astype(np.int64)
    of_entry = np.repeat(np.broadcast_to(np.asarray(t, np.float64), lengths.shape), lengths)
    dropped: Numbers = np.multiply.reduceat(1 - np.minimum(1.0, of_entry / counts), starts)
    return 1 - dropped


def t_of_tail(histogram: dict[int, int], share: float) -> float:
    """The t whose tail (entries with at most t items, kept whole) holds a share of all mentions, or the next above.

    Args:
        histogram: items of an entry -> how many entries have so many.
        share: of the mentions, in (0, 1].
    """
    sizes = np.array(sorted(histogram), np.int64)
    mentions = np.cumsum(sizes * np.array([histogram[int(size)] for size in sizes], np.int64))
    return float(sizes[int(np.searchsorted(mentions, share * mentions[-1] * (1 - 1e-12)))])


def t_of_budget(kept: DataFrame, items: int) -> float:
    """The smallest t that keeps so many items; infinite where there are not more.

    Args:
        kept: see :func:`keep_thresholds`.
        items: the budget.
    """
    smallest = kept.orderBy("threshold").limit(items)
    row = smallest.agg(F.count(F.lit(1)).alias("items"), F.max("threshold").alias("last")).first()
    assert row is not None
    return math.inf if row["items"] < items else float(np.nextafter(row["last"], np.inf))


def histogram_of(entries: DataFrame) -> dict[int, int]:
    """Items of an entry -> how many entries have so many; there are no more of them than sqrt(2 x mentions)."""
    of_entries = entries.groupBy("entry").agg(F.count(F.lit(1)).alias("items"))
    return {row["items"]: row["count"] for row in of_entries.groupBy("items").count().collect()}


def balance(histogram: dict[int, int]) -> Balance:
    """Of the items of entries; see :func:`histogram_of`."""
    sizes = np.array(sorted(histogram), np.float64)
    entries = np.array([histogram[int(size)] for size in sizes], np.float64)
    total = float((sizes * entries).sum())
    if not total:
        return Balance(0, 0, 0.0, 0.0, 0.0)
    share = sizes / total
    # mean absolute difference of two entries, over twice their mean: of equal sizes next to each other
    below = np.cumsum(entries) - entries
    ranks = below + (entries + 1) / 2
    number = entries.sum()
    gini = float((2 * (ranks * sizes * entries).sum() / (number * total)) - (number + 1) / number)
    entropy = float(-(entries * share * np.log(share)).sum())
    return Balance(int(number), int(total), entropy, float(share[-1]), gini)
