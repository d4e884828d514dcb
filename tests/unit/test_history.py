"""Histories against a naive loop over random data with many equal times, in whole and in any batches."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from lis_spark.ranker.history import CLICKS, SKIPS, Events, carried, last_items, with_histories
from lis_spark.vectors import unpack

OUTPUT = ["impression_id"]


def _random_rows(seed: int, count: int, users: int, times: int) -> list[dict]:
    generator = np.random.default_rng(seed)
    rows = [
        {
            "impression_id": f"i{number:05d}",
            "user_id": f"u{generator.integers(users)}",
            # rows of one hour lie in one millisecond or in two
            "request_ts": int(generator.integers(times)) * 3_600_000_000 + int(generator.integers(4)) * 500,
            "label_click": int(generator.integers(2)),
            "row_item": int(generator.integers(50)),
            "wanted": bool(generator.integers(4)),
        }
        for number in range(count)
    ]
    for row in rows:
        row["day"] = row["request_ts"] // 86_400_000_000
    return sorted(rows, key=lambda row: (row["user_id"], row["request_ts"], row["impression_id"]))


def _naive(rows: list[dict], row: dict, label: int, length: int, lookback_days: int) -> list[int]:
    earlier = [
        other
        for other in rows
        if other["user_id"] == row["user_id"]
        and other["request_ts"] // 1000 < row["request_ts"] // 1000  # of one millisecond: simultaneous
        and other["day"] >= row["day"] - lookback_days
        and other["label_click"] == label
    ]
    earlier.sort(key=lambda other: (other["request_ts"], other["impression_id"]), reverse=True)
    found = [other["row_item"] for other in earlier[:length]]
    return found + [-1] * (length - len(found))


def _batches(rows: list[dict], sizes: list[int]) -> list[pa.RecordBatch]:
    batches, start = [], 0
    for size in sizes:
        part = rows[start : start + size]
        start += size
        columns = {
            "impression_id": pa.array([row["impression_id"] for row in part]),
            "user_id": pa.array([row["user_id"] for row in part], pa.string()),
            "request_ts": pa.array([row["request_ts"] for row in part], pa.timestamp("us", "UTC")),
            "day": pa.array([row["day"] for row in part], pa.int32()),
            "label_click": pa.array([row["label_click"] for row in part], pa.int8()),
            "row_item": pa.array([row["row_item"] for row in part], pa.int32()),
            "wanted": pa.array([row["wanted"] for row in part], pa.bool_()),
        }
        batches.append(pa.RecordBatch.from_pydict(columns))
    assert start >= len(rows)
    return batches


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("length", [1, 3, 10])
def test_histories_equal_a_naive_loop_however_the_rows_are_cut(seed: int, length: int) -> None:
    generator = np.random.default_rng(100 + seed)
    rows = _random_rows(seed, 400, users=int(generator.integers(1, 30)), times=int(generator.integers(3, 200)))
    cuts = {
        "whole": [400],
        "single rows": [1] * 400,
        "random": [*generator.integers(0, 40, 60), 400],
    }
    for sizes in cuts.values():
        made = list(with_histories(_batches(rows, list(sizes)), OUTPUT, "label_click", length, 4))
        table = pa.Table.from_batches(made)
        wanted = [row for row in rows if row["wanted"]]
        assert table["impression_id"].to_pylist() == [row["impression_id"] for row in wanted]
        for column, label in ((CLICKS, 1), (SKIPS, 0)):
            found = unpack(table[column], length, "<i4")
            expected = np.array([_naive(rows, row, label, length, 4) for row in wanted])
            np.testing.assert_array_equal(found, expected)


def test_rows_of_the_same_instant_never_see_each_other_and_later_ones_see_all() -> None:
    events = Events(
        user=np.array([0, 0, 0, 1]),
        time=np.array([5, 5, 6, 7]),
        day=np.zeros(4, dtype=int),
        label=np.array([1, 1, 0, 1]),
        item_row=np.array([10, 11, 12, 13]),
    )
    assert last_items(events, True, 2, 30).tolist() == [[-1, -1], [-1, -1], [11, 10], [-1, -1]]
    assert last_items(events, False, 2, 30).tolist() == [[-1, -1]] * 4


def test_a_heavy_user_carries_a_bounded_number_of_events() -> None:
    count = 10_000
    events = Events(
        user=np.zeros(count, dtype=int),
        time=np.repeat([1, 2], count // 2),
        day=np.zeros(count, dtype=int),
        label=np.arange(count) % 2,
        item_row=np.arange(count),
    )
    kept = carried(events, 7)
    assert len(kept) == 4 * 7
    assert (np.diff(kept) > 0).all() and kept[-1] == count - 1


def test_no_rows() -> None:
    assert list(with_histories(iter([]), OUTPUT, "label_click", 3, 1)) == []
    assert list(with_histories(_batches([], [0]), OUTPUT, "label_click", 3, 1)) == []
