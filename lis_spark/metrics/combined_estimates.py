"""Ratios and weighted sums of LIS on shared users, with intervals by the delta method (method 2.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from lis_spark.metrics.estimates import difference_of
from lis_spark.metrics.forms import combine_forms, standard_error, t_interval
from lis_spark.metrics.moments import Moments
from lis_spark.metrics.pairs import ArmPair


@dataclass(frozen=True)
class CombinedEstimate:
    """A ratio or a weighted sum of the LIS of comparisons on shared users, with its 95 % interval."""

    value: float
    standard_error: float
    clusters: int

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval by Student's t."""
        return t_interval(self.value, self.standard_error, self.clusters)


def estimate_ratio(
    units: Sequence[ArmPair], moments: Sequence[Moments], numerator_id: str, denominator_id: str
) -> CombinedEstimate | None:
    """LIS of one comparison over LIS of another, or None where the interval of the denominator touches 0.

    Never clamped: it may lie outside [0, 1].

    Args:
        units: all units.
        moments: those of a bundle that holds the units of both comparisons.
        numerator_id: comparison above.
        denominator_id: comparison below.
    """
    own = {row.left: row for row in moments if row.left == row.right}
    above, below = (
        difference_of(units, {unit: row for unit, row in own.items() if units[unit].comparison_id == name})
        for name in (numerator_id, denominator_id)
    )
    users = sum(row.users for row in own.values())
    error_below = standard_error(moments, below.lis_form, users, denominator_id)
    low, high = t_interval(float(below.lis), error_below, users)
    if low <= 0 <= high or below.lis == 0:
        return None
    ratio = above.lis / below.lis
    # psi of the ratio = (psi above - ratio x psi below) / LIS below
    form = combine_forms((above.lis_form, 1 / below.lis), (below.lis_form, -ratio / below.lis))
    error = standard_error(moments, form, users, numerator_id)
    return CombinedEstimate(float(ratio), error, users)


def estimate_sum(
    units: Sequence[ArmPair], moments: Sequence[Moments], weights: Mapping[str, Fraction]
) -> CombinedEstimate:
    """Sum of weight x LIS, its interval from the users that the comparisons share.

    Args:
        units: all units.
        moments: those of a bundle that holds the units of all comparisons.
        weights: comparison_id -> weight.
    """
    own = {row.left: row for row in moments if row.left == row.right}
    parts = [
        (difference_of(units, {unit: row for unit, row in own.items() if units[unit].comparison_id == name}), weight)
        for name, weight in weights.items()
    ]
    form = combine_forms(*((part.lis_form, weight) for part, weight in parts))
    users = sum(row.users for row in own.values())
    value = float(sum(part.lis * weight for part, weight in parts))
    return CombinedEstimate(value, standard_error(moments, form, users, " and ".join(weights)), users)
