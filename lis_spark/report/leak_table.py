"""Leaks side by side, for the terminal (method 1.8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lis_spark.lis.results.decision import NO_HONEST_SCORE, POSITIVE
from lis_spark.lis.results.misleading import wrong_order
from lis_spark.report.answer import ON_FIRST_DAY, first_day_share, of_pairs
from lis_spark.report.format import (
    ascii_text,
    column_with_interval,
    data_size,
    half_interval,
    signed,
    verdict_style,
    with_interval,
)
from lis_spark.report.measurements import Row


def print_leaks(console: Console, leaks: Sequence[Mapping[str, Any]], threshold: float = 0.0010) -> None:
    """Prints the comparison, and below it why each verdict, and in which ways each LIS may mislead.

    Args:
        console: at least 120 columns wide.
        leaks: rows of ``leak_comparison``, in reading order.
        threshold: absolute AUC that counts.
    """
    if not leaks:
        return
    table = Table(
        title="Leaks compared: LIS over all evaluated dates, protocol append",
        caption="± half of the 95 % interval, of naive scores over users alone"
        + "".join(f"; honest: {folds} user folds" for folds in sorted({row["folds"] for row in leaks if row["folds"]}))
        + "; ranks that the data allows; noise last",
    )
    table.add_column("leak", overflow="fold")  # folded rather than that figures are cut
    for name in ("n", "honest", "within users", "by user", "by item", "naive", "content", "ranks"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", min_width=11, overflow="fold")
    for row in leaks:
        table.add_row(
            Text(f"{row['leak']}{' (noise)' if row['is_noise'] else ''}"),
            str(row["horizon_days"]),
            half_interval(row, "lis_honest"),
            half_interval(row, "lis_within_user"),
            _plain(row["lis_user_part"]),
            _plain(row["lis_item_part"]),
            _plain(row["lis_naive"]),
            _plain(row["lis_content"]),
            ranks(row),
            Text(row["verdict"], verdict_style(row["verdict"])),
        )
    console.print(Text(ascii_text(leaks_answer(leaks)), "bold"))
    console.print(table)
    for row in leaks:
        reason = f": {row['reason']}" if row["reason"] else ""
        console.print(Text(ascii_text(f"{row['leak']}, {row['verdict']}{reason}")))
        console.print(Text(ascii_text(f"  {beside_the_verdict(row, threshold)}")))
        for way in row["misleading"]:
            console.print(Text(ascii_text(f"  {way}")))


def leaks_answer(leaks: Sequence[Mapping[str, Any]]) -> str:
    """The comparison in a sentence: which are useful, the best, and what cannot be told from it.

    The planted truth of a simulated world and noise are controls, and no preference data. The best of several is too
    large by chance, so its score is also told as shrunken towards the mean of all.
    """
    data = [row for row in leaks if row["kind"] != "planted" and not row["is_noise"]]
    judged = [row for row in data if row["verdict"] != NO_HONEST_SCORE]
    unjudged = len(data) - len(judged)
    without = f"; {unjudged} of {len(data)} have no honest score" if unjudged else ""
    place = f"as one more feature of the retrained ranker (protocol append, which decides here{without})"
    useful = [row for row in judged if row["verdict"] in POSITIVE]
    if not useful:
        return f"None of {len(judged)} leaks is shown to be useful {place}."
    best = useful[0]
    score = column_with_interval(best, "lis_honest")
    shrunken = best["lis_shrunken"]
    drawn = (
        ""
        if shrunken in (None, best["lis_honest"])
        else f", shrunken to {signed(shrunken)} as the best of {len(judged)}"
    )
    control = (
        ""
        if best["lis_row_shuffled"] is None
        else f", in the wrong order {column_with_interval(best, 'lis_row_shuffled')}"
    )
    tied = f", not told apart from {' and '.join(best['tied_with'])}" if best["tied_with"] else ""
    names = ", ".join(row["leak"] for row in useful)
    several = f"{len(useful)} are useful" if len(useful) > 1 else "one is useful"
    share = first_day_share(best)
    of_day = f"; day T itself, seen through other users, is {share} of it: {ON_FIRST_DAY}" if share else "."
    first = f"Of {len(judged)} leaks {several} ({names}) {place}"
    return f"{first}; the best is {best['leak']}, {score}{drawn}{control}{tied}{of_day}"


def beside_the_verdict(row: Mapping[str, Any], threshold: float) -> str:
    """The parts of a leak's gain, its control in the wrong order, and the share of day T, each with its interval."""
    pairs = of_pairs(row, "within_pair_share")
    names = {
        "lis_within_user": f"within users{pairs}",
        "lis_within_request": "within requests",
        "lis_user_part": "by the user alone",
        "lis_item_part": "left to the item",
        "lis_row_shuffled": "in the wrong order",
    }
    parts = [f"{said} {column_with_interval(row, name)}" for name, said in names.items() if row[name] is not None]
    if row["lis_row_shuffled"] is not None:
        parts[-1] += f": {wrong_order(row['lis_row_shuffled'], row, 'lis_row_shuffled_ci', threshold)}"
    share = first_day_share(row)
    return "; ".join([*parts, *([f"day T itself is {share} of the gain"] if share else [])])


def swapped_beside(leaks: Sequence[Mapping[str, Any]], rows: Sequence[Row]) -> list[str]:
    """What the same ID table says when it is swapped in, and why that may differ; empty where it is no leak here.

    Args:
        leaks: rows of ``leak_comparison``.
        rows: rows of ``lis_results``.
    """
    table = next((row for row in leaks if row["kind"] == "id_table"), None)
    if table is None:
        return []
    swapped = [
        row
        for row in rows
        if (row.get("protocol"), row.get("variant"), row.get("stratum")) == ("swap", "honest", "all")
        and row.get("horizon_days") == table["horizon_days"]
        and (row.get("swap_scope") or "both") == "both"
        and row.get("verdict")
    ]
    if not swapped:
        return []
    row = max(swapped, key=lambda one: one.get("evaluated_dates") or 1)
    return [
        f"The ID table of T + {table['horizon_days']} as one more feature ({table['leak']}): "
        f"{column_with_interval(table, 'lis_honest')}, "
        f"{table['verdict']}; substituted for the ranker's own (protocol swap): "
        f"{with_interval(row['lis'], row['ci_low'], row['ci_high'])}, {row['verdict']}. The first asks what the later "
        "table adds to what the ranker has, after a few days of training with it, the second what the ranker would be "
        "with it in place of its own: of leaks compared the first decides, of the ID table alone the second."
    ]


def ranks(row: Mapping[str, Any]) -> str:
    """The ranks that the data allows, 1 for the largest score."""
    low, high = row["rank_lowest"], row["rank_highest"]
    return "-" if low is None else str(low) if low == high else f"{low}-{high}"


def cost(row: Mapping[str, Any]) -> str:
    """Bytes and seconds of a leak's feature rows."""
    if row["leak_bytes"] is None:
        return "-"
    return f"{data_size(row['leak_bytes'])}, {row['leak_seconds']:.0f} s"


def _plain(value: float | None) -> str:
    return "-" if value is None else ascii_text(signed(value))
