"""Counts as the ranker reads them, and what a chain takes off them, against versions that go row by row."""

from __future__ import annotations

import datetime as dt
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lis_spark.config import parse_config
from lis_spark.ranker.counts import count_columns, scaled_counts
from lis_spark.ranker.day_reader import DayRows
from lis_spark.ranker.one_pass import rows_a_step
from lis_spark.ranker.plans import CountSpec
from lis_spark.ranker.running_counts import day_fingerprints
from lis_spark.ranker.withheld_counts import WithheldCounts
from tests.ranker_worlds import make_ranker

COUNT = st.integers(0, 10**9)


def _log_odds(positives: float, impressions: float) -> float:
    rate = positives / impressions
    return math.log(rate / (1 - rate))


@given(st.lists(st.tuples(COUNT, st.floats(0, 1)), min_size=2, max_size=4), st.floats(0.1, 1000))
def test_scaled_counts_equal_the_formulas_one_by_one(pairs: list[tuple[int, float]], prior: float) -> None:
    shown = [impressions for impressions, _ in pairs]
    positive = [int(impressions * share) for impressions, share in pairs]
    counts = np.array([[value for pair in zip(shown, positive, strict=True) for value in pair]], np.int64)
    found = scaled_counts(counts, prior)[0]
    rate_of_all = (positive[-1] + 1) / (shown[-1] + 2)
    of_all = _log_odds(positive[-1] + 1, shown[-1] + 2)
    expected = [of_all]
    for impressions, positives in zip(shown[:-1], positive[:-1], strict=True):
        own = _log_odds(positives + prior * rate_of_all, impressions + prior)
        expected += [own - of_all, math.log10(1 + impressions), float(impressions == 0)]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert found.dtype == np.float32 and np.isfinite(found).all()


def test_count_columns_without_features_are_none() -> None:
    assert count_columns(()) == []
    assert count_columns(("item",)) == [
        "impressions_before_item",
        "positives_before_item",
        "impressions_before_all",
        "positives_before_all",
    ]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [(100_000, 512), (8192, 512), (8191, 511), (1000, 62), (512, 32), (511, 32), (3, 32), (0, 32)],
)
def test_rows_a_step_on_thin_days_are_fewer(tmp_path: Path, rows: int, expected: int) -> None:
    spec = make_ranker(tmp_path, batch_size=512, steps_a_day=16, smallest_batch=32)
    assert rows_a_step(spec, rows) == expected


def _day(generator: np.random.Generator, size: int) -> DayRows:
    rows = np.stack(
        [generator.integers(0, 9, size), generator.integers(0, 6, size), generator.integers(-1, 3, size)], 1
    )
    return DayRows(
        rows=rows.astype(np.int32),
        clicks=np.full((size, 1), -1, np.int32),
        skips=np.full((size, 1), -1, np.int32),
        labels=generator.integers(0, 2, (size, 2)).astype(np.float32),
        buckets=generator.integers(0, 2, size).astype(np.int32),
        impression_ids=np.empty(0, object),
        user_ids=np.empty(0, object),
        counts=np.full((size, 6), 1000, np.int64),
        numbers=np.empty((size, 0), np.int64),
    )


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 30), min_size=1, max_size=4))
def test_withheld_counts_equal_a_count_row_by_row(tmp_path_factory: Any, seed: int, sizes: list[int]) -> None:
    spec = make_ranker(
        tmp_path_factory.getbasetemp(), counts=CountSpec(features=("item", "category"), label="click", prior=5.0)
    )
    generator = np.random.default_rng(seed)
    withheld = WithheldCounts(spec, SimpleNamespace(gathered=lambda part: [part]))  # type: ignore[arg-type]
    off: dict[tuple[str, int], list[int]] = {}
    for size in sizes:
        day = _day(generator, size)
        is_given, labels = generator.random(size) < 0.7, generator.permutation(day.labels)
        withheld.add(day, is_given, labels)
        for row in range(size):
            shown = 1 - int(is_given[row])
            clicks = int(day.labels[row, 0]) - int(is_given[row] and labels[row, 0])
            keys = (("item", int(day.rows[row, 1])), ("category", int(day.rows[row, 2])), ("all", 0))
            for key in keys:
                old = off.get(key, [0, 0])
                off[key] = [old[0] + shown, old[1] + clicks]
    next_day = _day(generator, 20)
    found = withheld.taken_off(next_day).counts
    for row in range(20):
        item, category = int(next_day.rows[row, 1]), int(next_day.rows[row, 2])
        missing = [0, 0] if category < 0 else off.get(("category", category), [0, 0])
        expected = [*off.get(("item", item), [0, 0]), *missing, *off.get(("all", 0), [0, 0])]
        assert (1000 - found[row]).tolist() == expected
    assert (next_day.counts == 1000).all(), "rows that are kept for other chains stay as they are"


def test_day_fingerprints_without_counted_features_are_none(config_data: dict[str, Any]) -> None:
    days = {dt.date(2022, 5, 1): "first", dt.date(2022, 5, 2): "second"}
    counted = day_fingerprints(parse_config(config_data), days, {})
    assert len(set(counted.values())) == 2 and counted.keys() == days.keys()
    assert day_fingerprints(parse_config(config_data | {"counts": {"features": []}}), days, {}) == {}
