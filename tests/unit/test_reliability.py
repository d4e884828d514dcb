"""Agreement by training examples: made monotone as scikit-learn makes it, and theta read off it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from lis_spark.errors import InputError
from lis_spark.preference.reliability import FEWEST_ITEMS, Agreement, least_count, monotone


@given(st.lists(st.tuples(st.integers(FEWEST_ITEMS, 500), st.floats(-1, 1)), min_size=1, max_size=15))
def test_the_curve_is_that_of_isotonic_regression(bins: list[tuple[int, float]]) -> None:
    items, correlations = zip(*bins, strict=True)
    fitted = IsotonicRegression().fit_transform(np.arange(len(bins)), correlations, sample_weight=items)
    curve = monotone([Agreement(2**place, n, correlation) for place, (n, correlation) in enumerate(bins)])
    found = np.empty(len(bins))
    for one in curve:
        found[int(np.log2(one.count)) :] = one.correlation
    np.testing.assert_allclose(found, fitted, atol=1e-9)
    assert sum(one.items for one in curve) == sum(items)


def test_theta_is_the_least_count_of_items_that_agree_well_enough() -> None:
    curve = [Agreement(1, 400, 0.1), Agreement(2, 300, 0.5), Agreement(3, 200, 0.82), Agreement(4, 100, 0.7)]
    assert least_count(curve, 0.75) == 3  # the last two together: .78
    assert least_count(curve, 0.4) == 2
    with pytest.raises(InputError, match="two halves of the users agree") as error:
        least_count(curve, 0.8)
    assert "3 or more: 0.78 (300 items)" in str(error.value) and "0.8 or more for 30 items" in str(error.value)


def test_a_few_lucky_items_do_not_choose_theta() -> None:
    curve = [Agreement(1, 400, 0.1), Agreement(8, 5, 0.95)]
    with pytest.raises(InputError, match="two halves"):
        least_count(curve, 0.8)
    with pytest.raises(InputError, match="no item in both halves"):
        least_count([], 0.8)
