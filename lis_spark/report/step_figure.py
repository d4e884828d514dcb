"""The nested ladder as one drawing: each step is a bar that begins where the one below ends, with its interval.

What is lost in use begins where the aligned rung ends: it is no rung, but what a stronger port makes more of that one.
"""

from __future__ import annotations

from typing import NamedTuple

from markupsafe import Markup, escape

from lis_spark.lis.plan.ladder import ALIGNED, RUNGS
from lis_spark.report.figures import axis_ticks, svg_line, svg_panel, svg_text, tick_text
from lis_spark.report.format import signed, with_interval
from lis_spark.report.ladder_table import LadderView
from lis_spark.report.measurements import Row

WIDTH, LEFT, RIGHT, TOP, ROW, BAR = 360, 16, 56, 40, 44, 14
# What a reader does about a step; one class of the style sheet each.
STYLES = ("shuffled", "honest", "naive_matched", "threshold", "naive")
LOST_IN_USE = ("lost in use, of what is reached", "lost")


class _Bar(NamedTuple):
    """From where to where on the axis of AUC, and the row of lis_results that it shows."""

    said: str
    start: float
    end: float
    row: Row
    style: str


def _bars(view: LadderView) -> list[_Bar]:
    ends = [float(rung.over_noise["lis"]) for rung in view.rungs]
    steps = zip(view.rungs, [0.0, *ends[:-1]], ends, STYLES, strict=True)
    bars = [_Bar(rung.meaning.partition(":")[0], start, end, rung.step, style) for rung, start, end, style in steps]
    lost = view.lost_in_use
    if lost is not None:
        reached = ends[RUNGS.index(ALIGNED)]
        bars.append(_Bar(LOST_IN_USE[0], reached, reached + lost["lis"], lost, LOST_IN_USE[1]))
    return bars


def draw_ladder(view: LadderView, identifier: str) -> Markup:
    """One panel; ``identifier`` is unique in the page."""
    bars = _bars(view)
    reach = [0.0, *(bar.end for bar in bars)]
    for bar in bars:
        reach += [bar.start + bar.row[side] for side in ("ci_low", "ci_high") if bar.row[side] is not None]
    low = min(reach)
    high = max(*reach, low + 1e-4)  # where all steps are exactly 0 there is an axis all the same
    span = high - low
    bottom = TOP + ROW * len(bars)

    def x(value: float) -> float:
        return LEFT + (value - low) / span * (WIDTH - LEFT - RIGHT)

    parts = [
        svg_text(LEFT, 16, view.items, "panel-title"),
        svg_text(LEFT, 31, f"AUC over noise, T = {view.date}", "tick"),
    ]
    ticks = axis_ticks(low, high)
    for tick in ticks:
        parts.append(svg_line(x(tick), TOP, x(tick), bottom, "zero" if tick == 0 else "grid"))
        parts.append(svg_text(x(tick), bottom + 14, tick_text(tick, ticks), "tick middle"))
    for number, (said, start, end, row, style) in enumerate(bars):
        y = TOP + ROW * number + 20
        left, right = sorted((x(start), x(end)))
        told = f"{said}: {_scored(row)}"
        parts.append(svg_text(LEFT, y - 6, said, "tick"))
        parts.append(
            f'<rect class="step {style}" x="{left:.1f}" y="{y:.1f}" width="{max(right - left, 1):.1f}" height="{BAR}">'
            f"<title>{escape(told)}</title></rect>"
        )
        middle = y + BAR / 2
        if row["ci_low"] is not None and row["ci_high"] is not None:
            parts.append(svg_line(x(start + row["ci_low"]), middle, x(start + row["ci_high"]), middle, "axis"))
        parts.append(svg_text(WIDTH - 2, y + BAR - 3, signed(row["lis"]), "end"))
    described = "; ".join(f"{bar.said} {_scored(bar.row)}" for bar in bars)
    title = f"The ladder of {view.date}, {view.items}"
    return svg_panel(WIDTH, bottom + 20, identifier, title, described, parts)


def _scored(row: Row) -> str:
    return with_interval(row["lis"], row["ci_low"], row["ci_high"])
