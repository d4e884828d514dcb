"""Random numbers that are functions of keys: the same for a row whatever stands beside it, in any order or partition.

Counter-based (SplitMix64, Steele et al. 2014): the n-th number of a key is a hash of the key's own hash and n.
"""

from __future__ import annotations

import hashlib

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def salt(*names: object) -> np.uint64:
    """A 64-bit salt of a stream, for instance ``salt(seed, "clicks")``; streams of other names are independent."""
    digest = hashlib.sha256("/".join(map(str, names)).encode()).digest()
    return np.uint64(int.from_bytes(digest[:8], "little"))


def keyed_bits(stream: np.uint64, keys: np.ndarray, count: int, first: int = 0) -> np.ndarray:
    """uint64 [count, keys]: numbers ``first`` .. of each key.

    Args:
        stream: see :func:`salt`.
        keys: integers [keys], of any size.
        count: numbers for each key.
        first: the first number that is wanted.
    """
    start = mixed(np.asarray(keys).astype(np.int64).view(np.uint64) ^ stream)
    counters = np.arange(first + 1, first + count + 1, dtype=np.uint64)
    with np.errstate(over="ignore"):
        return mixed(start[None, :] + counters[:, None] * _GOLDEN)


def uniforms(stream: np.uint64, keys: np.ndarray, count: int, first: int = 0) -> np.ndarray:
    """float64 [count, keys] in (0, 1): 53 bits, never 0 and never 1."""
    return unit_interval(keyed_bits(stream, keys, count, first))


def normals(stream: np.uint64, keys: np.ndarray, count: int) -> np.ndarray:
    """float64 [count, keys], standard normal (Box and Muller 1958)."""
    return box_muller(uniforms(stream, keys, 2 * ((count + 1) // 2)))[:count]


def box_muller(uniform: np.ndarray) -> np.ndarray:
    """[2 n, keys] uniform numbers -> [2 n, keys] standard normal ones: first the cosines, then the sines."""
    pairs = len(uniform) // 2
    radius = np.sqrt(-2.0 * np.log(uniform[:pairs]))
    angle = 2.0 * np.pi * uniform[pairs:]
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])


def unit_interval(bits: np.ndarray) -> np.ndarray:
    """uint64 -> float64 in (0, 1): the largest would round to 1 and is taken back."""
    return np.minimum((bits >> np.uint64(11)).astype(np.float64) * 2.0**-53 + 2.0**-54, 1.0 - 2.0**-53)


def mixed(value: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64."""
    with np.errstate(over="ignore"):
        value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return value ^ (value >> np.uint64(31))
