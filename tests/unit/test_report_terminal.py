"""The table of results in the terminal: it fits, it is whole, and names in it are text."""

from __future__ import annotations

import re
from typing import Any

import pytest

from lis_spark.lis.results.decision import VERDICTS
from lis_spark.report.format import half_interval, verdict_style
from lis_spark.report.terminal import results_table
from tests.report_rows import plausible_row, plausible_rows, printed


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return plausible_rows()


def shown(rows: list[dict[str, Any]], width: int = 120) -> str:
    return printed(lambda console: console.print(results_table(rows)), width)


def test_terminal_table_fits_and_has_one_line_per_date_and_horizon(rows):
    lines = shown(rows).splitlines()
    assert max(map(len, lines)) <= 120
    scores = [line for line in lines if re.search(r"2022-\d\d-\d\d", line)]
    assert len(scores) == 12
    assert re.search(
        r"2022-05-01 . *7 . \+0\.0024±0\.0006 . \+0\.0010±0\.0005 . \+0\.0014 . \+0\.0008 . \+0\.0112 . "
        r"\+0\.0031 . *-0\.0002 . useful",
        scores[7],
    )
    assert "…" not in shown(rows)


def test_results_table_of_several_dates_ends_with_all_of_them_together(rows):
    lines = [line for line in shown(rows).splitlines() if "│" in line]
    assert [line.split("│")[2].strip() for line in lines[-4:]] == ["1", "3", "5", "7"]
    assert all("all dates" in line for line in lines[-4:])
    assert "+0.0024±0.0006 │ +0.0009±0.0005 │ +0.0014 │ +0.0008 │ +0.0110 │ +0.0029 │   0.0000 │ useful" in lines[-1]
    one = [row for row in rows if row["evaluated_date"] == "2022-05-01"]
    assert "all dates" not in shown(one)


@pytest.mark.parametrize("verdict", [*VERDICTS, "order not resolved (naive)"])
@pytest.mark.parametrize("bound", [None, 0.0123])
def test_results_table_of_long_verdicts_cuts_no_figure(rows, verdict, bound):
    changed = [{**row, "verdict": verdict, "truth_bound": bound} for row in rows]
    text = shown(changed)
    assert max(map(len, text.splitlines())) <= 120 and "…" not in text
    assert "-0.0002" in text and "+0.0024±0.0006" in text
    assert ("+0.0123" in text and "bound" in text) is bool(bound)
    assert ("own T" in text and "+0.0031" in text) is not bound
    assert all(word in text for word in verdict.split())


def test_results_table_of_two_leaks_names_each_whole(rows):
    name = "a_leak_with_a_very_long_name"
    two = [*rows, *({**row, "leak": name} for row in rows)]
    text = shown(two)
    assert max(map(len, text.splitlines())) <= 120 and "…" not in text
    cells = "".join(line.split("│")[1].strip() for line in text.splitlines() if line.startswith("│"))
    assert name in cells and "id_embedding" in cells


@pytest.mark.parametrize("hostile", ["[/bold]", "[red]x[/red]", ":warning:", "<b>"])
def test_results_table_of_hostile_names_prints_them_as_they_are(rows, hostile):
    changed = [{**row, "leak": hostile, "verdict": hostile} for row in rows]
    own = plausible_row("honest", None, 1, 0.1, 0.01, protocol="scores", verdict=hostile, evaluated_date=hostile)
    assert hostile in shown([*rows, *changed, own])


def test_results_table_of_ones_own_scores_has_all_dates_last():
    own = {"protocol": "scores", "leak": "user_scores"}
    rows = [
        plausible_row("honest", None, 1, 0.0026, 0.0003, **own, note="held out by fold"),
        plausible_row("honest", "2022-05-01", 1, 0.0031, 0.0004, **own, note="held out by fold"),
        plausible_row("naive", None, 1, 0.0041, 0.0004, **own, verdict="clearly useful (naive)", evaluated_dates=1),
    ]
    text = shown(rows)
    lines = [line for line in text.splitlines() if line.startswith("│") and "±" in line]
    assert [line.split("│")[1].strip() for line in lines] == ["2022-05-01", "scores", "all dates"]
    assert [line.split("│")[3].strip() for line in lines] == ["+0.0031±0.0008", "", "+0.0026±0.0006"]
    assert lines[1].split("│")[7].strip() == "+0.0041±0.0008", "of naive scores under naive"
    assert max(map(len, text.splitlines())) <= 120 and "…" not in text


@pytest.mark.parametrize(
    ("row", "bounds", "told"),
    [
        ({"lis": 0.0024, "ci_low": 0.0015, "ci_high": 0.0033}, "ci", "+0.0024±0.0009"),
        ({"lis": -0.0024, "lis_ci_low": -0.0044, "lis_ci_high": -0.0004}, None, "-0.0024±0.0020"),
        ({"lis": 0.0, "ci_low": 0.0, "ci_high": 0.0}, "ci", "0±0.0000"),
        ({"lis": 0.0024, "ci_low": None, "ci_high": None}, "ci", "+0.0024"),
        ({"lis": 0.0024, "ci_low": 0.0015, "ci_high": None}, "ci", "+0.0024"),
        ({"lis": 0.0024}, "ci", "+0.0024"),
        ({"lis": None, "ci_low": None, "ci_high": None}, "ci", "-"),
        ({}, None, "-"),
    ],
)
def test_half_interval_of_a_score_is_half_of_its_interval_where_it_has_one(row, bounds, told):
    assert half_interval(row, "lis", bounds) == told


def test_verdict_style_of_a_naive_verdict_is_not_that_of_an_honest_one():
    assert verdict_style("useful") == verdict_style("clearly useful") == "bold green"
    assert verdict_style("useful (naive)") == verdict_style("not shown") == "yellow"
    assert verdict_style("harmful") == "bold red" and verdict_style("negligible") == ""
