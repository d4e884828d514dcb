"""Leaks side by side, in the terminal and in the report: the sentence, the ranks, the ties, noise, hostile names."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

import pytest

from lis_spark.lis.results.decision import NO_HONEST_SCORE, VERDICTS
from lis_spark.report import ReportContext, write_report
from lis_spark.report.leak_table import beside_the_verdict, leaks_answer, print_leaks, ranks, swapped_beside
from tests.report_rows import LEAK_SCORES, a_leak, plausible_row, printed, read

WITHOUT_INTERVALS = {f"{score}_ci_{side}": None for score in (*LEAK_SCORES, "lis_honest") for side in ("low", "high")}


LEAKS = [
    a_leak("truth", 0.15, "useful", kind="planted", rank_highest=1),
    a_leak("table", 0.0087, "useful", ("rates",), lis_shrunken=0.0081, kind="id_table", rank_lowest=2, rank_highest=3),
    a_leak("rates", 0.0065, "useful", ("table",), misleading=["between users: within users it is +0.0001"]),
    a_leak("clicks", -0.0003, "not shown"),
    a_leak(
        "users",
        None,
        NO_HONEST_SCORE,
        reason="it comes without folds",
        rank_lowest=None,
        rank_highest=None,
        lis_shrunken=None,
    ),
    a_leak("noise", 0.0003, "not shown", is_noise=True),
]


def test_the_answer_names_what_is_useful_and_leaves_controls_out() -> None:
    assert leaks_answer(LEAKS) == (
        "Of 3 leaks 2 are useful (table, rates) as one more feature of the retrained ranker (protocol append, which "
        "decides here; 1 of 4 have no honest score); the best is table, +0.0087 (95 % CI +0.0067 to +0.0107), shrunken "
        "to +0.0081 as the best of 3, in the wrong order +0.0123 (95 % CI +0.0100 to +0.0146), not told apart from "
        "rates."
    )
    assert leaks_answer(LEAKS[3:]) == (
        "None of 1 leaks is shown to be useful as one more feature of the retrained ranker (protocol append, which "
        "decides here; 1 of 2 have no honest score)."
    )
    assert leaks_answer(LEAKS[2:3]) == (
        "Of 1 leaks one is useful (rates) as one more feature of the retrained ranker (protocol append, which decides "
        "here); the best is rates, +0.0065 "
        "(95 % CI +0.0045 to +0.0085), in the wrong order +0.0123 (95 % CI +0.0100 to +0.0146), not told apart from "
        "table."
    )


def test_leaks_answer_of_the_best_says_what_day_t_is_of_it() -> None:
    share = {"first_day_share": 0.6, "first_day_share_ci_low": 0.45, "first_day_share_ci_high": 0.75}
    told = leaks_answer([a_leak("rates", 0.0065, "useful", **share)])
    assert told.endswith(
        "day T itself, seen through other users, is 60 % (95 % CI 45 % to 75 %) of it: a ranker that is trained every "
        "day lacks that day, one that is trained as events come in lacks little of it."
    )
    assert "day T itself is 60 % (95 % CI 45 % to 75 %) of the gain" in beside_the_verdict(
        a_leak("a", 0.1, "useful", **share), 0.001
    )


@pytest.mark.parametrize("verdict", [one for one in VERDICTS if one not in ("useful", "clearly useful")])
def test_leaks_answer_of_any_other_verdict_calls_nothing_useful(verdict: str) -> None:
    assert leaks_answer([a_leak("rates", 0.0065, verdict)]).startswith("None of 1 leaks is shown to be useful")


def test_leaks_answer_of_noise_and_planted_truth_alone_is_of_no_leak() -> None:
    assert leaks_answer([LEAKS[0], a_leak("luck", 0.02, "clearly useful", is_noise=True)]).startswith("None of 0 leaks")


def test_the_terminal_fits_120_columns_and_says_where_lis_may_mislead() -> None:
    lines = printed(lambda console: print_leaks(console, LEAKS)).splitlines()
    assert max(map(len, lines)) <= 120
    (table,) = [line for line in lines if " table " in line and "│" in line]
    assert table.split() == (
        [
            "│",
            "table",
            "│",
            "3",
            "│",
            "+0.0087±0.0020",
            "│",
            "+0.0123±0.0023",
            "│",
            *("+0.0123", "│") * 4,
            "2-3",
            "│",
            "useful",
            "│",
        ]
    )
    place = lines.index("rates, useful: the honest LIS is 0.0065")
    said = "  within users (4 % of the pairs that are ranked, 95 % CI 3 % to 5 %) +0.0123 (95 % CI +0.0100 to +0.0146)"
    assert lines[place + 1].startswith(said)
    assert "  between users: within users it is +0.0001" in lines[place:]
    assert "noise, not shown: the honest LIS is 0.0003" in lines
    assert printed(lambda console: print_leaks(console, [])) == ""


def test_print_leaks_of_noise_marks_it_and_has_it_last() -> None:
    lines = [line for line in printed(lambda console: print_leaks(console, LEAKS)).splitlines() if "│" in line]
    names = [name for line in lines if (name := line.split("│")[1].strip())]
    assert names == ["truth", "table", "rates", "clicks", "users", "noise (noise)"]


@pytest.mark.parametrize("verdict", [*VERDICTS, NO_HONEST_SCORE])
def test_print_leaks_of_long_names_and_verdicts_cuts_nothing(verdict: str) -> None:
    name = "similar_items_of_the_week_after_the_next"
    shown = printed(lambda console: print_leaks(console, [a_leak(name, -0.0065, verdict, is_noise=True)]))
    assert max(map(len, shown.splitlines())) <= 120 and "…" not in shown
    assert "-0.0065±0.0020" in shown and shown.count("+0.0123±0.0023") == 1
    cells = [line.split("│") for line in shown.splitlines() if line.startswith("│")]
    assert "".join(line[1].strip() for line in cells).replace(" ", "") == f"{name}(noise)"
    assert " ".join(line[-2].strip() for line in cells).split() == verdict.split()


@pytest.mark.parametrize(
    ("low", "high", "told"), [(1, 1, "1"), (2, 5, "2-5"), (None, None, "-")], ids=["sure", "open", "unranked"]
)
def test_ranks_of_a_leak_are_those_that_the_data_allows(low: int | None, high: int | None, told: str) -> None:
    assert ranks({"rank_lowest": low, "rank_highest": high}) == told


@pytest.mark.parametrize("name", ["rates", "<script>alert(1)</script>"])
def test_the_report_begins_with_the_comparison(tmp_path: Path, name: str) -> None:
    leaks = [a_leak(name, 0.0065, "useful", misleading=["between users <b>"], reason="as <i>it</i> is")]
    context = ReportContext(run_name="r", source="s", leaks=leaks)
    page = write_report([], context, tmp_path / "report.html").read_text(encoding="utf-8")
    assert "the best is" in page and "Leaks compared" in page and "2 MB, 12 s" in page
    assert "<script>" not in page and "between users <b>" not in page and "<i>" not in page
    assert "as &lt;i&gt;it&lt;/i&gt; is" in page and "between users &lt;b&gt;" in page


def test_page_of_leaks_has_reasons_ranks_and_noise_marked_and_last(tmp_path: Path) -> None:
    context = ReportContext(run_name="r", source="s", leaks=LEAKS)
    page = write_report([], context, tmp_path / "report.html").read_text(encoding="utf-8")
    body = page[page.index("<tbody>") : page.index("</tbody>")]
    lines = [re.sub(r"<[^>]+>", " ", line).split() for line in re.findall(r"<tr>.*?</tr>", body, re.DOTALL)]
    assert [line[0] for line in lines] == ["truth", "table", "rates", "clicks", "users", "noise"]
    assert [line[1] for line in lines] == ["3"] * 5 + ["noise"], "the mark stands beside its name"
    table = " ".join(html.unescape(word) for word in lines[1])
    assert "useful the honest LIS is 0.0087; p after Holm .0123 2-3 rates +0.0081" in table
    assert "no honest score it comes without folds" in " ".join(lines[4])


@pytest.mark.parametrize("name", ["[/bold]", "[red]x[/red]", ":warning:", "<b>"])
def test_print_leaks_of_hostile_names_prints_them_as_they_are(name: str) -> None:
    leaks = [a_leak(name, 0.0065, "useful", (name,), misleading=[name], reason=name)]
    shown = printed(lambda console: print_leaks(console, leaks))
    assert shown.count(name) >= 5


def test_leaks_without_intervals_are_shown_all_the_same(tmp_path: Path) -> None:
    leaks = [{**row, **WITHOUT_INTERVALS, "verdict": "too few", "reason": None} for row in LEAKS]
    shown = printed(lambda console: print_leaks(console, leaks))
    assert "+0.0087 " in shown and not re.search(r"\d±", shown) and "None" not in shown.removeprefix("None of")
    assert "table, too few\n" in shown
    reader = read([], ReportContext(run_name="r", source="s", leaks=leaks), tmp_path)
    assert "no interval" in reader.text and "None" not in reader.text.replace("None of", "")
    best = [{**LEAKS[1], **WITHOUT_INTERVALS}]
    assert "the best is table, +0.0087 (no interval), shrunken to" in leaks_answer(best)


def swap(lis: float = 0.0024, **changes: Any) -> dict[str, Any]:
    return plausible_row("honest", None, 3, lis, 0.0003, verdict="tells users apart") | changes


def test_swapped_beside_of_the_same_table_tells_both_scores_and_why_they_differ() -> None:
    by_date = plausible_row("honest", "2022-05-01", 3, 0.0090, 0.0003)
    (told,) = swapped_beside(LEAKS, [by_date, swap(), by_date])
    assert told.startswith(
        "The ID table of T + 3 as one more feature (table): +0.0087 (95 % CI +0.0067 to +0.0107), useful; substituted "
        "for the ranker's own (protocol swap): +0.0024 (95 % CI +0.0018 to +0.0030), tells users apart. The first asks "
    )
    (one,) = swapped_beside(LEAKS, [by_date])
    assert "+0.0090" in one, "with one date its row is the headline"
    nothing = {"ci_low": None, "ci_high": None}
    (unsure,) = swapped_beside([{**LEAKS[1], **WITHOUT_INTERVALS}], [swap(**nothing)])
    assert "(table): +0.0087 (no interval), useful" in unsure and "+0.0024 (no interval), tells" in unsure


@pytest.mark.parametrize(
    "changes",
    [
        {"protocol": "append"},
        {"variant": "naive"},
        {"stratum": "item_age:<3"},
        {"horizon_days": 7},
        {"swap_scope": "target"},
        {"verdict": None},
    ],
    ids=str,
)
def test_swapped_beside_of_another_measurement_tells_nothing(changes: dict[str, Any]) -> None:
    assert swapped_beside(LEAKS, [swap(**changes)]) == []
    assert swapped_beside(LEAKS[2:], [swap()]) == [], "no ID table among the leaks"


def test_page_of_leaks_tells_the_swapped_table_beside_the_appended_one(tmp_path: Path) -> None:
    reader = read([swap()], ReportContext(run_name="r", source="s", leaks=LEAKS), tmp_path)
    assert len(reader.headings) == 1 and reader.headings[0].startswith("Of 3 leaks 2 are useful")
    assert reader.beside[0].startswith("The ID table of T + 3 as one more feature (table): +0.0087")
    assert "The item-ID table tells users apart and does not order" in reader.text


@pytest.mark.parametrize(
    ("value", "half", "told"),
    [(0.0002, 0.0005, "as it should be"), (0.0031, 0.0010, "unlike its control"), (0.0004, 0.0030, "not resolved")],
)
def test_beside_the_verdict_judges_the_wrong_order_of_every_leak(value: float, half: float, told: str) -> None:
    bounds = {"lis_row_shuffled_ci_low": value - half, "lis_row_shuffled_ci_high": value + half}
    said = beside_the_verdict(a_leak("rates", 0.0065, "useful", lis_row_shuffled=value, **bounds), 0.001)
    assert f"in the wrong order +{value:.4f}" in said and said.endswith(f"): {told}")
