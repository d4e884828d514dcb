"""The ranker beside simple baselines: levels of AUC from what is told of each against chance."""

from __future__ import annotations

import pytest

from lis_spark.report.baseline_table import baseline_lines, best_baseline
from lis_spark.report.measurements import Row, clean


def row(variant: str, lis: float, half: float, date: str | None = "2022-04-30", **changes: object) -> Row:
    settings: Row = {
        "protocol": "baseline",
        "variant": variant,
        "scenario": "default",
        "evaluated_date": date,
        "evaluated_dates": 1 if date else 3,
        "lis": lis,
        "ci_low": lis - half,
        "ci_high": lis + half,
    }
    return clean(settings | changes)


def test_baseline_lines_give_levels_with_intervals() -> None:
    rows = [
        row("chance", -0.24, 0.01, lis_within_user=-0.10, lis_within_user_ci_low=-0.12, lis_within_user_ci_high=-0.08),
        row("item_rate_over_chance", 0.15, 0.02),
        row("item_rate", -0.09, 0.005),
    ]
    ranker, item = baseline_lines(rows)
    assert (ranker.name, ranker.beyond) == ("the ranker", None)
    assert ranker.auc == pytest.approx({"value": 0.74, "low": 0.73, "high": 0.75})
    assert ranker.within_user == pytest.approx({"value": 0.60, "low": 0.58, "high": 0.62})
    assert item.name == "the rate of the item before T"
    assert item.auc == pytest.approx({"value": 0.65, "low": 0.63, "high": 0.67})
    assert item.within_user == {"value": None, "low": None, "high": None}
    assert item.beyond is not None and item.beyond["lis"] == -0.09


def test_baseline_lines_of_all_dates_stand_last() -> None:
    rows = [row("chance", -0.2, 0.01, None), row("chance", -0.2, 0.01, "2022-05-01"), row("chance", -0.2, 0.01)]
    assert [line.date for line in baseline_lines(rows)] == ["2022-04-30", "2022-05-01", "all dates"]


def test_best_baseline_of_several_dates_is_told_of_all_together() -> None:
    rows = [row("chance", -0.2, 0.01, None), row("chance", -0.3, 0.01)]
    rows += [row("item_rate_over_chance", 0.15, 0.02, None), row("user_rate_over_chance", 0.18, 0.02, None)]
    (sentence,) = best_baseline(baseline_lines(rows))
    assert sentence == (
        "AUC of all dates: the ranker 0.7000; the best of simple baselines, the rate of the user before T, 0.6800."
    )
    assert best_baseline(baseline_lines([row("chance", -0.3, 0.01)])) == [], "no baseline to tell of"


def test_baseline_lines_without_baselines_are_none() -> None:
    assert baseline_lines([row("honest", 0.1, 0.1, protocol="swap")]) == []
