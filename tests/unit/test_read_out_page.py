"""The page of a read-out of advertisements: what it says of budgets, its numbers, and the order of its arms."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest

from lis_spark.config.experiment import Budgets
from lis_spark.report.read_out_page import write_read_out
from lis_spark.report.read_out_table import print_read_out
from tests.report_rows import printed


def a_row(arm: str, adjusted: bool = True) -> dict[str, Any]:
    return {
        **{"experiment": "budgets", "run_name": "test", "scenario": "ads", "control_arm": "control", "arm": arm},
        **{"metric": "adv", "kind": "mean", "is_primary": True, "date": None, "adjusted": adjusted},
        **{"is_headline": adjusted, "users_control": 5_000, "users_treated": 5_000, "value_control": 43_109_000.4},
        **{"value_treated": 0.416634, "lift": 0.07, "lift_low": 0.01, "lift_high": 0.13, "p_value": 0.02},
        **{"lift_together_low": 0.002, "lift_together_high": 0.15},
        **{"p_holm": 0.04, "theta": 0.5, "variance_left": 0.8, "detectable_lift": 0.06, "verdict": "higher"},
        **{"sample_ratio_p": 0.5, "start_date": dt.date(2026, 6, 10), "end_date": dt.date(2026, 6, 23)},
        **{"covariate_days": 14, "tables": json.dumps({"outcomes delta.`lake`": ["an id", 56], "users view": None})},
    }


def page_of(budgets: Budgets, folder: Path) -> str:
    rows = [a_row(arm, adjusted) for arm in ("treatment", "raw_old_vectors") for adjusted in (True, False)]
    written = write_read_out(rows, budgets, "yaml", "lis-spark read-out", folder / "read_out.html")
    return written.read_text(encoding="utf-8")


@pytest.mark.parametrize("budgets, told", [("shared", True), ("split", False)])
def test_a_page_says_of_budgets_what_the_experiment_did(budgets: Budgets, told: bool, tmp_path: Path) -> None:
    page = page_of(budgets, tmp_path)
    assert ("budgets are shared by both arms" in page) == told
    assert ("its own part of advertisers&#39; budgets" in page) != told
    assert "Arms learn from the same items" in page


def test_numbers_are_told_as_people_read_them(tmp_path: Path) -> None:
    page = page_of("shared", tmp_path)
    assert "43,109,000" in page and "0.41663" in page and "e+07" not in page
    assert "+0.20 to +15.00 %" in page, "the interval that holds together with the others"
    assert "version 56" in page and "an id" not in page and "a view: read anew each time" in page
    assert page.index("treatment is higher") < page.index("raw_old_vectors is higher"), "as they are configured"


@pytest.mark.parametrize("name", ["[/bold]", ":warning:"])
def test_print_read_out_of_hostile_names_prints_them_as_they_are(name: str) -> None:
    row = a_row(name) | {"experiment": name, "control_arm": name, "metric": name}
    rows = [row, {**row, "adjusted": False, "is_headline": False}]
    assert printed(lambda console: print_read_out(console, rows), 140).count(name) >= 5
