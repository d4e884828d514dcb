"""Lifts as inline SVG: one line a metric with its interval, and the effect of each day."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape

from lis_spark.report.figures import axis_ticks, svg_line, svg_panel, svg_text
from lis_spark.report.format import lift, lifts

Row = Mapping[str, Any]
WIDTH, LEFT, RIGHT, TOP, LINE = 440, 104, 84, 40, 30
DAY_WIDTH, DAY_HEIGHT = 360, 190


def draw_forest(rows: Sequence[Row], plain: Mapping[str, Row], identifier: str) -> Markup:
    """One panel for an arm.

    Args:
        rows: headlines of one arm, each with a lift.
        plain: metric -> the estimate without the covariate, drawn hollow below the headline.
        identifier: unique in the page.
    """
    bounds = [0.0]
    for row in (*rows, *plain.values()):
        bounds += [row["lift_low"], row["lift_high"]]
    low, high = _widened(min(bounds), max(bounds))
    bottom = TOP + LINE * len(rows)

    def x(value: float) -> float:
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    first = rows[0]
    parts = [
        svg_text(8, 16, f"{first['arm']} over {first['control_arm']}", "panel-title"),
        svg_text(8, 31, "lift with 95 % interval; hollow: without the covariate", "tick"),
    ]
    for tick in axis_ticks(low, high):
        parts.append(svg_line(x(tick), TOP, x(tick), bottom, "zero" if abs(tick) < 1e-12 else "grid"))
        parts.append(svg_text(x(tick), bottom + 14, _percent(tick), "tick middle"))
    for number, row in enumerate(rows):
        y = TOP + LINE * number + LINE / 2
        style = {"higher": "honest", "lower": "naive"}.get(row["verdict"], "shuffled")
        parts.append(svg_text(8, y + 4, row["metric"], "end-name"))
        without = plain.get(row["metric"])
        if without is not None and row["adjusted"]:
            lower = y + 7
            parts.append(svg_line(x(without["lift_low"]), lower, x(without["lift_high"]), lower, "whisker shuffled"))
            parts.append(f'<circle class="hollow" cx="{x(without["lift"]):.1f}" cy="{lower:.1f}" r="2.6"/>')
        told = f"{row['metric']}: {lift(row['lift'])} (95 % CI {lifts(row['lift_low'], row['lift_high'])})"
        parts.append(svg_line(x(row["lift_low"]), y, x(row["lift_high"]), y, f"curve-line {style}"))
        parts.append(
            f'<circle class="dot {style}" cx="{x(row["lift"]):.1f}" cy="{y:.1f}" r="4"><title>{escape(told)}</title>'
            "</circle>"
        )
        parts.append(svg_text(WIDTH - 4, y + 4, lift(row["lift"]), f"end end-label {style}"))
    described = "; ".join(
        f"{row['metric']} {lift(row['lift'])} (95 % CI {lifts(row['lift_low'], row['lift_high'])})" for row in rows
    )
    return svg_panel(WIDTH, bottom + 22, identifier, f"Lifts of {first['arm']}", described, parts)


def draw_days(rows: Sequence[Row], identifier: str) -> Markup:
    """The difference of each day as a share of the control's mean over these days, of one metric and arm."""
    level = sum(row["value_control"] for row in rows) / len(rows)
    points = [
        (row["date"], *(row[name] / level for name in ("difference", "difference_low", "difference_high")))
        for row in rows
    ]
    low, high = _widened(min(0.0, *(point[2] for point in points)), max(0.0, *(point[3] for point in points)))
    left, top, bottom = 62, 26, DAY_HEIGHT - 24

    def y(value: float) -> float:
        return bottom - (value - low) / (high - low) * (bottom - top)

    parts = [svg_text(4, 14, rows[0]["metric"], "panel-title")]
    for tick in axis_ticks(low, high):
        parts.append(svg_line(left, y(tick), DAY_WIDTH, y(tick), "zero" if abs(tick) < 1e-12 else "grid"))
        parts.append(svg_text(left - 5, y(tick) + 4, _percent(tick), "tick end"))
    step = (DAY_WIDTH - left - 12) / max(len(points) - 1, 1)
    for number, (date, value, below, above) in enumerate(points):
        x = left + 6 + step * number
        parts.append(svg_line(x, y(below), x, y(above), "whisker honest"))
        told = f"{date}: {lift(value)} (95 % CI {lifts(below, above)})"
        dot = f'<circle class="dot honest" cx="{x:.1f}" cy="{y(value):.1f}" r="2.6">'
        parts.append(f"{dot}<title>{escape(told)}</title></circle>")
    parts.append(svg_text(left, DAY_HEIGHT - 6, str(points[0][0]), "tick"))
    parts.append(svg_text(DAY_WIDTH - 2, DAY_HEIGHT - 6, str(points[-1][0]), "tick end"))
    described = "; ".join(f"{date} {lift(value)}" for date, value, _, _ in points)
    return svg_panel(DAY_WIDTH, DAY_HEIGHT, identifier, f"Effect by day on {rows[0]['metric']}", described, parts)


def _widened(low: float, high: float) -> tuple[float, float]:
    margin = 0.04 * (high - low) or 0.001
    return low - margin, high + margin


def _percent(tick: float) -> str:
    return f"{100 * tick:.4g} %".replace("-", "−")
