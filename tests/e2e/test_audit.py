"""The audit by its verb: six leaks planted in a simulated world, and the peers' known errors on real impressions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lis_spark.cli import main
from lis_spark.config import RunConfig, load_config
from lis_spark.lake import Lake
from tests.audited_world import HONEST, LEAKS, simulated_features, views, written
from tests.e2e.conftest import SMALL, small_overrides
from tests.e2e.readme import of_readme

CONFIG = Path(__file__).resolve().parents[2] / "conf" / "world_reference_small.yaml"


@pytest.mark.slow("audits tables of a month")
def test_six_planted_leaks_are_found_and_none_of_twenty_honest_columns_is_accused(
    spark: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = [
        f"lake.path={tmp_path / 'lake'}",
        f"lake.work_path={tmp_path / 'work'}",
        f"output_path={tmp_path / 'out'}",
    ]
    overrides = [*places, "source.content.rendered=none"]
    config = load_config(CONFIG, overrides)
    features = simulated_features(spark, config, tmp_path / "features")
    capsys.readouterr()
    assert main(["audit", features, "--config", str(CONFIG), *overrides]) == 0
    rows = json.loads((tmp_path / "out" / "audit.json").read_text(encoding="utf-8"))
    assert len(HONEST) == 20 and len(LEAKS) == 6
    assert {row["audited_column"] for row in rows} == {*HONEST, *LEAKS}
    assert {row["audited_column"] for row in rows if row["verdict"] == "leak"} == set(LEAKS)
    assert [row["place"] for row in rows] == list(range(1, 27))
    assert all(row["verdict"] == "leak" for row in rows[:6])
    for row in rows:
        for name in ("added_by_request", "added_by_day", "excess"):
            assert row[f"{name}_ci_low"] <= row[name] <= row[f"{name}_ci_high"]
    printed = capsys.readouterr().out
    assert printed.startswith("6 of 26 columns know what came after the impression: ")


@pytest.mark.slow("audits tables of a month")
def test_statistics_of_the_whole_month_and_a_join_on_the_wrong_day_are_found_on_real_impressions(
    copied: RunConfig, spark: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lake = Lake(spark, copied, measurement=True)
    views(lake, "impressions", "items")
    # item by day, as of the end of the day: right by the lag of a day, wrong without it
    daily = (
        "SELECT item_id, date AS day, sum(sum(label_click)) OVER w / sum(count(*)) OVER w AS click_rate "
        "FROM impressions GROUP BY item_id, date WINDOW w AS (PARTITION BY item_id ORDER BY date)"
    )
    written(spark, daily, tmp_path / "daily")
    month = (
        "SELECT item_id, avg(label_click) AS month_click_rate, max(double(attribute_video_duration)) AS duration "
        "FROM impressions JOIN items USING (item_id) GROUP BY item_id"
    )
    written(spark, month, tmp_path / "month")

    def audited(table: str, *audit: str) -> dict[str, Any]:
        out = tmp_path / "out"
        places = small_overrides(tmp_path, tmp_path / "source")
        here = {"/data/features": str(tmp_path / table), "conf/kuairand_demo.yaml": str(SMALL)}
        assert main([*(here.get(word, word) for word in of_readme("lis-spark audit")), *places, *audit]) == 0
        rows = json.loads((out / "audit.json").read_text(encoding="utf-8"))
        return {row["audited_column"]: row for row in rows}

    by_item = ("audit.keyed_by=item", "audit.date_column=day")
    right = audited("daily", *by_item)["click_rate"]
    assert (right["verdict"], right["dated_after"]) == ("no sign", 0)
    wrong = audited("daily", *by_item, "audit.lag_days=0")["click_rate"]
    assert wrong["verdict"] == "leak" and wrong["dated_after"] > 0.9
    undated = audited("month", "audit.keyed_by=item")
    assert undated["month_click_rate"]["verdict"] == "leak" and undated["month_click_rate"]["dated_after"] == 0
    assert undated["month_click_rate"]["excess_ci_low"] > 0 == undated["month_click_rate"]["added_by_day"]
    assert undated["duration"]["verdict"] == "no sign"
    assert "knows" not in capsys.readouterr().err
