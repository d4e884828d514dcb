"""Cold rows: a deterministic function of (seed, table, key), whatever the table's size or the row's number.

Invariant 2 of method 1.1: an item that neither arm has seen has the same vector in both.
"""

from __future__ import annotations

import numpy as np

from lis_spark.keyed_random import normals, salt


def cold_rows(seed: int, table: str, key_hashes: np.ndarray, dimension: int, scale: float) -> np.ndarray:
    """Normal vectors with standard deviation ``scale``.

    Args:
        seed: training seed.
        table: name of the embedding table.
        key_hashes: int64 [rows], a hash of each row's key.
        dimension: width.
        scale: standard deviation.

    Returns:
        float32 [rows, dimension].
    """
    return np.ascontiguousarray((scale * normals(salt(seed, table), key_hashes, dimension)).T.astype(np.float32))
