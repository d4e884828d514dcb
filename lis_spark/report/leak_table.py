"""Leaks side by side, for the terminal (method 1.8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lis_spark.report.format import ascii_text, data_size, percent, signed, with_interval

_STYLES = {"useful": "bold green", "harmful": "bold red", "not shown": "yellow"}


def print_leaks(console: Console, leaks: Sequence[Mapping[str, Any]]) -> None:
    """Prints the comparison, and below it in which ways each LIS may mislead.

    Args:
        console: at least 110 columns wide.
        leaks: rows of ``leak_comparison``, in reading order.
    """
    if not leaks:
        return
    table = Table(
        title="Leaks compared: LIS over all evaluated dates, and of what content predicts of the leak",
        caption="± half of the 95 % interval; content: the leak as content predicts it; =: not to be told from",
    )
    for name in ("", "leak", "honest", "naive", "GAUC", "content", "covers", "own", "verdict", "="):
        left = name in ("leak", "verdict", "=")
        table.add_column(name, justify="left" if left else "right", no_wrap=name not in ("verdict", "="))
    numbers = {row["leak"]: str(number) for number, row in enumerate(leaks, 1)}
    for row in leaks:
        table.add_row(
            numbers[row["leak"]],
            row["leak"],
            _with_error(row, "lis_honest"),
            _plain(row["lis_naive"]),
            _plain(row["lis_gauc"]),
            _with_error(row, "lis_content"),
            ascii_text(percent(row["coverage"])),
            ascii_text(percent(row["own_label_share"])),
            Text(row["verdict"], _STYLES.get(row["verdict"], "dim")),
            " ".join(numbers[name] for name in row["tied_with"]),
        )
    console.print(Text(ascii_text(leaks_answer(leaks)), "bold"))
    console.print(table)
    for row in leaks:
        for way in row["misleading"]:
            console.print(Text(f"{row['leak']}: {way}"))


def leaks_answer(leaks: Sequence[Mapping[str, Any]]) -> str:
    """The comparison in a sentence: which are useful, the best, and what cannot be told from it.

    The planted truth of a simulated world is a control, and no preference data.
    """
    data = [row for row in leaks if row["kind"] != "planted"]
    useful = [row for row in data if row["verdict"] == "useful"]
    if not useful:
        return f"None of {len(data)} leaks is shown to be useful."
    best = useful[0]
    score = with_interval(best["lis_honest"], best["lis_honest_ci_low"], best["lis_honest_ci_high"])
    tied = f", not to be told from {' and '.join(best['tied_with'])}" if best["tied_with"] else ""
    names = ", ".join(row["leak"] for row in useful)
    several = f"{len(useful)} are useful" if len(useful) > 1 else "one is useful"
    return f"Of {len(data)} leaks {several} ({names}); the best is {best['leak']}, {score}{tied}."


def cost(row: Mapping[str, Any]) -> str:
    """Bytes and seconds of a leak's feature rows."""
    if row["leak_bytes"] is None:
        return "-"
    return f"{data_size(row['leak_bytes'])}, {row['leak_seconds']:.0f} s"


def _with_error(row: Mapping[str, Any], name: str) -> str:
    if row[name] is None:
        return "-"
    return f"{_plain(row[name])}±{(row[f'{name}_ci_high'] - row[f'{name}_ci_low']) / 2:.4f}"


def _plain(value: float | None) -> str:
    return "-" if value is None else ascii_text(signed(value))
