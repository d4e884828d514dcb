"""AIS for a reader: a sentence by the items unseen in alignment, lines in reading order, the same on the page."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from lis_spark.report.context import ReportContext
from lis_spark.report.page import render
from lis_spark.report.representation_table import print_representations, representation_answers, represented
from tests.report_rows import printed


def row(
    leak: str, variant: str, stratum: str, lis: float | None, error: float = 0.001, **changes: Any
) -> dict[str, Any]:
    ends = {} if lis is None else {"ci_low": lis - 2 * error, "ci_high": lis + 2 * error, "standard_error": error}
    return {
        **{"leak": leak, "variant": variant, "stratum": stratum, "lis": lis, "evaluated_date": "2026-03-16"},
        **{"seed": "17", "share_of_impressions": 0.25, "u2_control": "10", "u2_leaked": "11", "lis_gauc": None},
        **dict.fromkeys(("lis_within_user", "lis_user_part", "lis_item_part")),
        **{"protocol": "append", "horizon_days": 0, "ci_low": None, "ci_high": None, **ends, **changes},
    }


ROWS = [
    row("raw", "representation", "alignment:unseen", 0.0, 0.0, u2_leaked="10"),
    row("aligned", "above_other", "all", 0.004),
    row("aligned", "representation", "update_count:>=300", -0.0001),
    row("aligned", "representation", "update_count:10-29", 0.05, 0.03),
    row("aligned", "representation", "alignment:seen", None),
    row("aligned", "representation", "alignment:unseen", 0.0061),
    row("aligned", "representation", "all", 0.006),
    row("aligned", "representation", "item_age:<3", 0.01),
    row("id_table", "honest", "all", 0.02),
    row("other", "representation", "alignment:unseen", -0.01),
    row("third", "representation", "alignment:unseen", 0.001),
]


def test_lines_come_in_reading_order() -> None:
    lines = represented(ROWS)
    assert [(line.name, line.against, line.items) for line in lines] == [
        ("aligned", "its control", "all items"),
        ("aligned", "its control", "unseen in alignment"),
        ("aligned", "its control", "examples 10-29"),
        ("aligned", "its control", "examples >=300"),
        ("aligned", "other", "all items"),
        ("other", "its control", "unseen in alignment"),
        ("raw", "its control", "unseen in alignment"),
        ("third", "its control", "unseen in alignment"),
    ]
    assert [line.share for line in lines[:2]] == [1.0, 0.25]


def test_represented_rows_of_several_dates_name_all_dates() -> None:
    pooled = row("a", "representation", "all", 0.1, evaluated_date=None, evaluated_dates=2)
    assert [line.date for line in represented([pooled])] == ["all dates"]


def test_the_mean_of_seeds_stands_for_them() -> None:
    rows = [
        row("a", "representation", "all", value, seed=seed) for seed, value in (("1", 0.1), ("2", 0.3), ("mean", 0.2))
    ]
    assert [line.row["lis"] for line in represented(rows)] == [0.2]


def test_answers_go_by_items_that_the_encoder_has_not_seen() -> None:
    assert representation_answers(represented(ROWS)) == [
        "aligned on 2026-03-16 gains the ranker on items that it was not aligned on: "
        "AIS +0.0061 (95 % CI +0.0041 to +0.0081).",
        "other on 2026-03-16 costs the ranker on items that it was not aligned on: "
        "AIS −0.0100 (95 % CI −0.0120 to −0.0080).",
        "raw on 2026-03-16 leaves every ranking as it is: AIS is exactly 0.",
        "third on 2026-03-16 is not shown to gain the ranker on items that it was not aligned on: "
        "AIS +0.0010 (95 % CI −0.0010 to +0.0030).",
    ]


def test_representation_answers_of_several_dates_say_it_once_for_all() -> None:
    days = [row("a", "representation", "alignment:unseen", 0.005, evaluated_date=f"2026-03-1{day}") for day in (6, 7)]
    pooled = row("a", "representation", "alignment:unseen", 0.006, evaluated_date=None, evaluated_dates=2)
    (told,) = representation_answers(represented([*days, pooled]))
    assert told.startswith("a on all dates gains") and "AIS +0.0060" in told


def test_print_representations_has_the_split_beside_each_score() -> None:
    split = {"lis_within_user": 0.004, "lis_within_user_ci_low": 0.001, "lis_within_user_ci_high": 0.007}
    split |= {"lis_user_part": 0.0023, "lis_item_part": 0.0031}
    lines = represented([row("a", "representation", "alignment:unseen", 0.006, **split)])
    shown = printed(lambda console: print_representations(console, lines))
    assert "+0.0060±0.0020 │ +0.0040±0.0030 │ +0.0023 │ +0.0031" in shown
    page = render([], ReportContext("run", "a world", representations=lines))
    assert all(figure in page for figure in ("+0.0040", "0.0010 to 0.0070", "+0.0023", "+0.0031"))


def test_equal_sums_of_ranks_are_no_equal_rankings() -> None:
    """Half of a thousand rows up and half down give U2 of the control."""
    (told,) = representation_answers(
        represented([row("raw", "representation", "alignment:unseen", 0.0, 0.0001, u2_leaked="10")])
    )
    assert told.startswith("raw on 2026-03-16 is not shown to gain") and "exactly" not in told


def test_terminal_and_page_say_the_same() -> None:
    lines = represented(ROWS)
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    print_representations(console, lines)
    printed = console.export_text()
    page = render([], ReportContext("run", "a world", representations=lines))
    assert "What representations of items are worth" in page
    for text in ("unseen in alignment", "examples &gt;=300", "raw on"):
        assert text in page
    for text in ("alignment", ">=300", "+0.0061±0.0020", "-0.0100±0.0020"):
        assert text in printed
    assert "What representations" not in render([], ReportContext("run", "a world"))


def test_representations_without_intervals_are_shown_and_not_shown_to_gain() -> None:
    lacking = [{**one, "ci_low": None, "ci_high": None, "standard_error": None} for one in ROWS]
    lines = represented(lacking)
    assert not any(line.is_shown_to_gain for line in lines)
    assert representation_answers(lines)[0] == (
        "aligned on 2026-03-16 is not shown to gain the ranker on items that it was not aligned on: "
        "AIS +0.0061 (no interval)."
    )
    shown = printed(lambda console: print_representations(console, lines))
    assert "+0.0061 " in shown and "±0" not in shown
    page = render([], ReportContext("run", "a world", representations=lines))
    assert "no interval" in page and "None" not in page


@pytest.mark.parametrize("name", ["[/bold]", ":warning:", "<b>x</b>"])
def test_representations_of_hostile_names_are_text(name: str) -> None:
    lines = represented([row(name, "representation", "alignment:unseen", 0.0061), row(name, "above_[/x]", "all", 0.1)])
    shown = printed(lambda console: print_representations(console, lines))
    assert shown.count(name) >= 2 and "[/x]" in shown
    assert "<b>" not in render([], ReportContext("run", "a world", representations=lines)).split("</style>")[1]
