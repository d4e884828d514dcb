"""``lis-spark plan`` on real data: from the source alone, from a finished run, and on the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lis_spark import analyze, cli
from lis_spark.config import RunConfig
from lis_spark.lake import Lake
from lis_spark.lis.results.measure import results_of
from lis_spark.pipeline import run_steps
from tests.e2e.conftest import SMALL, SmallRun, small_config, small_overrides


def planned(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture
def overrides(small_run: SmallRun, tmp_path: Path) -> list[str]:
    return [*small_overrides(small_run.source.parent, small_run.source), f"output_path={tmp_path / 'out'}"]


def test_plan_of_a_finished_run_expects_the_errors_that_it_has(
    spark: Any, small_run: SmallRun, overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr("lis_spark.session.get_session", lambda *_, **__: spark)
    assert cli.main(["plan", "--config", str(SMALL), *overrides]) == 0
    plan, shown = planned(tmp_path / "out"), " ".join(capsys.readouterr().out.split())
    assert plan["has_pilot"] and " ".join(plan["answer"].split()) in shown
    honest = {
        (row["protocol"], row["horizon_days"]): row
        for row in results_of(Lake(spark, small_run.config, measurement=True))
        if (row["variant"], row["swap_scope"], row["stratum"]) == ("honest", "both", "all")
    }
    assert {score["protocol"] for score in plan["pilot"]} == {"swap", "swap+refit"}
    for score in plan["pilot"]:
        row = honest[score["protocol"], score["horizon_days"]]
        for name, column in (("lis", ""), ("within_user", "lis_within_user_")):
            error = score["errors"][name]
            assert error["value"] == pytest.approx(row[f"{column}standard_error"], rel=1e-9)
            assert error["degrees_of_freedom"] == pytest.approx(row[f"{column}degrees_of_freedom"], rel=1e-9)
    widest = max(row["standard_error"] for (_, horizon), row in honest.items() if horizon)
    expected = plan["options"][0]["errors"]["lis"]
    assert expected["value"] == pytest.approx(widest, rel=1e-6), "its own users are expected"
    together = plan["expectations"][0]
    row = honest["swap", 3]
    assert (together["size"]["users"], together["size"]["positives"]) == (row["users"], row["positives"])
    folds = [one for one in plan["expectations"] if one["fold"] is not None]
    assert len(folds) == small_run.config.evaluation.folds
    assert sum(one["size"]["users"] for one in folds) == together["size"]["users"]


def test_plan_of_a_source_alone_counts_what_a_run_would_evaluate(
    spark: Any, small_run: SmallRun, overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lis_spark.session.get_session", lambda *_, **__: spark)
    nowhere = [f"lake.path={tmp_path / 'lake'}", f"lake.work_path={tmp_path / 'work'}"]
    assert cli.main(["plan", "--config", str(SMALL), *overrides, *nowhere]) == 0
    plan = planned(tmp_path / "out")
    assert not plan["has_pilot"] and not (tmp_path / "lake").exists(), "nothing is written into the lake"
    assert cli.main(["plan", "--config", str(SMALL), *overrides]) == 0
    of_run = planned(tmp_path / "out")
    assert [one["size"] for one in plan["expectations"]] == [one["size"] for one in of_run["expectations"]]
    low, high = plan["expectations"][0]["lis"]
    assert 0 < low < high


def test_plan_of_the_run_stands_on_its_page(
    spark: Any, copied: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lis_spark.session.get_session", lambda *_, **__: spark)
    assert cli.main(["plan", "--config", str(SMALL), *small_overrides(tmp_path, tmp_path / "source")]) == 0
    run_steps(spark, copied, ("report",))
    page = " ".join((tmp_path / "out" / "report.html").read_text(encoding="utf-8").split())
    assert "What this data could have shown" in page and "The plan of this run" in page
    assert "order within users resolved at 0.0010" in page
    other = small_config(tmp_path, tmp_path / "source", "evaluation.decision_threshold=0.002")
    run_steps(spark, other, ("measure", "report"))
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "The plan of this run" not in page, "it was made for another threshold"


def test_analyze_of_a_day_with_few_users_says_too_few(
    spark: Any, small_run: SmallRun, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    config = small_config(small_run.source.parent, small_run.source)
    assert analyze.run(spark, config) == 0
    shown = capsys.readouterr().out
    assert "evaluated 2022-04-30" in shown and "LIS expected to within" in shown and "too few" not in shown
    few = small_config(small_run.source.parent, small_run.source, "evaluation.user_share=0.001")
    assert analyze.run(spark, few) == 0, "a run may start, and its verdict is said beforehand"
    assert "too few for a verdict" in capsys.readouterr().out


def test_plan_of_a_world_that_is_not_simulated_says_what_to_run(
    spark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("lis_spark.session.get_session", lambda *_, **__: spark)
    config = SMALL.parent / "world_reference_small.yaml"
    here = [f"lake.path={tmp_path / 'lake'}", f"lake.work_path={tmp_path / 'work'}", f"output_path={tmp_path / 'out'}"]
    assert cli.main(["plan", "--config", str(config), *here]) == 2
    assert "run lis-spark simulate, vocabulary and training-rows first" in capsys.readouterr().err
