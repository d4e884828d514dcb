"""Numbers as places in quantile bins, against a loop; after a LayerNorm different numbers still differ."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from lis_spark.leaks.encoding import binned, encoder
from lis_spark.vectors import unpack

NUMBERS = st.one_of(st.floats(-1e6, 1e6), st.just(math.nan), st.just(math.inf))


@given(st.lists(NUMBERS, min_size=1, max_size=20), st.lists(st.integers(-50, 50), min_size=2, max_size=9))
def test_a_number_fills_the_bins_below_it(numbers: list[float], edges: list[int]) -> None:
    edges = sorted(edges)
    found = binned(np.array(numbers), np.array(edges, float))
    for value, row in zip(numbers, found, strict=True):
        expected = []
        for low, high in itertools.pairwise(edges):
            if not math.isfinite(value):
                expected.append(0.0)
            elif low == high:
                expected.append(float(value >= low))
            else:
                expected.append(min(max((value - low) / (high - low), 0.0), 1.0))
        np.testing.assert_allclose(row, [*expected, float(not math.isfinite(value))], atol=1e-6)


def test_vectors_of_different_numbers_differ_after_a_layer_norm() -> None:
    edges = [0.0, 1.0, 2.0, 4.0]
    values = np.linspace(0, 4, 41)
    batch = pa.RecordBatch.from_pydict({"use": pa.array([0] * 41, pa.int32()), "key": ["k"] * 41, "a": values})
    kept = pa.schema([("use", pa.int32()), ("key", pa.string())])
    (coded,) = encoder(["a"], {0: {"a": edges}}, {}, kept)([batch])
    vectors = unpack(coded["vector"], 2 + len(edges)).astype(float)
    normed = (vectors - vectors.mean(1, keepdims=True)) / np.sqrt(vectors.var(1, keepdims=True) + 1e-5)
    distances = np.abs(normed[:, None] - normed[None]).max(2) + np.eye(41)
    assert distances.min() > 0.01


def test_arrays_and_numbers_stand_side_by_side_and_what_is_missing_says_so() -> None:
    batch = pa.RecordBatch.from_pydict(
        {
            "use": pa.array([0, 1, 0], pa.int32()),
            "key": ["a", "b", "c"],
            "number": pa.array([5.0, 5.0, None]),
            "vector_of_mine": pa.array([[1.0, 2.0], None, [3.0, math.nan]], pa.list_(pa.float32())),
        }
    )
    kept = pa.schema([("use", pa.int32()), ("key", pa.string())])
    edges = {0: {"number": [0.0, 10.0]}, 1: {"number": [0.0, 5.0]}}
    found = pa.Table.from_batches(
        encoder(["number", "vector_of_mine"], edges, {"vector_of_mine": 2}, kept)([batch])
    ).sort_by("key")
    assert found["key"].to_pylist() == ["a", "b", "c"] and found["use"].to_pylist() == [0, 1, 0]
    expected = [[1, 0, 0.5, 0, 1, 2], [1, 0, 1, 0, 0, 0], [1, 0, 0, 1, 3, 0]]
    assert unpack(found["vector"], 6).tolist() == expected
