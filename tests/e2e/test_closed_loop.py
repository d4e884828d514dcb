"""A simulated experiment on the world of the encoders, with a day of run-in: who sees what, and who learns from it."""

from __future__ import annotations

import datetime as dt
import json
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from pyspark.sql import functions as F
from safetensors.numpy import load_file

from lis_spark import cli
from lis_spark.closed_loop.logs import Logs
from lis_spark.config import RunConfig, load_config
from lis_spark.errors import ConfigError
from lis_spark.lake import Lake
from lis_spark.ranker.network import SHIFT
from lis_spark.ranker.plans import local_path
from lis_spark.world.calendar import Calendar
from lis_spark.world.candidates import candidates_of
from lis_spark.world.frames import world_of
from tests.e2e.conftest import ALIGNMENT, ALIGNMENT_DATE

START = dt.date.fromisoformat(ALIGNMENT_DATE)
FIRST = START - dt.timedelta(days=1)
CANDIDATES, SHARE = 12, 0.4
EXPERIMENT = [
    f"closed_loop.start_date={START}",
    *("closed_loop.days=2", "closed_loop.run_in_days=1", "closed_loop.covariate_days=4", f"closed_loop.share={SHARE}"),
    f"closed_loop.candidates={CANDIDATES}",
    "closed_loop.arms={control: {}, raw: {preference: true}}",
    "closed_loop.metrics=[{name: reads, column: reads}, {name: days, kind: days_active, column: impressions, days: 2}]",
    f"preference={{name: experiment, as_of: {FIRST}, min_updates: 30, max_items: 200, validation_share: 0.3}}",
    "encoders=[]",
]


@pytest.mark.slow("trains a ranker for each arm and day")
def test_arms_show_what_their_rankers_choose_and_learn_from_it(
    spark: Any,
    alignment_world: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("lis_spark.session.get_session", lambda *_, **__: spark)
    command = ["experiment", "--config", str(ALIGNMENT), *alignment_world, *EXPERIMENT, f"output_path={tmp_path}"]
    assert cli.main(command) == 0, capsys.readouterr().err
    config = load_config(ALIGNMENT, [*alignment_world, *EXPERIMENT])
    lake = Lake(spark, config)
    arms = {row["user_id"]: row["arm"] for row in lake.read("experiment_assignments").collect()}
    assert 30 <= sum(arm == "raw" for arm in arms.values()) <= 65
    shown = lake.read("experiment_impressions").toPandas()
    first = shown[shown["date"] == FIRST]
    _check_first_day(lake, first, arms)
    assert set(shown["arm"]) == {"control", "raw"} and shown.groupby("date").size().gt(500).sum() == 3
    vectors = shown.assign(known=shown["vector"].notna()).groupby(["date", "arm"])["known"].mean()
    assert (vectors[:, "control"] == 0).all() and (vectors[:, "raw"] > 0.1).all(), "ports are trained on the run-in"
    users = lake.read("experiment_users").toPandas()
    assert sorted(users["date"].unique()) == [START + dt.timedelta(days=number) for number in range(-4, 2)]
    assert users.groupby("date").size()[FIRST] == users.groupby("date").size()[START] == len(arms)
    of_world = lake.read("truth").where(F.col("date") == START - dt.timedelta(days=2)).groupBy("user_id").count()
    expected = {row["user_id"]: row["count"] for row in of_world.collect() if row["user_id"] in arms}
    earlier = users[users["date"] == START - dt.timedelta(days=2)].set_index("user_id")["impressions"]
    assert earlier.to_dict() == expected, "before the run-in the world chose"
    totals = first.groupby("user_id").agg(impressions=("position", "size"), reads=("was_read", "sum"))
    of_day = users[users["date"] == FIRST].set_index("user_id")
    assert of_day["impressions"].to_dict() == {user: totals["impressions"].get(user, 0) for user in arms}
    assert of_day["reads"].to_dict() == {user: totals["reads"].get(user, 0) for user in arms}
    rows = json.loads((tmp_path / "experiment_results.json").read_text(encoding="utf-8"))
    headline = next(row for row in rows if row["metric"] == "reads" and row["is_headline"])
    last = users[users["date"] >= START].groupby("user_id")["reads"].sum()
    plain = next(row for row in rows if row["metric"] == "reads" and not row["adjusted"] and row["date"] is None)
    for value, arm in (("value_control", "control"), ("value_treated", "raw")):
        assert plain[value] == pytest.approx(np.mean([last[user] for user in arms if arms[user] == arm]), rel=1e-12)
    assert headline["adjusted"] and headline["variance_left"] < 1
    versions = {name: lake.version(name) for name in ("experiment_impressions", "experiment_users")}
    assert cli.main(command) == 0
    assert {name: Lake(spark, config).version(name) for name in versions} == versions, "a second run simulates nothing"
    _check_shared_logs(Lake(spark, config), shown, tmp_path / "logs")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("closed_loop.days=1", "greater than or equal to 2"),
        ("closed_loop.end=1", "unknown key"),
        ("closed_loop.metrics=[{name: lt, kind: days_active, column: reads, days: 30}]", "lt needs 30 days"),
        ("closed_loop.metrics=[{name: likes, column: likes}]", "'likes' is none of the outcomes"),
        ("preference.as_of=2026-01-10", "raw would know what was clicked until 2026-01-10"),
        ("closed_loop.run_in_days=9", "rankers start as the model of 2026-01-01, and the world begins on 2026-01-01"),
        ("source.people.new_users_a_day=3", "all users enter on the first day"),
        ("closed_loop.explored=5", "the ranker would choose nothing"),
        ("closed_loop.arms={control: {}, treatment: {encoder: aligned}}", "wants the encoder 'aligned'"),
        ("source.days=10", "it ends on 2026-01-11, and the world on 2026-01-10"),
    ],
)
def test_an_experiment_that_cannot_be_is_refused_at_once(wrong: str, told: str) -> None:
    world = ["source.days=11", f"evaluation.dates=[{START}]", "evaluation.horizons=[0, 1]", "append=null"]
    with pytest.raises(ConfigError, match=told):
        load_config(ALIGNMENT, [*world, *EXPERIMENT, wrong])


def _check_shared_logs(lake: Lake, shown: Any, folder: Path) -> None:
    """What every arm has shown so far, in the order of time, with what the arm's own ranker reads of each item."""
    assert lake.config.closed_loop is not None
    loop = lake.config.closed_loop.model_copy(update={"logs": "shared"})
    kept = lake.read("preference_items").where("name = 'experiment'").toPandas().set_index("item_id")["target"]
    logs = Logs(lake, loop, folder)
    assert logs.before("control", FIRST) == []
    for date in (START, START + dt.timedelta(days=1)):  # the second time with a day that is there already
        for arm in ("control", "raw"):
            days = logs.before(arm, date)
            assert [day.date for day in days] == [FIRST + dt.timedelta(days=n) for n in range((date - FIRST).days)]
            for day in days:
                found = pd.concat([pq.read_table(local_path(file)).to_pandas() for file in day.files])
                expected = shown[shown["date"] == day.date].set_index("impression_id")
                assert set(expected["arm"]) == {"control", "raw"} and day.rows == len(found) == len(expected)
                requests = found["impression_id"].str.split("-").str[0].astype(int)
                assert requests.is_monotonic_increasing
                own = expected.loc[found["impression_id"]]
                assert (own["label_click"].to_numpy() == found["label_click"].to_numpy()).all()
                if arm == "control":
                    continue
                assert list(found["vector"]) == [kept.get(item) for item in found["item_id"]]
                assert found[found["arm"] == "control"]["vector"].notna().any(), "of what the control has shown too"
    logs.remove()
    assert not folder.exists()


def _check_first_day(lake: Lake, shown: Any, arms: dict[str, str]) -> None:
    """Every request of a user who comes, once; its best by M_first, with which both arms begin."""
    config = lake.config
    world, calendar = world_of(config), Calendar.of(world_of(config), config.time_zone)
    day = (FIRST - world.first_date).days
    opens, closes = int(calendar.first_request[day]), int(calendar.first_request[day + 1])
    (made,) = candidates_of(world, calendar, opens, closes, CANDIDATES)
    logits = _logits(lake, config, made.users, made.items).reshape(-1, CANDIDATES)
    users = made.users.reshape(-1, CANDIDATES)[:, 0]
    by_request = {
        int(request): rows
        for request, rows in shown.assign(request=shown["impression_id"].str.split("-").str[0].astype(int)).groupby(
            "request"
        )
    }
    came = {f"u{users[request - opens]}" for request in by_request}
    of_comers = {opens + n for n, user in enumerate(users) if f"u{user}" in came}
    assert set(by_request) == of_comers and came <= set(arms)
    assert 0.7 < len(came) / len({f"u{user}" for user in users} & set(arms)) <= 1
    size = world.traffic.impressions_a_request
    agreed = 0
    for request, rows in by_request.items():
        best = np.argsort(-logits[request - opens], kind="stable")[: size - 1] + 1
        places = rows.sort_values("position")["impression_id"].str.split("-").str[1].astype(int)[: size - 1]
        agreed += list(best) == list(places)
        assert list(rows["position"].sort_values()) == list(range(1, size + 1))
        assert set(rows["arm"]) == {arms[rows["user_id"].iloc[0]]}
    assert agreed > 0.99 * len(by_request), "but for ties in the last bit"


def _logits(lake: Lake, config: RunConfig, users: np.ndarray, items: np.ndarray) -> np.ndarray:
    """The factorisation machine of M_first, written out in NumPy from the state on disk."""
    folder = Path(config.lake.work_path) / "chains" / f"base-s{config.seeds[0]}" / FIRST.isoformat()
    (file,) = folder.glob("state-*.safetensors")
    state = load_file(file)
    numbers = {}
    for table, prefix, ids in (("user", "u", users), ("item", "i", items)):
        rows = lake.read("vocabularies").where(F.col("slot") == table).select("key", "row").collect()
        known = {row["key"]: row["row"] for row in rows}
        numbers[table] = np.array([known.get(f"{prefix}{one}", -1) for one in ids]) + SHIFT
    fields = [state[f"table.{one.table}.weights"][numbers[one.table]] for one in config.features]
    counts = _count_numbers(lake, {"user": users, "item": items})
    for place in range(2):
        weight, bias = state["dense.counts.weight"][place], state["dense.counts.bias"][place]
        fields.append(counts[:, 1 + 3 * place : 4 + 3 * place] @ weight + bias)
    linear = np.concatenate(fields, axis=1) @ state["dense.linear.weight"][0] + state["dense.linear.bias"][0]
    pairs = sum((one * other).sum(axis=1) for one, other in combinations(fields, 2))
    return linear + pairs + counts @ state["dense.counts.linear.weight"][0]


def _count_numbers(lake: Lake, ids: dict[str, np.ndarray]) -> np.ndarray:
    """What the ranker makes of counts before FIRST, from the impressions themselves (method 0.1)."""
    shown = lake.read("training_rows").where(f"date < DATE'{FIRST}'").toPandas()
    prior, of_all = lake.config.counts.prior, (shown["label_click"].sum() + 1) / (len(shown) + 2)
    columns = [np.full(len(ids["user"]), np.log(of_all / (1 - of_all)))]
    for name, prefix in (("user", "u"), ("item", "i")):
        sums = shown.groupby(f"{name}_id")["label_click"].agg(["size", "sum"])
        known = sums.reindex([f"{prefix}{one}" for one in ids[name]]).fillna(0).to_numpy()
        rate = (known[:, 1] + prior * of_all) / (known[:, 0] + prior)
        columns += [np.log(rate / (1 - rate)) - columns[0], np.log10(1 + known[:, 0]), known[:, 0] == 0]
    return np.stack(columns, axis=1)
