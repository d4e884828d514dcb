"""The plan of a run as tables in the terminal, and as lines of the page (method 2.5)."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lis_spark.power.answer import Plan, between
from lis_spark.power.options import PARTS_OF_THRESHOLD
from lis_spark.report.format import ascii_text

# Below ``output_path``.
PLAN_FILE = "plan.json"


def print_plan(console: Console, plan: Plan) -> None:
    """Prints the answer, what each date and fold could show, and what would show more.

    Args:
        console: at least 120 columns wide.
        plan: see :data:`Plan`.
    """
    console.print(Text(ascii_text(plan["answer"]), "bold"))
    console.print(Text(ascii_text(f"Expected from {plan['basis']}.")))
    console.print(_expectations(plan))
    if plan["options"]:
        console.print(_options(plan))


def _expectations(plan: Plan) -> Table:
    table = Table(title=f"{plan['run_name']}: half of the expected 95 % interval; {plan['threshold']:.4f} counts")
    for heading, justify in (
        ("date", "left"),
        ("fold", "right"),
        *[(name, "right") for name in ("users", "of both classes", "positives", "negatives", "LIS", "within users")],
    ):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    for one in plan["expectations"]:
        if one["fold"] is None:
            table.add_section()
        table.add_row(*map(ascii_text, expectation_cells(one)))
    return table


def expectation_cells(one: Plan) -> tuple[str, ...]:
    """Date, fold, users, those of both classes, positives, negatives, half intervals of the LIS and within users."""
    size, fold = one["size"], one["fold"]
    date = one["date"] or "all dates"
    counts = [f"{size[name]:,}" for name in ("users", "users_of_both", "positives", "negatives")]
    halves = ["too few" if one[name] is None else between(one[name]) for name in ("lis", "within_user")]
    return (date, "all" if fold is None else str(fold), *counts, *halves)


def _options(plan: Plan) -> Table:
    table = Table(
        title="what would show more, or the same with less",
        caption="SE: standard error; seconds on two cores, start-up aside; folds change what the honest score lacks of "
        "other users' events (1/folds), not its error",
    )
    for heading in ("run", "users", "dates", "seeds", "folds", "share", "SE", "SE within", "seconds", "GB"):
        table.add_column(heading, justify="left" if heading == "run" else "right", overflow="fold")
    for line in option_lines(plan):
        table.add_row(ascii_text(line.name), *line.cells)
    return table


@dataclass(frozen=True)
class OptionLine:
    """A way to run and its figures as text: users, dates, seeds, folds, share, errors, seconds, gigabytes."""

    name: str
    cells: tuple[str, ...]


def option_lines(plan: Plan) -> list[OptionLine]:
    """The lines of the table of options; a dash where no number reaches the aim."""
    lines = []
    for one in plan["options"]:
        users, seconds, disk, errors = one["users"], one["seconds"], one["bytes_on_disk"], one["errors"]
        cells = (
            "-" if users is None else f"{users:,}",
            f"{one['dates']:,}",
            str(one["seeds"]),
            str(one["folds"]),
            f"{one['user_share']:.3g}",
            _error(errors["lis"], one["reaches"]),
            _error(errors["within_user"], one["resolves"]),
            "-" if seconds is None else f"{seconds:,.0f}",
            "-" if disk is None else f"{disk / 1e9:,.2f}",
        )
        lines.append(OptionLine(_name(one, plan["threshold"]), cells))
    return lines


def _name(one: Plan, threshold: float) -> str:
    aims = {
        "standard error": f"standard error of the LIS {threshold / PARTS_OF_THRESHOLD:.5f}",
        "order within users": f"order within users resolved at {threshold:.4f}",
        "folds": f"{one['folds']} folds",
    }
    is_possible = one["users"] is not None
    ways = {
        "share of users": ": by a share of the users",
        "more users": ": by more users" if is_possible else ": no number of users with these seeds",
        "more dates": ": by more dates" if is_possible else ": no number of dates, the same users return",
    }
    return str(aims.get(one["aim"], one["aim"])) + ways.get(one["way"], "")


def _error(error: Plan | None, is_enough: bool) -> str:
    return "-" if error is None else f"{error['value']:.5f}{' ok' if is_enough else ''}"
