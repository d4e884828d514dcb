"""Leaks side by side, in the terminal and in the report: the sentence, the places, the ties, hostile names."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from lis_spark.report import ReportContext, write_report
from lis_spark.report.leak_table import leaks_answer, print_leaks


def leak(name: str, honest: float | None, verdict: str, tied: tuple[str, ...] = (), **values: Any) -> dict[str, Any]:
    low, high = (None, None) if honest is None else (honest - 0.002, honest + 0.002)
    row: dict[str, Any] = {
        "leak": name, "kind": "sql", "horizon_days": 3, "decided_by": "honest", "verdict": verdict, "place": 1,
        "lis_honest": honest, "lis_honest_ci_low": low, "lis_honest_ci_high": high,
        "tied_with": list(tied), "misleading": [], "coverage": 1.0, "own_label_share": None,
        "leak_rows": 1000, "leak_bytes": 2_500_000, "leak_seconds": 12.4,
    }  # fmt: skip
    for score in ("lis_naive", "lis_gauc", "lis_content"):
        row |= {score: 0.0123, f"{score}_ci_low": 0.01, f"{score}_ci_high": 0.0146}
    return row | values


LEAKS = [
    leak("truth", 0.15, "useful", kind="planted"),
    leak("table", 0.0087, "useful", ("rates",)),
    leak("rates", 0.0065, "useful", ("table",), misleading=["popularity: within users it is +0.0001"]),
    leak("noise", 0.0003, "not shown"),
    leak("users", None, "no honest score", place=None),
]


def test_the_answer_names_what_is_useful_and_leaves_the_planted_truth_out() -> None:
    assert leaks_answer(LEAKS) == (
        "Of 4 leaks 2 are useful (table, rates); the best is table, +0.0087 (95 % CI +0.0067 to +0.0107), "
        "not to be told from rates."
    )
    assert leaks_answer(LEAKS[3:]) == "None of 2 leaks is shown to be useful."
    assert leaks_answer(LEAKS[2:3]).startswith("Of 1 leaks one is useful (rates)")


def test_the_terminal_fits_120_columns_and_says_where_lis_may_mislead() -> None:
    out = io.StringIO()
    print_leaks(Console(file=out, width=120), LEAKS)
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 120
    (table,) = [line for line in lines if " table " in line and "│" in line]
    assert "+0.0087±0.0020" in table and "+0.0123±0.0023" in table and "useful" in table and " 3 " in table
    assert lines[-1] == "rates: popularity: within users it is +0.0001"
    print_leaks(Console(file=io.StringIO(), width=120), [])


@pytest.mark.parametrize("name", ["rates", "<script>alert(1)</script>"])
def test_the_report_begins_with_the_comparison(tmp_path: Path, name: str) -> None:
    leaks = [leak(name, 0.0065, "useful", misleading=["popularity <b>"])]
    context = ReportContext(run_name="r", source="s", leaks=leaks)
    page = write_report([], context, tmp_path / "report.html").read_text(encoding="utf-8")
    assert "the best is" in page and "Leaks compared" in page and "2 MB, 12 s" in page
    assert "<script>" not in page and "popularity <b>" not in page
