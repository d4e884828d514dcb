"""Keyed random numbers: uniform, independent between streams and keys, and the same whatever is drawn beside."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2_contingency, kstest

from lis_spark.keyed_random import normals, salt, uniforms

KEYS = np.arange(200_000)


def test_uniforms_and_normals_have_their_distributions() -> None:
    assert kstest(uniforms(salt(1, "a"), KEYS, 1)[0], "uniform").pvalue > 0.001
    for row in normals(salt(1, "a"), KEYS, 3):
        assert kstest(row, "norm").pvalue > 0.001


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (uniforms(salt(1, "a"), KEYS, 1)[0], uniforms(salt(1, "b"), KEYS, 1)[0]),
        (uniforms(salt(1, "a"), KEYS, 1)[0], uniforms(salt(2, "a"), KEYS, 1)[0]),
        (uniforms(salt(1, "a"), KEYS, 1)[0], uniforms(salt(1, "a"), KEYS + 1, 1)[0]),
        (uniforms(salt(1, "a"), KEYS, 2)[0], uniforms(salt(1, "a"), KEYS, 2)[1]),
    ],
    ids=["stream", "seed", "key", "place"],
)
def test_numbers_of_other_streams_seeds_keys_and_places_are_independent(first: np.ndarray, second: np.ndarray) -> None:
    table, _, _ = np.histogram2d(first, second, bins=10)
    assert chi2_contingency(table).pvalue > 0.001


def test_a_number_is_the_same_whatever_is_drawn_beside() -> None:
    whole = normals(salt(3, "x"), KEYS[:1000], 5)
    for part in (slice(0, 1), slice(17, 18), slice(500, 997)):
        assert normals(salt(3, "x"), KEYS[:1000][part], 5).tobytes() == whole[:, part].tobytes()
    assert uniforms(salt(3, "x"), KEYS[:9], 2, first=3).tobytes() == uniforms(salt(3, "x"), KEYS[:9], 5)[3:].tobytes()
