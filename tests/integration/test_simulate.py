"""Step simulate: the same rows from few files or many, nothing lost, reruns, longer worlds, outcomes by user."""

from __future__ import annotations

import datetime as dt
import io
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image
from pyspark.sql import functions as F

from lis_spark.config import RunConfig, parse_config
from lis_spark.errors import ConfigError, InputError
from lis_spark.lake import Lake
from lis_spark.pipeline import plan_of, run_steps
from lis_spark.sources import ingest
from lis_spark.vectors import unpack
from lis_spark.world import frames, simulate
from lis_spark.world.calendar import Calendar
from lis_spark.world.content_probe import probe_content

ROWS_A_DAY = {"impressions_a_day": 2000, "ads_share": 0.2}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A world of five days with ads and copies."""
    folder = tmp_path_factory.mktemp("world")
    source = {
        "kind": "world",
        "seed": 3,
        "days": 5,
        "people": {"users": 200},
        "catalogue": {"new_items_a_day": 30, "life_days": 8, "near_duplicate_share": 0.1},
        "traffic": ROWS_A_DAY,
    }
    return {
        "run_name": "world",
        "time_zone": "Asia/Shanghai",
        "output_path": str(folder / "out"),
        "lake": {"path": str(folder / "lake"), "work_path": str(folder / "work")},
        "source": source,
        "scenario": "feed",
        "labels": ["click", "engage"],
        "features": [{"name": "user", "column": "user_id"}, {"name": "item", "column": "item_id"}],
        "evaluation": {"dates": ["2026-01-03"], "horizons": [0, 1], "folds": 2},
    }


@pytest.fixture(scope="module")
def simulated(spark: Any, data: dict[str, Any]) -> RunConfig:
    config = parse_config(data)
    run_steps(spark, config, ["simulate"])
    return config


def test_rows_are_the_same_from_any_number_of_partitions(spark: Any, simulated: RunConfig) -> None:
    columns, schema = frames.impression_columns(simulated.labels), frames.impression_schema(simulated.labels)
    for make, ddl, size in ((columns, schema, 10), (frames.truth_columns, frames.TRUTH_SCHEMA, 50)):
        whole, pieces = (
            frames.request_frame(spark, simulated, range(5), make, ddl, requests_a_file=requests)
            for requests in (10**9, size)
        )
        assert whole.rdd.getNumPartitions() == 5 and pieces.rdd.getNumPartitions() > 1900 / size
        left, right = (
            frame.toPandas().sort_values("impression_id").reset_index(drop=True) for frame in (whole, pieces)
        )
        pd.testing.assert_frame_equal(left, right, check_exact=True)


def test_tables_hold_every_row_once(spark: Any, simulated: RunConfig) -> None:
    lake = Lake(spark, simulated)
    world = frames.world_of(simulated)
    expected = Calendar.of(world, simulated.time_zone).requests * world.traffic.impressions_a_request
    shown, truth = lake.read("impressions"), lake.read("truth")
    assert shown.count() == truth.count() == shown.select("impression_id").distinct().count() == expected
    joined = shown.join(truth, ["impression_id", "user_id", "item_id", "scenario", "date"])
    assert joined.count() == expected
    assert joined.where("label_click <> int(clicked) OR label_engage <> int(engaged)").count() == 0
    local = shown.select(F.to_date(F.from_utc_timestamp("request_ts", simulated.time_zone)).alias("day"), "date")
    assert local.where("day <> date").count() == 0
    items = lake.read("items").toPandas()
    assert len(items) == items["item_id"].nunique() == (5 + 7) * 30
    assert shown.join(lake.read("items"), "item_id", "left_anti").count() == 0
    assert {Image.open(io.BytesIO(image)).size for image in items["image"]} == {(64, 64)}
    known = lake.read("truth_items").toArrow()
    assert unpack(known["factor"], 4).std() == pytest.approx(1, rel=0.1)
    copies = known.to_pandas().dropna(subset="duplicate_of")
    assert len(copies) > 20 and set(copies["duplicate_of"]) <= set(items["item_id"])
    assert simulate.stored_probe(lake) == probe_content(world)
    ads = known.to_pandas().set_index("item_id")["is_ad"]
    assert (shown.toPandas()["item_id"].map(ads) == (shown.toPandas()["scenario"] == "ads")).all()


def test_user_days_are_sums_of_the_truth(spark: Any, simulated: RunConfig) -> None:
    lake = Lake(spark, simulated)
    truth = lake.read("truth").toPandas()
    feed = truth["scenario"] == "feed"
    expected = (
        pd.DataFrame(
            {
                "impressions": feed,
                "clicks": feed & truth["clicked"],
                "reads": feed & truth["was_read"],
                "engagements": feed & truth["engaged"],
                "time_spent_ms": truth["time_spent_ms"],
                "ad_impressions": ~feed,
                "ad_clicks": ~feed & truth["clicked"],
                "advertiser_value_micros": truth["advertiser_value_micros"],
                "cost_micros": truth["cost_micros"],
            }
        )
        .groupby([truth["user_id"], truth["date"]])
        .sum()
        .astype("int64")
    )
    found = lake.read("user_days").drop("lis_fingerprint").toPandas().set_index(["user_id", "date"]).sort_index()
    pd.testing.assert_frame_equal(found[list(expected.columns)], expected.sort_index(), check_exact=True)
    paid = expected["cost_micros"].sum() / expected["advertiser_value_micros"].sum()
    assert 0.6 < paid < 0.95


def test_a_second_run_writes_nothing_and_more_days_are_added(
    spark: Any, simulated: RunConfig, data: dict[str, Any], tmp_path: Path
) -> None:
    shutil.copytree(simulated.lake.path, tmp_path / "lake")
    data = {**data, "lake": {"path": str(tmp_path / "lake"), "work_path": str(tmp_path / "work")}}
    simulated = parse_config(data)
    again = run_steps(spark, simulated, ["simulate"])[0]
    assert (again.partitions_written, again.partitions_skipped) == (0, 18)
    before = Lake(spark, simulated).fingerprints("impressions")
    longer = parse_config({**data, "source": {**data["source"], "days": 7}})
    result = run_steps(spark, longer, ["simulate"])[0]
    assert result.partitions_written == 3 * 2 + 3, "two days of three tables, and the tables of items"
    after = Lake(spark, longer).fingerprints("impressions")
    assert {key: after[key] for key in before} == before and len(after) == 7
    for other in ({"seed": 4}, {"days": 5}, {"first_date": "2026-01-02"}):
        with pytest.raises(InputError, match="the lake holds days of another world") as error:
            simulate.run(spark, parse_config({**data, "source": {**data["source"], **other}}))
        assert "a lake.path" in str(error.value)
    assert Lake(spark, longer).fingerprints("impressions") == after


def test_worlds_are_simulated_and_other_sources_are_not(spark: Any, data: dict[str, Any], config: RunConfig) -> None:
    world = parse_config(data)
    assert plan_of(world)[0] == "simulate" and "ingest" not in plan_of(world)
    assert plan_of(config)[0] == "ingest" and "simulate" not in plan_of(config)
    with pytest.raises(ConfigError, match="a simulated world is not ingested"):
        ingest.run(spark, world)
    with pytest.raises(ConfigError, match="simulate needs a world"):
        simulate.run(spark, config)
    with pytest.raises(ConfigError, match="no such label") as error:
        simulate.run(spark, parse_config({**data, "labels": ["like"]}))
    assert "click or read or engage" in str(error.value)


def test_dates_follow_the_zone(spark: Any, simulated: RunConfig) -> None:
    dates = {row["date"] for row in Lake(spark, simulated).read("impressions").select("date").distinct().collect()}
    assert dates == {dt.date(2026, 1, day) for day in range(1, 6)}
