"""What arms of a simulated experiment show, what comes of it, and what is paid, against plain loops."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lis_spark.closed_loop.choice import chosen, with_outcomes, within_budget
from lis_spark.closed_loop.people import NOBODY, People, satisfaction_after
from lis_spark.config import ClosedLoopConfig, WorldSource
from lis_spark.world import frames
from lis_spark.world.calendar import Calendar
from lis_spark.world.candidates import candidates_of
from lis_spark.world.impressions import concatenated, impressions_of

WORLD = WorldSource.model_validate(
    {
        "kind": "world",
        "days": 3,
        "people": {"users": 40},
        "catalogue": {"new_items_a_day": 20, "life_days": 10},
        "traffic": {"impressions_a_day": 600, "impressions_a_request": 4, "ads_share": 0.4},
    }
)
CALENDAR = Calendar.of(WORLD, "UTC")


def loop(**settings: Any) -> ClosedLoopConfig:
    plain = {"start_date": dt.date(2026, 1, 2), "days": 2, "arms": {"control": {}, "raw": {"preference": True}}}
    metrics = {"metrics": [{"name": "reads", "column": "reads"}]}
    return ClosedLoopConfig.model_validate({**plain, **metrics, **settings})


def test_the_best_are_shown_and_the_others_explored(spark: Any) -> None:
    random = np.random.default_rng(1)
    rows = pd.DataFrame({"request": np.repeat(np.arange(50), 9), "place": np.tile(np.arange(1, 10), 50)})
    rows["logit"] = random.integers(0, 4, len(rows)) / 2.0  # with ties
    settings = loop(explored=1, candidates=9)
    shown = chosen(spark.createDataFrame(rows), settings, WORLD).toPandas()
    assert (shown.groupby("request").size() == 4).all() and not shown.duplicated(["request", "place"]).any()
    last = []
    for request, own in rows.groupby("request"):
        best = own.sort_values(["logit", "place"], ascending=[False, True], kind="stable")["place"].tolist()
        got = shown[shown["request"] == request].sort_values("position")
        assert got["place"].tolist()[:3] == best[:3] and got["position"].tolist() == [1, 2, 3, 4]
        assert got["explored"].tolist() == [False, False, False, True] and got["place"].iloc[3] not in best[:3]
        last.append(best.index(got["place"].iloc[3]))
    assert len(set(last)) > 4, "any of the others"
    better = rows.assign(logit=-rows["logit"])
    again = chosen(spark.createDataFrame(better.sample(frac=1, random_state=2)), loop(explored=4), WORLD)
    everything = again.toPandas().sort_values(["request", "position"])
    same = chosen(spark.createDataFrame(rows), loop(explored=4), WORLD).toPandas().sort_values(["request", "position"])
    assert everything["place"].tolist() == same["place"].tolist(), "chance does not depend on the ranker"


def test_what_is_shown_as_the_world_shows_it_is_answered_as_in_the_world(spark: Any) -> None:
    first, end = int(CALENDAR.first_request[1]), int(CALENDAR.first_request[2])
    truth = concatenated(list(impressions_of(WORLD, CALENDAR, first, end)))
    (made,) = candidates_of(WORLD, CALENDAR, first, end, WORLD.traffic.impressions_a_request)
    columns = {"request": made.requests, "place": made.places, "time_ms": made.time_ms, "user": made.users}
    columns |= {"item": made.items, "fit": made.fit, "bias": made.bias, "bid": made.bids, "position": made.places}
    rows = spark.createDataFrame(pd.DataFrame(columns)).repartition(3)
    answered = with_outcomes(rows, WORLD, truth.date).toPandas().sort_values(["request", "position"])
    expected = frames.truth_columns(WORLD, truth)
    assert np.array_equal(answered["click_probability"], truth.probability)
    assert np.array_equal(np.stack([answered[name] for name in ("click", "read", "engage")]), truth.labels)
    for name in ("time_spent_ms", "advertiser_value_micros", "cost_micros"):
        assert np.array_equal(answered[name], expected[name].to_numpy())


def test_arms_spend_the_same_money_or_their_own(spark: Any) -> None:
    random, rows = np.random.default_rng(3), 400
    shown = pd.DataFrame(
        {
            "item": random.integers(0, 7, rows),
            "time_ms": random.integers(0, 300, rows),
            "request": np.arange(rows),
            "place": 1,
            "arm": random.integers(0, 2, rows),
            "cost_micros": random.integers(0, 3, rows) * 400_000,
        }
    )

    def affordable(budget: int, purse: list[str]) -> list[int]:
        left: dict[tuple[int, ...], int] = {}
        kept = []
        for _, row in shown.sort_values(["time_ms", "request"]).iterrows():
            own = tuple(row[purse])
            if left.setdefault(own, budget) > 0:
                kept.append(row["request"])
                left[own] -= row["cost_micros"]
        return sorted(kept)

    def found(**settings: Any) -> list[int]:
        return sorted(within_budget(spark.createDataFrame(shown), loop(**settings)).toPandas()["request"])

    shared, split = affordable(5_000_000, ["item"]), affordable(2_500_000, ["item", "arm"])
    assert found(daily_budget=5.0) == shared and len(shared) < rows
    assert found(daily_budget=5.0, budgets="split") == split != shared
    assert found() == list(range(rows))


def test_who_is_satisfied_comes_more_often_and_arms_share_their_luck() -> None:
    users, settings = np.arange(4000), loop(staying=1.0, attachment=5.0)
    arms = np.zeros(4000, np.int8)
    neutral, happy = People(arms, np.zeros(4000)), People(arms, np.full(4000, 0.2))
    before = neutral.come(WORLD, settings, users, 1)
    after = happy.come(WORLD, settings, users, 1)
    assert before.mean() == pytest.approx(1 / (1 + np.exp(-1.0)), abs=0.02)
    assert after.mean() == pytest.approx(1 / (1 + np.exp(-2.0)), abs=0.02)
    assert (after | ~before).all(), "nobody stays away for being happier"
    assert (before != neutral.come(WORLD, settings, users, 2)).any()


def test_satisfaction_is_smoothed_over_the_days_that_a_user_comes(spark: Any) -> None:
    rows = spark.createDataFrame([(0.1, 10, 4), (0.1, 0, 0)], "before double, impressions bigint, reads bigint")
    found = rows.select(satisfaction_after(loop(memory=0.8), 0.15).alias("after")).toPandas()["after"]
    assert found.tolist() == pytest.approx([0.8 * 0.1 + 0.2 * (0.4 - 0.15), 0.1])
    assert NOBODY < 0


def test_an_experiment_that_cannot_be_is_refused() -> None:
    for settings, message in (
        ({"control": "nobody"}, "none of the arms"),
        ({"budgets": "split"}, "no daily_budget to split"),
        ({"arms": {"control": {"preference": True}, "raw": {}}}, "reads nothing beside"),
        ({"share": 0.5, "arms": {"control": {}, "a": {}, "b": {}}}, "more users than there are"),
        ({"arms": {"control": {}, "a": {"encoder": "x", "preference": True}}}, "not both"),
        ({"candidates": 64}, "less than or equal to 63"),
    ):
        with pytest.raises(ValueError, match=message):
            loop(**settings)
