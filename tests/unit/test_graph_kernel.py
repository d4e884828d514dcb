"""Swing and cosine of one block against the formulas of method 3, written as loops over pairs of users."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lis_spark.config.graph import SWING_PRESETS, GraphConfig
from lis_spark.graph.kernel import Members, Neighbours, UserLists, cosine, swing

Lists = dict[int, set[int]]
GOLDEN: Lists = {0: {10, 11, 12}, 1: {12, 13}, 2: {10, 11, 12}, 3: {12, 13}, 4: {10, 11, 12, 13}}


def arrays(lists: Lists, offset: float, exponent: float, sources: Lists | None = None) -> tuple[UserLists, Members]:
    """Block of all items; ``sources``: item -> users that count, everybody where absent."""
    users = sorted(lists)
    sizes = [len(lists[user]) for user in users]
    items = [item for user in users for item in sorted(lists[user])]
    counted = sources or {item: {u for u in users if item in lists[u]} for item in sorted(set(items))}
    places = [[users.index(user) for user in sorted(counted[item])] for item in sorted(counted)]
    return (
        UserLists(
            np.cumsum([0, *sizes]).astype(np.int64),
            np.array(items, np.int32),
            np.array([1 / (offset + size) ** exponent for size in sizes]),
        ),
        Members(
            np.array(sorted(counted), np.int32),
            np.cumsum([0, *map(len, places)]).astype(np.int64),
            np.array([place for of_item in places for place in of_item], np.int32),
        ),
    )


def scores(members: Members, found: Neighbours) -> dict[tuple[int, int], float]:
    return {
        (int(item), int(other)): float(score)
        for item, others, values in zip(members.items, found.items, found.scores, strict=True)
        for other, score in zip(others, values, strict=True)
        if other >= 0
    }


def by_definition(lists: Lists, alpha: float, offset: float, exponent: float) -> dict[tuple[int, int], float]:
    items = sorted(set().union(*lists.values()))
    weight = {user: 1 / (offset + len(own)) ** exponent for user, own in lists.items()}
    result = {}
    for i in items:
        for j in items:
            both = sorted(user for user, own in lists.items() if i in own and j in own)
            value = sum(
                weight[u] * weight[v] / (alpha + len(lists[u] & lists[v])) for u, v in combinations(both, 2) if i != j
            )
            if value > 0:
                result[i, j] = value
    return result


@pytest.mark.parametrize(
    ("preset", "dropped", "expected"),
    [
        (
            "flink",
            True,
            {(10, 11): 0.058845768947156235, (10, 12): 0.058845768947156235, (12, 13): 0.09134833828228624},
        ),
        ("sqrt", True, {(10, 11): 1 / 12, (12, 13): 1 / 6}),
        ("sqrt", False, {(10, 11): 0.2276709006307398, (12, 13): 0.4023689270621824}),
        ("alink", True, {(10, 11): 1.071773462536293, (12, 13): 1.3015095923742404}),
    ],
)
def test_golden_vectors(preset: str, dropped: bool, expected: dict[tuple[int, int], float]) -> None:
    lists = {user: items for user, items in GOLDEN.items() if not (dropped and user == 4)}
    alpha, offset, exponent = GraphConfig(preset=preset).swing_weights  # type: ignore[arg-type]
    block, members = arrays(lists, offset, exponent)
    found = scores(members, swing(block, members, alpha=alpha, neighbours=4))
    for (i, j), value in expected.items():
        assert found[i, j] == pytest.approx(value, rel=1e-15) and found[j, i] == found[i, j]
    assert dropped is False or (10, 13) not in found


worlds = st.dictionaries(
    st.integers(0, 30), st.sets(st.integers(0, 12), min_size=1, max_size=8), min_size=1, max_size=14
)


@given(worlds, st.sampled_from(sorted(SWING_PRESETS)))
@settings(max_examples=200)
def test_every_score_is_that_of_the_formula_and_symmetric_to_the_bit(lists: Lists, preset: str) -> None:
    alpha, offset, exponent = SWING_PRESETS[preset]  # type: ignore[index]
    block, members = arrays(lists, offset, exponent)
    found = swing(block, members, alpha=alpha, neighbours=13)
    expected = by_definition(lists, alpha, offset, exponent)
    own = scores(members, found)
    assert own.keys() == expected.keys()
    for pair, value in own.items():
        assert value == pytest.approx(expected[pair], rel=1e-12) and value == own[pair[::-1]]
    for item, others, common in zip(members.items, found.items, found.common_users, strict=True):
        for other, users in zip(others, common, strict=True):
            assert (
                users == sum(item in items and other in items for items in lists.values()) if other >= 0 else users == 0
            )


@given(worlds, st.integers(1, 4), st.integers(1, 3))
@settings(max_examples=100)
def test_the_best_come_first_and_ties_go_to_the_smaller_item(lists: Lists, neighbours: int, least: int) -> None:
    block, members = arrays(lists, 0.0, 0.0)  # equal weights: many ties
    found = swing(block, members, alpha=1.0, neighbours=neighbours, min_common_users=least)
    expected = by_definition(lists, 1.0, 0.0, 0.0)
    common = {(i, j): sum(i in items and j in items for items in lists.values()) for i, j in expected}
    for item, others, values in zip(members.items, found.items, found.scores, strict=True):
        best = sorted((v for (i, j), v in expected.items() if i == item and common[i, j] >= least), reverse=True)
        own = [(-float(value), int(j)) for j, value in zip(others, values, strict=True) if j >= 0]
        assert own == sorted(own) and [-value for value, _ in own] == pytest.approx(best[:neighbours])
        # an item that was left out is no better than the last, and where it is as good its number is larger
        for j in {j for i, j in expected if i == item and common[i, j] >= least} - {j for _, j in own}:
            assert (-expected[item, j], j) > own[-1] or expected[item, j] == pytest.approx(-own[-1][0])


def test_users_beyond_the_cap_of_an_item_make_no_pairs_and_keep_their_lists() -> None:
    lists = {0: {1, 2}, 1: {1, 2}, 2: {1, 2, 3}}
    block, members = arrays(lists, 0.0, 0.5, {1: {0, 1}})
    (found,) = [swing(block, members, alpha=1.0, neighbours=2)]
    assert scores(members, found) == {(1, 2): pytest.approx(0.5 / (1 + 2))}


@given(worlds)
@settings(max_examples=100)
def test_cosine_is_that_of_the_click_vectors(lists: Lists) -> None:
    block, members = arrays(lists, 0.0, 0.0)
    users_of = {item: {u for u, own in lists.items() if item in own} for item in set().union(*lists.values())}
    degrees = np.array([len(users_of[int(item)]) for item in block.items], np.int64)
    found = scores(members, cosine(block, members, degrees, neighbours=13))
    expected = {
        (i, j): len(users_of[i] & users_of[j]) / math.sqrt(len(users_of[i]) * len(users_of[j]))
        for i in users_of
        for j in users_of
        if i != j and users_of[i] & users_of[j]
    }
    assert found == pytest.approx(expected)


def test_a_block_without_clicks_has_no_neighbours() -> None:
    nothing = UserLists(np.zeros(1, np.int64), np.zeros(0, np.int32), np.zeros(0))
    members = Members(np.zeros(0, np.int32), np.zeros(1, np.int64), np.zeros(0, np.int32))
    assert swing(nothing, members, alpha=0.0, neighbours=3).items.shape == (0, 3)
