"""Totals and coefficients of one unit of a comparison: what a second pass over its users needs (method 2.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from lis_spark.metrics.forms import Form, cell_sizes
from lis_spark.metrics.moments import Moments
from lis_spark.metrics.pairs import ArmPair


@dataclass(frozen=True)
class UnitTerms:
    """One control arm and its leaked arms within one ranking, beside the other units of a comparison.

    A user's influence on the LIS is change x (difference of its U2 shares) + positive x p + negative x n, that on the
    AUC within users within_change x (difference of its own U2) + within_pairs x 2 p n. ``gained`` and ``weight`` are
    the unit's part of sum U2 and of sum 2 P N, ``within_gained`` and ``within_weight`` the same within users;
    ``share`` is 1 / the units that rank the same impressions (several controls count as their mean).
    """

    unit: ArmPair
    positives: int
    negatives: int
    change: float
    positive: float
    negative: float
    share: float
    gained: float
    weight: float
    within_change: float
    within_pairs: float
    within_gained: float
    within_weight: float


def unit_terms(
    units: Sequence[ArmPair], own: Mapping[int, Moments], lis_form: Form, within_form: Form
) -> tuple[UnitTerms, ...]:
    """The terms of all units of one comparison.

    Args:
        units: all units.
        own: position in it -> moments of the unit with itself.
        lis_form: letters d, p, n of each unit.
        within_form: letters w, b; empty where no user has a pair.
    """
    terms, sizes = [], cell_sizes(units, own)
    for unit, row in own.items():
        replicates, sums, size = len(units[unit].leaked_arms), row.sums, sizes[unit]
        gained = {
            name: Fraction(sums[f"leaked_{name}"], replicates) - sums[f"control_{name}"]
            for name in ("u2_positives", "u2_within_user")
        }
        lis, within = lis_form[unit], within_form.get(unit, {})
        terms.append(
            UnitTerms(
                unit=units[unit],
                positives=sums["p"],
                negatives=sums["n"],
                # the letters are sums over the replicates, the second pass takes their mean
                change=float(lis["d"] * replicates),
                positive=float(lis["p"]),
                negative=float(lis["n"]),
                share=1.0 / size,
                gained=float(gained["u2_positives"] / size),
                weight=float(Fraction(2 * sums["p"] * sums["n"], size)),
                within_change=float(within.get("w", Fraction(0)) * replicates),
                within_pairs=float(within.get("b", Fraction(0))),
                within_gained=float(gained["u2_within_user"] / size),
                within_weight=float(Fraction(sums["b"], size)),
            )
        )
    return tuple(terms)
