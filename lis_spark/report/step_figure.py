"""The nested ladder as one drawing: each step is a bar that begins where the one below ends, with its interval."""

from __future__ import annotations

from markupsafe import Markup, escape

from lis_spark.report.figures import axis_ticks, svg_line, svg_panel, svg_text, tick_text
from lis_spark.report.format import interval, signed
from lis_spark.report.ladder_table import LadderView

WIDTH, LEFT, RIGHT, TOP, ROW, BAR = 360, 16, 56, 40, 44, 14
# What a reader does about a step; one class of the style sheet each.
STYLES = ("shuffled", "honest", "naive_matched", "threshold", "naive")


def draw_ladder(view: LadderView, identifier: str) -> Markup:
    """One panel; ``identifier`` is unique in the page."""
    steps = [(rung.meaning.partition(":")[0], rung.step) for rung in view.rungs]
    ends = [float(rung.over_noise["lis"]) for rung in view.rungs]
    starts = [0.0, *ends[:-1]]
    reach = [0.0, *ends]
    for start, (_, row) in zip(starts, steps, strict=True):
        reach += [start + row["ci_low"], start + row["ci_high"]]
    low = min(reach)
    high = max(*reach, low + 1e-4)  # where all steps are exactly 0 there is an axis all the same
    span = high - low
    bottom = TOP + ROW * len(steps)

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
    for number, (start, end, (said, row), style) in enumerate(zip(starts, ends, steps, STYLES, strict=True)):
        y = TOP + ROW * number + 20
        left, right = sorted((x(start), x(end)))
        told = f"{said}: {signed(row['lis'])} (95 % CI {interval(row['ci_low'], row['ci_high'])})"
        parts.append(svg_text(LEFT, y - 6, said, "tick"))
        parts.append(
            f'<rect class="step {style}" x="{left:.1f}" y="{y:.1f}" width="{max(right - left, 1):.1f}" height="{BAR}">'
            f"<title>{escape(told)}</title></rect>"
        )
        middle = y + BAR / 2
        parts.append(svg_line(x(start + row["ci_low"]), middle, x(start + row["ci_high"]), middle, "axis"))
        parts.append(svg_text(WIDTH - 2, y + BAR - 3, signed(row["lis"]), "end"))
    described = "; ".join(
        f"{said} {signed(row['lis'])} (95 % CI {interval(row['ci_low'], row['ci_high'])})" for said, row in steps
    )
    title = f"The ladder of {view.date}, {view.items}"
    return svg_panel(WIDTH, bottom + 20, identifier, title, described, parts)
