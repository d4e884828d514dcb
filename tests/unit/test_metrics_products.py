"""Exact sums of products, chunks of whole users, and pairs of units, against plain Python."""

from __future__ import annotations

from itertools import product

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lis_spark.arrow_batches import whole_keys
from lis_spark.metrics.integers import exact_dot, exact_sum, row_sizes, row_sums
from lis_spark.metrics.products import Unit, pair_sums

INT64 = st.integers(-(2**63), 2**63 - 1)


@given(st.lists(st.tuples(INT64 | st.integers(-5, 5), INT64 | st.integers(-5, 5)), max_size=50))
def test_exact_dot_is_exact_for_any_int64(rows: list[tuple[int, int]]) -> None:
    left = np.array([row[0] for row in rows], np.int64)
    right = np.array([row[1] for row in rows], np.int64)
    assert exact_dot(left, right) == sum(a * b for a, b in rows)
    assert exact_sum(left) == sum(a for a, _ in rows)


def test_exact_dot_over_several_blocks() -> None:
    values = np.full(2**18 * 2 + 3, 2**62 + 1, np.int64)
    assert exact_dot(values, values) == len(values) * (2**62 + 1) ** 2


@given(st.lists(st.lists(INT64 | st.integers(-5, 5), min_size=3, max_size=3), min_size=1, max_size=8))
def test_row_sums_and_sizes_are_exact_for_any_int64(rows: list[list[int]]) -> None:
    values = np.array(rows, np.int64)
    assert row_sums(values) == [sum(row) for row in rows]
    assert row_sizes(values) == [max(0, *map(abs, row)) for row in rows]
    assert row_sums(values[:, :0]) == row_sizes(values[:, :0]) == [0] * len(rows)


@given(st.lists(st.integers(1, 7), min_size=1, max_size=20), st.integers(1, 9), st.integers(1, 12))
def test_chunks_hold_whole_users_and_every_row(sizes: list[int], batch_rows: int, chunk_rows: int) -> None:
    users = np.repeat([f"u{number:02d}" for number in range(len(sizes))], sizes)
    rows = pa.table({"user_id": users, "row": np.arange(len(users))})
    chunks = list(whole_keys(iter(rows.to_batches(batch_rows)), "user_id", chunk_rows))
    assert [row for chunk in chunks for row in chunk["row"].to_pylist()] == list(range(len(users)))
    owners = [user for chunk in chunks for user in set(chunk["user_id"].to_pylist())]
    assert len(owners) == len(set(owners)) == len(sizes)
    assert all(chunk.num_rows >= chunk_rows for chunk in chunks[:-1])


def _measures(rows: int, seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    names = ("u2_positives", "u2_negatives", "u2_within_user", "log_loss_units", "probability_units")
    names += ("u2_within_request", "pairs_within_request")
    return {name: random.integers(0, 10**6, rows) for name in names}


def test_pairs_of_units_of_one_user_are_multiplied_across_days() -> None:
    # two days, two arms a day (rankings 0, 1 and 2, 3); user 9 stands in both days, the others in one
    users_by_ranking = {0: [9, 4], 1: [4, 9], 2: [9, 7, 5], 3: [5, 7, 9]}
    rankings = np.array([ranking for ranking, users in users_by_ranking.items() for _ in users])
    users = np.array([user for members in users_by_ranking.values() for user in members])
    measures = _measures(len(users), 3)
    measures["positives"] = np.where(users == 5, 0, users)
    measures["negatives"] = users * 2
    measures["pairs_within_request"] = users * 3
    found = {
        (row.left, row.right): row
        for row in pair_sums(rankings, users, measures, [Unit(0, (1,)), Unit(2, (3,))], [[0, 1]])
    }

    def letters(control: int, leaked: int) -> dict[int, dict[str, int]]:
        rows: dict[int, dict[str, int]] = {}
        for user in users_by_ranking[control]:
            mine = {arm: int(np.flatnonzero((rankings == arm) & (users == user))[0]) for arm in (control, leaked)}
            share = {
                arm: int(measures["u2_positives"][row] + measures["u2_negatives"][row]) for arm, row in mine.items()
            }
            p, n = int(measures["positives"][mine[control]]), int(measures["negatives"][mine[control]])
            rows[user] = {"d": share[leaked] - share[control], "c": share[control], "p": p, "n": n}
            rows[user]["m"] = p + n if p and n else 0
            rows[user] |= {"b": 2 * p * n, "q": 2 * int(measures["pairs_within_request"][mine[control]])}
            for letter, name in (("w", "u2_within_user"), ("r", "u2_within_request")):
                rows[user][letter] = int(measures[name][mine[leaked]] - measures[name][mine[control]])
        return rows

    days = [letters(0, 1), letters(2, 3)]
    for (left, right), row in found.items():
        for a, b in product("dcpnmwbrq", repeat=2):
            if a + b in row.products:
                shared = days[left].keys() & days[right].keys()
                assert row.products[a + b] == sum(days[left][user][a] * days[right][user][b] for user in shared)
    assert len([pair for pair in found if pair[0] != pair[1]]) == 1
    assert sum(row.users for row in found.values()) == 4
    assert sum(row.users_with_both_classes for row in found.values()) == 3
    assert [found[unit, unit].members for unit in (0, 1)] == [2, 3]


@pytest.mark.parametrize(("change", "expected"), [("absent", 1), ("other positives", 1), ("doubled", 1), ("same", 0)])
def test_users_whose_arms_differ_are_counted(change: str, expected: int) -> None:
    rankings, users = np.array([0, 0, 1, 1]), np.array([1, 2, 1, 2])
    if change == "absent":
        rankings, users = rankings[:-1], users[:-1]
    if change == "doubled":
        rankings, users = np.append(rankings, 0), np.append(users, 2)
    measures = _measures(len(users), 1)
    measures["positives"] = measures["negatives"] = np.ones(len(users), np.int64)
    measures["pairs_within_request"] = np.ones(len(users), np.int64)
    if change == "other positives":
        measures["positives"] = np.array([1, 1, 1, 2])
    (row,) = pair_sums(rankings, users, measures, [Unit(0, (1,))], [[0]])
    assert row.uneven == expected


def test_a_sum_beyond_64_bits_is_refused() -> None:
    measures = {name: np.full(4, 2**62) for name in _measures(1, 0)}
    measures["positives"] = measures["negatives"] = np.ones(4, np.int64)
    with pytest.raises(OverflowError, match="beyond 64 bits"):
        list(pair_sums(np.array([0, 0, 1, 1]), np.array([1, 2, 1, 2]), measures, [Unit(0, (1,))], [[0]]))
