"""LIS against AIS for a reader: sentences, the table, the drawing; what is not testable is said."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from lis_spark.report.context import ReportContext
from lis_spark.report.outcome_table import LABEL_GAP, LABEL_WIDTH, OutcomeView, free_height, print_outcomes
from lis_spark.report.page import render
from tests.report_rows import printed

SCORES_AND_AIS = ("lis", "lis_content", "ais")

OUTCOMES = [
    {"leak": name, "is_noise": name == "noise", "lis": lis, "lis_content": lis / 2, "ais": ais}
    | {f"{score}_standard_error": 0.001 for score in ("lis", "lis_content", "ais")}
    for name, lis, ais in (("table", 0.02, 0.006), ("likers", 0.01, 0.004), ("noise", 0.0, 0.0))
]


def told(measure: str, score: str, value: float | None, low: float, high: float, pairs: int | None) -> dict[str, Any]:
    ends = (None, None) if value is None else (low, high)
    return {"measure": measure, "score": score, "value": value, "ci_low": ends[0], "ci_high": ends[1], "pairs": pairs}


VIEW = OutcomeView(
    OUTCOMES,
    [
        told("concordance", "lis", 0.91, 0.72, 1.0, 22),
        told("concordance", "lis_content", 1.0, 0.76, 1.0, 22),
        told("concordance", "lis_content - lis", 0.09, -0.15, 0.2, 22),
        told("concordance_without_noise", "lis", None, 0, 0, 7),
        told("pearson", "lis", 0.65, 0.32, 0.86, None),
        told("pearson", "lis_content", 0.82, 0.46, 0.91, None),
        told("pearson", "lis_content - lis", 0.16, 0.05, 0.44, None),
    ],
)


def test_sentences_say_what_was_told_beforehand() -> None:
    assert VIEW.answers == [
        "LIS, honest put 91 % (95 % CI 72 % to 100 %) of the 22 pairs of data sets that AIS tells apart into the order "
        "that AIS has.",
        "LIS of what content predicts put 100 % (95 % CI 76 % to 100 %) of the 22 pairs of data sets that AIS tells "
        "apart into the order that AIS has.",
        "What content predicts is better as a forecast: its correlation with AIS less that of LIS is +0.16 (95 % "
        "of true scores: +0.05 to +0.44).",
    ]
    few = OutcomeView(OUTCOMES, [told("concordance", "lis", None, 0, 0, 2)])
    assert few.answers[0] == (
        "LIS, honest: not testable; AIS tells 2 pairs of 3 data sets apart, and at least 10 are needed."
    )


def test_terminal_and_page_say_the_same() -> None:
    console = Console(width=120, record=True)
    print_outcomes(console, VIEW)
    printed = console.export_text()
    page = render([], ReportContext(run_name="sets", source="a world", outcomes=VIEW))
    for text in ("91 % (72 % to 100 %)", "not testable", "+0.65 (+0.32 to +0.86)", "Spearman"):
        assert text in printed and text in page, text
    assert "noise (noise)" in printed and "+0.0060±0.0020" in printed
    for row in OUTCOMES:
        assert f">{row['leak']}</text>" in page
    assert "table: LIS, honest +0.0200, AIS +0.0060" in page
    print_outcomes(console, None)
    assert console.export_text() == ""


@given(st.lists(st.tuples(st.floats(0, 300), st.floats(0, 250)), max_size=12))
def test_labels_of_a_drawing_do_not_stand_on_each_other(points: list[tuple[float, float]]) -> None:
    labels: list[tuple[float, float]] = []
    for x, y in points:
        labels.append((x, free_height(x, y, labels)))
    for number, (x, height) in enumerate(labels):
        for other, (near, beside) in enumerate(labels):
            assert number == other or abs(x - near) >= LABEL_WIDTH or abs(height - beside) >= LABEL_GAP - 1e-9


def test_outcomes_without_intervals_are_shown_all_the_same() -> None:
    outcomes = [{**row, **{f"{score}_standard_error": None for score in SCORES_AND_AIS}} for row in OUTCOMES]
    agreement = [{**row, "ci_low": None, "ci_high": None} for row in VIEW.agreement]
    view = OutcomeView(outcomes, agreement)
    assert view.answers[0].startswith("LIS, honest put 91 % (no interval) of the 22 pairs")
    assert "is not shown to be better as a forecast" in view.answers[2] and "+0.16 (no interval)" in view.answers[2]
    shown = printed(lambda console: print_outcomes(console, view))
    assert "+0.0200 " in shown and "91 % (no interval)" in shown and not re.search(r"\d±", shown)
    page = render([], ReportContext(run_name="sets", source="a world", outcomes=view))
    assert "table: LIS, honest +0.0200, AIS +0.0060" in page


@pytest.mark.parametrize("name", ["[/bold]", ":warning:", "<b>x</b>"])
def test_outcomes_of_hostile_names_are_text(name: str) -> None:
    view = OutcomeView([{**OUTCOMES[0], "leak": name}, *OUTCOMES[1:]], VIEW.agreement)
    assert name in printed(lambda console: print_outcomes(console, view))
    assert "<b>" not in render([], ReportContext("run", "a world", outcomes=view)).split("</style>")[1]
