"""An audit for the terminal: the answer in a sentence, then the columns, the accused first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lis_spark.report.format import ascii_text, half_interval, percent

_STYLES = {"leak": "bold red", "suspect": "yellow", "no sign": "green"}


def print_audit(console: Console, rows: Sequence[Mapping[str, Any]]) -> None:
    """Prints rows of ``audits``.

    Args:
        console: at least 110 columns wide.
        rows: in order of ``place``.
    """
    title = f"Columns of {rows[0]['audited_table']}: what they know of labels before, above what they know after"
    table = Table(
        title=Text(title, "table.title"),
        caption="95 % intervals; excess: variance of later labels explained beyond what can be known of them",
    )
    for name in ("", "column", "key", "covers", "alone", "by request", "by day", "excess", "verdict"):
        table.add_column(name, justify="left" if name in ("column", "key", "verdict") else "right", no_wrap=True)
    for row in rows:
        table.add_row(
            str(row["place"]),
            Text(row["audited_column"]),
            Text(row["key"]),
            ascii_text(percent(row["coverage"])),
            "-" if row["auc_alone"] is None else f"{row['auc_alone']:.3f}",
            half_interval(row, "added_by_request"),
            half_interval(row, "added_by_day"),
            half_interval(row, "excess"),
            Text(row["verdict"], _STYLES[row["verdict"]]),
        )
    console.print(Text(ascii_text(audit_answer(rows)), "bold"))
    console.print(table)
    for row in rows:
        for reason in row["reasons"]:
            console.print(Text(ascii_text(f"{row['audited_column']}: {reason}")))


def audit_answer(rows: Sequence[Mapping[str, Any]]) -> str:
    """The audit in a sentence."""
    accused = [row["audited_column"] for row in rows if row["verdict"] == "leak"]
    suspects = [row["audited_column"] for row in rows if row["verdict"] == "suspect"]
    answer = (
        f"{len(accused)} of {len(rows)} columns know what came after the impression: {', '.join(accused)}."
        if accused
        else f"None of {len(rows)} columns shows that it knows what came after the impression."
    )
    return answer + (f" Suspect: {', '.join(suspects)}." if suspects else "")
