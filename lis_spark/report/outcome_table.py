"""LIS against AIS for a reader: did the score of the data tell beforehand what an encoder gets from it (method 1.8)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lis_spark.inference.students_t import critical_value
from lis_spark.lis.results.agreement import CONCORDANCE, FEWEST_PAIRS, PEARSON, SPEARMAN, WITHOUT_NOISE
from lis_spark.report.figures import axis_ticks, svg_line, svg_panel, svg_text, tick_text
from lis_spark.report.format import MISSING, ascii_text, half_interval, percent, signed

SCORES = {"lis": "LIS, honest", "lis_unseen": "LIS on unseen items", "lis_content": "LIS of what content predicts"}
MEASURES = {
    CONCORDANCE: "pairs in the same order",
    WITHOUT_NOISE: "the same, without noise sets",
    SPEARMAN: "Spearman",
    PEARSON: "Pearson",
}
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 360, 300, 50, 14, 44, 36
LABEL_WIDTH, LABEL_GAP = 80.0, 11.0


@dataclass(frozen=True)
class OutcomeView:
    """``outcomes``: of each data set its scores with standard errors; ``agreement``: rows of :class:`Told`."""

    outcomes: Sequence[Mapping[str, Any]]
    agreement: Sequence[Mapping[str, Any]]

    @property
    def scores(self) -> list[str]:
        """The predictions that there are."""
        return [name for name in SCORES if name in self.outcomes[0]]

    def told(self, measure: str, score: str) -> Mapping[str, Any] | None:
        """One measure of agreement of a prediction."""
        return next((row for row in self.agreement if (row["measure"], row["score"]) == (measure, score)), None)

    @property
    def answers(self) -> list[str]:
        """In sentences: whether LIS ordered the pairs that AIS can tell apart, and whether content does better."""
        said = []
        for score in self.scores:
            row = self.told(CONCORDANCE, score)
            if row is None or row["value"] is None:
                pairs = row["pairs"] if row else 0
                said.append(
                    f"{SCORES[score]}: not testable; AIS tells {pairs} pairs of {len(self.outcomes)} data sets apart, "
                    f"and at least {FEWEST_PAIRS} are needed."
                )
                continue
            said.append(
                f"{SCORES[score]} put {share(row)} of the {row['pairs']} pairs of data sets that AIS tells apart into "
                "the order that AIS has."
            )
        row = self.told(PEARSON, "lis_content - lis")
        if row is not None and row["value"] is not None:
            low, high = row["ci_low"] or 0.0, row["ci_high"] or 0.0
            better = "better" if low > 0 else "worse" if high < 0 else "not shown to be better"
            said.append(
                f"What content predicts is {better} as a forecast: its correlation with AIS less that of LIS is "
                f"{correlation(row)}."
            )
        return said

    @property
    def side_by_side(self) -> list[tuple[str, bool, list[str]]]:
        """(data set, whether it is noise, each prediction and AIS with half of its interval) as text, noise last."""
        return [
            (row["leak"], row["is_noise"], [_with_error(row, score) for score in (*self.scores, "ais")])
            for row in sorted(self.outcomes, key=lambda one: bool(one["is_noise"]))
        ]

    @property
    def lines(self) -> list[tuple[str, str, list[str]]]:
        """(measure, pairs, value of each prediction and of their difference) as text."""
        columns = [*self.scores, *(["lis_content - lis"] if "lis_content" in self.scores else [])]
        found = []
        for measure, name in MEASURES.items():
            rows = [self.told(measure, column) for column in columns]
            pairs = next((str(row["pairs"]) for row in rows if row and row["pairs"] is not None), "")
            form = correlation if measure in (SPEARMAN, PEARSON) else share
            told = [form(row, "") if row and row["value"] is not None else "not testable" for row in rows]
            found.append((name, pairs, told))
        return found


def share(row: Mapping[str, Any], interval_is: str = "95 % CI ") -> str:
    """A share of pairs, or a difference of two, with its interval, and what that is."""
    value, low, high = (percent(row[name]) for name in ("value", "ci_low", "ci_high"))
    return f"{value} ({_bounds(low, high, interval_is)})"


def correlation(row: Mapping[str, Any], interval_is: str = "95 % of true scores: ") -> str:
    """A correlation, or a difference of two, with its interval, and what that is."""
    value, low, high = (signed(row[name], 2) for name in ("value", "ci_low", "ci_high"))
    return f"{value} ({_bounds(low, high, interval_is)})"


def _bounds(low: str, high: str, interval_is: str) -> str:
    return "no interval" if MISSING in (low, high) else f"{interval_is}{low} to {high}"


def print_outcomes(console: Console, view: OutcomeView | None) -> None:
    """Prints answers and tables, where several leaks have an encoder.

    Args:
        console: at least 110 columns wide.
        view: what there is.
    """
    if view is None:
        return
    for answer in view.answers:
        console.print(Text(ascii_text(answer), "bold"))
    table = Table(title="LIS against AIS: one line a data set", caption="± half of the 95 % interval")
    table.add_column("data set", no_wrap=True)
    for name in (*(SCORES[score] for score in view.scores), "AIS on unseen items"):
        table.add_column(name, justify="right")
    for leak, is_noise, scores in view.side_by_side:
        table.add_row(Text(f"{leak} (noise)" if is_noise else leak), *scores)
    console.print(table)
    table = Table(
        title="Did it tell beforehand?",
        caption="of measured scores, and in brackets 95 % of what that of the true scores may be",
    )
    table.add_column("measure", no_wrap=True)
    table.add_column("pairs", justify="right")
    difference = ["content less honest"] if "lis_content" in view.scores else []
    for name in (*(SCORES[score] for score in view.scores), *difference):
        table.add_column(name, justify="right")
    for measure, pairs, told in view.lines:
        table.add_row(measure, pairs, *map(ascii_text, told))
    console.print(table)


def _with_error(row: Mapping[str, Any], score: str) -> str:
    low, high = _ends(row, score) if row[f"{score}_standard_error"] is not None else (None, None)
    return half_interval({"value": row[score], "ci_low": low, "ci_high": high}, "value", "ci")


def draw_outcomes(view: OutcomeView) -> list[Markup]:
    """A panel for each prediction: AIS over it, a cross of intervals for each data set."""
    return [_panel(view, score, f"outcomes-{number}") for number, score in enumerate(view.scores)]


def _panel(view: OutcomeView, score: str, identifier: str) -> Markup:
    crosses = [
        (row["leak"], row["is_noise"], row[score], row["ais"], *_ends(row, score), *_ends(row, "ais"))
        for row in view.outcomes
    ]
    across = _span([0.0, *(value for cross in crosses for value in cross[4:6])])
    upward = _span([0.0, *(value for cross in crosses for value in cross[6:8])])
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT

    def x(value: float) -> float:
        return LEFT + (value - across[0]) / (across[1] - across[0]) * (right - LEFT)

    def y(value: float) -> float:
        return bottom - (value - upward[0]) / (upward[1] - upward[0]) * (bottom - TOP)

    parts = [
        svg_text(LEFT - 42, 16, "AIS", "panel-title"),
        svg_text(LEFT - 42, 31, "on items unseen in alignment", "tick"),
        svg_text((LEFT + right) / 2, HEIGHT - 4, SCORES[score], "tick middle"),
    ]
    ticks = axis_ticks(*upward)
    for tick in ticks:
        parts.append(svg_line(LEFT, y(tick), right, y(tick), "zero" if tick == 0 else "grid"))
        parts.append(svg_text(LEFT - 6, y(tick) + 4, tick_text(tick, ticks), "tick end"))
    ticks = axis_ticks(*across)
    for tick in ticks:
        parts.append(svg_line(x(tick), TOP, x(tick), bottom, "zero" if tick == 0 else "grid"))
        parts.append(svg_text(x(tick), bottom + 16, tick_text(tick, ticks), "tick middle"))
    told: list[str] = []
    labels: list[tuple[float, float]] = []
    for name, is_noise, at, ais, left, far, low, high in crosses:
        style = "label_shuffled" if is_noise else "honest"
        said = f"{name}: {SCORES[score]} {signed(at)}, AIS {signed(ais)}"
        told.append(said)
        parts.append(svg_line(x(left), y(ais), x(far), y(ais), f"whisker {style}"))
        parts.append(svg_line(x(at), y(low), x(at), y(high), f"whisker {style}"))
        parts.append(
            f'<circle class="dot {style}" cx="{x(at):.1f}" cy="{y(ais):.1f}" r="3.6">'
            f"<title>{escape(said)}</title></circle>"
        )
        height = free_height(x(at), y(ais) - 5, labels)
        labels.append((x(at), height))
        end = x(at) > (LEFT + right) / 2
        parts.append(svg_text(x(at) + (-6 if end else 6), height, name, "tick end" if end else "tick"))
    return svg_panel(WIDTH, HEIGHT, identifier, f"AIS over {SCORES[score]}", "; ".join(told), parts)


def free_height(x: float, y: float, labels: Sequence[tuple[float, float]]) -> float:
    """The next height from y on, by turns above and below, where no label within reach of x stands."""
    near = [height for place, height in labels if abs(place - x) < LABEL_WIDTH]
    for step in range(2 * len(near) + 1):
        height = y + (step + 1) // 2 * LABEL_GAP * (-1 if step % 2 else 1)
        if all(abs(height - other) >= LABEL_GAP for other in near):
            return height
    return y


def _ends(row: Mapping[str, Any], score: str) -> tuple[float, float]:
    return _around(row[score], row[f"{score}_standard_error"], row.get(f"{score}_degrees_of_freedom", math.inf))


def _span(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    margin = 0.05 * (high - low) or 0.001
    return low - margin, high + margin


def _around(value: float, error: float | None, degrees: float) -> tuple[float, float]:
    """The 95 % interval of one score by Student's t; the score itself where there is no error."""
    half = critical_value(degrees, 0.05) * (error or 0.0)
    return value - half, value + half
