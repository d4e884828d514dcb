"""What the naive score is made of, a bar a horizon: evaluated labels, later events, everybody else (method 1.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup, escape

from lis_spark.report.figures import axis_ticks, svg_line, svg_panel, svg_text, tick_text
from lis_spark.report.format import signed, with_interval
from lis_spark.report.measurements import Row, Subject

WIDTH, LEFT, RIGHT, TOP, ROW, BAR = 360, 60, 60, 44, 34, 16
AXIS, LEGEND = 30, 16
# Column of the part, style class of the page, and what it is.
PARTS = (
    ("lis", "honest", "what other users do from day T on"),
    ("later_events", "naive_matched", "later events of the users that are scored"),
    ("evaluated_labels", "naive", "the labels that are scored, memorised"),
)


class _Part(NamedTuple):
    """A piece of a bar: from where to where on the axis of AUC."""

    start: float
    end: float
    style: str
    told: str


def parts_of(row: Row) -> list[tuple[str, str, float, str]]:
    """(style, name, value, value with its interval) of the parts that a row has."""
    found = []
    for column, style, name in PARTS:
        value = row.get(column)
        if value is None:
            continue
        bounds = "ci" if column == "lis" else f"{column}_ci"
        text = with_interval(value, row.get(f"{bounds}_low"), row.get(f"{bounds}_high"))
        found.append((style, name, float(value), text))
    return found


def draw_parts(subject: Subject, identifier: str) -> Markup | None:
    """One panel with a bar for each horizon, all dates together; None where the parts are not known.

    Each part begins where the one before ends, and the end of the last is the naive score. Where some are above 0 and
    some below they lie below one another, for they would hide each other.

    Args:
        subject: whose naive score it is.
        identifier: unique in the page.
    """
    rows = [(n, subject.over_dates("honest", n)) for n in subject.horizons]
    bars = [(n, _stacked(row)) for n, row in rows if row is not None and row.get("evaluated_labels") is not None]
    if not bars:
        return None
    dates = f"{len(subject.dates)} dates together" if len(subject.dates) > 1 else f"T = {subject.dates[0]}"
    bottom = TOP + ROW * len(bars)
    drawn = [
        svg_text(16, 16, "What the naive score is made of", "panel-title"),
        svg_text(16, 31, f"AUC, {dates}; at the right the naive score", "tick"),
        *_drawn(bars, bottom),
        *_legend({part.style for _, parts in bars for part in parts}, bottom + AXIS),
    ]
    told = "; ".join(
        f"n = {n}: {', '.join(part.told for part in parts)}, together {signed(parts[-1].end)}" for n, parts in bars
    )
    height = bottom + AXIS + LEGEND * len(PARTS)
    return svg_panel(WIDTH, height, identifier, "What the naive score is made of", told, drawn)


def _drawn(bars: Sequence[tuple[int, list[_Part]]], bottom: float) -> list[str]:
    """Grid and bars."""
    ends = [0.0, *(part.end for _, parts in bars for part in parts)]
    low, high = min(ends), max(max(ends), min(ends) + 1e-4)

    def x(value: float) -> float:
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    drawn = []
    ticks = axis_ticks(low, high)
    for tick in ticks:
        drawn.append(svg_line(x(tick), TOP, x(tick), bottom, "zero" if tick == 0 else "grid"))
        drawn.append(svg_text(x(tick), bottom + 14, tick_text(tick, ticks), "tick middle"))
    for number, (horizon, parts) in enumerate(bars):
        y = TOP + ROW * number + 9
        drawn.append(svg_text(16, y + 12, f"n = {horizon}", "tick"))
        is_mixed = any(part.end < part.start for part in parts) and any(part.end > part.start for part in parts)
        height = BAR / len(parts) if is_mixed else BAR
        for place, part in enumerate(parts):
            left, right = sorted((x(part.start), x(part.end)))
            drawn.append(
                f'<rect class="step {part.style}" x="{left:.1f}" y="{y + place * height if is_mixed else y:.1f}" '
                f'width="{max(right - left, 0.5):.1f}" height="{height:.1f}"><title>{escape(part.told)}</title></rect>'
            )
        drawn.append(svg_text(WIDTH - 2, y + 12, signed(parts[-1].end), "end"))
    return drawn


def _legend(styles: set[str], top: float) -> list[str]:
    """What each colour is, of those that are drawn."""
    drawn = []
    shown = [(style, name) for _, style, name in PARTS if style in styles]
    for number, (style, name) in enumerate(shown):
        y = top + LEGEND * number
        drawn.append(f'<circle class="dot {style}" cx="22" cy="{y - 4:.1f}" r="5"/>')
        drawn.append(svg_text(32, y, name, "tick"))
    return drawn


def _stacked(row: Row) -> list[_Part]:
    parts, start = [], 0.0
    for style, name, value, text in parts_of(row):
        parts.append(_Part(start, start + value, style, f"{name} {text}"))
        start += value
    return parts
