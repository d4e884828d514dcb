"""Intervals that hold at once against the joint distribution itself, and Holm against statsmodels."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from lis_spark.inference import holm


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_of_any_p_values_is_that_of_statsmodels(p_values: list[float]) -> None:
    assert holm(p_values) == pytest.approx(list(multipletests(p_values, method="holm")[1]), abs=1e-15)
