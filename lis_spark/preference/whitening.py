"""ID vectors as targets: their mean removed, as wide in every direction, popularity taken out (method 5).

A vector's largest direction is often how often an item was shown, which its content cannot know and an encoder would
chase. Moments of the vectors and of the logarithm of their counts say which: all of them fit into one small matrix.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import DataFrame

from lis_spark.vectors import pack, unpack

Numbers = npt.NDArray[np.float64]
# A direction with less than this share of the largest one's variance is rounding.
SMALLEST_SHARE = 1e-9


@dataclass(frozen=True)
class Whitening:
    """``mean`` [d]; ``directions`` [d, k]: a centred vector times them is white; of the first component, the largest,
    the correlation with the logarithm of the update count; and whether it was left out for that."""

    mean: Numbers
    directions: Numbers
    popularity_correlation: float
    drops_popularity: bool

    def applied(self, vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """float32 [items, k]."""
        return ((vectors.astype(np.float64) - self.mean) @ self.directions).astype(np.float32)


def moments(vectors: npt.NDArray[np.float32], counts: npt.NDArray[np.int64]) -> Numbers:
    """Sums of products of (1, log(1 + count), vector): [d + 2, d + 2]."""
    joined = np.column_stack([np.ones(len(vectors)), np.log1p(counts.astype(np.float64)), vectors.astype(np.float64)])
    return joined.T @ joined


def whitening(summed: Numbers, popularity: float) -> Whitening:
    """From the sums of all items.

    Args:
        summed: see :func:`moments`.
        popularity: the largest component is left out when it correlates more than this with log(1 + count).
    """
    mean = summed[0, 1:] / summed[0, 0]
    covariance = summed[1:, 1:] / summed[0, 0] - np.outer(mean, mean)
    variances, axes = np.linalg.eigh(covariance[1:, 1:])
    variances, axes = variances[::-1], axes[:, ::-1]
    axes = axes * np.where(
        axes[np.abs(axes).argmax(0), np.arange(len(variances))] < 0, -1.0, 1.0
    )  # a sign of their own
    spread = np.sqrt(max(covariance[0, 0], 0.0) * max(variances[0], 0.0))
    correlation = float(covariance[0, 1:] @ axes[:, 0] / spread) if spread > 0 else 0.0
    drops = abs(correlation) > popularity
    kept = variances > SMALLEST_SHARE * variances[0]
    kept[0] &= not drops
    return Whitening(mean[1:], axes[:, kept] / np.sqrt(variances[kept]), correlation, drops)


def summed_moments(table: DataFrame, width: int) -> Numbers:
    """Of vector, update_count of a table; parts are added in one order.

    Args:
        table: item_id, vector (packed), update_count.
        width: of the vectors.
    """

    def sums(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        total = np.zeros((width + 2, width + 2))
        for batch in batches:
            total += moments(unpack(batch["vector"], width), batch["update_count"].to_numpy())
        yield pa.RecordBatch.from_arrays([pa.array([total.tobytes()], pa.binary())], names=["sums"])

    parts = table.select("vector", "update_count").mapInArrow(sums, "sums binary").collect()
    return np.sum([np.frombuffer(row["sums"]).reshape(width + 2, width + 2) for row in parts], axis=0)


def whitened(table: DataFrame, white: Whitening, width: int) -> DataFrame:
    """item_id, target (packed float32) of item_id, vector."""

    def apply(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            target = pack(white.applied(unpack(batch["vector"], width)))
            yield pa.RecordBatch.from_arrays([batch["item_id"], target], names=["item_id", "target"])

    return table.select("item_id", "vector").mapInArrow(apply, "item_id string, target binary")
