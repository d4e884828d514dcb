"""The report says what the rows say: every number, what is missing, nothing external, no hostile markup."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from rich.console import Console

from lis_spark.report import ReportContext, Unavailable, print_results, write_report
from lis_spark.report.figures import spread
from lis_spark.report.templating import templates
from lis_spark.report.terminal import results_table
from tests.report_rows import plausible_context, plausible_row, plausible_rows, printed, read


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return plausible_rows()


@pytest.fixture(scope="module")
def context() -> ReportContext:
    return plausible_context()


def test_rows_without_a_score_are_listed_with_their_reason(rows, context, tmp_path):
    missing = {
        **plausible_row("backward", "2022-05-02", -5, 0.0, 0.0),
        "lis": None,
        "note": "no snapshot of 2022-04-27",
    }
    text = read([*rows, missing], context, tmp_path).text
    assert "no snapshot of 2022-04-27" in text
    assert "T-n is less than 3 full days after the first full day of data" in text


def test_a_failing_control_is_marked_and_said_at_the_top(rows, context, tmp_path):
    def attention(changed: list[dict[str, Any]]) -> str:
        text = read(changed, context, tmp_path).text
        assert "! attention" in text
        return text[: text.index("LIS by horizon")]

    assert "! attention" not in read(rows, context, tmp_path).text
    one = [
        {**r, "u2_leaked": r["u2_leaked"] + "1"} if r["horizon_days"] == 0 and r["variant"] == "naive" else r
        for r in rows
    ]
    said = attention(one)
    assert "A control of the item-ID table needs attention: n = 0 on 2022-04-30, 2022-05-01, 2022-05-02" in said
    assert "is not exactly 0 in 1 of 3 measurements" in said
    gain = {"lis": 0.004, "ci_low": 0.0038, "ci_high": 0.0042}
    shuffled = [{**r, **gain} if r["variant"] == "label_shuffled" and r["horizon_days"] == 5 else r for r in rows]
    said = attention(shuffled)
    assert "label-shuffled on 2022-04-30, 2022-05-01, 2022-05-02 gains at n = 5, though it holds no information" in said
    no_interval = [{**r, "ci_low": None} if r["variant"] == "label_shuffled" else r for r in shuffled]
    assert "label-shuffled on 2022-04-30, 2022-05-01, 2022-05-02 gains at n = 5" in attention(no_interval)
    by_chance = [{**r, "ci_low": 0.0004} if r["variant"] == "label_shuffled" else r for r in shuffled]
    assert "! attention" not in read(by_chance, context, tmp_path).text, "its interval reaches what is let pass"
    backward = [{**r, "lis": 0.001} if r["variant"] == "backward" and r["horizon_days"] == -1 else r for r in rows]
    assert "backward on 2022-05-01, 2022-05-02 is not below 0 at n = −1" in attention(backward)
    permuted = [{**r, "lis": 0.0, "ci_high": 0.001} if r["variant"] == "row_permuted" else r for r in rows]
    said = attention(permuted)
    assert "row-permuted on 2022-04-30, 2022-05-01, 2022-05-02 is not strongly below 0 at n = 1, 3, 5, 7" in said


@pytest.mark.parametrize("variant", ["label_shuffled", "replay"])
def test_what_a_table_without_information_costs_is_noted_and_is_no_failure(rows, variant, context, tmp_path):
    costly = [
        {**r, "variant": variant, "lis": -0.0004 * r["horizon_days"]} if r["variant"] == "label_shuffled" else r
        for r in rows
    ]
    reader = read(costly, context, tmp_path)
    assert "✓ noted costs at n = 3, 5, 7: a table that moves without information loses so much" in reader.text
    assert "! attention" not in reader.text and "A control of" not in reader.text
    name = {"label_shuffled": "shuffled labels", "replay": "a replay of the days before T"}[variant]
    assert f"; with {name} by −0.0028 (" in reader.headings[0]


def test_mean_of_folds_counts_as_the_integer_zero(rows, context, tmp_path):
    third = str(Fraction(10**12, 3))
    exact = [{**r, "u2_control": third, "u2_leaked": third} if r["horizon_days"] == 0 else r for r in rows]
    assert "exactly 0 in 3 of 3 measurements" in read(exact, context, tmp_path).text


def test_every_number_of_every_row_appears(rows, context, tmp_path):
    text = read(rows, context, tmp_path).text
    for row in rows:
        signed = ("lis", "ci_low", "ci_high", "simultaneous_low", "simultaneous_high", "lis_gauc")
        for key in (*signed, "lis_within_user", "lis_user_part", "lis_item_part"):
            shown = f"{row[key]:+.6f}".replace("-", "−") if row[key] else "0"
            assert shown in text, (key, row["measurement_id"])
        for key in ("standard_error", "p_holm", "auc_control", "auc_leaked", "log_loss_leaked"):
            assert f"{row[key]:.6f}" in text, (key, row["measurement_id"])
    assert text.count("2022-05-01") >= sum(row["evaluated_date"] == "2022-05-01" for row in rows)


def test_the_page_asks_for_nothing_and_runs_nothing(rows, context, tmp_path):
    reader = read(rows, context, tmp_path)
    assert not set(reader.tags) & {
        "script",
        "link",
        "img",
        "iframe",
        "object",
        "embed",
        "a",
        "form",
        "base",
        "image",
    }
    assert not {name for name, _ in reader.attributes} & {
        "src",
        "srcset",
        "href",
        "xlink:href",
        "action",
        "data",
    }
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"url\s*\(|@import|https?://", page)
    assert "default-src 'none'" in page


def test_hostile_names_are_text(rows, context, tmp_path):
    hostile = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
    changed = [
        {
            **row,
            "slot": hostile,
            "label": hostile,
            "scenario": hostile,
            "note": hostile,
            "verdict": hostile,
            "reason": hostile,
            "leak": hostile,
            "seed": hostile,
        }
        for row in rows
    ]
    changed += [{**row, "stratum": f"{hostile}:<10", "evaluated_date": hostile} for row in changed[:40]]
    evil = replace(
        context,
        run_name=hostile,
        source=hostile,
        licence=hostile,
        config_yaml=hostile + "</code></pre>",
        rerun_commands=[hostile],
        days=[hostile],
        model={hostile: hostile},
        timings={hostile: 1.0},
        slots=[{"feature": hostile, "auc_drop": 0.1, "ci_low": 0.0, "ci_high": 0.2}],
        unavailable=[Unavailable(hostile, hostile)],
        warnings=[hostile],
    )
    own = plausible_row(hostile, "2022-05-01", 0, 0.1, 0.1, protocol="scores", note=hostile, reason=hostile)
    reader = read([*changed, own], evil, tmp_path)
    assert "script" not in reader.tags and "img" not in reader.tags
    assert not [name for name, _ in reader.attributes if name.startswith("on")]
    assert hostile in reader.text and f"Why this verdict: {hostile}" in reader.text
    assert ("class", "answer unavailable") in reader.attributes
    assert not [value for name, value in reader.attributes if name == "class" and "answer <" in value]
    shown = printed(lambda console: console.print(results_table([*changed, own])), 110)
    assert max(map(len, shown.splitlines())) <= 110


def test_the_same_input_gives_the_same_bytes(rows, context, tmp_path):
    first = write_report(rows, context, tmp_path / "a.html").read_bytes()
    assert write_report(list(reversed(rows)), context, tmp_path / "deep" / "b.html").read_bytes() == first
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.html", "deep"]


def test_identifiers_are_unique(rows, context, tmp_path):
    two = [*rows, *({**row, "scenario": "search"} for row in rows)]
    reader = read(two, context, tmp_path)
    identifiers = [value for name, value in reader.attributes if name == "id"]
    assert len(identifiers) == len(set(identifiers)) > 0
    assert len(reader.headings) == 2
    assert "item-ID table · feed · click" in reader.text and "item-ID table · search · click" in reader.text
    screen = io.StringIO()
    Console(width=110, file=screen, color_system=None).print(results_table(two))
    assert "│ feed " in screen.getvalue() and "│ search " in screen.getvalue()
    assert max(map(len, screen.getvalue().splitlines())) <= 110 and "…" not in screen.getvalue()


@pytest.mark.parametrize(
    "keep",
    [
        lambda row: False,
        lambda row: row["evaluated_date"] == "2022-05-01",
        lambda row: row["horizon_days"] == 1,
        lambda row: row["horizon_days"] == 0,
        lambda row: row["stratum"] == "all",
        lambda row: row["variant"] == "honest" and row["stratum"] == "all",
        lambda row: row["variant"] == "backward",
        lambda row: row["protocol"] == "swap+refit",
        lambda row: row["protocol"] == "whole",
    ],
    ids=[
        "nothing",
        "one date",
        "one horizon",
        "n = 0",
        "no strata",
        "honest only",
        "backward only",
        "refit",
        "whole",
    ],
)
def test_partial_results_make_a_report(rows, keep, tmp_path):
    kept = [row for row in rows if keep(row)]
    reader = read(kept, ReportContext(run_name="partial", source="part of the rows"), tmp_path)
    assert reader.headings
    assert not re.search(r"None|\bnan\b", reader.text)
    Console(width=110, file=io.StringIO()).print(results_table(kept))


@pytest.mark.parametrize("without", [(), ("naive_matched",), ("honest", "skip_own_t"), ("label_shuffled", "backward")])
def test_every_line_of_every_table_has_a_cell_for_every_heading(rows, without, context, tmp_path):
    kept = [row for row in rows if row["variant"] not in without]
    own = {**plausible_row("naive", "2022-05-01", 1, 0.1, 0.1), "protocol": "scores"}
    page = write_report([*kept, own], context, tmp_path / "report.html").read_text(encoding="utf-8")
    tables = re.findall(r"<table.*?</table>", page, re.DOTALL)
    assert len(tables) >= 11
    for table in tables:
        head, *bodies = re.split(r"<tbody>", table)
        columns = len(re.findall(r"<th ", head))
        for line in re.findall(r"<tr.*?</tr>", "".join(bodies), re.DOTALL):
            cells = re.findall(r"<t[dh](?: [^>]*)?>", line)
            spans = [re.search(r'colspan="(\d+)"', cell) for cell in cells]
            assert sum(int(span.group(1)) if span else 1 for span in spans) == columns, line


def test_missing_keys_and_nan_are_dashes(context, tmp_path):
    bare = {"protocol": "swap", "variant": "honest", "evaluated_date": "2022-05-01", "horizon_days": 1}
    broken = plausible_row("honest", "2022-05-02", 1, 0.002, 0.0003, own_label_share=float("nan"), ci_low=float("nan"))
    text = read([bare, broken], context, tmp_path).text
    assert not re.search(r"None|\bnan\b", text)
    assert "no interval" in text


def test_seeds_without_their_mean_are_said_and_the_mean_is_taken_where_it_is(rows, context, tmp_path):
    rows = [row for row in rows if row["stratum"] == "all"]
    second = [{**row, "seed": "18", "lis": (row["lis"] or 0) + 0.5} for row in rows]
    reader = read([*second, *rows], context, tmp_path)
    assert "seeds 17, 18 came without their mean" in reader.text
    assert "+0.0024" in reader.headings[0]
    mean = [{**row, "seed": "mean of 2", "lis": (row["lis"] or 0) + 0.25, "sigma_seed": 0.0001} for row in rows]
    reader = read([*second, *rows, *mean], context, tmp_path)
    assert "without their mean" not in reader.text
    assert "+0.2524" in reader.headings[0]
    nobody = [{**row, "seed": seed, "stratum": "alignment:seen", "lis": None} for row in rows for seed in ("17", "18")]
    assert "without their mean" not in read([*second, *rows, *mean, *nobody], context, tmp_path).text
    one_alone = [{**row, "lis": 0.1 if row["seed"] == "18" else None} for row in nobody]
    assert "without their mean" in read([*second, *rows, *mean, *one_alone], context, tmp_path).text


def test_where_arms_were_trained_one_seed_is_said(rows, context, tmp_path):
    told = "One training seed: how far another training moves these scores is in no interval"
    assert told in read(rows, context, tmp_path).text
    swapped = [row for row in rows if row["protocol"] == "swap"]
    assert told not in read(swapped, context, tmp_path).text, "nothing was trained for these"
    several = [{**row, "seed": seed, "sigma_seed": 0.0001} for row in rows for seed in ("17", "18", "mean")]
    assert told not in read(several, context, tmp_path).text


def test_gauc_is_said_with_its_interval_and_what_it_covers(rows, context, tmp_path):
    told = "it is +0.0008 (95 % CI −0.0014 to +0.0030); GAUC covers 52 % of the impressions."
    assert told in read(rows, context, tmp_path).text
    lacking = [{**row, "lis_gauc_ci_low": None} for row in rows]
    assert "GAUC covers 52 % of the impressions." not in read(lacking, context, tmp_path).text


def test_a_gain_that_is_mostly_between_users_is_said(rows, context, tmp_path):
    assert "Mostly between users" not in read(rows, context, tmp_path).text
    mostly = [{**row, "lis_user_part": 0.9 * row["lis"]} for row in rows]
    assert (
        "Mostly between users: what a row's user explains without the row itself gives +0.0021, 90 % of the gain"
        in (read(mostly, context, tmp_path).text)
    )


def test_rows_of_all_dates_stand_under_those_of_each_date(rows, context, tmp_path):
    """A user who returns is one cluster: no figure of all dates is a mean of the page's own."""
    changed = [{**row, "lis": row["lis"] + 0.1} if row["evaluated_date"] is None else row for row in rows]
    reader = read(changed, context, tmp_path)
    assert "+0.1024 AUC honestly" in reader.headings[0]
    table = reader.text[reader.text.index("LIS of scope both, all impressions") :]
    assert table.index("2022-05-02") < table.index("all dates together baseline AUC 0.7362") < table.index("+0.1024")
    assert "At n = 7; 3 dates together: each is ranked apart and weighed by its pairs" in reader.text
    alone = [row for row in rows if row["evaluated_date"] == "2022-05-01"]
    assert "all dates together" not in read(alone, context, tmp_path).text


def test_the_drawing_of_strata_is_of_the_last_date_that_has_them(rows, context, tmp_path):
    assert "LIS within the stratum at n = 7, T = 2022-05-02" in read(rows, context, tmp_path).text
    lacking = [
        {**row, "lis": None} if row["stratum"] != "all" and row["evaluated_date"] == "2022-05-02" else row
        for row in rows
    ]
    text = read(lacking, context, tmp_path).text
    assert "LIS within the stratum at n = 7, T = 2022-05-01" in text and "n = 7, T = 2022-05-02" not in text


def test_a_baseline_without_a_future_says_its_auc_and_draws_no_curve(rows, context, tmp_path):
    today = [{**row, "stratum": "all"} for row in rows if row["horizon_days"] == 0 and row["variant"] == "naive"]
    days = {row["evaluated_date"]: row["auc_control"] for row in today}
    screen = io.StringIO()
    print_results(Console(width=110, file=screen, color_system=None), today, context)
    said = f"AUC of {sum(days.values()) / len(days):.4f} on that day on average over {len(days)} dates"
    assert said in " ".join(screen.getvalue().split()) and "┃" not in screen.getvalue()
    reader = read(today, context, tmp_path)
    assert said in reader.headings[0] and "svg" not in reader.tags


def test_labels_are_spread_in_order_and_stay_in_the_frame():
    places = spread([100.0, 101.0, 101.5, 240.0], 14.0, 40.0, 245.0)
    assert places == sorted(places)
    assert all(b - a >= 14.0 - 1e-9 for a, b in pairwise(places))
    assert spread([243.0, 244.0], 14.0, 40.0, 245.0) == [231.0, 245.0]
    assert spread([10.0, 200.0], 14.0, 40.0, 245.0) == [40.0, 200.0]


def test_rows_without_any_interval_make_a_whole_page_and_table(rows, context, tmp_path):
    bounds = [name for name in rows[0] if name.endswith(("_low", "_high", "standard_error"))]
    own = plausible_row("honest", "2022-05-01", 1, 0.0031, 0.0004, protocol="scores", note="held out by fold")
    lacking = [{**row, **dict.fromkeys(bounds), "verdict": row["verdict"] and "too few"} for row in (*rows, own)]
    reader = read(lacking, context, tmp_path)
    assert "was measured on too few users or impressions" in reader.headings[0]
    assert "no interval" in reader.text and not re.search(r"\bNone\b|95 % CI no", reader.text)
    assert "svg" in reader.tags and "! attention" not in reader.text
    shown = printed(lambda console: print_results(console, lacking, context), 110)
    assert "+0.0024 " in shown and not re.search(r"\d±", shown)


@pytest.mark.parametrize(
    ("said", "tied"),
    [
        ("it is -0.0012 (-0.0020 to -0.0004)", "it is −0.0012 (−0.0020~to~−0.0004)"),
        ("90% of it, 5 % of that", "90~% of it, 5~% of that"),
        ("95 % CI +0.1 to −0.2", "95~%~CI +0.1~to~−0.2"),
        ("on 2022-05-01 in 10-29", 'on <span class="nowrap">2022-05-01</span> in 10-29'),
        ("<b> label-shuffled", "&lt;b&gt; label-shuffled"),
    ],
)
def test_tie_of_a_sentence_keeps_numbers_together_and_writes_a_minus(said, tied):
    assert str(templates().filters["tie"](said)) == tied.replace("~", "\N{NO-BREAK SPACE}")


def test_scores_under_several_numbers_of_folds_stand_with_what_all_data_would_give(rows, context, tmp_path):
    of_folds = [
        plausible_row("other_folds", None, 7, lis, 0.0003, folds=folds) for folds, lis in ((2, 0.00131), (10, 0.00243))
    ]
    all_data = {"lis_all_data": 0.00277, "lis_all_data_ci_low": 0.0019, "lis_all_data_ci_high": 0.0036}
    changed = [
        {**row, **all_data}
        if (row["variant"], row["horizon_days"], row["evaluated_date"]) == ("honest", 7, None)
        else row
        for row in rows
    ]
    text = read([*changed, *of_folds], context, tmp_path).text
    assert "The honest table lacks the events of one user in 5; extrapolated to one that lacks nobody's" in text
    place = text.index("How much the honest score depends on what it withholds")
    table = text[place : text.index("What the naive score is made of", place)]
    for expected in ("F = 2", "F = 5", "F = 10", "+0.0013", "+0.0024", "+0.0028"):
        assert expected in table
    assert table.index("F = 2") < table.index("F = 5") < table.index("F = 10")
    assert "How much the honest score depends" not in read(rows, context, tmp_path).text


def test_the_band_without_information_reaches_over_both_controls(rows, context, tmp_path):
    replayed = [plausible_row("replay", "2022-05-01", n, -0.0011, 0.0002) for n in (1, 3, 5, 7)]
    page = read([*rows, *replayed], context, tmp_path)
    # the mean of -.0002 ± .0002 and -.0011 ± .0004, from the lowest to the highest bound
    assert "controls, n = 7: −0.0007 (bounds of all −0.0015 to 0.0000)" in page.text
    assert "the intervals of shuffled labels and a replay of the days before T" in page.text
