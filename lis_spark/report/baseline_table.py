"""The ranker and simple baselines side by side: AUC and AUC within users, with intervals (method 1.9)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lis_spark.lis.plan.arms import BASELINE, CHANCE, OVER_CHANCE
from lis_spark.lis.results.rows import BASELINE_NAMES
from lis_spark.report.format import plain
from lis_spark.report.measurements import ALL_DATES, Row, date_text, is_over_dates

# Of an order that knows nothing: every pair is a tie.
AUC_OF_CHANCE = 0.5


@dataclass(frozen=True)
class BaselineLine:
    """What one order of the impressions of a date reaches.

    ``beyond`` is the row whose LIS is the baseline's AUC minus the ranker's; None for the ranker itself.
    """

    scenario: str
    date: str
    name: str
    auc: Mapping[str, float | None]
    within_user: Mapping[str, float | None]
    beyond: Row | None


def baseline_lines(rows: Sequence[Row]) -> list[BaselineLine]:
    """The ranker, then each baseline, date by date, all dates together last.

    Args:
        rows: cleaned rows of lis_results, of all seeds together or of one.
    """
    found = {(row["variant"], _place(row)): row for row in rows if row.get("protocol") == BASELINE}
    lines = []
    for place in sorted({place for _, place in found}):
        chance = found.get((CHANCE, place))
        if chance is None:
            continue
        day = date_text(chance)
        lines.append(_line(chance, day, "the ranker", sign=-1.0, beyond=None))
        for variant, name in BASELINE_NAMES.items():
            over_chance, beyond = found.get((f"{variant}{OVER_CHANCE}", place)), found.get((variant, place))
            if over_chance is not None:
                lines.append(_line(over_chance, day, name, sign=1.0, beyond=beyond))
    return lines


def best_baseline(lines: Sequence[BaselineLine]) -> list[str]:
    """A sentence on the ranker and the best simple baseline, over all dates together or else date by date.

    Args:
        lines: see :func:`baseline_lines`.
    """
    places: dict[tuple[str, str], list[BaselineLine]] = {}
    for line in lines:
        places.setdefault((line.scenario, line.date), []).append(line)
    together = {place: own for place, own in places.items() if place[1] == ALL_DATES}
    sentences = []
    for (scenario, date), own in (together or places).items():
        ranker, simple = own[0], own[1:]
        if simple:
            best = max(simple, key=lambda line: line.auc["value"] or 0.0)
            where = f"{scenario}, {date}" if len({one for one, _ in places}) > 1 else date
            sentences.append(
                f"AUC of {where}: the ranker {plain(ranker.auc['value'])}; the best of simple baselines, {best.name}, "
                f"{plain(best.auc['value'])}."
            )
    return sentences


def _place(row: Row) -> tuple[str, bool, str]:
    return str(row.get("scenario") or ""), is_over_dates(row), date_text(row)


def _line(row: Row, day: str, name: str, *, sign: float, beyond: Row | None) -> BaselineLine:
    return BaselineLine(
        scenario=str(row.get("scenario") or ""),
        date=day,
        name=name,
        auc=_over_chance(row, "lis", "ci", sign),
        within_user=_over_chance(row, "lis_within_user", "lis_within_user_ci", sign),
        beyond=beyond,
    )


def _over_chance(row: Mapping[str, Any], name: str, bounds: str, sign: float) -> dict[str, float | None]:
    """An AUC with its interval, from how far it is from that of chance; ``sign`` -1 where it is the other way round."""

    def shifted(value: float | None) -> float | None:
        return None if value is None else AUC_OF_CHANCE + sign * value

    ends = (shifted(row.get(f"{bounds}_low")), shifted(row.get(f"{bounds}_high")))
    low, high = ends if sign > 0 else ends[::-1]
    return {"value": shifted(row.get(name)), "low": low, "high": high}
