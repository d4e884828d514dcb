"""Rows of lis_results with the shape and size of KuaiRand-Pure's, and a page of them as a person reads it."""

from __future__ import annotations

import io
from collections.abc import Callable
from html.parser import HTMLParser
from math import fsum
from operator import mul
from pathlib import Path
from typing import Any

from rich.console import Console

from lis_spark.report import ReportContext, Unavailable, write_report

DATES = ("2022-04-30", "2022-05-01", "2022-05-02")
SHARES_OF_PAIRS = (0.32, 0.33, 0.35)
HORIZONS = (0, 1, 3, 5, 7)
# Of each date, and of all together.
BASELINE = {"2022-04-30": 0.7325, "2022-05-01": 0.7389, "2022-05-02": 0.7372, None: 0.7362}
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
    "skip_own_t": (
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
    "skip_own_t": 0.0003,
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


def plausible_row(
    variant: str, day: str | None, horizon: int, lis: float, error: float, **changes: Any
) -> dict[str, Any]:
    """A row of lis_results with the shape and size of KuaiRand-Pure's; without a day that of all dates together."""
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
        "evaluated_dates": 1 if day else len(DATES),
        "folds": 5,
        "training_seeds": 1,
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
        "cluster_standard_error": error,
        "degrees_of_freedom": 7_214.0,
        "sigma_seed": None,
        "ci_low": lis - 1.96 * error,
        "ci_high": lis + 1.96 * error,
        "simultaneous_low": lis - 2.4 * error,
        "simultaneous_high": lis + 2.4 * error,
        "p_holm": 0.0123,
        "gauc_control": 0.6631,
        "gauc_leaked": 0.6631 + lis / 3,
        "lis_gauc": lis / 3,
        "lis_gauc_standard_error": 0.0011,
        "lis_gauc_ci_low": lis / 3 - 0.0022,
        "lis_gauc_ci_high": lis / 3 + 0.0022,
        "gauc_coverage": 0.52,
        **split_of(lis),
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
        row["reason"] = f"the honest LIS is {lis:+.4f}, as it was made up"
    return {**row, **changes}


def split_of(lis: float) -> dict[str, Any]:
    """Columns of what a gain orders: two fifths of it within users, three fifths by the user alone."""
    within, user, item = 0.4 * lis, 0.6 * lis, 0.35 * lis
    return {
        "lis_within_user": within,
        "lis_within_user_ci_low": within - 0.0005,
        "lis_within_user_ci_high": within + 0.0005,
        "within_user_users": 3_311,
        "within_pair_share": 0.0004,
        "within_pair_share_ci_low": 0.0003,
        "within_pair_share_ci_high": 0.00044,
        "lis_user_part": user,
        "lis_user_part_ci_low": user - 0.0004,
        "lis_user_part_ci_high": user + 0.0004,
        "lis_item_part": item,
        "lis_item_part_ci_low": item - 0.0003,
        "lis_item_part_ci_high": item + 0.0003,
        "lis_several_rows": lis,
        "several_rows_share": 0.81,
    }


def over_dates(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All dates together, of scope both on all impressions, with the parts of the naive score beside the honest."""
    values: dict[tuple[str, int], list[float]] = {}
    for row in rows:
        if (row["protocol"], row["swap_scope"], row["stratum"]) == ("swap", "both", "all") and row["horizon_days"] > 0:
            values.setdefault((row["variant"], row["horizon_days"]), []).append(row["lis"])
    means = {key: fsum(map(mul, SHARES_OF_PAIRS, found)) for key, found in values.items() if len(found) == len(DATES)}
    pooled = []
    for (variant, horizon), lis in means.items():
        if variant not in ERRORS:
            continue
        parts: dict[str, float] = {}
        if variant == "honest":
            naive, below = means["naive", horizon], lis if horizon == 1 else means["skip_own_t", horizon]
            parts["evaluated_labels"] = naive - below
            if horizon > 1:
                parts["later_events"] = below - lis
                parts["first_day_share"] = means["honest", 1] / lis
        for name, value in list(parts.items()):
            half = 0.1 if name == "first_day_share" else 0.0002
            parts |= {f"{name}_ci_low": value - half, f"{name}_ci_high": value + half}
        pooled.append(plausible_row(variant, None, horizon, lis, ERRORS[variant], **parts))
    return pooled


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
    return [*rows, *over_dates(rows)]


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


class Reader(HTMLParser):
    """Collects text, first headings, what stands beside them, tags and attributes; unbalanced tags are an error."""

    VOID = frozenset({"meta", "br", "link", "img", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.headings: list[str] = []
        self.beside: list[str] = []
        self.is_beside = False

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
        if ("class", "beside") in attrs:
            self.beside.append("")
            self.is_beside = True

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        if tag == "tr" and self.stack[-1] == "td":
            self.stack.pop()
        assert self.stack.pop() == tag
        self.is_beside = self.is_beside and tag != "p"

    def handle_data(self, data: str) -> None:
        if "style" in self.stack:
            return
        self.text += data
        if "h1" in self.stack:
            self.headings[-1] += data
        if self.is_beside:
            self.beside[-1] += data


def printed(show: Callable[[Console], None], width: int = 120) -> str:
    """What a terminal shows, without colours."""
    screen = io.StringIO()
    show(Console(width=width, file=screen, color_system=None))
    return screen.getvalue()


def read(rows: list[dict[str, Any]], context: ReportContext, folder: Path) -> Reader:
    """The page ``folder/report.html`` of the rows, as it is read."""
    reader = Reader()
    reader.feed(write_report(rows, context, folder / "report.html").read_text(encoding="utf-8"))
    reader.close()
    assert reader.stack == []
    reader.text = reader.text.replace("\N{NO-BREAK SPACE}", " ")
    for told in (reader.headings, reader.beside):
        told[:] = [text.replace("\N{NO-BREAK SPACE}", " ") for text in told]
    return reader


LEAK_SCORES = (
    *("lis_naive", "lis_gauc", "lis_content", "lis_row_shuffled"),
    *("lis_within_user", "lis_user_part", "lis_item_part"),
)


def a_leak(name: str, honest: float | None, verdict: str, tied: tuple[str, ...] = (), **values: Any) -> dict[str, Any]:
    """A row of leak_comparison."""
    low, high = (None, None) if honest is None else (honest - 0.002, honest + 0.002)
    row: dict[str, Any] = {
        "leak": name, "kind": "sql", "is_noise": False, "horizon_days": 3, "decided_by": "honest", "verdict": verdict,
        "reason": f"the honest LIS is {honest}", "lis_honest": honest, "lis_honest_ci_low": low,
        "lis_honest_ci_high": high, "lis_shrunken": honest, "rank_lowest": 1, "rank_highest": 2,
        "tied_with": list(tied), "misleading": [], "coverage": 1.0, "own_label_share": None, "first_day_share": None,
        "p_holm": 0.0123, "folds": 5, "lis_within_request": None,
        "within_pair_share": 0.04, "within_pair_share_ci_low": 0.03, "within_pair_share_ci_high": 0.05,
        "leak_rows": 1000, "leak_bytes": 2_500_000, "leak_seconds": 12.4,
    }  # fmt: skip
    for score in LEAK_SCORES:
        row |= {score: 0.0123, f"{score}_ci_low": 0.01, f"{score}_ci_high": 0.0146}
    return row | values
