"""Numbers as the report prints them: signed AUC differences to four places, intervals beside them, never alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lis_spark.lis.results.decision import CONFLICTING, HARMFUL, NOT_SHOWN, POSITIVE

MISSING = "–"


def signed(value: float | None, places: int = 4) -> str:
    """An AUC difference with its sign and a typographic minus; ``0`` is exact, ``0.0000`` is what rounds to it."""
    if value is None:
        return MISSING
    if value == 0:
        return "0"
    text = f"{value:+.{places}f}"
    return text.replace("-", "−") if text.strip("+-0.") else text[1:]


def plain(value: float | None, places: int = 4) -> str:
    """A number without a plus sign."""
    return MISSING if value is None else signed(value, places).removeprefix("+") if value else f"{0:.{places}f}"


def ascii_text(text: str) -> str:
    """A typographic minus cannot be pasted into a calculator, and some terminals lack the dash."""
    return text.replace("−", "-").replace("–", "-").replace("\u202f", " ").replace("\u00a0", " ")


def percent(value: float | None) -> str:
    """A share as a whole percentage, with as many decimals as keep it from 0 or 100 where it is neither."""
    if value is None:
        return MISSING
    whole, places = f"{100 * value:.0f}", 0
    while 0 < value < 1 and float(whole) in (0.0, 100.0) and places < 4:
        places += 1
        whole = f"{100 * value:.{places}f}"
    return whole.replace("-", "−") + " %"


def count(value: Any) -> str:
    """An integer with thousands separated."""
    return MISSING if value is None else f"{int(value):,}"


def digits(value: float) -> str:
    """Five digits that count, or all before the point, thousands separated."""
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:,.5g}"


def interval(low: float | None, high: float | None, places: int = 4) -> str:
    """The bounds of a confidence interval, low first."""
    if low is None or high is None:
        return "no interval"
    return f"{signed(low, places)} to {signed(high, places)}"


def short_interval(low: float | None, high: float | None) -> str:
    """The bounds as a table cell has room for them: only a minus is written."""
    return "no interval" if low is None or high is None else f"{plain(low)} to {plain(high)}"


def confidence(low: float | None, high: float | None) -> str:
    """``95 % CI`` with its bounds, or that there is no interval."""
    found = interval(low, high)
    return found if low is None or high is None else f"95 % CI {found}"


def with_interval(value: float | None, low: float | None, high: float | None) -> str:
    """A figure and its 95 % interval in one phrase."""
    return f"{signed(value)} ({confidence(low, high)})"


def column_with_interval(row: Mapping[str, Any], name: str) -> str:
    """A column of a row and its 95 % interval, whose columns are ``NAME_ci_low`` and ``NAME_ci_high``."""
    return with_interval(row.get(name), row.get(f"{name}_ci_low"), row.get(f"{name}_ci_high"))


def share_with_interval(value: float | None, low: float | None, high: float | None) -> str:
    """A share and its 95 % interval in one phrase."""
    bounds = "no interval" if low is None or high is None else f"95 % CI {percent(low)} to {percent(high)}"
    return f"{percent(value)} ({bounds})"


def data_size(count: int) -> str:
    """Bytes as people say them."""
    value, units = float(count), ["B", "kB", "MB", "GB", "TB", "PB"]
    while value >= 1000 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.0f} {units[0]}"


def seconds(value: float) -> str:
    """A duration as people say it."""
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s"


def lift(value: float | None) -> str:
    """A relative change as a percentage with its sign, to three digits that count and at least two decimals."""
    if value is None:
        return MISSING
    percentage = 100.0 * value
    places = 2 if abs(percentage) >= 0.1 or percentage == 0 else 4
    return f"{percentage:+.{places}f}".replace("-", "−") + " %"


def lifts(low: float | None, high: float | None) -> str:
    """The bounds of a relative change, low first."""
    return "no interval" if low is None or high is None else f"{lift(low)[:-2]} to {lift(high)}"


def p_value(value: float) -> str:
    """Four places, and no 0 where there is none."""
    return f"{value:.4f}".removeprefix("0") if value >= 0.00005 else "<.0001"


def half_interval(row: Mapping[str, Any], name: str, bounds: str | None = None) -> str:
    """``+0.0024±0.0009`` for the terminal: a score and half of its 95 % interval, which is what ± means everywhere.

    Args:
        row: with the columns.
        name: of the score.
        bounds: the columns of the interval begin with it; ``name`` and ``_ci`` where absent.
    """
    value = row.get(name)
    if value is None:
        return "-"
    low, high = (row.get(f"{bounds or name + '_ci'}_{side}") for side in ("low", "high"))
    text = ascii_text(signed(value))
    return text if low is None or high is None else f"{text}±{(high - low) / 2:.4f}"


def verdict_style(verdict: str) -> str:
    """How a verdict is printed; a naive one is no reason to be glad."""
    name = verdict.removesuffix(" (naive)")
    if name in POSITIVE:
        return "bold green" if name == verdict else "yellow"
    if name == HARMFUL:
        return "bold red"
    return "yellow" if name in (NOT_SHOWN, CONFLICTING) else ""
