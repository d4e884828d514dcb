"""A read-out in a sentence and as a table for the terminal; what the paper read out stands in the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lis_spark.config.experiment import Budgets
from lis_spark.report.format import ascii_text, lift, lifts, p_value

Row = Mapping[str, Any]
# Lifts of the paper's Tables 2 and 3 (section 6.2), by scenario and metric; 10 % against 10 % of the users.
PAPER: Mapping[str, Mapping[str, float]] = {
    "feed": {"time": 0.0013, "reads": 0.0027, "engagements": 0.0040, "lt30": 0.0002},
    "ads": {"impression": 0.0032, "adv": 0.0086, "cost": 0.0079, "ctr": 0.0043},
}
_STYLES = {"higher": "bold green", "lower": "bold red", "not shown": "default"}
# What a design of users cannot see, whatever its size.
_OF_BUDGETS: Mapping[Budgets, str] = {
    "shared": "Advertisers' budgets are shared by both arms: what one arm spends, the other cannot. A gain may be "
    "taken from the control, and is gone when everybody has the treatment.",
    "split": "Every arm has its own part of advertisers' budgets, so that no gain is taken from the control; but "
    "advertisers see one campaign, and how they would bid if all users had the treatment is not seen.",
}
_OF_ALL = (
    "Arms learn from the same items: what one arm shows, it makes known to the ranker of the other where they share "
    "logs, and then the difference is too small.",
    "A part of the users changes nothing that authors and advertisers notice; all of them would.",
)


def blind_spots(budgets: Budgets) -> tuple[str, ...]:
    """What an experiment on advertisements cannot see, a sentence or two each."""
    return (_OF_BUDGETS[budgets], *_OF_ALL)


def of_paper(row: Row) -> float | None:
    """The paper's lift on the same metric of the same scenario."""
    return PAPER.get(row["scenario"] or "", {}).get(row["metric"])


def headlines(rows: Sequence[Row]) -> list[Row]:
    """The registered estimate of each metric and arm, over all days; registered metrics first."""
    chosen = [row for row in rows if row["is_headline"] and row["date"] is None]
    return sorted(chosen, key=lambda row: not row["is_primary"])


def read_out_answers(rows: Sequence[Row]) -> list[str]:
    """A sentence for each treated arm."""
    answers = []
    for arm in dict.fromkeys(row["arm"] for row in headlines(rows)):
        own = [row for row in headlines(rows) if row["arm"] == arm and row["is_primary"]]
        found = {name: [row for row in own if row["verdict"] == name] for name in ("higher", "lower", "not shown")}
        said = [
            f"{name} than {own[0]['control_arm']} on {_named(found[name])}"
            for name in ("higher", "lower")
            if found[name]
        ]
        answer = f"{arm} is {' and '.join(said)}." if said else f"No effect of {arm} is shown."
        if found["not shown"]:
            shown = [f"{row['metric']}{_smallest(row)}" for row in found["not shown"]]
            answer += f" Not shown on {', '.join(shown)}."
        answers.append(answer)
    return answers


def _smallest(row: Row) -> str:
    found = row["detectable_lift"]
    return "" if found is None else f" (found with 80 % power: {lift(found)[1:]})"


def _named(rows: Sequence[Row]) -> str:
    return ", ".join(
        f"{row['metric']} ({lift(row['lift'])}, 95 % CI {lifts(row['lift_low'], row['lift_high'])})" for row in rows
    )


def print_read_out(console: Console, rows: Sequence[Row]) -> None:
    """Prints rows of ``experiment_results``; the console at least 110 columns wide."""
    first = rows[0]
    days = f"{first['start_date']} to {first['end_date']}"
    caption = (
        f"{first['users_control']:,} users in {first['control_arm']}; sample ratio p = {first['sample_ratio_p']:.3f}; "
        "together: intervals that hold at once over the registered metrics, p likewise (Holm); detectable: 80 % power"
    )
    table = Table(
        title=Text(f"{first['experiment']}: lift over {first['control_arm']}, {days}", "table.title"),
        caption=Text(caption, "table.caption"),
    )
    numbers = ("lift", "95 % interval", "together", "p", "detectable")
    for name in ("arm", "metric", *numbers, "verdict"):
        table.add_column(name, justify="right" if name in numbers else "left", no_wrap=True)
    for row in headlines(rows):
        table.add_row(
            Text(row["arm"]),
            Text(row["metric"] if row["is_primary"] else f"({row['metric']})"),
            ascii_text(lift(row["lift"])),
            ascii_text(lifts(row["lift_low"], row["lift_high"])),
            ascii_text(lifts(row["lift_together_low"], row["lift_together_high"])) if row["is_primary"] else "-",
            p_value(row["p_value"] if row["p_holm"] is None else row["p_holm"]),
            ascii_text(lift(row["detectable_lift"])[1:]) if row["detectable_lift"] is not None else "-",
            Text(row["verdict"], _STYLES[row["verdict"]]),
        )
    for answer in read_out_answers(rows):
        console.print(Text(ascii_text(answer), "bold"))
    console.print(table)
