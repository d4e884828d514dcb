"""Cold rows depend on (seed, table, key) and on nothing else; their values are those of the published generator."""

from __future__ import annotations

import hashlib
import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lis_spark.ranker.cold_rows import cold_rows

KEYS = st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=20, unique=True)
MASK = 2**64 - 1


def splitmix64(state: int) -> int:
    """The output function of SplitMix64 (Steele et al. 2014) on Python integers."""
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
    return state ^ (state >> 31)


def naive_row(seed: int, table: str, key: int, dimension: int, scale: float) -> list[float]:
    """Box-Muller on one SplitMix64 stream for each key."""
    salt = int.from_bytes(hashlib.sha256(f"{seed}/{table}".encode()).digest()[:8], "little")
    start = splitmix64((key & MASK) ^ salt)
    pairs = (dimension + 1) // 2
    stream = [splitmix64((start + count * 0x9E3779B97F4A7C15) & MASK) for count in range(1, 2 * pairs + 1)]
    uniform = [(bits >> 11) * 2.0**-53 + 2.0**-54 for bits in stream]
    radius = [math.sqrt(-2 * math.log(value)) for value in uniform[:pairs]]
    cosines = [r * math.cos(2 * math.pi * a) for r, a in zip(radius, uniform[pairs:], strict=True)]
    sines = [r * math.sin(2 * math.pi * a) for r, a in zip(radius, uniform[pairs:], strict=True)]
    return [scale * value for value in (cosines + sines)[:dimension]]


def test_the_naive_generator_is_splitmix64() -> None:
    # the first outputs for seed 0, as published with the reference implementation
    golden = 0x9E3779B97F4A7C15
    assert [splitmix64(count * golden & MASK) for count in (1, 2)] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4]


@given(keys=KEYS, seed=st.integers(0, 2**31), dimension=st.integers(1, 9))
@settings(max_examples=50)
def test_rows_are_those_of_the_published_generator(keys: list[int], seed: int, dimension: int) -> None:
    rows = cold_rows(seed, "item", np.array(keys, np.int64), dimension, 0.5)
    assert rows.dtype == np.float32 and rows.shape == (len(keys), dimension)
    expected = [naive_row(seed, "item", key, dimension, 0.5) for key in keys]
    np.testing.assert_allclose(rows, np.array(expected), rtol=1e-6, atol=1e-9)


@given(keys=KEYS, data=st.data())
@settings(max_examples=50)
def test_a_row_is_the_same_in_any_table_size_and_place(keys: list[int], data: st.DataObject) -> None:
    together = cold_rows(3, "item", np.array(keys, np.int64), 7, 0.1)
    order = data.draw(st.permutations(range(len(keys))))
    chosen = order[: data.draw(st.integers(1, len(keys)))]
    part = cold_rows(3, "item", np.array(keys, np.int64)[chosen], 7, 0.1)
    assert part.tobytes() == together[chosen].tobytes()


@given(keys=KEYS)
@settings(max_examples=50)
def test_seed_table_and_key_each_change_a_row(keys: list[int]) -> None:
    hashes = np.array(keys, np.int64)
    rows = cold_rows(3, "item", hashes, 4, 0.1)
    assert len(np.unique(rows, axis=0)) == len(keys)
    for other in (cold_rows(4, "item", hashes, 4, 0.1), cold_rows(3, "user", hashes, 4, 0.1)):
        assert (rows != other).any(axis=1).all()


def test_values_are_normal_with_the_standard_deviation_asked_for() -> None:
    rows, width, scale = 40_000, 5, 0.01
    values = cold_rows(1, "item", np.arange(rows), width, scale).astype(np.float64) / scale
    assert np.isfinite(values).all()
    # standard errors of mean, standard deviation and correlation over 40,000 independent normals: at most .005
    np.testing.assert_allclose(values.mean(axis=0), 0, atol=0.025)
    np.testing.assert_allclose(values.std(axis=0), 1, atol=0.02)
    np.testing.assert_allclose(np.corrcoef(values.T), np.eye(width), atol=0.025)
    # shares of a normal distribution within one and two standard deviations
    np.testing.assert_allclose([(abs(values) < 1).mean(), (abs(values) < 2).mean()], [0.6827, 0.9545], atol=0.004)
