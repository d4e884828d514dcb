"""What a naive score is made of, as a drawing: where its bars end, what it says, and what it leaves out."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import pytest

from lis_spark.report.measurements import clean, split_subjects
from lis_spark.report.parts_figure import LEFT, RIGHT, WIDTH, draw_parts
from tests.report_rows import DATES, plausible_context, plausible_row, plausible_rows, read


def drawing(rows: list[dict[str, Any]]) -> ElementTree.Element | None:
    (subject,) = split_subjects([clean(row) for row in rows])
    drawn = draw_parts(subject, "parts")
    return None if drawn is None else ElementTree.fromstring(str(drawn))


def bars(drawn: ElementTree.Element) -> list[list[tuple[float, float, str]]]:
    """From where to where, and the class, of the parts of each bar."""
    found: dict[str, list[tuple[float, float, str]]] = {}
    for part in drawn.iter("rect"):
        left = float(part.attrib["x"])
        found.setdefault(part.attrib["y"], []).append(
            (left, left + float(part.attrib["width"]), part.attrib["class"].removeprefix("step "))
        )
    return list(found.values())


def honest(day: str | None, horizon: int, lis: float, later: float | None, labels: float | None) -> dict[str, Any]:
    parts: dict[str, Any] = {"later_events": later, "evaluated_labels": labels}
    for name, value in list(parts.items()):
        ends = (None, None) if value is None else (value - 0.001, value + 0.001)
        parts |= dict(zip((f"{name}_ci_low", f"{name}_ci_high"), ends, strict=True))
    return plausible_row("honest", day, horizon, lis, 0.0005, **parts)


def test_draw_parts_of_all_dates_ends_each_bar_at_the_naive_score():
    rows = plausible_rows()
    drawn = drawing(rows)
    assert drawn is not None
    naive = {
        row["horizon_days"]: row["lis"]
        for row in rows
        if row["variant"] == "naive" and row["evaluated_date"] is None and row["horizon_days"]
    }
    found = bars(drawn)
    assert len(found) == len(naive) == 4
    a_thousandth = (WIDTH - LEFT - RIGHT) / max(naive.values()) / 1000  # nothing is below 0: the axis begins there
    for parts, horizon in zip(found, sorted(naive), strict=True):
        for (_, end, _), (start, _, _) in pairwise(parts):
            assert start == pytest.approx(end, abs=0.2)
        assert parts[0][0] == pytest.approx(LEFT, abs=0.1)
        assert parts[-1][1] == pytest.approx(LEFT + 1000 * naive[horizon] * a_thousandth, abs=0.2)
    assert [style for _, _, style in found[0]] == ["honest", "naive"], "at n = 1 there is no later day"
    assert [style for _, _, style in found[1]] == ["honest", "naive_matched", "naive"]
    texts = [text.text for text in drawn.iter("text")]
    assert "AUC, 3 dates together; at the right the naive score" in texts
    assert [text for text in texts if re.fullmatch(r"\+0\.\d{4}", text or "")] == [
        f"+{naive[horizon]:.4f}" for horizon in sorted(naive)
    ]


def test_draw_parts_of_one_date_says_every_number_with_its_interval():
    drawn = drawing([honest("2022-05-01", 1, 0.002, None, 0.008), honest("2022-05-01", 7, 0.003, 0.001, 0.0066)])
    assert drawn is not None
    (told,) = (one.text for one in drawn if one.tag == "desc")
    assert told == (
        "n = 1: what other users do from day T on +0.0020 (95 % CI +0.0010 to +0.0030), the labels that are scored, "
        "memorised +0.0080 (95 % CI +0.0070 to +0.0090), together +0.0100; n = 7: what other users do from day T on "
        "+0.0030 (95 % CI +0.0020 to +0.0040), later events of the users that are scored +0.0010 (95 % CI 0 to "
        "+0.0020), the labels that are scored, memorised +0.0066 (95 % CI +0.0056 to +0.0076), together +0.0106"
    )
    texts = [text.text for text in drawn.iter("text")]
    assert "AUC, T = 2022-05-01; at the right the naive score" in texts
    legend = ["what other users do from day T on", "later events of the users that are scored"]
    assert texts[-3:] == [*legend, "the labels that are scored, memorised"]
    assert max(float(text.attrib["y"]) for text in drawn.iter("text")) < float(drawn.attrib["viewBox"].split()[3])


def test_draw_parts_of_a_part_below_zero_goes_back_from_the_part_before():
    drawn = drawing([honest("2022-05-01", 7, 0.004, -0.001, -0.005)])
    assert drawn is not None
    ((first,), (second,), (third,)) = bars(drawn)
    assert first[0] == pytest.approx(third[0] + (third[1] - third[0]) * 2 / 5, abs=0.3), "0 lies between"
    assert second[1] == pytest.approx(first[1], abs=0.2) and third[1] == pytest.approx(second[0], abs=0.2)
    assert third[0] == pytest.approx(LEFT, abs=0.1)
    (below,) = bars(drawing([honest("2022-05-01", 7, -0.004, -0.001, -0.005)]))  # type: ignore[arg-type]
    assert len(below) == 3, "of one sign: one bar"


def test_draw_parts_without_intervals_says_so():
    row = honest("2022-05-01", 1, 0.002, None, 0.008)
    lacking = {name: None for name in row if name.endswith(("_low", "_high"))}
    drawn = drawing([{**row, **lacking}])
    assert drawn is not None
    assert any("what other users do from day T on +0.0020 (no interval)" in (one.text or "") for one in drawn)


@pytest.mark.parametrize(
    "rows",
    [
        [honest("2022-05-01", 7, 0.002, None, None)],
        [plausible_row("naive", "2022-05-01", 7, 0.002, 0.0005)],
        [honest(day, 7, 0.002, 0.001, 0.008) for day in DATES],
    ],
    ids=["without parts", "without an honest score", "dates that were not pooled"],
)
def test_draw_parts_of_what_has_no_parts_draws_nothing(rows):
    assert drawing(rows) is None


def test_draw_parts_of_nothing_but_zero_draws_an_axis():
    drawn = drawing([honest("2022-05-01", 1, 0.0, None, 0.0)])
    assert drawn is not None and len(list(drawn.iter("rect"))) == 2


def test_page_with_parts_shows_them_under_their_heading(tmp_path):
    rows, context = plausible_rows(), plausible_context()
    assert "What the naive score is made of" in read(rows, context, tmp_path).text
    apart = [row for row in rows if row["variant"] != "naive" and row["evaluated_date"]]
    assert "What the naive score is made of" not in read(apart, context, tmp_path).text
