"""Graphs of similar items in Spark: against loops over the formula, a public library, themselves on other plans."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import recfarm

from lis_spark.config.graph import GraphConfig
from lis_spark.graph.similar import similar_items
from lis_spark.graph.user_items import source_pairs, user_items

ROOT = Path(__file__).resolve().parents[2]
Graph = dict[str, list[tuple[str, float, int]]]
START = dt.datetime(2022, 5, 1, tzinfo=dt.UTC)
CLICKS = "request int, user_id string, item_id string, request_ts timestamp"


def random_clicks(seed: int, users: int = 60, items: int = 30, clicks: int = 500) -> list[tuple[str, str, dt.datetime]]:
    """Power-law items and users, repeated clicks included."""
    rng = np.random.default_rng(seed)
    who = (users * rng.random(clicks) ** 2).astype(int)
    what = (items * rng.random(clicks) ** 3).astype(int)
    minutes = rng.integers(0, 10_000, clicks)
    return [
        (f"u{u:03d}", f"v{v:02d}", START + dt.timedelta(minutes=int(m)))
        for u, v, m in zip(who, what, minutes, strict=True)
    ]


def frame_of(spark: Any, clicks: list[tuple[str, str, dt.datetime]], partitions: int = 3) -> Any:
    """The clicks as set 0."""
    return spark.createDataFrame([(0, *click) for click in clicks], CLICKS).repartition(partitions)


def graphs_of(clicks: Any, graph: GraphConfig) -> dict[int, Graph]:
    graphs: dict[int, Graph] = {}
    with similar_items(clicks, graph) as found:
        for row in found.collect():
            graphs.setdefault(row["request"], {})[row["item_id"]] = [tuple(entry) for entry in row["neighbours"]]
    return graphs


def graph_of(clicks: Any, graph: GraphConfig) -> Graph:
    return graphs_of(clicks, graph).get(0, {})


def lists_of(clicks: list[tuple[str, str, dt.datetime]]) -> dict[str, set[str]]:
    lists: dict[str, set[str]] = {}
    for user, item, _ in clicks:
        lists.setdefault(user, set()).add(item)
    return lists


def pair_scores(lists: dict[str, set[str]], graph: GraphConfig) -> dict[tuple[str, str], float]:
    """Swing by its definition, without caps."""
    alpha, offset, exponent = graph.swing_weights
    scores: dict[tuple[str, str], float] = {}
    for u, v in combinations(sorted(lists), 2):
        common = lists[u] & lists[v]
        weight = ((offset + len(lists[u])) * (offset + len(lists[v]))) ** -exponent / (alpha + max(len(common), 1))
        for i in common:
            for j in common - {i}:
                scores[i, j] = scores.get((i, j), 0.0) + weight
    return scores


def test_the_graph_is_that_of_the_formula(spark: Any) -> None:
    graph = GraphConfig(min_user_items=2, neighbours=4)
    clicks = random_clicks(5)
    lists = {user: items for user, items in lists_of(clicks).items() if len(items) >= 2}
    expected = pair_scores(lists, graph)
    found = graph_of(frame_of(spark, clicks), graph)
    assert set(found) == {i for i, _ in expected}
    for item, neighbours in found.items():
        best = sorted((-value, j) for (i, j), value in expected.items() if i == item)[:4]
        assert [(j, pytest.approx(-value, rel=1e-12)) for value, j in best] == [entry[:2] for entry in neighbours]
        for other, _, users in neighbours:
            assert users == sum(item in own and other in own for own in lists.values())


def test_the_same_bits_from_any_order_partitions_and_blocks(spark: Any) -> None:
    clicks = random_clicks(6, users=200, items=60, clicks=3000)
    caps = {"min_user_items": 3, "max_user_items": 12, "max_item_users": 20, "neighbours": 5}
    before = spark.conf.get("spark.sql.shuffle.partitions")
    expected = graph_of(frame_of(spark, clicks), GraphConfig(**caps))  # type: ignore[arg-type]
    assert len(expected) > 40
    try:
        for partitions, blocks in (("1", 1), ("7", 3), ("3", 40)):
            spark.conf.set("spark.sql.shuffle.partitions", partitions)
            np.random.default_rng(blocks).shuffle(clicks)  # type: ignore[arg-type]
            graph = GraphConfig(**caps, blocks=blocks)  # type: ignore[arg-type]
            assert graph_of(frame_of(spark, clicks, int(partitions)), graph) == expected
    finally:
        spark.conf.set("spark.sql.shuffle.partitions", before)


def test_caps_keep_the_latest_items_of_a_user_and_the_smallest_hashes_of_an_item(spark: Any) -> None:
    clicks = random_clicks(7, users=80, items=25, clicks=1500)
    frame = frame_of(spark, clicks)
    graph = GraphConfig(min_user_items=4, max_user_items=6, max_item_users=9, seed=3)
    latest: dict[str, dict[str, dt.datetime]] = {}
    for user, item, time in clicks:
        own = latest.setdefault(user, {})
        own[item] = max(own.get(item, time), time)
    expected = {
        user: {item for item, _ in sorted(own.items(), key=lambda entry: (-entry[1].timestamp(), entry[0]))[:6]}
        for user, own in latest.items()
        if len(own) >= 4
    }
    pairs = user_items(frame, graph).persist()
    kept = pairs.collect()
    assert {(row["user_id"], row["item_id"]) for row in kept} == {(u, i) for u, own in expected.items() for i in own}
    assert all(row["user_items"] == len(expected[row["user_id"]]) for row in kept)
    pairs.createOrReplaceTempView("pairs")
    naive = spark.sql(
        "SELECT user_id, item_id FROM (SELECT *, rank() OVER (PARTITION BY item_id "
        "ORDER BY xxhash64(3, item_id, user_id)) AS place FROM pairs) WHERE place <= 9"
    ).collect()
    sources = source_pairs(pairs, graph).collect()
    assert {(row["user_id"], row["item_id"]) for row in sources} == {tuple(row) for row in naive}
    assert len(sources) < len(kept)


def test_cosine_is_a_graph_too(spark: Any) -> None:
    clicks = random_clicks(8)
    lists = lists_of(clicks)
    users = {item: {u for u, own in lists.items() if item in own} for item in set().union(*lists.values())}
    found = graph_of(frame_of(spark, clicks), GraphConfig(kind="cosine", min_user_items=1, neighbours=3))
    for item, neighbours in found.items():
        expected = sorted(
            (-len(users[item] & users[j]) / (len(users[item]) * len(users[j])) ** 0.5, j)
            for j in users
            if j != item and users[item] & users[j]
        )[:3]
        assert [(j, pytest.approx(-value)) for value, j in expected] == [entry[:2] for entry in neighbours]


def test_no_clicks_no_graph(spark: Any) -> None:
    nothing = spark.createDataFrame([], CLICKS)
    assert graph_of(nothing, GraphConfig()) == {}
    alone = frame_of(spark, [("u", "v", START)])
    assert graph_of(alone, GraphConfig(min_user_items=1)) == {}


# -- the public oracle ---------------------------------------------------------------------------------------------


@dataclass
class Sparse:
    """What recfarm reads of a sparse matrix."""

    sparse_indices: list[int]
    sparse_indptr: list[int]
    sparse_data: list[float]


def sparse_of(rows: list[list[int]]) -> Sparse:
    lengths = np.cumsum([0, *map(len, rows)]).tolist()
    flat = [column for row in rows for column in sorted(row)]
    return Sparse(flat, lengths, [1.0] * len(flat))


def recfarm_scores(lists: dict[str, set[str]], alpha: float) -> Any:
    """score(item, other) of LibRecommender's Swing, and the items by number.

    It leaves the source item out when it counts the common items of two users, where method 3 counts it: its alpha is
    one above ours. A user with one item more for each item makes no pair with anything else, and lets the score of
    every pair of items be asked for.
    """
    items = sorted(set().union(*lists.values()))
    number = {item: place for place, item in enumerate(items)}
    users = [[number[item] for item in own] for _, own in sorted(lists.items())] + [
        [place] for place in range(len(items))
    ]
    of_item: list[list[int]] = [[] for _ in items]
    for user, own in enumerate(users):
        for item in own:
            of_item[item].append(user)
    model = recfarm.Swing(
        len(items),
        alpha + 1,
        100_000_000,
        len(users),
        len(items),
        sparse_of(users),
        sparse_of(of_item),
        {user: own for user, own in enumerate(users)},
        0.0,
    )
    model.compute_swing(1)
    return lambda item, other: model.predict([len(lists) + number[other]], [number[item]])[0]


UNCAPPED = {"preset": "sqrt", "min_user_items": 1, "max_user_items": 100_000, "max_item_users": 100_000}


def test_three_random_graphs_made_together_are_those_of_a_public_library(spark: Any) -> None:
    sets = [random_clicks(seed, users=100, items=40, clicks=1200) for seed in (11, 12, 13)]
    tagged = [(number, *click) for number, clicks in enumerate(sets) for click in clicks]
    graphs = graphs_of(spark.createDataFrame(tagged, CLICKS), GraphConfig(**UNCAPPED, neighbours=40))  # type: ignore[arg-type]
    assert sorted(graphs) == [0, 1, 2]
    for number, clicks in enumerate(sets):
        lists = lists_of(clicks)
        score = recfarm_scores(lists, alpha=1.0)
        items = sorted(set().union(*lists.values()))
        own = {(item, other): value for item, entries in graphs[number].items() for other, value, _ in entries}
        for item in items:
            for other in items:
                if item != other:
                    assert own.get((item, other), 0.0) == pytest.approx(score(item, other), rel=1e-5)


def test_scores_are_those_of_a_public_library_on_movietweetings(spark: Any) -> None:
    rows = [line.split("::") for line in (ROOT / "data/movietweetings_100k/ratings.dat").read_text().splitlines()]
    clicks = [
        (user, item, dt.datetime.fromtimestamp(int(time), dt.UTC))
        for user, item, rating, time in rows
        if int(rating) >= 8
    ]
    lists = lists_of(clicks)
    score = recfarm_scores(lists, alpha=1.0)
    found = graph_of(frame_of(spark, clicks), GraphConfig(**UNCAPPED))  # type: ignore[arg-type]
    checked = 0
    for item, entries in sorted(found.items())[::3]:
        for other, value, _ in entries:
            assert value == pytest.approx(score(item, other), rel=2e-4)
            checked += 1
    assert checked > 2000
