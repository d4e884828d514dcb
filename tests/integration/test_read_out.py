"""The read-out of tables in Spark against tea-tasting on users that pandas summed, and what it refuses."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tea_tasting as tt
from pyspark.sql import functions as F

from lis_spark.cli import main
from lis_spark.config import ReadOutConfig, load_read_out
from lis_spark.config.experiment import AssignConfig
from lis_spark.errors import InputError
from lis_spark.experiment import assign, read_out, replay
from lis_spark.experiment.assigned import read_assigned
from lis_spark.experiment.assignment import assigned_arm, bucket, buckets_of, user_key
from lis_spark.experiment.user_days import sum_outcomes
from lis_spark.lake import Lake

START, END = dt.date(2026, 3, 1), dt.date(2026, 3, 20)
ENROLLED = dt.date(2026, 3, 6)
COVARIATE_DAYS, ACTIVE_DAYS = 10, 15
METRICS = [
    {"name": "time", "column": "seconds"},
    {"name": "reads", "column": "reads", "covariate": False},
    {"kind": "ratio", "name": "ctr", "numerator": "clicks", "denominator": "views"},
    {"kind": "days_active", "name": "lt15", "column": "views", "days": ACTIVE_DAYS, "primary": False},
]


def tables(users: int = 600, seed: int = 3) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(assignments, user-days): people enter over days, come on some days, some never, some are in no arm."""
    random = np.random.default_rng(seed)
    names = [f"u{number}" for number in range(users)]
    arms = random.choice(["control", "treatment", "other"], users, p=[0.4, 0.4, 0.2])
    entered = [START + dt.timedelta(days=int(day)) for day in random.integers(0, 8, users)]
    assignments = pd.DataFrame({"user_id": names, "arm": arms, "entered": entered})
    rows = []
    for number, name in enumerate([*names, "stranger"]):
        activity, seconds = random.beta(1, 2), random.lognormal(2, 0.4)
        for offset in range(-20, (END - START).days + 6):
            if random.random() < activity and number % 7:
                views = int(random.poisson(20 * activity)) * int(random.random() < 0.9)
                clicks = int(random.binomial(views, 0.2))
                day = START + dt.timedelta(days=offset)
                spent = round(seconds * views * random.random(), 3)
                rows.append((name, day, views, clicks, clicks // 2, spent))
    columns = ["user_id", "date", "views", "clicks", "reads", "seconds"]
    return assignments, pd.DataFrame(rows, columns=columns)


def summed(assignments: pd.DataFrame, days: pd.DataFrame) -> pd.DataFrame:
    """A row for each user of the experiment, in plain loops."""
    rows = []
    by_user = {name: frame for name, frame in days.groupby("user_id")}
    for user in assignments.itertuples():
        if user.arm == "other" or user.entered > ENROLLED:
            continue
        total: dict[str, Any] = {"user_id": user.user_id, "arm": user.arm}
        names = ("views", "clicks", "reads", "seconds", "lt")
        total |= dict.fromkeys([f"{name}{suffix}" for name in names for suffix in ("", "_b")], 0)
        own = by_user.get(user.user_id)
        for row in () if own is None else own.itertuples():
            age = (row.date - user.entered).days
            if row.date > END or age < -COVARIATE_DAYS:
                continue
            suffix = "" if age >= 0 else "_b"
            for column in ("views", "clicks", "reads", "seconds"):
                total[f"{column}{suffix}"] += getattr(row, column)
            if row.views > 0 and age < ACTIVE_DAYS:
                total[f"lt{suffix}"] += 1
        rows.append(total)
    return pd.DataFrame(rows)


@pytest.fixture
def data(tmp_path: Path) -> dict[str, Any]:
    return {
        "run_name": "test",
        "output_path": str(tmp_path / "out"),
        "lake": {"path": str(tmp_path / "lake"), "work_path": str(tmp_path / "work")},
        "experiment": {
            "name": "trial",
            "start_date": START,
            "end_date": END,
            "enrolled_until": ENROLLED,
            "shares": {"control": 0.4, "treatment": 0.4},
            "assignments": {"path": str(tmp_path / "assignments"), "format": "parquet", "entered": "entered"},
            "outcomes": {"path": str(tmp_path / "days"), "format": "parquet"},
            "covariate_days": COVARIATE_DAYS,
            "units": {"seconds": 1000},
            "metrics": METRICS,
        },
    }


def written(data: dict[str, Any], assignments: pd.DataFrame, days: pd.DataFrame) -> ReadOutConfig:
    """The tables in several files each, and the configuration."""
    for name, frame in (("assignments", assignments), ("days", days)):
        folder = Path(data["lake"]["path"]).parent / name
        folder.mkdir(exist_ok=True)
        for part in range(3):
            frame.iloc[part::3].to_parquet(folder / f"{part}.parquet", index=False)
    return ReadOutConfig.model_validate(data)


def test_a_read_out_is_that_of_tea_tasting(spark: Any, data: dict[str, Any]) -> None:
    assignments, days = tables()
    config = written(data, assignments, days)
    rows = read_out.run(spark, config)
    users = summed(assignments, days)
    oracles = {
        ("time", True): tt.Mean("seconds", "seconds_b"),
        ("time", False): tt.Mean("seconds"),
        ("reads", False): tt.Mean("reads"),
        ("ctr", True): tt.RatioOfMeans("clicks", "views", "clicks_b", "views_b"),
        ("ctr", False): tt.RatioOfMeans("clicks", "views"),
        ("lt15", True): tt.Mean("lt", "lt_b"),
        ("lt15", False): tt.Mean("lt"),
    }
    of_all_days = {(row["metric"], row["adjusted"]): row for row in rows if row["date"] is None}
    assert set(of_all_days) == set(oracles)
    for key, oracle in oracles.items():
        row = of_all_days[key]
        theirs = oracle.analyze(users, "control", "treatment", "arm")
        assert row["users_control"] == (users["arm"] == "control").sum()
        assert row["users_treated"] == (users["arm"] == "treatment").sum()
        for own, other in (
            ("value_control", theirs.control),
            ("value_treated", theirs.treatment),
            ("difference_low", theirs.effect_size_ci_lower),
            ("difference_high", theirs.effect_size_ci_upper),
            ("lift", theirs.rel_effect_size),
            ("lift_low", theirs.rel_effect_size_ci_lower),
            ("lift_high", theirs.rel_effect_size_ci_upper),
            ("p_value", theirs.pvalue),
        ):
            assert row[own] == pytest.approx(other, rel=1e-9), (key, own)
    headlines = {row["metric"]: row for row in rows if row["is_headline"]}
    assert {name: row["adjusted"] for name, row in headlines.items()} == {
        "time": True,
        "reads": False,
        "ctr": True,
        "lt15": True,
    }
    assert headlines["lt15"]["p_holm"] is None and headlines["time"]["p_holm"] >= headlines["time"]["p_value"]
    assert headlines["lt15"]["lift_together_low"] is None
    _check_together({name: row for name, row in headlines.items() if name != "lt15"}, users)


def _check_together(registered: dict[str, Any], users: Any) -> None:
    """Bounds that hold together: Holm's step-down over one direction by hand, intervals of its level by tea-tasting."""

    def bounds(name: str, chance: float) -> tuple[float, float]:
        level = 1 - 2 * chance
        oracle = {
            "time": tt.Mean("seconds", "seconds_b", confidence_level=level),
            "reads": tt.Mean("reads", confidence_level=level),
            "ctr": tt.RatioOfMeans("clicks", "views", "clicks_b", "views_b", confidence_level=level),
        }[name]
        found = oracle.analyze(users, "control", "treatment", "arm")
        return found.rel_effect_size_ci_lower, found.rel_effect_size_ci_upper

    for side, column, is_right in ((0, "lift_together_low", 1), (1, "lift_together_high", -1)):
        one_sided = {
            name: row["p_value"] / 2 if row["difference"] * is_right > 0 else 1 - row["p_value"] / 2
            for name, row in registered.items()
        }
        shown: list[str] = []
        for name, p_value in sorted(one_sided.items(), key=lambda item: item[1]):
            if p_value > 0.025 / (len(registered) - len(shown)):
                break
            shown.append(name)
        left = len(registered) - len(shown)
        for name, row in registered.items():
            bound = bounds(name, 0.025 / (left or len(registered)))[side]
            expected = bound if left else is_right * max(0.0, is_right * bound)
            assert row[column] == pytest.approx(0.0 if left and name in shown else expected, rel=1e-9), (name, column)


def test_effects_by_day_are_those_of_the_day_alone(spark: Any, data: dict[str, Any]) -> None:
    assignments, days = tables()
    rows = read_out.run(spark, written(data, assignments, days))
    by_day = {(row["metric"], row["date"]): row for row in rows if row["date"] is not None}
    assert {date for _, date in by_day} == {START + dt.timedelta(days=day) for day in range((END - START).days + 1)}
    for date in (START, dt.date(2026, 3, 4), END):
        there = assignments[(assignments["entered"] <= min(date, ENROLLED)) & (assignments["arm"] != "other")]
        users = there.merge(days[days["date"] == date], "left", "user_id").fillna(0)
        theirs = tt.RatioOfMeans("clicks", "views").analyze(users, "control", "treatment", "arm")
        assert by_day["ctr", date]["lift_low"] == pytest.approx(theirs.rel_effect_size_ci_lower, rel=1e-9)
        assert by_day["ctr", date]["users_control"] == (users["arm"] == "control").sum()
        users["active"] = (users["views"] > 0).astype(int)
        theirs = tt.Mean("active").analyze(users, "control", "treatment", "arm")
        assert by_day["lt15", date]["difference_low"] == pytest.approx(theirs.effect_size_ci_lower, rel=1e-9)


def test_sums_are_the_same_from_any_number_of_partitions(spark: Any, data: dict[str, Any]) -> None:
    config = written(data, *tables())
    experiment = config.experiment
    assert experiment.assignments is not None and experiment.outcomes is not None
    found = []
    before = spark.conf.get("spark.sql.shuffle.partitions")
    try:
        for partitions in ("1", "2", "7"):
            spark.conf.set("spark.sql.shuffle.partitions", partitions)
            found.append(
                sum_outcomes(
                    spark, experiment, read_assigned(spark, experiment, experiment.assignments), experiment.outcomes
                )
            )
    finally:
        spark.conf.set("spark.sql.shuffle.partitions", before)
    assert found[0] == found[1] == found[2]


def test_text_of_a_csv_is_read_as_numbers_and_late_users_are_in_no_figure(spark: Any, data: dict[str, Any]) -> None:
    assignments, days = tables(200)
    expected = read_out.run(spark, written(data, assignments, days))
    folder = Path(data["lake"]["path"]).parent
    days.to_csv(folder / "days.csv", index=False)
    data["experiment"]["outcomes"] = {"path": str(folder / "days.csv"), "format": "csv"}
    data["experiment"]["units"] = {"seconds": 1000, "views": 1, "clicks": 1, "reads": 1}
    found = read_out.run(spark, ReadOutConfig.model_validate(data))
    assert [row["value_treated"] for row in found] == [row["value_treated"] for row in expected]
    data["experiment"]["enrolled_until"] = None
    with pytest.raises(InputError, match="lt15 needs 15 days from each user's entry"):
        read_out.run(spark, ReadOutConfig.model_validate(data))
    data["experiment"]["metrics"] = METRICS[:1]
    data["experiment"]["end_date"] = dt.date(2026, 3, 5)
    (first, *_) = read_out.run(spark, ReadOutConfig.model_validate(data))
    there = assignments[assignments["entered"] <= dt.date(2026, 3, 5)]
    assert first["users_control"] == (there["arm"] == "control").sum()
    data["experiment"]["metrics"] = [METRICS[2]]
    data["experiment"]["outcomes"]["path"] = str(folder / "nothing.csv")
    days.assign(views=0, clicks=0).to_csv(folder / "nothing.csv", index=False)
    with pytest.raises(InputError, match="ctr is not defined in the arm control"):
        read_out.run(spark, ReadOutConfig.model_validate(data))


def test_nothing_is_read_out_twice(spark: Any, data: dict[str, Any]) -> None:
    assignments, days = tables(200)
    config = written(data, assignments, days)
    first = read_out.run(spark, config)
    lake = Lake(spark, config)
    version = lake.version("experiment_results")
    assert read_out.run(spark, config) == first and lake.version("experiment_results") == version
    written(data, assignments, days.iloc[:-1])
    assert read_out.run(spark, config) != first


def test_lost_users_stop_the_read_out(spark: Any, data: dict[str, Any]) -> None:
    """A fiftieth of one arm of 100,000 is lost; the message says which arms are not what was planned."""
    users = 200_000
    arms = np.where(np.arange(users) % 2 == 0, "control", "treatment")
    keep = ~((arms == "treatment") & (np.arange(users) % 100 < 2))
    frame = pd.DataFrame({"user_id": np.arange(users)[keep].astype(str), "arm": arms[keep], "entered": START})
    config = written(data, frame, tables(20)[1])
    with pytest.raises(InputError, match="sample ratio mismatch in trial") as refused:
        read_out.run(spark, config)
    assert "control: 100,000 users where 99,000 are expected" in str(refused.value)
    assert not Lake(spark, config).fingerprints("experiment_results")


@pytest.mark.parametrize(("dropped", "population", "caught"), [(0.01, None, False), (0.01, 200_000, True)])
def test_a_hundredth_of_an_arm(
    spark: Any, data: dict[str, Any], dropped: float, population: int | None, caught: bool
) -> None:
    """1 % of one of two arms of 100,000: p = .025 between the arms, and certain where the population is known."""
    users = 200_000
    arms = np.where(np.arange(users) % 2 == 0, "control", "treatment")
    keep = ~((arms == "treatment") & (np.arange(users) // 2 % 100 < 100 * dropped))
    frame = pd.DataFrame({"user_id": np.arange(users)[keep].astype(str), "arm": arms[keep], "entered": START})
    data["experiment"] |= {"shares": {"control": 0.5, "treatment": 0.5}, "population": population}
    data["experiment"]["metrics"] = METRICS[:1]
    days = tables(40)[1]
    config = written(data, frame, days.assign(user_id=days["user_id"].str.removeprefix("u")))
    if caught:
        with pytest.raises(InputError, match="1,000 users are in no arm"):
            read_out.run(spark, config)
    else:
        assert read_out.run(spark, config)[0]["sample_ratio_p"] == pytest.approx(0.0249, abs=2e-3)


def test_bad_tables_are_refused_by_name(spark: Any, data: dict[str, Any]) -> None:
    assignments, days = tables(60)
    of_trial = assignments[(assignments["arm"] != "other") & (assignments["entered"] <= ENROLLED)]["user_id"]
    good = days[days["user_id"].isin(of_trial) & (days["date"] >= START) & (days["date"] <= END)]
    doubled = pd.concat([days, good.iloc[-1:]])
    with pytest.raises(InputError, match=r"outcomes of 1 users cannot be summed(.|\n)*2 rows"):
        read_out.run(spark, written(data, assignments, doubled))
    broken = days.copy()
    broken.loc[good.index[-1], "seconds"] = np.nan
    with pytest.raises(InputError, match=r"cannot be summed(.|\n)*no number in seconds"):
        read_out.run(spark, written(data, assignments, broken))
    unfinished = days[days["date"] < END]
    with pytest.raises(InputError, match=rf"no row of 1 days of trial(.|\n)*nobody of any arm on {END}"):
        read_out.run(spark, written(data, assignments, unfinished))
    nobody = pd.concat([days, days.iloc[:1].assign(user_id=None)])
    with pytest.raises(InputError, match="no user or no day"):
        read_out.run(spark, written(data, assignments, nobody))
    twice = pd.concat([assignments, assignments[assignments["arm"] == "control"].iloc[:1].assign(arm="treatment")])
    with pytest.raises(InputError, match="1 users are assigned more than once"):
        read_out.run(spark, written(data, twice, days))
    armless = assignments.assign(arm=assignments["arm"].where(assignments.index > 0))
    with pytest.raises(InputError, match="1 users have no arm"):
        read_out.run(spark, written(data, armless, days))
    with pytest.raises(InputError, match="no user is in the arm treatment"):
        read_out.run(spark, written(data, assignments.assign(arm="control"), days))
    early = assignments.assign(entered=dt.date(2026, 2, 1))
    with pytest.raises(InputError, match="users entered before the experiment began"):
        read_out.run(spark, written(data, early, days))
    with pytest.raises(InputError, match=r"column 'views' is missing(.|\n)*experiment.outcomes"):
        read_out.run(spark, written(data, assignments, days.drop(columns="views")))


def test_users_are_assigned_by_hash_and_read_out(spark: Any, data: dict[str, Any], tmp_path: Path) -> None:
    _, days = tables(400)
    spark.createDataFrame([(f"u{n}",) for n in range(400)], "user_id string").write.parquet(str(tmp_path / "users"))
    experiment = data["experiment"]
    del experiment["assignments"], experiment["shares"]
    experiment["assign"] = {
        "users": {"path": str(tmp_path / "users"), "format": "parquet"},
        "layers": [
            {"name": "all", "salt": "a", "buckets": 10},
            {"name": "half", "salt": "b", "inside": "all", "inside_buckets": [0, 5]},
        ],
        "arms": {"control": [0, 400], "treatment": [400, 700], "other": [700, 1000]},
    }
    config = written(data, pd.DataFrame({"user_id": [], "arm": []}), days)
    with pytest.raises(InputError, match="nobody has been assigned to trial"):
        read_out.run(spark, config)
    done = assign.run(spark, config)
    assert done.partitions_written == 1 and 150 < done.rows_written < 250
    assert assign.run(spark, config).partitions_written == 0
    rows = read_out.run(spark, config)
    treated = {row["arm"]: row["users_treated"] for row in rows}
    assert list(treated) == ["treatment", "other"], "as they are configured"
    assert rows[0]["users_control"] + sum(treated.values()) == done.rows_written


def test_buckets_are_the_same_in_spark_and_in_numpy(spark: Any) -> None:
    """Of 2,000 ids, and of nested layers by hand: first the users of the outer, then their own buckets."""
    layers = [
        {"name": "ranking", "salt": "ranking-2026", "buckets": 10},
        {"name": "port", "salt": "port-1", "buckets": 7, "inside": "ranking", "inside_buckets": [2, 5]},
    ]
    arms = {"control": [0, 3], "treatment": [3, 5]}
    config = AssignConfig.model_validate({"users": {"path": "users"}, "layers": layers, "arms": arms})
    ids = spark.range(2000).selectExpr("CAST(id AS STRING) AS user_id").withColumn("key", user_key("user_id"))
    of_spark = ids.select(
        "key",
        *(bucket(layer, F.col("key")).alias(layer.name) for layer in config.layers),
        assigned_arm(config, F.col("key")),
    ).toPandas()
    of_spark.columns = ["key", "ranking", "port", "arm"]
    keys = of_spark["key"].to_numpy()
    outer, inner = buckets_of("ranking-2026", keys, 10), buckets_of("port-1", keys, 7)
    assert (of_spark["ranking"] == outer).all() and (of_spark["port"] == inner).all()
    within = (outer >= 2) & (outer < 5)
    expected = np.where(within & (inner < 3), "control", np.where(within & (inner >= 3) & (inner < 5), "treatment", ""))
    assert (of_spark["arm"].fillna("") == expected).all() and set(expected) == {"control", "treatment", ""}
    # a chance of .3 * 3/7, of which the share of 2,000 users is 2.5 standard errors or less away
    share, chance = (expected == "control").mean(), 0.3 * 3 / 7
    assert abs(share - chance) < 2.5 * np.sqrt(chance * (1 - chance) / 2000)


def test_days_without_an_experiment_have_uniform_p(spark: Any, data: dict[str, Any]) -> None:
    """300 divisions of 600 users; each is the read-out of those users in those arms."""
    _, days = tables()
    salts = 300
    data["experiment"] |= {"replay": {"start_date": START, "end_date": END, "salts": salts}, "enrolled_until": None}
    config = written(data, pd.DataFrame({"user_id": [], "arm": []}), days)
    found = {one.metric: one for one in replay.run(spark, config)}
    assert set(found) == {"time", "reads", "ctr", "lt15"}
    shown = {name: (one.uniform_p, one.false_findings) for name, one in found.items()}
    assert all(uniform > 0.01 and 0.02 < false < 0.09 for uniform, false in shown.values()), shown
    present = days[(days["date"] >= START - dt.timedelta(days=COVARIATE_DAYS)) & (days["date"] <= END)]
    users = pd.DataFrame({"user_id": present["user_id"].unique(), "entered": START})
    keyed = spark.createDataFrame(users[["user_id"]]).select("user_id", user_key("user_id").alias("key")).toPandas()
    for number in (0, 7, salts - 1):
        keyed["arm"] = np.where(buckets_of(f"replay/{number}", keyed["key"].to_numpy(), 2) == 1, "treatment", "control")
        divided = summed(keyed.assign(entered=START), days)
        theirs = tt.RatioOfMeans("clicks", "views", "clicks_b", "views_b").analyze(
            divided, "control", "treatment", "arm"
        )
        assert found["ctr"].p_values[number] == pytest.approx(theirs.pvalue, rel=1e-6)
    again = {one.metric: one for one in replay.run(spark, config)}
    assert all((again[name].p_values == one.p_values).all() for name, one in found.items())
    # one user who outweighs all others: t is far from normal, and the replay says of which metric
    whale = (days["user_id"] == days.groupby("user_id")["seconds"].sum().idxmax()) & (days["date"] >= START)
    heavy = days.assign(seconds=days["seconds"].where(~whale, days["seconds"] * 1000))
    found = {one.metric: one for one in replay.run(spark, written(data, pd.DataFrame({"user_id": []}), heavy))}
    assert found["time"].uniform_p < 1e-6 and found["reads"].uniform_p > 0.01


def test_the_commands_on_the_shipped_configurations(
    spark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The feed's own YAML on a table with an effect: terminal, page, JSON, and the configuration as it ran."""
    monkeypatch.setattr("lis_spark.session.get_session", lambda *_, **__: spark)
    monkeypatch.setenv("COLUMNS", "200")
    random, users, days = np.random.default_rng(5), 800, 110
    arms = np.where(np.arange(users) % 2 == 0, "control", "treatment")
    first = dt.date(2026, 1, 1)
    rows = []
    for day in range(days):
        date = first + dt.timedelta(days=day)
        active = np.flatnonzero(random.random(users) < 0.6)
        lift = np.where((arms[active] == "treatment") & (date >= START), 1.3, 1.0)
        impressions = 1 + random.poisson(20, len(active))
        reads = random.binomial(impressions, np.minimum(0.2 * lift, 1))
        for place, user in enumerate(active):
            engaged = int(random.binomial(reads[place], 0.2))
            rows.append((str(user), date, int(impressions[place]), int(reads[place]), engaged, int(reads[place]) * 900))
    names = ["user_id", "date", "impressions", "reads", "engagements", "time_spent_ms"]
    frame = pd.DataFrame(rows, columns=names)
    frame.to_parquet(tmp_path / "user_days.parquet", index=False)
    assigned = pd.DataFrame({"user_id": np.arange(users).astype(str), "arm": arms, "assigned_on": START})
    assigned.to_parquet(tmp_path / "assignments.parquet", index=False)
    places = [
        f"output_path={tmp_path / 'out'}",
        f"lake.path={tmp_path / 'lake'}",
        f"experiment.assignments.path={tmp_path / 'assignments.parquet'}",
        f"experiment.outcomes.path={tmp_path / 'user_days.parquet'}",
        "experiment.assignments.format=parquet",
        "experiment.outcomes.format=parquet",
    ]
    feed = ["--config", "conf/read_out_feed.yaml", *places]
    assert main(["replay", *feed, "experiment.replay.salts=100"]) == 0
    said = capsys.readouterr().out
    assert "p is uniform on all 4 metrics where nothing happened" in said and "for the paper's lift" in said
    replayed = json.loads((tmp_path / "out" / "replay.json").read_text(encoding="utf-8"))
    assert len(replayed[0]["p_values"]) == 100
    assert main(["read-out", *feed]) == 0
    said = capsys.readouterr().out
    assert "treatment is higher than control on time" in said and "Not shown on lt30" in said
    results = json.loads((tmp_path / "out" / "experiment_results.json").read_text(encoding="utf-8"))
    headlines = {row["metric"]: row for row in results if row["is_headline"]}
    assert list(headlines) == ["time", "reads", "engagements", "lt30"]
    assert headlines["reads"]["lift_low"] < 0.3 < headlines["reads"]["lift_high"]
    assert headlines["time"]["variance_left"] < 1 and headlines["reads"]["verdict"] == "higher"
    page = (tmp_path / "out" / "read_out.html").read_text(encoding="utf-8")
    assert "Read-out: aligned_representation" in page and page.count("<svg") == 1 + 4
    assert "://" not in page, "the page loads nothing"
    again = tmp_path / "out" / "config.yaml"
    assert load_read_out(again) == load_read_out("conf/read_out_feed.yaml", places)
    assert main(["assign", *feed]) == 2
    assert "who is to be assigned?" in capsys.readouterr().err
