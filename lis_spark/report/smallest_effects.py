"""After a run: the smallest gains that its data could have shown, and how many users would show what counts (2.5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lis_spark.lis.results.decision import Score, smallest_effect, users_to_resolve
from lis_spark.power.options import PARTS_OF_THRESHOLD
from lis_spark.report.measurements import Row, date_text, is_over_dates, of_all_seeds


@dataclass(frozen=True, kw_only=True)
class SmallestEffects:
    """Of one judged score: gains in AUC whose interval keeps above 0 with a power of 80 %.

    ``users_for_lis`` give a standard error of a fourth of the threshold, ``users_for_order`` resolve a gain of the
    threshold within users; both None where training seeds scatter too much for any number of users.
    """

    name: str
    date: str
    users: int
    lis: float
    users_for_lis: int | None
    users_of_both: int
    within_user: float | None
    users_for_order: int | None


def smallest_effects(rows: Sequence[Row], threshold: float) -> list[SmallestEffects]:
    """Of each judged score, over all dates together where there are several.

    Args:
        rows: cleaned rows of lis_results.
        threshold: absolute AUC that counts.
    """
    judged = [row for row in of_all_seeds(rows) if row.get("verdict") and row.get("simultaneous_low") is not None]
    over_dates = [row for row in judged if is_over_dates(row)]
    ordered = sorted(over_dates or judged, key=_order)
    return [_effects(row, threshold) for row in ordered]


def _order(row: Row) -> tuple[object, ...]:
    return row["protocol"], row["leak"], row["horizon_days"], date_text(row)


def _effects(row: Mapping[str, Any], threshold: float) -> SmallestEffects:
    lis = _score(row, "lis", "", "users")
    assert lis is not None
    within = _score(row, "lis_within_user", "lis_within_user_", "within_user_users")
    return SmallestEffects(
        name=f"{row['leak']} ({row['protocol']}), n = {row['horizon_days']}",
        date=date_text(dict(row)),
        users=lis.clusters,
        lis=smallest_effect(lis),
        users_for_lis=lis.units_for(threshold / PARTS_OF_THRESHOLD, lis.clusters),
        users_of_both=within.clusters if within else 0,
        within_user=smallest_effect(within) if within else None,
        users_for_order=users_to_resolve(within, threshold) if within else None,
    )


def _score(row: Mapping[str, Any], name: str, prefix: str, users: str) -> Score | None:
    """A score from the columns of a row; None where it has no interval that holds together with the others."""
    low, high = row.get(f"{prefix}simultaneous_low"), row.get(f"{prefix}simultaneous_high")
    error = row.get(f"{prefix}standard_error")
    if low is None or high is None or error is None:
        return None
    return Score(
        value=row[name],
        standard_error=error,
        degrees_of_freedom=row.get(f"{prefix}degrees_of_freedom") or 1.0,
        low=low,
        high=high,
        clusters=row.get(users) or 0,
        cluster_standard_error=row.get(f"{prefix}cluster_standard_error") or error,
    )
