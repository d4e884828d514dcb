"""The report says what the rows say: the answer of each case, every number, nothing external, no hostile markup."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from fractions import Fraction
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from lis_spark.report import ReportContext, Unavailable, print_results, write_report
from lis_spark.report.figures import spread
from lis_spark.report.terminal import results_table

DATES = ("2022-04-30", "2022-05-01", "2022-05-02")
HORIZONS = (0, 1, 3, 5, 7)
BASELINE = {"2022-04-30": 0.7325, "2022-05-01": 0.7389, "2022-05-02": 0.7372}
# The prototype's figures on KuaiRand-Pure (method 1.2), by date, for n = 1, 3, 5, 7.
GAINS = {
    "naive": (
        (0.0107, 0.0112, 0.0113, 0.0112),
        (0.0109, 0.0112, 0.0112, 0.0112),
        (0.0109, 0.0108, 0.0106, 0.0106),
    ),
    "naive_matched": (
        (0.0098, 0.0104, 0.0105, 0.0105),
        (0.0099, 0.0103, 0.0103, 0.0104),
        (0.0099, 0.01, 0.0098, 0.0098),
    ),
    "honest": (
        (0.0010, 0.0020, 0.0025, 0.0027),
        (0.0008, 0.0018, 0.0022, 0.0024),
        (0.0006, 0.0014, 0.0017, 0.0020),
    ),
    "skip_t": (
        (0.0009, 0.0023, 0.0031, 0.0034),
        (0.0008, 0.0021, 0.0027, 0.0031),
        (0.0005, 0.0014, 0.0018, 0.0023),
    ),
    "label_shuffled": ((0.0001, 0.0002, 0.0003, 0.0003), (-0.0002,) * 4, (-0.0001,) * 4),
    "row_permuted": ((-0.031, -0.033, -0.034, -0.035),) * 3,
}
ERRORS = {
    "naive": 0.0004,
    "naive_matched": 0.0004,
    "honest": 0.0003,
    "skip_t": 0.0003,
    "label_shuffled": 0.0001,
}
STRATA = (
    ("update_count:<10", 0.03, 0.0005),
    ("update_count:10-29", 0.019, 0.0012),
    ("update_count:30-99", 0.013, 0.0023),
    ("update_count:100-299", 0.010, 0.0026),
    ("update_count:>=300", 0.008, 0.0021),
    ("item_age:0-2", 0.021, 0.0031),
    ("item_age:3-6", 0.015, 0.0024),
    ("item_age:7-13", 0.012, 0.0021),
    ("item_age:>=14", 0.009, 0.0019),
)


def plausible_row(variant: str, day: str, horizon: int, lis: float, error: float, **changes: Any) -> dict[str, Any]:
    """A row of lis_results with the shape and size of KuaiRand-Pure's."""
    control = BASELINE[day]
    positives, negatives = 6_612, 8_114
    u2_control = round(control * 2 * positives * negatives)
    share = 1 - lis / 0.0102 if variant == "honest" and horizon else None
    row: dict[str, Any] = {
        "measurement_id": f"{variant}/{day}/{horizon}",
        "run_name": "kuairand_demo",
        "scenario": "feed",
        "protocol": "swap",
        "leak": "id_embedding",
        "variant": variant,
        "slot": "item",
        "swap_scope": "both",
        "evaluated_date": day,
        "horizon_days": horizon,
        "stratum": "all",
        "seed": "17",
        "label": "click",
        "positives": positives,
        "negatives": negatives,
        "users": 7_215,
        "u2_control": str(u2_control),
        "u2_leaked": str(u2_control + round(lis * 2 * positives * negatives)),
        "auc_control": control,
        "auc_leaked": control + lis,
        "lis": lis,
        "standard_error": error,
        "sigma_seed": None,
        "ci_low": lis - 1.96 * error,
        "ci_high": lis + 1.96 * error,
        "gauc_control": 0.6631,
        "gauc_leaked": 0.6631 + lis / 3,
        "lis_gauc": lis / 3,
        "lis_gauc_standard_error": 0.0011,
        "lis_gauc_ci_low": lis / 3 - 0.0022,
        "lis_gauc_ci_high": lis / 3 + 0.0022,
        "gauc_coverage": 0.52,
        "log_loss_control": 0.6012,
        "log_loss_leaked": 0.6012 - lis / 2,
        "pcoc_control": 1.013,
        "pcoc_leaked": 1.016,
        "coverage": 0.987,
        "dead_item_share": 0.021,
        "own_label_share": share,
        "own_label_share_ci_low": None if share is None else share - 0.06,
        "own_label_share_ci_high": None if share is None else share + 0.06,
        "drift_penalty": None,
        "share_of_impressions": 1.0,
        "verdict": None,
        "note": None,
        "table_versions": '{"impressions": 3, "embedding_snapshots": 12}',
        "config_fingerprint": "0f" * 16,
        "created_ts": "2026-01-02T03:04:05Z",
    }
    if variant == "honest" and horizon:
        row["verdict"] = "useful" if lis >= 0.0010 and row["ci_low"] > 0 else "not shown"
    return {**row, **changes}


def plausible_rows() -> list[dict[str, Any]]:
    """Rows of a whole run: arms, controls, scopes, protocols and strata."""
    rows = []
    for number, day in enumerate(DATES):
        for variant, gains in GAINS.items():
            error = ERRORS.get(variant, 0.002)
            rows += [
                plausible_row(variant, day, horizon, lis, error)
                for horizon, lis in zip(HORIZONS[1:], gains[number], strict=True)
            ]
        rows += [plausible_row(variant, day, 0, 0.0, 0.0) for variant in ("naive", "honest", "label_shuffled")]
        if day != "2022-04-30":
            rows += [plausible_row("backward", day, -n, lis, 0.0003) for n, lis in ((1, -0.0009), (3, -0.0021))]
        for horizon, naive, honest in zip(HORIZONS[1:], GAINS["naive"][number], GAINS["honest"][number], strict=True):
            for scope, part in (("target", 0.57), ("history", 0.4)):
                rows.append(plausible_row("naive", day, horizon, naive * part, 0.0003, swap_scope=scope))
                rows.append(plausible_row("honest", day, horizon, honest * part, 0.0002, swap_scope=scope))
            rows.append(plausible_row("naive", day, horizon, naive * 1.06, 0.0004, protocol="swap+refit"))
            rows.append(plausible_row("honest", day, horizon, honest * 1.1, 0.0003, protocol="swap+refit"))
            rows.append(plausible_row("whole", day, horizon, naive * 3.1, 0.0006, protocol="whole", swap_scope=None))
            for stratum, cold_naive, cold_honest in STRATA:
                for variant, lis in (
                    ("naive", cold_naive),
                    ("naive_matched", cold_naive * 0.92),
                    ("honest", cold_honest),
                ):
                    rows.append(
                        plausible_row(
                            variant,
                            day,
                            horizon,
                            lis * (1 + horizon / 50),
                            0.0009,
                            stratum=stratum,
                            share_of_impressions=0.2,
                            own_label_share=1 - cold_honest / cold_naive if variant == "honest" else None,
                            verdict=None,
                        )
                    )
    return rows


def plausible_context() -> ReportContext:
    """A context with every part filled."""
    return ReportContext(
        run_name="kuairand_demo",
        source="KuaiRand-Pure, 222,869 impressions of 25,156 users and 6,361 videos",
        licence="KuaiRand-Pure: Gao et al., CIKM 2022, doi 10.1145/3511808.3557624, CC BY-SA 4.0, a changed subset.",
        config_yaml="run_name: kuairand_demo\nevaluation:\n  folds: 5\n",
        rerun_commands=["make demo", "lis-spark run --config conf/kuairand_demo.yaml"],
        days=[f"2022-04-{d}" for d in range(24, 31)] + [f"2022-05-{d:02}" for d in range(1, 9)],
        model={
            "Ranker": "attention over the last 10 clicks and 10 skips, DCN-v2, MLP 128-64",
            "Tables": "width 16, row-wise Adagrad .02",
            "Training": "one pass a day, batch 512, seed 17",
        },
        timings={
            "ingest": 21.4,
            "training rows": 30.2,
            "chains": 101.0,
            "leaked features": 25.5,
            "measure": 38.8,
        },
        slots=[
            {"feature": "item", "auc_drop": 0.0412, "ci_low": 0.0391, "ci_high": 0.0433},
            {"feature": "user", "auc_drop": 0.0287, "ci_low": 0.0269, "ci_high": 0.0305},
            {"feature": "author", "auc_drop": 0.0061, "ci_low": 0.0050, "ci_high": 0.0072},
            {"feature": "hour", "auc_drop": -0.0001, "ci_low": -0.0004, "ci_high": 0.0002},
        ],
        unavailable=[
            Unavailable("backward", "T-n is less than 3 full days after the first full day of data", "2022-04-30", -n)
            for n in (1, 3)
        ],
        warnings=["1 of 222,869 rows went to quarantine: duplicate impression id."],
    )


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return plausible_rows()


@pytest.fixture(scope="module")
def context() -> ReportContext:
    return plausible_context()


class _Reader(HTMLParser):
    """Collects the text, the first headings, the tags and the attributes; unbalanced tags are an error."""

    VOID = frozenset({"meta", "br", "link", "img", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.headings: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        # The end tag of a cell may be left out.
        if tag == "td" and self.stack[-1] == "td":
            self.stack.pop()
        if tag not in self.VOID:
            self.stack.append(tag)
        if tag == "h1":
            self.headings.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        if tag == "tr" and self.stack[-1] == "td":
            self.stack.pop()
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self.stack:
            return
        self.text += data
        if "h1" in self.stack:
            self.headings[-1] += data


def read(rows: list[dict[str, Any]], context: ReportContext, folder: Path) -> _Reader:
    reader = _Reader()
    reader.feed(write_report(rows, context, folder / "report.html").read_text(encoding="utf-8"))
    reader.close()
    assert reader.stack == []
    reader.text = reader.text.replace("\N{NO-BREAK SPACE}", " ")
    reader.headings = [heading.replace("\N{NO-BREAK SPACE}", " ") for heading in reader.headings]
    return reader


def honest_changed(rows: list[dict[str, Any]], **by_date: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows with the honest rows of n = 7 changed; keys are dates with underscores, or ``every``."""
    result = []
    for row in rows:
        if row["variant"] == "honest" and row["horizon_days"] == 7 and row["stratum"] == "all":
            row = {
                **row,
                **by_date.get("every", {}),
                **by_date.get("d" + row["evaluated_date"].replace("-", "_"), {}),
            }
        result.append(row)
    return result


def test_useful_answer_has_interval_dates_control_and_share(rows, context, tmp_path):
    heading = read(rows, context, tmp_path).headings[0]
    # (.0027 + .0024 + .0020) / 3 and 1.96 x .0003 either side.
    assert heading == (
        "The item-ID table is useful preference data: with 7 days of future the ranker gains +0.0024 AUC honestly "
        "(95 % CI +0.0018 to +0.0030; 0.0010 counts) on average over 3 dates, above 0 on every one; shuffled labels "
        "give 0.0000 (95 % CI −0.0002 to +0.0002), and 74 to 80 % of the matched naive gain is memorised own labels."
    )


def test_harmful_answer(rows, context, tmp_path):
    changed = honest_changed(
        rows,
        every={
            "lis": -0.0021,
            "ci_low": -0.0027,
            "ci_high": -0.0015,
            "verdict": "harmful",
            "own_label_share": 1.2,
        },
    )
    heading = read(changed, context, tmp_path).headings[0]
    assert "is harmful as preference data" in heading
    assert "−0.0021 AUC (95 % CI −0.0027 to −0.0015)" in heading
    assert "below 0 on every one" in heading and "120 % of the matched" in heading


def test_not_shown_answer_says_why(rows, context, tmp_path):
    changed = honest_changed(
        rows,
        every={
            "lis": 0.0004,
            "ci_low": -0.0003,
            "ci_high": 0.0011,
            "verdict": "not shown",
            "own_label_share": None,
        },
    )
    heading = read(changed, context, tmp_path).headings[0]
    assert heading.startswith("It is not shown that the item-ID table is useful preference data")
    assert "+0.0004 (95 % CI −0.0003 to +0.0011)" in heading
    assert "below the 0.0010 that counts on 3 of 3 dates and its interval reaches 0" in heading
    assert "memorised" not in heading


def test_conflicting_answer_names_the_dates(rows, context, tmp_path):
    changed = honest_changed(
        rows, d2022_05_02={"lis": -0.0012, "ci_low": -0.0020, "ci_high": -0.0004, "verdict": "harmful"}
    )
    heading = read(changed, context, tmp_path).headings[0]
    assert heading.startswith("The evaluated dates are conflicting about the item-ID table at 7 days of future")
    assert "2022-04-30 says useful" in heading
    assert "2022-05-02 says harmful, −0.0012 (95 % CI −0.0020 to −0.0004)" in heading


def test_training_noise_above_the_limit_makes_the_threshold_unusable(rows, context, tmp_path):
    heading = read(honest_changed(rows, every={"sigma_seed": 0.0007}), context, tmp_path).headings[0]
    assert heading.startswith("There is no decision about the item-ID table")
    assert "0.0007 (sigma_seed, above 0.0005), so the threshold of 0.0010 is not usable" in heading
    assert "useful" not in read(honest_changed(rows, every={"sigma_seed": 0.0007}), context, tmp_path).headings[0]


def test_the_row_verdict_threshold_not_usable_is_no_decision(rows, context, tmp_path):
    changed = honest_changed(rows, d2022_05_01={"sigma_seed": 0.0004, "verdict": "threshold not usable"})
    assert read(changed, context, tmp_path).headings[0].startswith("There is no decision about the item-ID table")


def test_without_honest_rows_nothing_is_decided(rows, context, tmp_path):
    naive_only = [row for row in rows if row["variant"] != "honest"]
    reader = read(naive_only, context, tmp_path)
    assert reader.headings[0].startswith("There is no honest score of the item-ID table, so nothing can be decided")
    assert "may be nothing but memorised own labels" in reader.headings[0]


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
    shuffled = [{**r, "lis": 0.004} if r["variant"] == "label_shuffled" and r["horizon_days"] == 5 else r for r in rows]
    assert "label-shuffled on 2022-04-30, 2022-05-01, 2022-05-02 gains at n = 5" in attention(shuffled)
    backward = [{**r, "lis": 0.001} if r["variant"] == "backward" and r["horizon_days"] == -1 else r for r in rows]
    assert "backward on 2022-05-01, 2022-05-02 is not below 0 at n = −1" in attention(backward)
    permuted = [{**r, "lis": 0.0, "ci_high": 0.001} if r["variant"] == "row_permuted" else r for r in rows]
    said = attention(permuted)
    assert "row-permuted on 2022-04-30, 2022-05-01, 2022-05-02 is not strongly below 0 at n = 1, 3, 5, 7" in said


def test_drift_of_the_shuffled_chain_is_noted_and_is_no_failure(rows, context, tmp_path):
    drifting = [{**r, "lis": -0.0004 * r["horizon_days"]} if r["variant"] == "label_shuffled" else r for r in rows]
    text = read(drifting, context, tmp_path).text
    assert "drift: falls with n" in text and "! attention" not in text


def test_mean_of_folds_counts_as_the_integer_zero(rows, context, tmp_path):
    third = str(Fraction(10**12, 3))
    exact = [{**r, "u2_control": third, "u2_leaked": third} if r["horizon_days"] == 0 else r for r in rows]
    assert "exactly 0 in 3 of 3 measurements" in read(exact, context, tmp_path).text


def test_every_number_of_every_row_appears(rows, context, tmp_path):
    text = read(rows, context, tmp_path).text
    for row in rows:
        for key in ("lis", "ci_low", "ci_high", "lis_gauc"):
            shown = f"{row[key]:+.6f}".replace("-", "−") if row[key] else "0"
            assert shown in text, (key, row["measurement_id"])
        for key in ("standard_error", "auc_control", "auc_leaked", "log_loss_leaked"):
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
    own = plausible_row(hostile, "2022-05-01", 0, 0.1, 0.1, protocol="scores", note=hostile)
    reader = read([*changed, own], evil, tmp_path)
    assert "script" not in reader.tags and "img" not in reader.tags
    assert not [name for name, _ in reader.attributes if name.startswith("on")]
    assert hostile in reader.text
    Console(width=110, file=io.StringIO()).print(results_table([*changed, own]))


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


@pytest.mark.parametrize("without", [(), ("naive_matched",), ("honest", "skip_t"), ("label_shuffled", "backward")])
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


def test_one_date_says_so(rows, context, tmp_path):
    heading = read([r for r in rows if r["evaluated_date"] == "2022-05-01"], context, tmp_path).headings[0]
    assert "on 2022-05-01, the only evaluated date" in heading and "average" not in heading


def test_seeds_without_their_mean_are_said_and_the_mean_is_taken_where_it_is(rows, context, tmp_path):
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


def test_gauc_that_does_not_confirm_is_said(rows, context, tmp_path):
    text = read(rows, context, tmp_path).text
    assert "does not confirm the honest score on 2022-04-30, 2022-05-01, 2022-05-02" in text
    sure = honest_changed(rows, every={"lis_gauc": 0.003, "lis_gauc_ci_low": 0.001, "lis_gauc_ci_high": 0.005})
    assert "does not confirm" not in read(sure, context, tmp_path).text


@pytest.mark.parametrize(
    ("changes", "labelled"),
    [
        ({"evaluated_date": None, "note": None, "variant": "naive"}, True),
        (
            {"evaluated_date": None, "note": "naive: may contain the evaluated labels", "variant": "naive"},
            True,
        ),
        ({"note": None, "variant": "naive"}, True),
        ({"note": "fold and evaluated_date came with the scores", "variant": "naive"}, False),
        ({"note": None, "variant": "honest"}, False),
    ],
)
def test_scores_of_ones_own(changes, labelled, context, tmp_path):
    row = plausible_row(
        "naive", "2022-05-01", 0, 0.0031, 0.0004, protocol="scores", leak="user_scores", verdict="useful"
    )
    row |= {"horizon_days": None, "slot": None, "swap_scope": None, **changes}
    reader = read([row], context, tmp_path)
    assert "he leaked scores are useful" in reader.headings[0]
    assert reader.headings[0].startswith("Taken naively") is labelled
    assert "+0.0031 (95 % CI +0.0023 to +0.0039)" in reader.headings[0]
    assert ("naive: may contain the evaluated labels" in reader.headings[0]) is labelled
    assert ("! naive: may contain the evaluated labels" in reader.text) is labelled


def test_scores_of_several_dates_give_one_sentence(context, tmp_path):
    rows = [
        plausible_row("honest", day, 1, lis, 0.0004, protocol="scores", leak="user_scores", note="held out by fold")
        for day, lis in (("2022-05-01", 0.0031), ("2022-05-02", 0.0021))
    ]
    reader = read(rows, context, tmp_path)
    assert reader.headings == [
        "The leaked scores are useful: against the control scores the LIS is +0.0026 (95 % CI +0.0018 to +0.0034), on "
        "average over 2 dates, above 0 on every one; 0.0010 counts."
    ]
    rows[1]["verdict"] = "not shown"
    heading = read(rows, context, tmp_path).headings[0]
    assert "conflicting about the leaked scores: 2022-05-01 says useful, +0.0031" in heading


def test_terminal_table_fits_and_has_one_line_per_date_and_horizon(rows):
    screen = io.StringIO()
    Console(width=110, file=screen, color_system=None).print(results_table(rows))
    lines = screen.getvalue().splitlines()
    assert max(map(len, lines)) <= 110
    scores = [line for line in lines if re.search(r"2022-\d\d-\d\d", line)]
    assert len(scores) == 12
    assert re.search(
        r"2022-05-01 . *7 . \+0\.0112 . \+0\.0104 . \+0\.0024 ± 0\.0003 . \+0\.0031 . *-0\.0002 . 76 % . useful",
        scores[7],
    )
    assert "…" not in screen.getvalue()


def test_the_terminal_says_the_answer_above_the_table(rows, context):
    screen = io.StringIO()
    print_results(Console(width=110, file=screen, color_system=None), rows, context)
    first, rest = screen.getvalue().split("LIS = AUC", 1)
    assert "The item-ID table is useful preference data" in first and "2022-05-01" in rest


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
