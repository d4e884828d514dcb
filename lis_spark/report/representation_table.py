"""What encoders are worth to the ranker, for the terminal: AIS over its control, by stratum (method 6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lis_spark.lis.append_arms import ABOVE
from lis_spark.lis.arms import REPRESENTATION
from lis_spark.lis.strata import ALL, SEEN, UNSEEN
from lis_spark.report.format import ascii_text, percent, signed, with_interval
from lis_spark.report.measurements import Row, is_exact_zero

STRATA = {ALL: "all items", UNSEEN: "unseen in alignment", SEEN: "seen in alignment"}


def is_of_representation(row: Row) -> bool:
    """Whether a row of lis_results is an AIS, or a comparison of two representations."""
    return str(row["variant"]) == REPRESENTATION or str(row["variant"]).startswith(ABOVE)


def representation_answers(rows: Sequence[Row]) -> list[str]:
    """A sentence for each representation and day, by its score on items unseen in alignment."""
    told = []
    for row in _shown(rows):
        if row["variant"] != REPRESENTATION or row["stratum"] != UNSEEN or row["lis"] is None:
            continue
        if is_exact_zero(row):
            told.append(f"{row['leak']} on {row['evaluated_date']} leaves every ranking as it is: AIS is exactly 0.")
            continue
        shown = "gains" if row["ci_low"] > 0 else "costs" if row["ci_high"] < 0 else "is not shown to gain"
        value = with_interval(row["lis"], row["ci_low"], row["ci_high"])
        what = f"{row['leak']} on {row['evaluated_date']} {shown}"
        told.append(f"{what} the ranker on items that it was not aligned on: AIS {value}.")
    return told


def representation_table(rows: Sequence[Row]) -> Table:
    """AIS of each representation: all items, those unseen in alignment, and by training examples at T."""
    table = Table(
        title="AIS = AUC with a representation of the item minus AUC with those of other items",
        caption="± half of the 95 % interval; above NAME: against that representation instead",
    )
    for heading in ("representation", "against", "date", "items", "impressions", "AIS"):
        table.add_column(heading, justify="right" if heading in ("impressions", "AIS") else "left", no_wrap=True)
    before: tuple[str, str] | None = None
    for row in _shown(rows):
        name = (str(row["leak"]), str(row["variant"]))
        if before is not None and name != before:
            table.add_section()
        against = "its control" if row["variant"] == REPRESENTATION else row["variant"].removeprefix(ABOVE)
        items = STRATA.get(row["stratum"], row["stratum"].replace("update_count:", "examples "))
        share = row["share_of_impressions"] if row["stratum"] != ALL else 1.0
        value = "-"
        if row["lis"] is not None:
            value = ascii_text(signed(row["lis"])) + f"±{(row['ci_high'] - row['ci_low']) / 2:.4f}"
        style = "bold green" if row["lis"] is not None and row["ci_low"] > 0 else ""
        cells = (row["leak"], against) if name != before else ("", "")
        table.add_row(*cells, str(row["evaluated_date"]), items, ascii_text(percent(share)), Text(value, style))
        before = name
    return table


def print_representations(console: Console, rows: Sequence[Row]) -> None:
    """Prints answers and table, where there is anything to say.

    Args:
        console: at least 110 columns wide.
        rows: rows of lis_results.
    """
    if not _shown(rows):
        return
    for answer in representation_answers(rows):
        console.print(Text(ascii_text(answer), "bold"))
    console.print(representation_table(rows))


def _shown(rows: Sequence[Row]) -> list[Row]:
    """Rows of representations but strata by age; the mean of seeds where there is one, in reading order."""
    chosen = [row for row in rows if is_of_representation(row) and not row["stratum"].startswith("item_age")]
    if any(row["seed"] == "mean" for row in chosen):
        chosen = [row for row in chosen if row["seed"] == "mean"]
    strata = list(STRATA)

    def place(row: Row) -> tuple[Any, ...]:
        stratum = row["stratum"]
        known = strata.index(stratum) if stratum in strata else len(strata)
        number = stratum.partition(":")[2].lstrip("<>=").split("-")[0]
        low = -1 if "<" in stratum else int(number) if number.isdigit() else 0
        return row["leak"], row["variant"] != REPRESENTATION, row["variant"], row["evaluated_date"], known, low

    return sorted(chosen, key=place)
