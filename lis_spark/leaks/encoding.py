"""Numbers of one's own as packed vectors for the port: single numbers by quantile bins, arrays as they are.

The port's LayerNorm takes the level and the scale of a vector away, and of a single number all. So a number enters as
its place in quantile bins, piecewise linear (Gorishniy et al. 2022, "On Embeddings for Numerical Features"): 1 in the
bins below it, its share of the way through its own bin, 0 above; a last value says that it is missing. A constant 1 and
a constant 0 stand beside them, so that vectors of all bins full and of none differ after normalisation too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lis_spark.vectors import pack

ANCHORS = np.array([1.0, 0.0], np.float32)


def binned(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """float32 [rows, bins + 1]: each number's place in the bins, and whether it is missing.

    Args:
        values: float [rows]; NaN and infinities are missing.
        edges: float [bins + 1], ascending; equal ones make an empty bin, which is a step.
    """
    missing = ~np.isfinite(values)
    known = np.where(missing, edges[0], values)
    low, high = edges[:-1], edges[1:]
    wide = np.where(high > low, high - low, 1.0)
    way = np.where(high > low, (known[:, None] - low) / wide, known[:, None] >= low)
    places = np.clip(way, 0.0, 1.0)
    places[missing] = 0.0
    return np.concatenate([places, missing[:, None]], axis=1).astype(np.float32)


def encoder(
    columns: Sequence[str],
    edges: Mapping[int, Mapping[str, Sequence[float]]],
    lengths: Mapping[str, int],
    kept: pa.Schema,
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """For ``mapInArrow``: the columns of ``kept``, then ``vector``, packed.

    Args:
        columns: the values, in the order of the vector.
        edges: use -> column -> edges of the bins, for single numbers.
        lengths: column -> how many numbers, for arrays.
        kept: columns that are passed on; ``use`` is among them.
    """
    schema = kept.append(pa.field("vector", pa.binary()))

    def encoded(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            uses = batch["use"].to_numpy()
            for use in np.unique(uses):
                part = batch.filter(pa.array(uses == use))
                anchors = np.broadcast_to(ANCHORS, (part.num_rows, len(ANCHORS)))
                blocks = [anchors, *(_block(part[name], name, edges[int(use)], lengths) for name in columns)]
                vector = pack(np.concatenate(blocks, axis=1))
                yield pa.RecordBatch.from_arrays([*(part[name] for name in kept.names), vector], schema=schema)

    return encoded


def _block(column: pa.Array, name: str, edges: Mapping[str, Sequence[float]], lengths: Mapping[str, int]) -> np.ndarray:
    if name in edges:
        return binned(column.to_numpy(zero_copy_only=False).astype(np.float64), np.asarray(edges[name], np.float64))
    width = lengths[name]
    block = np.zeros((len(column), width), np.float32)  # an array that is null says nothing
    there = pc.is_valid(column).to_numpy(zero_copy_only=False)
    values = pc.list_flatten(column).to_numpy(zero_copy_only=False).astype(np.float32)
    block[there] = np.where(np.isfinite(values), values, 0).reshape(-1, width)
    return block
