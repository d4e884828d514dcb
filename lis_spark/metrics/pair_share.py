"""The share of ranked pairs whose impressions are of one user, with its interval (method 2.2)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from lis_spark.metrics.forms import Form, cell_sizes, sum_of_squares
from lis_spark.metrics.moments import Moments
from lis_spark.metrics.pairs import ArmPair


@dataclass(frozen=True)
class PairShare:
    """A share of pairs; its standard error is over users, None with one user alone."""

    value: float
    standard_error: float | None


def pair_share(
    units: Sequence[ArmPair], own: Mapping[int, Moments], moments: Iterable[Moments], users: int
) -> PairShare:
    """S = sum_u 2 p_u n_u / W, W = sum_f 2 P_f N_f; psi_u = (2 p_u n_u - 2 S sum_f (p_uf N_f + n_uf P_f)) / W.

    More users make more pairs of two users, not more of one: the psi sum to -S, not to 0, so their mean is taken off.
    The interval says what as many other users would give.

    Args:
        units: all units.
        own: position in it -> moments of the unit with itself.
        moments: those of the comparison.
        users: K, the clusters.
    """
    sizes = cell_sizes(units, own)
    weights = {unit: Fraction(2, sizes[unit]) for unit in own}
    pairs = sum((weights[unit] * row.sums["p"] * row.sums["n"] for unit, row in own.items()), Fraction(0))
    share = sum((Fraction(row.sums["b"], sizes[unit]) for unit, row in own.items()), Fraction(0)) / pairs
    form: Form = {
        unit: {
            "b": 1 / (pairs * sizes[unit]),
            "p": -share * weights[unit] * row.sums["n"] / pairs,
            "n": -share * weights[unit] * row.sums["p"] / pairs,
        }
        for unit, row in own.items()
    }
    if users < 2:
        return PairShare(float(share), None)
    variance = (sum_of_squares(moments, form) - share**2 / users) * Fraction(users, users - 1)
    return PairShare(float(share), math.sqrt(variance))
