"""The step ``graph``: windows, held-out folds, what a new day makes anew; clicks are chosen by pandas."""

from __future__ import annotations

import datetime as dt
import os
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lis_spark.config import GraphConfig, RunConfig, parse_config
from lis_spark.errors import ConfigError, InputError
from lis_spark.graph import step
from lis_spark.graph.cost import graph_costs
from lis_spark.lake import Lake
from lis_spark.sources import ingest
from tests.integration.test_graph import lists_of, pair_scores

T = dt.date(2022, 5, 3)
GRAPH = {"name": "swing", "window_days": 2, "min_user_items": 2, "neighbours": 3}


def write_days(spark: Any, path: str, first: dt.date, days: int) -> pd.DataFrame:
    """Clicks and skips of some days from one random stream a day; returns the clicks."""
    frames = []
    for offset in range(days):
        day = first + dt.timedelta(days=offset)
        rng = np.random.default_rng(day.toordinal())
        frames.append(
            pd.DataFrame(
                {
                    "user": [f"u{u}" for u in rng.integers(0, 40, 200)],
                    "item": [f"v{v:02d}" for v in (25 * rng.random(200) ** 2).astype(int)],
                    "time": [
                        dt.datetime.combine(day, dt.time(8), dt.UTC) + dt.timedelta(seconds=s) for s in range(200)
                    ],
                    "click": rng.integers(0, 2, 200),
                    "date": day,
                }
            )
        )
    rows = pd.concat(frames)
    spark.createDataFrame(rows.drop(columns="date")).write.mode("overwrite").parquet(path)
    return rows[rows["click"] == 1]


def stored(spark: Any, config: RunConfig) -> dict[tuple[str, dt.date], dict[str, list[Any]]]:
    graphs: dict[tuple[str, dt.date], dict[str, list[Any]]] = {}
    for row in Lake(spark, config).read("item_graph").collect():
        assert row["source_date"] == row["date"] - dt.timedelta(days=1)
        graphs.setdefault((row["graph"], row["date"]), {})[row["item_id"]] = [
            tuple(entry) for entry in row["neighbours"]
        ]
    return graphs


def expected_graph(clicks: pd.DataFrame) -> dict[str, list[Any]]:
    lists = lists_of(list(clicks[["user", "item", "time"]].itertuples(index=False, name=None)))
    lists = {user: items for user, items in lists.items() if len(items) >= 2}
    scores = pair_scores(lists, GraphConfig(**GRAPH))  # type: ignore[arg-type]
    best: dict[str, list[Any]] = {}
    for i in {i for i, _ in scores}:
        ranked = sorted((-value, j) for (source, j), value in scores.items() if source == i)[:3]
        best[i] = [
            (j, pytest.approx(-value), sum(i in own and j in own for own in lists.values())) for value, j in ranked
        ]
    return best


def test_graphs_hold_the_clicks_of_their_window_and_not_those_of_the_held_out(
    spark: Any, config_data: dict[str, Any], tmp_path: Any
) -> None:
    config = parse_config({**config_data, "graphs": [GRAPH]})
    clicks = write_days(spark, config.source.path, T - dt.timedelta(days=3), 5)  # type: ignore[union-attr]
    ingest.run(spark, config)
    done = step.run(spark, config)
    graphs = stored(spark, config)
    assert (done.partitions_written, len(graphs)) == (4, 4)
    users = spark.createDataFrame([(u,) for u in sorted(set(clicks["user"]))], "user_id string")
    folds = {
        row["user_id"]: row["fold"]
        for row in users.selectExpr(
            "user_id", "cast(pmod(xxhash64('lis_spark.user_fold', user_id), 2) as int) AS fold"
        ).collect()
    }
    first = T - dt.timedelta(days=2)
    control = clicks[(clicks["date"] >= first) & (clicks["date"] < T)]
    leaked = clicks[(clicks["date"] >= first) & (clicks["date"] <= T)]
    later = T + dt.timedelta(days=1)
    name = f"swing-since-{first}"
    assert graphs[name, T] == expected_graph(control)
    assert graphs[name, later] == expected_graph(leaked)
    for fold in (0, 1):
        own_future = (leaked["user"].map(folds) == fold) & (leaked["date"] >= T)
        assert graphs[f"{name}-without-fold-{fold}-from-{T}", later] == expected_graph(leaked[~own_future])
    assert done.rows_written == sum(map(len, graphs.values()))
    assert step.run(spark, config).partitions_written == 0

    # one more evaluated day: the graphs of the first stay, and only files of the new windows are read
    next_day = parse_config(
        {**config_data, "graphs": [GRAPH], "evaluation": {**config_data["evaluation"], "dates": [T, later]}}
    )
    lake = Lake(spark, next_day)
    requests = [r for r in step.graph_requests(next_day) if r.first_date > first]
    files = step.tagged(lake.read("impressions"), next_day, requests).inputFiles()
    days = {part for file in files for part in file.split(os.sep) if part.startswith("date=")}
    assert days == {f"date={first + dt.timedelta(days=offset)}" for offset in (1, 2, 3)}
    done = step.run(spark, next_day)
    assert (done.partitions_written, done.partitions_skipped) == (4, 4)
    assert {key: graphs_now for key, graphs_now in stored(spark, next_day).items() if key in graphs} == graphs


def test_what_graphs_cost_is_told_from_the_clicks(spark: Any, config_data: dict[str, Any]) -> None:
    """Two evaluated days: four graphs each, none dearer than the one of all clicks until T + 1."""
    later = T + dt.timedelta(days=1)
    evaluation = {**config_data["evaluation"], "dates": [T, later]}
    config = parse_config({**config_data, "graphs": [{**GRAPH, "max_item_users": 9}], "evaluation": evaluation})
    clicks = write_days(spark, config.source.path, T - dt.timedelta(days=2), 4)  # type: ignore[union-attr]
    ingest.run(spark, config)
    found = graph_costs(Lake(spark, config).read("impressions"), config)
    costs, entries, read = [], [], 0
    for date in (T, later):
        window = clicks[(clicks["date"] >= date - dt.timedelta(days=2)) & (clicks["date"] <= date)]
        read += 4 * len(window)
        lists = window.groupby("user")["item"].agg(set)
        lists = lists[lists.map(len) >= 2]
        uncapped = [[len(own) for own in lists if item in own] for item in set(window["item"])]
        costs.append(sum(len(of_item) * sum(of_item) for of_item in uncapped))
        entries.append(sum(sum(of_item) for of_item in uncapped))
    assert [(one.name, one.graphs, one.clicks) for one in found] == [("swing", 8, read)]
    assert 0 < found[0].largest < max(costs) and found[0].entries < max(entries), "nine users an item count"
    whole = parse_config({**config_data, "graphs": [GRAPH], "evaluation": evaluation})
    (uncut,) = graph_costs(Lake(spark, whole).read("impressions"), whole)
    assert (uncut.cost, uncut.largest, uncut.entries) == (4 * sum(costs), max(costs), max(entries))


def test_a_graph_beyond_the_data_is_refused(spark: Any, config_data: dict[str, Any]) -> None:
    evaluation = {**config_data["evaluation"], "horizons": [0, 2]}
    config = parse_config({**config_data, "graphs": [GRAPH], "evaluation": evaluation})
    write_days(spark, config.source.path, T - dt.timedelta(days=1), 2)  # type: ignore[union-attr]
    ingest.run(spark, config)
    with pytest.raises(InputError, match="days that are not there") as error:
        step.run(spark, config)
    assert "the last day of data is 2022-05-03" in str(error.value) and "2022-05-01 to 2022-05-04" in str(error.value)


def test_without_graphs_the_step_says_what_is_missing(spark: Any, config: RunConfig) -> None:
    with pytest.raises(ConfigError, match="no graphs are configured"):
        step.run(spark, config)
