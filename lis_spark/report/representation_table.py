"""What encoders are worth to the ranker: AIS over its control, by stratum, for the page and the terminal (method 6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lis_spark.lis.plan.append_arms import ABOVE
from lis_spark.lis.plan.arms import REPRESENTATION
from lis_spark.lis.plan.strata import ALL, SEEN, UNSEEN
from lis_spark.report.format import ascii_text, half_interval, percent, signed, with_interval
from lis_spark.report.measurements import Row, date_text, is_exact_zero, is_over_dates, of_all_seeds, stratum_order

OWN_CONTROL = "its control"
# Columns that begin so are of the split of a score.
SPLIT = ("lis_within_user", "lis_user_part", "lis_item_part")
PARTS = ("lis_user_part", "lis_item_part")
STRATA = {ALL: "all items", UNSEEN: "unseen in alignment", SEEN: "seen in alignment"}


def is_of_representation(row: Row) -> bool:
    """Whether a row of lis_results is an AIS, or a comparison of two representations."""
    return str(row["variant"]) == REPRESENTATION or str(row["variant"]).startswith(ABOVE)


@dataclass(frozen=True)
class Represented:
    """One line: a representation against its control or another one, on some items of a day.

    ``share`` of the day's impressions; ``row`` the measurement.
    """

    name: str
    against: str
    date: str
    items: str
    share: float | None
    row: Row

    @property
    def is_first_read(self) -> bool:
        """Whether it is of items that an encoder is for: unseen in alignment, or hardly trained on."""
        stratum = str(self.row["stratum"])
        return stratum in (ALL, UNSEEN) or stratum.startswith("update_count:<")

    @property
    def is_shown_to_gain(self) -> bool:
        """Whether its interval is above 0."""
        return self.row["ci_low"] is not None and bool(self.row["ci_low"] > 0)


def represented(rows: Sequence[Row]) -> list[Represented]:
    """In reading order, of items that there are; the mean of seeds where there is one.

    Args:
        rows: rows of lis_results, those of representations among them.
    """
    measured = [row for row in rows if is_of_representation(row) and row["lis"] is not None]
    # where all items are unseen both strata are the same items, and have the same numbers
    unseen = {
        row["evaluated_date"] for row in measured if row["stratum"] == UNSEEN and row["share_of_impressions"] == 1
    }
    chosen = [
        dict(row)
        for row in measured
        if not row["stratum"].startswith("item_age") and not (row["stratum"] == ALL and row["evaluated_date"] in unseen)
    ]
    # of which the parts are told over all items alone: where all are unseen, these are the same rows
    parts = {_without_stratum(row): row for row in measured if row["stratum"] == ALL}
    for row in chosen:
        whole = parts.get(_without_stratum(row))
        if whole is not None and row["stratum"] == UNSEEN and row["share_of_impressions"] == 1:
            row.update({name: whole[name] for name in whole if name.startswith(SPLIT)})
    return [
        Represented(
            name=row["leak"],
            against=OWN_CONTROL if row["variant"] == REPRESENTATION else row["variant"].removeprefix(ABOVE),
            date=date_text(row),
            items=STRATA.get(row["stratum"], row["stratum"].replace("update_count:", "examples ")),
            share=1.0 if row["stratum"] == ALL else row["share_of_impressions"],
            row=row,
        )
        for row in sorted(of_all_seeds(chosen), key=_place)
    ]


def _without_stratum(row: Row) -> tuple[Any, ...]:
    return row["leak"], row["variant"], row["evaluated_date"], row["seed"]


def _place(row: Row) -> tuple[Any, ...]:
    strata = list(STRATA)
    known = strata.index(row["stratum"]) if row["stratum"] in STRATA else len(strata)
    own = row["variant"] == REPRESENTATION
    return row["leak"], not own, row["variant"], str(row["evaluated_date"]), known, stratum_order(row["stratum"])


def representation_answers(lines: Sequence[Represented]) -> list[str]:
    """A sentence for each representation, by its score on items unseen in alignment, all dates together."""
    told = []
    pooled = {line.name for line in lines if is_over_dates(line.row) and line.row["stratum"] == UNSEEN}
    for line in lines:
        row = line.row
        if line.against != OWN_CONTROL or row["stratum"] != UNSEEN:
            continue
        if line.name in pooled and not is_over_dates(row):  # all dates together say it once
            continue
        # equal ranks in sum may be those of rows in another order; without any error no user's rows have moved
        if is_exact_zero(row) and row["standard_error"] == 0:
            told.append(f"{line.name} on {line.date} leaves every ranking as it is: AIS is exactly 0.")
            continue
        is_below = row["ci_high"] is not None and row["ci_high"] < 0
        shown = "gains" if line.is_shown_to_gain else "costs" if is_below else "is not shown to gain"
        value = with_interval(row["lis"], row["ci_low"], row["ci_high"])
        told.append(f"{line.name} on {line.date} {shown} the ranker on items that it was not aligned on: AIS {value}.")
    return told


def print_representations(console: Console, lines: Sequence[Represented]) -> None:
    """Prints answers and table, where there is anything to say.

    Args:
        console: at least 120 columns wide.
        lines: see :func:`represented`.
    """
    if not lines:
        return
    for answer in representation_answers(lines):
        console.print(Text(ascii_text(answer), "bold"))
    table = Table(
        title="AIS = AUC with a representation of the item minus AUC with those of other items",
        caption="± half of the 95 % interval; share of the impressions; against another: minus the AUC with that one",
    )
    for heading in ("representation", "against", "date", "items"):
        table.add_column(heading, no_wrap=heading == "date", overflow="fold")  # rather than that figures are cut
    for heading in ("share", "AIS", "within users", "by user", "by item"):
        table.add_column(heading, justify="right", no_wrap=True)
    before: tuple[str, str] | None = None
    for line in lines:
        name = (line.name, line.against)
        if before is not None and name != before:
            table.add_section()
        row = line.row
        value = Text(half_interval(row, "lis", "ci"), "bold green" if line.is_shown_to_gain else "")
        cells = (Text(text) for text in (*(name if name != before else ("", "")), line.date, line.items))
        parts = (ascii_text(signed(row[name])) if row[name] is not None else "-" for name in PARTS)
        table.add_row(*cells, ascii_text(percent(line.share)), value, half_interval(row, "lis_within_user"), *parts)
        before = name
    console.print(table)
