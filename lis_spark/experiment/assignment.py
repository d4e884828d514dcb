"""Who gets which arm: salted hashes of user ids, layer inside layer; buckets the same in Spark and in NumPy.

A user's bucket in a layer is XXH64 of (salt, XXH64 of the id) modulo the layer's buckets: a function of the id and the
salt alone. It can be told again from any id at any time, a user who comes back finds the same arm, and layers of
different salts divide each other's buckets evenly.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pyspark.sql import Column
from pyspark.sql import functions as F

from lis_spark.config.experiment import AssignConfig, Layer
from lis_spark.keyed_random import salt as keyed_salt

# The seed that Spark's xxhash64 begins with, and the constants of XXH64 (Collet 2012).
_SPARK_SEED = 42
_PRIMES = (0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5)
_P1, _P2, _P3, _P4, _P5 = (np.uint64(prime) for prime in _PRIMES)

UintArray = npt.NDArray[np.uint64]


def user_key(user: str) -> Column:
    """BIGINT that stands for a user id (a STRING column) in every layer."""
    return F.xxhash64(F.col(user).cast("string"))


def salt_number(salt: str) -> int:
    """The signed 64-bit number that a salt is hashed as."""
    return int(keyed_salt("experiment", salt).astype(np.int64))


def bucket(layer: Layer, key: Column) -> Column:
    """INT: a user's bucket in a layer; ``key``: see :func:`user_key`."""
    return F.pmod(F.xxhash64(F.lit(salt_number(layer.salt)), key), F.lit(layer.buckets)).cast("int")


def buckets_of(salt: str, keys: npt.NDArray[np.int64], buckets: int) -> npt.NDArray[np.int64]:
    """The same in NumPy: int64 [keys]."""
    seed = _xxh64(np.array([salt_number(salt)], np.int64), np.uint64(_SPARK_SEED))[0]
    return np.mod(_xxh64(keys, seed).view(np.int64), buckets)


def assigned_arm(config: AssignConfig, key: Column) -> Column:
    """STRING: a user's arm, null for users in none."""
    by_name = {layer.name: layer for layer in config.layers}
    arm = F.lit(None).cast("string")
    for name, buckets in config.arms.items():
        arm = F.when(_within(bucket(config.layers[-1], key), buckets), F.lit(name)).otherwise(arm)
    layer = config.layers[-1]
    while layer.inside is not None:
        outer = by_name[layer.inside]
        arm = F.when(_within(bucket(outer, key), layer.inside_buckets), arm)
        layer = outer
    return arm


def _within(place: Column, buckets: tuple[int, int]) -> Column:
    return (place >= buckets[0]) & (place < buckets[1])


def _xxh64(values: npt.NDArray[np.int64], seed: np.uint64) -> UintArray:
    """XXH64 of one 8-byte number each, as Spark computes it."""
    with np.errstate(over="ignore"):
        start = np.uint64(seed) + _P5 + np.uint64(8)
        state = start ^ (_rotated(values.view(np.uint64) * _P2, 31) * _P1)
        state = _rotated(state, 27) * _P1 + _P4
        state = (state ^ (state >> np.uint64(33))) * _P2
        state = (state ^ (state >> np.uint64(29))) * _P3
        return state ^ (state >> np.uint64(32))


def _rotated(values: UintArray, bits: int) -> UintArray:
    return (values << np.uint64(bits)) | (values >> np.uint64(64 - bits))
