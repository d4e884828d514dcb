"""What the report shows of one leak: answer, key figures, remarks, curves, controls, columns (method 1.2, 1.7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from markupsafe import Markup

from lis_spark.report import format as formats
from lis_spark.report.answer import Answer, Figure, mean_over_dates, own_label_range, sigma_seed, subject_answer
from lis_spark.report.context import ReportContext
from lis_spark.report.controls import ControlLine, control_horizons, control_lines
from lis_spark.report.figures import Panel, Point, Series, draw_panels
from lis_spark.report.measurements import SCOPES, VARIANT_NAMES, Subject

CURVES = (
    ("naive", "naive"),
    ("naive_matched", "matched"),
    ("honest", "honest"),
    ("label_shuffled", "shuffled"),
)
STRATUM_TITLES = {
    "update_count": "By the item's update count at T",
    "item_age": "By the item's age at T, in days",
}


@dataclass(frozen=True)
class SubjectView:
    """What the template prints about one leak."""

    subject: Subject
    answer: Answer
    tiles: list[dict[str, Any]]
    alarms: list[str]
    remarks: list[str]
    curves: list[Markup]
    close_up: list[Markup]
    controls: list[tuple[str, list[ControlLine]]]
    control_horizons: list[int]
    protocol_columns: list[tuple[str, str, str]]
    scopes: list[str]
    strata: dict[str, list[str]]
    strata_curves: list[Markup]
    strata_matched: bool
    strata_share: bool


def subject_view(subject: Subject, context: ReportContext, number: int) -> SubjectView:
    lines = control_lines(subject, context)
    within = [row for row in subject.rows if (row.get("stratum") or "all") != "all"]
    families: dict[str, list[str]] = {}
    # The update count first: it is where memorised labels show.
    for stratum in sorted(subject.strata, key=lambda name: not name.startswith("update_count:")):
        families.setdefault(stratum.partition(":")[0], []).append(stratum)
    present = {(row.get("protocol"), row.get("variant")) for row in subject.rows if (row.get("horizon_days") or 0) > 0}
    return SubjectView(
        subject=subject,
        answer=subject_answer(subject, context),
        tiles=_tiles(subject, lines),
        alarms=_alarms(subject, lines),
        remarks=_remarks(subject),
        curves=draw_panels(_panels(subject, CURVES), context.decision_threshold, f"curve-{number}"),
        close_up=draw_panels(_panels(subject, CURVES[2:]), context.decision_threshold, f"close-{number}"),
        controls=[(control, list(group)) for control, group in groupby(lines, key=lambda line: line.control)],
        control_horizons=control_horizons(lines),
        protocol_columns=[
            (protocol, variant, _column_name(protocol, variant))
            for protocol in ("swap", "swap+refit", "whole")
            for variant in ("honest", "naive", "whole")
            if (protocol, variant) in present
        ],
        scopes=[scope for scope in SCOPES if any(row.get("swap_scope") == scope for row in subject.rows)],
        strata=families,
        strata_matched=any(row.get("variant") == "naive_matched" for row in within),
        strata_share=any(row.get("own_label_share") is not None for row in within),
        strata_curves=draw_panels(_strata_panels(subject, families), None, f"strata-{number}"),
    )


def _panels(subject: Subject, curves: Sequence[tuple[str, str]]) -> list[Panel]:
    if not subject.horizons:  # n = 0 alone is a point on the axis
        return []
    panels = []
    for day in subject.dates:
        series = []
        for variant, label in curves:
            found = [subject.find(variant, day, horizon) for horizon in [0, *subject.horizons]]
            points = tuple(
                Point(row["horizon_days"], row["lis"], row.get("ci_low"), row.get("ci_high"))
                for row in found
                if row is not None and row.get("lis") is not None
            )
            if points:
                series.append(Series(variant, label, points))
        if series:
            baseline = subject.baseline(day)
            auc = baseline["auc_control"] if baseline else None
            panels.append(Panel(day, f"LIS, on a baseline AUC of {formats.plain(auc)}", tuple(series)))
    return panels


def _strata_panels(subject: Subject, families: dict[str, list[str]]) -> list[Panel]:
    panels = []
    horizon = subject.headline_horizon
    for family, strata in families.items():
        series = []
        for variant, label in CURVES[:3]:
            points = []
            for place, stratum in enumerate(strata):
                found = [subject.find(variant, day, horizon or 0, stratum=stratum) for day in subject.dates]
                scored = [row for row in found if row is not None and row.get("lis") is not None]
                figure = mean_over_dates(scored)
                if figure.value is not None:
                    points.append(Point(place, figure.value, figure.low, figure.high))
            if points:
                series.append(Series(variant, label, tuple(points)))
        if series:
            names = tuple(stratum.partition(":")[2] or stratum for stratum in strata)
            dates = f"mean over {len(subject.dates)} dates" if len(subject.dates) > 1 else subject.dates[0]
            title = STRATUM_TITLES.get(family, family)
            panels.append(Panel(title, f"LIS within the stratum at n = {horizon}, {dates}", tuple(series), names))
    return panels


def _tiles(subject: Subject, lines: Sequence[ControlLine]) -> list[dict[str, Any]]:
    def tile(name: str, figure: Figure, missing: str) -> dict[str, Any]:
        known = figure.value is not None
        below = f"95 % CI {formats.interval(figure.low, figure.high)}" if known else missing
        return {"name": name, "value": formats.signed(figure.value), "below": below}

    honest = subject.headline("honest")
    share = own_label_range(honest)
    attention = sum(line.attention for line in lines)
    return [
        tile("Honest LIS", mean_over_dates(honest), "not measured"),
        tile("Naive LIS", mean_over_dates(subject.headline("naive")), "not measured"),
        {
            "name": "Own-label share",
            "value": share,
            "below": "of the matched naive gain" if share != formats.MISSING else "matched naive interval touches 0",
        },
        tile("Shuffled labels", mean_over_dates(subject.headline("label_shuffled")), "not measured"),
        tile("Honest, on GAUC", mean_over_dates(honest, "lis_gauc", "lis_gauc_ci"), "not measured"),
        {
            "name": "Controls",
            "value": f"{len(lines) - attention} of {len(lines)}",
            "below": "as expected" if not attention else f"{attention} need attention",
        },
    ]


def _alarms(subject: Subject, lines: Sequence[ControlLine]) -> list[str]:
    """Controls that do not behave as expected, a sentence for each control and finding."""
    dates: dict[tuple[str, str], list[str]] = {}
    for line in lines:
        if line.attention:
            dates.setdefault((line.control, line.finding), []).append(line.evaluated_date)
    return [
        f"A control of the {subject.name} needs attention: {control} on {', '.join(days)} {finding}."
        for (control, finding), days in dates.items()
    ]


def _remarks(subject: Subject) -> list[str]:
    """What stands beside the answer, for and against it."""
    remarks: list[str] = []
    by_horizon = []
    for horizon in subject.horizons:
        rows = [subject.find("honest", day, horizon) for day in subject.dates]
        verdicts = [row["verdict"] for row in rows if row is not None and row.get("verdict")]
        if verdicts:
            useful = sum(verdict == "useful" for verdict in verdicts)
            by_horizon.append(f"n = {horizon} on {useful} of {len(verdicts)}")
    if len(by_horizon) > 1:
        remarks.append(f"Dates with the verdict “useful”, by horizon: {', '.join(by_horizon)}.")
    honest = subject.headline("honest")
    gauc = [row for row in honest if row.get("lis_gauc") is not None and row.get("lis_gauc_ci_low") is not None]
    unconfirmed = [row["evaluated_date"] for row in gauc if row["lis_gauc_ci_low"] <= 0 <= row["lis_gauc_ci_high"]]
    if unconfirmed:
        shares = [row["gauc_coverage"] for row in gauc if row.get("gauc_coverage") is not None]
        least = "" if len(set(shares)) < 2 else "at least "
        covered = f" (it covers {least}{formats.percent(min(shares))} of the impressions)" if shares else ""
        remarks.append(
            f"GAUC, the order within a user, does not confirm the honest score on {', '.join(unconfirmed)}: its "
            f"interval contains 0{covered}."
        )
    if honest and sigma_seed(honest) is None:
        remarks.append(
            "One training seed: the intervals hold the sampling of users, not the randomness of training (sigma_seed)."
        )
    return remarks


def _column_name(protocol: str, variant: str) -> str:
    return "whole model" if protocol == "whole" else f"{protocol}, {VARIANT_NAMES[variant]}"
