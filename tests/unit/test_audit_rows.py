"""Rows of whole keys in order of time: neighbours and windows are those of a loop over all pairs of rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lis_spark.audit.key_rows import NONE, KeyRows, sum_between
from lis_spark.audit.scales import codes, number_of_codes, scales_of

DAY = 86_400_000


def key_rows(keys: np.ndarray, time: np.ndarray, label: np.ndarray, values: np.ndarray) -> KeyRows:
    """Sorted, on days of UTC, one column of numbers."""
    order = np.lexsort((time, keys))
    keys, time, label, values = keys[order], time[order], label[order], values[order]
    dense = np.unique(keys, return_inverse=True)[1].astype(np.int64)
    none = np.zeros((len(keys), 1), np.int64)
    return KeyRows(
        keys=dense,
        blocks=dense % 4,
        time=time,
        day=time // DAY,
        hour=time // 3_600_000 % 24,
        label=label.astype(np.float64),
        values=values[:, None].astype(np.float64),
        ids=none,
        named=none,
        is_id=np.zeros(1, bool),
    )


@st.composite
def some_rows(draw: st.DrawFn) -> KeyRows:
    rows = draw(st.integers(1, 25))
    whole = st.lists(st.integers(0, 1), min_size=rows, max_size=rows)
    keys = draw(st.lists(st.integers(0, 3), min_size=rows, max_size=rows))
    time = draw(st.lists(st.integers(0, 12).map(lambda n: n * DAY // 4), min_size=rows, max_size=rows))
    values = draw(st.lists(st.integers(0, 5), min_size=rows, max_size=rows))
    arrays = [np.array(x, np.int64) for x in (keys, time, draw(whole), values)]
    return key_rows(*arrays)


@given(some_rows(), st.sampled_from([DAY // 4, DAY // 2 + 1, 2 * DAY, 100 * DAY]))
def test_windows_hold_the_rows_of_a_loop(rows: KeyRows, reach: int) -> None:
    (later, shown_later), (rest, shown_rest) = (
        (sum_between(rows.label, low, high), high - low) for low, high in (rows.after(reach), rows.after(None))
    )
    earlier, shown_earlier = rows.earlier(reach)
    before, shown_before = rows.days_before(2)
    today, shown_today = rows.today()
    for row in range(len(rows)):
        same, since = rows.keys == rows.keys[row], rows.time - rows.time[row]
        own_day, days = rows.day == rows.day[row], rows.day[row] - rows.day
        for found, counted, chosen in (
            (earlier, shown_earlier, same & (since < 0) & (since >= -reach)),
            (before, shown_before, same & (days > 0) & (days <= 2)),
            (today, shown_today, same & own_day & (since < 0)),
            (later, shown_later, same & (since > 0) & (since <= reach)),
            (rest, shown_rest, same & own_day & (since > 0)),
        ):
            assert (found[row], counted[row]) == (rows.label[chosen].sum(), chosen.sum())


@given(some_rows(), st.sampled_from(["request", "day"]))
def test_neighbours_are_of_another_request_or_day_of_the_same_key(rows: KeyRows, unit: str) -> None:
    units = rows.time if unit == "request" else rows.day
    before, after = rows.neighbours(unit)
    moved_before, moved_after = rows.moved(0, unit)
    for row in range(len(rows)):
        same = rows.keys == rows.keys[row]
        past, future = units[same & (units < units[row])], units[same & (units > units[row])]
        for found, moved, candidates, pick in (
            (before[row], -moved_before[row], past, max),
            (after[row], moved_after[row], future, min),
        ):
            if len(candidates):
                assert same[found] and units[found] == pick(candidates)
                assert moved == rows.values[found, 0] - rows.values[row, 0]
            else:
                assert found == NONE and np.isnan(moved)


def test_ids_move_when_the_neighbour_names_what_is_shown() -> None:
    rows = key_rows(np.zeros(3, np.int64), np.arange(3) * DAY, np.zeros(3), np.zeros(3))
    ids, named = np.array([[7], [0], [8]]), np.array([[1], [7], [3]])
    of_ids = KeyRows(**{**vars(rows), "ids": ids, "named": named, "is_id": np.ones(1, bool)})
    before, after = of_ids.moved(0, "day")
    np.testing.assert_array_equal(before, [np.nan, 1.0, np.nan])  # nobody before the first; the second names nothing
    np.testing.assert_array_equal(after, [np.nan, 0.0, np.nan])


def test_a_value_that_many_rows_share_is_a_bin_of_its_own() -> None:
    values = np.array([0.0, 1.0, 1.0, 2.0, np.nan, np.inf])
    np.testing.assert_array_equal(codes(values, (1.0,)), [0, 1, 1, 2, 3, 3])
    assert number_of_codes((1.0,)) == 4


def test_a_column_of_the_key_changes_less_than_one_that_is_not() -> None:
    rng = np.random.default_rng(1)
    keys = np.repeat(np.arange(50), 20)
    time = np.tile(np.arange(20) * DAY, 50)
    label = rng.integers(0, 2, 1000)
    own = scales_of(key_rows(keys, time, label, rng.normal(size=50)[keys]))[0]
    noise = scales_of(key_rows(keys, time, label, rng.normal(size=1000)))[0]
    assert own.change == 0
    assert noise.change == pytest.approx(1, abs=0.1)
    np.testing.assert_allclose(own.standardised(np.array([np.nan, np.inf, -np.inf])), 0)
