"""Cutting a day: stretches cover it, are about equal, and are as many as asked for where there are minutes enough."""

from __future__ import annotations

import bisect

import numpy as np
import pytest

from lis_spark.ranker.stretches import cut


@pytest.mark.parametrize("pieces", [1, 2, 4, 7])
@pytest.mark.parametrize("seed", range(5))
def test_stretches_are_about_equal(pieces: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    minutes = [(int(minute), int(rows)) for minute, rows in enumerate(generator.integers(1, 30, 1440))]
    starts = cut(minutes, pieces)
    assert starts[0] == 0 and len(starts) == pieces and starts == sorted(set(starts))
    sizes = [0] * pieces
    for minute, rows in minutes:
        sizes[bisect.bisect_right(starts, minute) - 1] += rows
    total = sum(rows for _, rows in minutes)
    assert sum(sizes) == total and max(sizes) - min(sizes) <= 2 * 30 + 1


def test_few_minutes_make_as_many_stretches_as_there_are_minutes() -> None:
    assert cut([(3, 100), (9, 1)], 4) == [3, 9]
    assert cut([(3, 1), (4, 1), (5, 1), (9, 1000)], 4) == [3, 4, 5, 9]
    assert cut([(3, 1000), (4, 1), (5, 1), (9, 1)], 2) == [3, 4]


def test_no_minutes() -> None:
    assert cut([], 4) == []
