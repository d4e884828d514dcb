"""Pairs of later labels are those of a loop, all of them and those of different sessions."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lis_spark.audit.later_labels import WINDOWS, Later
from tests.unit.test_audit_rows import DAY, key_rows

MINUTE = 60_000


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 60), st.integers(0, 1)), min_size=1, max_size=25),
    st.sampled_from([MINUTE * 25, MINUTE * 120, None, WINDOWS["all later"]]),
    st.booleans(),
)
def test_pairs_are_those_of_a_loop(drawn: list[tuple[int, int, int]], reach: int | None, apart: bool) -> None:
    keys, minutes, labels = (np.array(column, np.int64) for column in zip(*drawn, strict=True))
    time = DAY - 30 * MINUTE + minutes * 7 * MINUTE  # over midnight
    rows = key_rows(keys, time, labels, np.zeros(len(keys)))
    later = Later.of(rows, reach, apart)
    places = iter(range(int(later.there.sum())))
    for row in range(len(rows)):
        same, since = rows.keys == rows.keys[row], rows.time - rows.time[row]
        within = rows.day == rows.day[row] if reach is None else since <= reach
        window = np.flatnonzero(same & (since > 0) & within)
        pairs = [
            (one, other)
            for one, other in combinations(window, 2)
            if not apart or (np.diff(rows.time[one : other + 1]) > 30 * MINUTE).any()
        ]
        assert later.there[row] == bool(pairs)
        if not pairs:
            continue
        place, label = next(places), rows.label
        assert later.pairs.number[place] == len(pairs)
        assert later.pairs.label[place] == pytest.approx(np.mean([label[list(pair)].mean() for pair in pairs]))
        assert later.pairs.product[place] == pytest.approx(np.mean([label[a] * label[b] for a, b in pairs]))
        assert later.mean[place] == pytest.approx(label[window].mean())
        assert later.weight[place] == pytest.approx(len(window) / (len(window) + 30))
        of_all = combinations(window, 2)
        assert later.every.product[place] == pytest.approx(np.mean([label[a] * label[b] for a, b in of_all]))
