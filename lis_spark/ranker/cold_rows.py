"""Cold rows: a deterministic function of (seed, table, key), whatever the table's size or the row's number.

Invariant 2 of method 1.1: an item that neither arm has seen has the same vector in both. Counter-based numbers
(SplitMix64, Steele et al. 2014) make a row independent of every other row.
"""

from __future__ import annotations

import hashlib

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


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
    digest = hashlib.sha256(f"{seed}/{table}".encode()).digest()
    salt = np.uint64(int.from_bytes(digest[:8], "little"))
    start = _mix(key_hashes.astype(np.int64).view(np.uint64) ^ salt)
    pairs = (dimension + 1) // 2
    counters = np.arange(1, 2 * pairs + 1, dtype=np.uint64)
    with np.errstate(over="ignore"):
        bits = _mix(start[:, None] + counters[None, :] * _GOLDEN)
    uniform = (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53 + 2.0**-54
    radius = np.sqrt(-2.0 * np.log(uniform[:, :pairs]))
    angle = 2.0 * np.pi * uniform[:, pairs:]
    normal = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1)[:, :dimension]
    return (scale * normal).astype(np.float32)


def _mix(value: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return value ^ (value >> np.uint64(31))
