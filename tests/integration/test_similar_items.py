"""Neighbours of the items of impressions, as the port reads them, against loops over a small graph."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pytest

from lis_spark.leaks.similar_items import GraphUse, similar_item_rows

T = dt.date(2022, 5, 3)
LATER = T + dt.timedelta(days=1)
ROWS = {"a": 10, "b": 11, "c": 12, "d": 13}
# graph, as of -> item -> neighbours with scores
GRAPHS: dict[tuple[str, dt.date], dict[str, list[tuple[str, float]]]] = {
    ("swing", T): {"a": [("b", 0.9), ("c", 0.5), ("d", 0.1)], "b": [("a", 0.9)], "c": [("a", 0.5)]},
    ("swing", LATER): {"a": [("d", 2.0)], "b": [("c", 1.0), ("a", 0.25)], "d": [("a", 2.0)]},
    ("swing-f1", LATER): {"a": [("c", 3.0)]},
}
IMPRESSIONS = [(f"i{n}", item, ROWS[item], n % 2, T) for n, item in enumerate("aabbccdd")]
USES = [
    GraphUse("naive", 0, "swing", T),
    GraphUse("naive", 1, "swing", LATER),
    GraphUse("honest", 1, "swing-f1", LATER, 1, "own"),
    GraphUse("shuffled_graph", 1, "swing", LATER, shuffled=True),
]


@pytest.fixture(scope="module")
def found(spark: Any) -> dict[tuple[str, int, str], Any]:
    graphs = [
        (graph, date, item, neighbours) for (graph, date), items in GRAPHS.items() for item, neighbours in items.items()
    ]
    frame = spark.createDataFrame(
        graphs, "graph string, date date, item_id string, neighbours array<struct<item_id string, score double>>"
    )
    impressions = spark.createDataFrame(
        IMPRESSIONS, "impression_id string, item_id string, row int, fold int, date date"
    )
    numbers = spark.createDataFrame(list(ROWS.items()), "item_id string, row int")
    rows = similar_item_rows(impressions, frame, numbers, USES, 2).collect()
    by_key = {(row["variant"], row["horizon_days"], row["impression_id"]): row for row in rows}
    assert len(by_key) == len(rows) == 8 * 3 + 4
    return by_key


def values(row: Any) -> tuple[list[int], list[float]] | None:
    if row["ids"] is None:
        assert row["beside"] is None
        return None
    beside = np.frombuffer(bytes(row["beside"]), "<f4").astype(float).round(6).tolist()
    return np.frombuffer(bytes(row["ids"]), "<i4").tolist(), beside


def expected(neighbours: list[tuple[str, float]] | None) -> tuple[list[int], list[float]] | None:
    if not neighbours:
        return None
    best = neighbours[:2]
    lacking = 2 - len(best)
    return (
        [ROWS[item] for item, _ in best] + [-1] * lacking,
        [score for _, score in best] + [0.0] * lacking + [1.0] * len(best) + [0.0] * lacking,
    )


@pytest.mark.parametrize(("variant", "horizon", "graph"), [("naive", 0, ("swing", T)), ("naive", 1, ("swing", LATER))])
def test_each_impression_has_the_best_neighbours_of_its_item(
    found: dict[tuple[str, int, str], Any], variant: str, horizon: int, graph: tuple[str, dt.date]
) -> None:
    for impression, item, *_ in IMPRESSIONS:
        assert values(found[variant, horizon, impression]) == expected(GRAPHS[graph].get(item))


def test_honest_rows_come_from_the_graph_without_the_users_fold(found: dict[tuple[str, int, str], Any]) -> None:
    own = {impression for variant, _, impression in found if variant == "honest"}
    assert own == {impression for impression, _, _, fold, _ in IMPRESSIONS if fold == 1}
    for impression, item, _, fold, _ in IMPRESSIONS:
        if fold == 1:
            assert values(found["honest", 1, impression]) == expected(GRAPHS["swing-f1", LATER].get(item))


def test_a_shuffled_graph_has_the_same_lists_at_other_items(found: dict[tuple[str, int, str], Any]) -> None:
    graph = GRAPHS["swing", LATER]
    shuffled = {item: values(found["shuffled_graph", 1, i]) for i, item, *_ in IMPRESSIONS}
    lists = [expected(neighbours) for neighbours in graph.values()]
    given = [value for value in shuffled.values() if value is not None]
    assert sorted(map(str, given)) == sorted(map(str, lists)) and shuffled["c"] is None
    assert all(shuffled[item] != expected(neighbours) for item, neighbours in graph.items())
