"""Bands of minima: two items that are just alike enough are hardly ever missed, and there are not too many bands."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lis_spark.preference.split import MISSED, MOST_BANDS, bands_of


@given(st.floats(0.11, 1.0))
def test_alike_items_are_missed_once_in_a_thousand(similarity: float) -> None:
    bands, rows = bands_of(similarity)
    assert (1 - similarity**rows) ** bands <= MISSED * (1 + 1e-9)
    assert 1 <= bands <= MOST_BANDS


def test_longer_bands_where_they_may_be() -> None:
    """Of titles that share one word in twenty by chance few meet; more minima a band would need more bands."""
    bands, rows = bands_of(0.5)
    assert (bands, rows) == (52, 3)
    assert 1 - (1 - 0.05**rows) ** bands < 0.01
    assert (1 - 0.5 ** (rows + 1)) ** MOST_BANDS > MISSED
