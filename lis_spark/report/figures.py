"""The curves as inline SVG: LIS(n) by evaluated date, LIS by stratum; bands for intervals, labels at the lines' ends.

Colours and dashes are classes of the page's style sheet, so that one drawing serves the light and the dark scheme.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from lis_spark.report.format import confidence, interval, plain, signed

WIDTH, HEIGHT = 360, 270
LEFT, RIGHT, TOP, BOTTOM = 50, 72, 44, 36
LABEL_GAP = 14.0


@dataclass(frozen=True)
class Point:
    """One score with its interval. ``place`` is the horizon in days, or the number of the stratum."""

    place: int
    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Series:
    """One variant's curve. ``style`` is a CSS class; the bounds of ``is_of_several`` are the outermost of several."""

    style: str
    label: str
    points: tuple[Point, ...]
    is_of_several: bool = False

    def bounds(self, point: Point) -> str:
        """What the bounds of a point are, in words."""
        found = interval(point.low, point.high)
        return f"bounds of all {found}" if self.is_of_several else confidence(point.low, point.high)


@dataclass(frozen=True)
class Panel:
    """One drawing. ``place_names`` are the strata in order; without them the places are horizons."""

    title: str
    subtitle: str
    series: tuple[Series, ...]
    place_names: tuple[str, ...] = ()


def draw_panels(panels: Sequence[Panel], threshold: float | None, identifier: str) -> list[Markup]:
    """Draws the panels on a common vertical axis.

    Args:
        panels: at least one series with at least one point each, or the panel says that there is nothing.
        threshold: absolute AUC gain that counts, drawn as a line; None where it does not apply.
        identifier: prefix of the element ids, unique in the page.
    """
    points = [point for panel in panels for series in panel.series for point in series.points]
    if not points:
        return []
    values = [0.0, threshold or 0.0, *(p.value for p in points)]
    values += [bound for p in points for bound in (p.low, p.high) if bound is not None]
    margin = 0.04 * (max(values) - min(values)) or 0.001
    domain = (min(values) - margin, max(values) + margin)
    ticks = axis_ticks(*domain)
    horizons = sorted({0, *(p.place for p in points)})
    return [
        _Canvas(
            panel,
            domain,
            ticks,
            list(range(len(panel.place_names))) or horizons,
            threshold,
            f"{identifier}-{number}",
        ).draw()
        for number, panel in enumerate(panels)
    ]


@dataclass(frozen=True)
class _Canvas:
    panel: Panel
    domain: tuple[float, float]
    ticks: list[float]
    places: list[int]
    threshold: float | None
    identifier: str

    def x(self, place: float) -> float:
        first, last = self.places[0], self.places[-1]
        return LEFT + (place - first) / max(last - first, 1) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        low, high = self.domain
        return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    def draw(self) -> Markup:
        parts = [*self._frame(), *self._bands(), *self._lines(), *self._labels()]
        title = f"LIS, {self.panel.title}"
        return svg_panel(WIDTH, HEIGHT, self.identifier, title, self._description(), parts)

    def _description(self) -> str:
        lines = []
        for series in self.panel.series:
            said = ", ".join(f"{signed(p.value)} at {self._place(p)} ({series.bounds(p)})" for p in series.points)
            lines.append(f"{series.label}: {said}.")
        if self.threshold is not None:
            lines.append(f"The threshold is {plain(self.threshold)}.")
        return " ".join(lines)

    def _place(self, point: Point) -> str:
        names = self.panel.place_names
        return names[point.place] if names else f"n = {point.place}"

    def _frame(self) -> list[str]:
        right = WIDTH - RIGHT
        parts = [
            svg_text(LEFT - 42, 16, self.panel.title, "panel-title"),
            svg_text(LEFT - 42, 31, self.panel.subtitle, "tick"),
        ]
        step = self.ticks[1] - self.ticks[0]
        for tick in self.ticks:
            style = "zero" if abs(tick) < step / 1e6 else "grid"
            parts.append(svg_line(LEFT, self.y(tick), right, self.y(tick), style))
            parts.append(svg_text(LEFT - 6, self.y(tick) + 4, tick_text(tick, self.ticks), "tick end"))
        if self.threshold is not None:
            parts.append(svg_line(LEFT, self.y(self.threshold), right, self.y(self.threshold), "threshold"))
        names = self.panel.place_names
        free_from = -math.inf
        for place in self.places:
            x, name = self.x(place), names[place] if names else str(place)
            parts.append(svg_line(x, HEIGHT - BOTTOM, x, HEIGHT - BOTTOM + 4, "axis"))
            # Names that would touch the one before are left out; their ticks stay.
            half = 3.6 * len(name) + 2
            if x - half >= free_from:
                parts.append(svg_text(x, HEIGHT - BOTTOM + 16, name, "tick middle"))
                free_from = x + half
        if not names:
            parts.append(svg_text((LEFT + right) / 2, HEIGHT - 4, "n, days of future", "tick middle"))
        return parts

    def _bands(self) -> list[str]:
        parts = []
        for series in self.panel.series:
            known = [p for p in series.points if p.low is not None and p.high is not None]
            if len(known) > 1:
                upper = [(self.x(p.place), self.y(p.high)) for p in known]  # type: ignore[arg-type]
                lower = [(self.x(p.place), self.y(p.low)) for p in reversed(known)]  # type: ignore[arg-type]
                parts.append(f'<polygon class="band {series.style}" points="{_path(upper + lower)}"/>')
            for p in known:
                # Whiskers as well: a band alone suggests scores at horizons that nobody measured.
                x = self.x(p.place)
                parts.append(svg_line(x, self.y(p.low), x, self.y(p.high), f"whisker {series.style}"))  # type: ignore[arg-type]
        return parts

    def _lines(self) -> list[str]:
        parts = []
        for series in self.panel.series:
            places = [(self.x(p.place), self.y(p.value)) for p in series.points]
            parts.append(f'<polyline class="curve-line {series.style}" points="{_path(places)}"/>')
            for point, (x, y) in zip(series.points, places, strict=True):
                said = f"{series.label}, {self._place(point)}: {signed(point.value)} ({series.bounds(point)})"
                parts.append(
                    f'<circle class="dot {series.style}" cx="{x:.1f}" cy="{y:.1f}" r="3.2">'
                    f"<title>{escape(said)}</title></circle>"
                )
        return parts

    def _labels(self) -> list[str]:
        right = WIDTH - RIGHT
        wanted: list[tuple[float, float, str, str]] = []
        if self.threshold is not None:
            wanted.append((self.y(self.threshold), right, "threshold", "threshold-label"))
        for series in self.panel.series:
            last = series.points[-1]
            wanted.append((self.y(last.value), self.x(last.place), series.label, f"end-label {series.style}"))
        wanted.sort(key=lambda label: label[0])
        heights = spread([label[0] for label in wanted], LABEL_GAP, TOP, HEIGHT - BOTTOM + 4)
        parts = []
        for (target, start, text, style), height in zip(wanted, heights, strict=True):
            if abs(height - target) > 3 or start < right - 1:
                parts.append(svg_line(start + 4, target, right + 8, height, "leader"))
            parts.append(svg_text(right + 10, height + 4, text, style))
        return parts


def spread(targets: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Moves ascending positions apart to at least ``gap``, as little as possible, inside [low, high].

    Pushes down from the first, then up from the last where that left the frame.
    """
    places = list(targets)
    for i in range(len(places)):
        floor = low if i == 0 else places[i - 1] + gap
        places[i] = max(places[i], floor)
    for i in reversed(range(len(places))):
        ceiling = high if i == len(places) - 1 else places[i + 1] - gap
        places[i] = min(places[i], ceiling)
    return places


def axis_ticks(low: float, high: float) -> list[float]:
    """The multiples of a round step inside [low, high], three to seven of them; low < high, and 0 is inside."""
    magnitude = 10.0 ** math.floor(math.log10((high - low) / 5))
    step = next(m * magnitude for m in (1, 2, 5, 10) if (high - low) / (m * magnitude) <= 6)
    return [i * step for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def tick_text(tick: float, ticks: Sequence[float]) -> str:
    """A tick with as many places as its neighbours differ in."""
    step = ticks[1] - ticks[0]
    places = max(0, -math.floor(math.log10(step) + 1e-9))
    return plain(0.0 if abs(tick) < step / 1e6 else tick, places)


def _path(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)


def svg_panel(
    width: float, height: float, identifier: str, title: str, description: str, parts: Sequence[str]
) -> Markup:
    """A drawing with a title and a description for those who hear the page; ``identifier`` is unique in it."""
    head = (
        f'<svg viewBox="0 0 {width} {height}" role="img" class="curve" aria-labelledby="{identifier}-t {identifier}-d">'
        f'<title id="{identifier}-t">{escape(title)}</title><desc id="{identifier}-d">{escape(description)}</desc>'
    )
    return Markup(head + "".join(parts) + "</svg>")


def svg_line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    """An SVG line; ``style`` is a CSS class."""
    return f'<line class="{style}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def svg_text(x: float, y: float, said: str, style: str) -> str:
    """SVG text; ``style`` is a CSS class."""
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}">{escape(said)}</text>'
