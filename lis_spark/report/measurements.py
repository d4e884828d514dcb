"""The rows of lis_results as the report reads them: cleaned, grouped by leak, found by arm (method 1.2)."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from functools import cached_property
from typing import Any

from lis_spark.lis.plan.chains import OTHER_FOLDS, SKIP_OWN_T
from lis_spark.lis.results.result_row import ResultRow
from lis_spark.lis.results.rows import MEAN
from lis_spark.report.format import MISSING

Row = dict[str, Any]

SCOPES = ("both", "target", "history")
# Stands for the date of rows over all evaluated dates.
ALL_DATES = "all dates"
COLUMNS = tuple(one.name for one in fields(ResultRow))
VARIANT_NAMES = {
    "naive": "naive",
    "naive_matched": "naive, matched",
    "honest": "honest",
    OTHER_FOLDS: "honest, other folds",
    SKIP_OWN_T: "skip own T",
    "skip_t": "skip-T",
    "label_shuffled": "label-shuffled",
    "replay": "replay",
    "backward": "backward",
    "row_permuted": "row-permuted",
    "row_shuffled": "wrong order",
    "whole": "whole model",
    "truth": "truth",
    "truth_by_fold": "truth, by fold",
}


def of_all_seeds(rows: Sequence[Mapping[str, Any]]) -> list[Row]:
    """The means of training seeds where there are any, else the rows of the one seed."""
    means = [dict(row) for row in rows if row["seed"] == MEAN]
    return means or [dict(row) for row in rows]


def clean(row: Row) -> Row:
    """A copy with every column, NaN as None, dates as ISO text, and ``table_versions`` as a dict."""
    result: Row = dict.fromkeys(COLUMNS)
    for key, value in row.items():
        if isinstance(value, float) and not math.isfinite(value):
            value = None
        result[key] = value
    if result.get("evaluated_date") is not None:
        result["evaluated_date"] = str(result["evaluated_date"])
    if result.get("horizon_days") is not None:
        result["horizon_days"] = int(result["horizon_days"])
    versions = result.get("table_versions")
    if isinstance(versions, str):
        try:
            result["table_versions"] = json.loads(versions)
        except ValueError:
            result["table_versions"] = {}
    return result


def is_over_dates(row: Row) -> bool:
    """Whether a row is of several evaluated dates together."""
    return (row.get("evaluated_dates") or 1) > 1


def date_text(row: Row) -> str:
    """The evaluated date of a row, or that it is of all of them together; a dash where it has none."""
    return str(row.get("evaluated_date") or (ALL_DATES if is_over_dates(row) else MISSING))


def is_exact_zero(row: Row) -> bool:
    """Whether both arms have the same U2, compared as exact numbers (method 1.6: n = 0 is an integer equality)."""
    control, leaked = row.get("u2_control"), row.get("u2_leaked")
    if control is not None and leaked is not None:
        try:
            return Fraction(str(control)) == Fraction(str(leaked))
        except ValueError:
            return str(control) == str(leaked)
    return row.get("lis") == 0


def stratum_order(stratum: str) -> tuple[str, float, str]:
    """Sorts ``family:<10`` before ``family:10-29`` before ``family:>=300``."""
    family, _, bounds = stratum.partition(":")
    number = re.search(r"\d+(?:\.\d+)?", bounds)
    start = float(number.group()) if number else math.inf
    return family, -math.inf if bounds.startswith("<") else start, bounds


@dataclass(frozen=True)
class Subject:
    """What a set of measurements is about: one leak in one scenario, through one table, for one label."""

    scenario: str
    leak: str
    slot: str
    label: str
    rows: tuple[Row, ...]

    @property
    def name(self) -> str:
        """The preference data in words, as the subject of a sentence."""
        if self.leak == "id_embedding":
            return f"{self.slot}-ID table" if self.slot else "ID table"
        return f"leak “{self.leak}”"

    @property
    def title(self) -> str:
        """What tells this subject from others: the data, the scenario and the label."""
        return " · ".join(part for part in (self.name, self.scenario, self.label) if part)

    @cached_property
    def _index(self) -> dict[tuple[Any, ...], Row]:
        index: dict[tuple[Any, ...], Row] = {}
        for row in self.rows:
            key = _key(row)
            kept = index.get(key)
            if kept is None or _seed_rank(row) < _seed_rank(kept):
                index[key] = row
        return index

    @cached_property
    def protocol(self) -> str:
        """The protocol that the answer is taken from: plain substitution where it was measured."""
        present = {row.get("protocol") for row in self.rows}
        return next((name for name in ("swap", "append", "swap+refit", "whole") if name in present), "swap")

    def find(
        self,
        variant: str,
        evaluated_date: str | None,
        horizon_days: int,
        *,
        protocol: str | None = None,
        scope: str = "both",
        stratum: str = "all",
    ) -> Row | None:
        """The row of one arm, the mean over seeds where there is one, or None; without a date that of all dates."""
        key = (protocol or self.protocol, variant, scope, evaluated_date, horizon_days, stratum, None)
        return self._index.get(key)

    def by_folds(self, evaluated_date: str | None) -> dict[int, Row]:
        """Number of folds -> the honest row of the longest horizon that was measured under several, ascending."""
        found = {
            row["folds"]: row
            for row in self.chosen
            if row.get("variant") == OTHER_FOLDS and row.get("evaluated_date") == evaluated_date
        }
        for row in list(found.values())[:1]:
            own = self.find("honest", evaluated_date, row["horizon_days"])
            found |= {own["folds"]: own} if own is not None else {}
        return dict(sorted(found.items()))

    def baseline(self, day: str) -> Row | None:
        """A row whose control is the ranker itself on all impressions of the day: naive scores all of them."""
        for variant in ("naive", "honest"):
            for horizon in [0, *self.horizons]:
                row = self.find(variant, day, horizon)
                if row is not None and row.get("auc_control") is not None:
                    return row
        return None

    @property
    def chosen(self) -> Iterable[Row]:
        """One row per measurement: the mean over seeds where there is one."""
        return self._index.values()

    @cached_property
    def dates(self) -> list[str]:
        """Evaluated dates, ascending."""
        return sorted({row["evaluated_date"] for row in self.rows if row.get("evaluated_date")})

    @cached_property
    def horizons(self) -> list[int]:
        """Horizons from n = 1 up, ascending; n = 0 is a control, backward ones too."""
        found = {row.get("horizon_days") for row in self.rows if row.get("variant") != "backward"}
        return sorted(n for n in found if n is not None and n > 0)

    @cached_property
    def strata(self) -> list[str]:
        """Strata other than ``all``, by family and lower bound."""
        return sorted(
            {row.get("stratum") or "all" for row in self.rows} - {"all"},
            key=stratum_order,
        )

    @property
    def folds(self) -> int | None:
        """Of how many user folds the honest scores are: each withholds one user in so many."""
        honest = self.headline("honest")
        return honest["folds"] if honest is not None else None

    @property
    def knows_requests(self) -> bool:
        """Whether the source says which impressions were shown together."""
        return any(row.get("lis_within_request") is not None for row in self.rows)

    @cached_property
    def headline_horizon(self) -> int | None:
        """The longest horizon with an honest score on as many dates as any horizon has."""
        honest = {n: [self.find("honest", day, n) for day in self.dates] for n in self.horizons}
        scored = {n: sum(1 for row in rows if row and row.get("lis") is not None) for n, rows in honest.items()}
        if not any(scored.values()):
            return max(self.horizons, default=None)
        most = max(scored.values())
        return max(n for n, dates in scored.items() if dates == most)

    def headline(self, variant: str) -> Row | None:
        """The row of a variant at the headline horizon, all dates together, or on the one date; None: no score."""
        if self.headline_horizon is None:
            return None
        return self.over_dates(variant, self.headline_horizon)

    def over_dates(self, variant: str, horizon_days: int) -> Row | None:
        """The row of a variant at a horizon, all dates together, or on the one date; None where there is no score."""
        day = self.dates[0] if len(self.dates) == 1 else None
        row = self.find(variant, day, horizon_days)
        return row if row is not None and row.get("lis") is not None else None

    @cached_property
    def unmerged_seeds(self) -> list[str]:
        """Seeds of a measurement that came once per seed and without their mean; empty where there is no doubt."""
        by_key: dict[tuple[Any, ...], set[str]] = {}
        for row in self.rows:
            by_key.setdefault(_key(row), set()).add(str(row.get("seed")))
        # what no seed could score (a stratum in which nobody was shown anything) has no mean that could be missed
        scored = {_key(row) for row in self.rows if row.get("lis") is not None}
        doubtful = [
            s for key, s in by_key.items() if key in scored and len(s) > 1 and not any(x.startswith(MEAN) for x in s)
        ]
        return sorted(set().union(*doubtful)) if doubtful else []


def _key(row: Row) -> tuple[Any, ...]:
    return (
        row.get("protocol"),
        row.get("variant"),
        row.get("swap_scope") or "both",
        row.get("evaluated_date"),
        row.get("horizon_days"),
        row.get("stratum") or "all",
        row.get("folds") if row.get("variant") == OTHER_FOLDS else None,
    )


def _seed_rank(row: Row) -> tuple[int, str]:
    seed = str(row.get("seed"))
    return (0 if seed.startswith(MEAN) else 1, seed.zfill(20))


def split_subjects(rows: Sequence[Row]) -> list[Subject]:
    """Groups the rows by scenario, leak, slot and label; rows of protocol ``scores`` are left out."""
    groups: dict[tuple[str, str, str, str], list[Row]] = {}
    for row in rows:
        if row.get("protocol") == "scores":
            continue
        key = tuple(str(row.get(name) or "") for name in ("scenario", "leak", "slot", "label"))
        groups.setdefault(key, []).append(row)  # type: ignore[arg-type]
    return [Subject(*key, rows=tuple(group)) for key, group in sorted(groups.items())]


def may_contain_own_labels(row: Row) -> bool:
    """Whether a score of protocol ``scores`` must be labelled naive (method 1.7).

    It must, unless the row came with evaluated dates and with folds: those rows are ``honest``, or their note names the
    fold.
    """
    note = str(row.get("note") or "").lower()
    if "may contain" in note or (row.get("evaluated_date") is None and not is_over_dates(row)):
        return True
    return row.get("variant") != "honest" and "fold" not in note
