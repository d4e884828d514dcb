"""The line in 1 / F: its weights at 1 / F = 0 are those of NumPy's least squares."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lis_spark.lis.results.all_data import weights_at


@given(st.sets(st.integers(2, 100), min_size=2, max_size=6))
def test_weights_at_zero_of_any_numbers_of_folds_are_those_of_least_squares(folds: set[int]) -> None:
    places = sorted(folds)
    design = np.stack([np.ones(len(places)), 1 / np.array(places)], axis=1)
    expected = np.linalg.pinv(design)[0]
    found = weights_at(places)
    assert [float(found[place]) for place in places] == pytest.approx(expected, rel=1e-6, abs=1e-6)
    assert sum(found.values()) == 1


def test_weights_at_zero_of_two_numbers_of_folds_go_through_both() -> None:
    weights = weights_at([2, 4])  # from 1/2 to 1/4 and as far again
    assert (weights[2], weights[4]) == (-1, 2)
