"""What the report shows of one leak: answer, key figures, remarks, curves, controls, columns (method 1.2, 1.7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from markupsafe import Markup

from lis_spark.report import format as formats
from lis_spark.report.answer import WITHOUT_INFORMATION, Answer, Figure, figure, subject_answer
from lis_spark.report.context import ReportContext
from lis_spark.report.controls import ControlLine, control_horizons, control_lines
from lis_spark.report.figures import Panel, Point, Series, draw_panels
from lis_spark.report.measurements import SCOPES, VARIANT_NAMES, Row, Subject
from lis_spark.report.parts_figure import draw_parts

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
    parts: Markup | None
    by_folds: list[tuple[str | None, dict[int, Row]]]
    without_information: list[tuple[str, str]]
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
        close_up=draw_panels(_close_up(subject), context.decision_threshold, f"close-{number}"),
        parts=draw_parts(subject, f"parts-{number}"),
        by_folds=[(day, rows) for day in (*subject.dates, None) if (rows := subject.by_folds(day))],
        without_information=[
            (variant, name) for variant, name in WITHOUT_INFORMATION.items() if (subject.protocol, variant) in present
        ],
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


def _close_up(subject: Subject) -> list[Panel]:
    """The honest score of each date, and the band of the controls that move the table without information."""
    panels = []
    for panel in _panels(subject, CURVES[2:3]):
        band = _without_information(subject, panel.title)
        panels.append(replace(panel, series=(*panel.series, *([band] if band else []))))
    return panels


def _without_information(subject: Subject, day: str) -> Series | None:
    """From the lowest to the highest bound of the controls' intervals; their mean as the line."""
    points = []
    for horizon in [0, *subject.horizons]:
        found = [subject.find(variant, day, horizon) for variant in WITHOUT_INFORMATION]
        rows = [row for row in found if row is not None and row.get("lis") is not None]
        if horizon == 0:  # the table itself
            points.append(Point(0, 0.0, 0.0, 0.0))
        elif rows:
            bounds = [row[name] for row in rows for name in ("ci_low", "ci_high") if row.get(name) is not None]
            value = sum(row["lis"] for row in rows) / len(rows)
            points.append(Point(horizon, value, min(bounds, default=None), max(bounds, default=None)))
    return Series("label_shuffled", "controls", tuple(points), is_of_several=True) if len(points) > 1 else None


def _strata_panels(subject: Subject, families: dict[str, list[str]]) -> list[Panel]:
    panels = []
    horizon = subject.headline_horizon
    for family, strata in families.items():
        by_date = {day: _strata_series(subject, day, strata) for day in reversed(subject.dates)}
        day, series = next(((day, series) for day, series in by_date.items() if series), ("", ()))
        if series:
            names = tuple(stratum.partition(":")[2] or stratum for stratum in strata)
            title = STRATUM_TITLES.get(family, family)
            panels.append(Panel(title, f"LIS within the stratum at n = {horizon}, T = {day}", series, names))
    return panels


def _strata_series(subject: Subject, day: str, strata: Sequence[str]) -> tuple[Series, ...]:
    """The scores of one date within the strata; a stratum with too little to score has no point."""
    series = []
    for variant, label in CURVES[:3]:
        found = [subject.find(variant, day, subject.headline_horizon or 0, stratum=stratum) for stratum in strata]
        points = tuple(
            Point(place, row["lis"], row.get("ci_low"), row.get("ci_high"))
            for place, row in enumerate(found)
            if row is not None and row.get("lis") is not None
        )
        if points:
            series.append(Series(variant, label, points))
    return tuple(series)


def _tiles(subject: Subject, lines: Sequence[ControlLine]) -> list[dict[str, Any]]:
    def tile(name: str, found: Figure, missing: str = "not measured") -> dict[str, Any]:
        known = found.value is not None
        below = formats.confidence(found.low, found.high) if known else missing
        return {"name": name, "value": formats.signed(found.value), "below": below}

    honest = subject.headline("honest")
    attention = sum(line.attention for line in lines)
    some = "too few users have" if honest and honest.get("within_user_users") else "no user has"
    reasons = (f"{some} both classes", "too few users have two impressions") if honest else ("not measured",) * 2
    return [
        tile("Honest LIS", figure(honest)),
        tile("Within users", figure(honest, "lis_within_user", "lis_within_user_ci"), reasons[0]),
        tile("By the user alone", figure(honest, "lis_user_part", "lis_user_part_ci"), reasons[1]),
        tile("Naive LIS", figure(subject.headline("naive"))),
        *(
            tile(name[0].upper() + name[1:], figure(subject.headline(variant)))
            for variant, name in WITHOUT_INFORMATION.items()
            if subject.headline(variant) is not None
        ),
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
            counted = [f"{verdict} on {verdicts.count(verdict)}" for verdict in dict.fromkeys(verdicts)]
            by_horizon.append(f"n = {horizon} {', '.join(counted)}")
    if len(subject.dates) > 1 and by_horizon:
        remarks.append(f"Verdicts of single dates: {'; '.join(by_horizon)}.")
    honest = subject.headline("honest")
    if honest is None:
        return remarks
    if honest.get("reason"):
        remarks.append(f"Why this verdict: {honest['reason']}.")
    if honest.get("gauc_coverage") is not None and honest.get("lis_gauc_ci_low") is not None:
        found = figure(honest, "lis_gauc", "lis_gauc_ci")
        remarks.append(
            f"On GAUC, the mean AUC of the users with both classes weighed by their impressions, it is {found.text}; "
            f"GAUC covers {formats.percent(honest['gauc_coverage'])} of the impressions."
        )
    if honest.get("training_seeds") == 1 and honest.get("sigma_seed") is None:
        remarks.append(
            "One training seed: the intervals hold the sampling of users, not the randomness of training (sigma_seed)."
        )
    return remarks


def _column_name(protocol: str, variant: str) -> str:
    return "whole model" if protocol == "whole" else f"{protocol}, {VARIANT_NAMES[variant]}"
