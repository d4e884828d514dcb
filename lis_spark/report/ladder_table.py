"""The nested ladder for a reader: what is reached, what is left to training, what content does not hold (method 6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lis_spark.config.leaks import HONEST, NAIVE
from lis_spark.lis.plan.append_feature import CONTENT
from lis_spark.lis.plan.arms import RUNG
from lis_spark.lis.plan.ladder import ALIGNED, ALIGNED_ABOVE, LADDER, LOST_IN_USE, RUNGS, STEP, UNALIGNED
from lis_spark.lis.plan.strata import ALL, UNSEEN
from lis_spark.report.format import ascii_text, half_interval, share_with_interval, with_interval
from lis_spark.report.measurements import Row, of_all_seeds

# Rung -> what the ranker is given, and what the step up to it is.
MEANINGS = {
    UNALIGNED: ("the encoder, not aligned", "content without alignment"),
    ALIGNED: ("the encoder, aligned", "reached by alignment"),
    CONTENT: ("the future, as content predicts it", "left to training: the content holds it, the encoder does not"),
    HONEST: ("the future", "not in the content: no encoder gets it"),
    NAIVE: ("the future with one's own labels", "memorised labels: worth nothing online"),
}

THROUGH_STRONGER = f"{MEANINGS[ALIGNED][0]}, through a stronger port"
IN_USE = "lost in use: above the encoder, aligned, and no rung"


@dataclass(frozen=True)
class Rung:
    """What the ranker is given, its gain over noise, and the step from the rung below; rows of lis_results."""

    given: str
    meaning: str
    over_noise: Row
    step: Row


@dataclass(frozen=True)
class LadderView:
    """One ladder: of a day, on some items, under a seed or the mean of seeds.

    ``diagnosis``: a row of ``diagnoses``; ``others``: other representations and what the aligned one is above each;
    ``lost_in_use``: what a stronger port makes more of the aligned vector.
    """

    date: str
    items: str
    rungs: tuple[Rung, ...]
    diagnosis: Mapping[str, Any]
    others: tuple[tuple[str, Row], ...] = ()
    lost_in_use: Row | None = None

    @property
    def answer(self) -> str:
        """The efficiency of alignment, eta, what is lost in use, and what it is above other encoders, in words."""
        return " ".join([f"{self.date}, {self.items}:", self._efficiency, self._eta, *self._use, *self._above])

    @property
    def _use(self) -> list[str]:
        row = self.lost_in_use
        if row is None:
            return []
        found = with_interval(row["lis"], row["ci_low"], row["ci_high"])
        if row["ci_low"] is None or row["ci_low"] <= 0:
            return [f"That anything is lost in use is not shown: a stronger port makes {found} of the same vectors."]
        return [f"A stronger port makes {found} more of the same vectors, the ID vector among them: lost in use."]

    @property
    def _above(self) -> list[str]:
        return [
            f"Beside the same ID vector it is {with_interval(row['lis'], row['ci_low'], row['ci_high'])} above {name}."
            for name, row in self.others
        ]

    @property
    def _efficiency(self) -> str:
        value = self.diagnosis.get("efficiency")
        if value is None:
            return "What alignment could reach is not shown to be above 0, so its efficiency is undefined."
        over = ""
        if self._is_above_one("efficiency"):
            over = (
                " The encoder knows more of these items than the regressor on content, so that is no upper bound here."
            )
        return (
            f"Alignment reaches {self._share('efficiency')} of what content holds beyond an encoder without it.{over}"
        )

    @property
    def _eta(self) -> str:
        value = self.diagnosis.get("eta")
        if value is None:
            return "The honest LIS is not shown to be above 0, so eta is undefined."
        over = " It knows items that the future's ID vector has not learned." if self._is_above_one("eta") else ""
        return f"The encoder gives {self._share('eta')} of what the future would give (eta).{over}"

    def _is_above_one(self, name: str) -> bool:
        low = self.diagnosis[f"{name}_ci_low"]
        return low is not None and low > 1

    def _share(self, name: str) -> str:
        return share_with_interval(*(self.diagnosis[f"{name}{end}"] for end in ("", "_ci_low", "_ci_high")))


def ladder_views(rows: Sequence[Row], diagnoses: Sequence[Mapping[str, Any]]) -> list[LadderView]:
    """Of each day: all items, then the strata with the fewest training examples and of unseen items."""
    own = of_all_seeds([row for row in rows if row["leak"] == LADDER])
    found: dict[tuple[str, str], dict[str, Row]] = {}
    for row in own:
        found.setdefault((str(row["evaluated_date"]), row["stratum"]), {})[row["variant"]] = row
    told = {(str(row["evaluated_date"]), row["stratum"]): row for row in of_all_seeds(diagnoses)}
    views = []
    for (date, stratum), members in sorted(found.items(), key=lambda item: (item[0][0], item[0][1] != ALL, item[0][1])):
        is_cold = stratum.startswith("update_count:<")
        if stratum not in (ALL, UNSEEN) and not is_cold:
            continue
        if stratum == UNSEEN and members[f"{RUNG}{RUNGS[0]}"]["share_of_impressions"] == 1:
            continue  # all items are
        rungs = []
        for name in RUNGS:
            over = members.get(f"{RUNG}{name}")
            step = over if name == RUNGS[0] else members.get(f"{STEP}{name}")
            if over is None or step is None or over["lis"] is None:
                break
            rungs.append(Rung(*MEANINGS[name], over, step))
        if len(rungs) == len(RUNGS):
            items = {ALL: "all items", UNSEEN: "items unseen in alignment"}.get(stratum, "")
            items = items or f"items with {stratum.partition(':')[2]} training examples"
            others = tuple(
                (variant.removeprefix(ALIGNED_ABOVE), row)
                for variant, row in sorted(members.items())
                if variant.startswith(ALIGNED_ABOVE) and row["lis"] is not None
            )
            lost = members.get(LOST_IN_USE)
            lost = lost if lost and lost["lis"] is not None else None
            views.append(LadderView(date, items, tuple(rungs), told.get((date, stratum), {}), others, lost))
    return views


def print_ladders(console: Console, views: Sequence[LadderView]) -> None:
    """Prints answers and tables, where there is a ladder.

    Args:
        console: at least 110 columns wide.
        views: see :func:`ladder_views`.
    """
    for view in views:
        console.print(Text(ascii_text(view.answer), "bold"))
        title = f"The ladder of {view.date}, {view.items}: AUC over noise beside the same ID vector"
        table = Table(title=Text(title, "table.title"))
        table.add_column("the ranker is given")
        for heading in ("over noise", "step up"):
            table.add_column(heading, justify="right", no_wrap=True)
        table.add_column("the step is")
        for rung in view.rungs:
            scores = (half_interval(row, "lis", "ci") for row in (rung.over_noise, rung.step))
            table.add_row(rung.given, *scores, rung.meaning)
        if view.lost_in_use is not None:
            table.add_section()
            table.add_row(THROUGH_STRONGER, "", half_interval(view.lost_in_use, "lis", "ci"), IN_USE)
        console.print(table)
