"""Many estimates on the same users at once: intervals that all hold together, and p adjusted for their number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lis_spark.inference.estimates import Estimates, Numbers, checked, checked_degrees, correlation, own_order
from lis_spark.inference.students_t import (
    critical_value,
    drawn_statistics,
    smallest_chances,
    smallest_expected,
    upper_chance,
)

# The level that is reached differs from the nominal one by .0015 (one standard deviation).
DRAWS = 20_000


@dataclass(frozen=True)
class SimultaneousIntervals:
    """Of k estimates: ``low`` and ``high`` [k] in their unit, and ``p_values`` [k] adjusted by single-step max-t."""

    low: Numbers
    high: Numbers
    p_values: Numbers


def simultaneous_intervals(
    values: npt.ArrayLike,
    covariance: npt.ArrayLike,
    degrees_of_freedom: npt.ArrayLike,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> SimultaneousIntervals:
    """Two-sided intervals that hold all truths at once with the level, and two-sided p of "0" adjusted alike.

    The multiplier bootstrap of the largest statistic (Chernozhukov, Chetverikov and Kato 2013, "Gaussian Approximations
    and Multiplier Bootstrap for Maxima of Sums of High-Dimensional Random Vectors") weighs each user's influence with a
    normal multiplier. Given the data its sums are exactly N(0, covariance), so they are drawn from that, and the users
    need not be kept. Each drawn statistic has Student's t with degrees of freedom of its own (see
    :func:`lis_spark.inference.students_t.drawn_statistics`); the smallest of the k two-sided p of a draw stands for the
    largest statistic, and its (1 - level) quantile is the chance at which every interval is taken. That is at most
    1 - level (one estimate: the plain t interval) and at least (1 - level) / k (Bonferroni). The interval of an
    estimate without variance is the estimate itself; it counts for nothing among the others.

    Args:
        values: [k].
        covariance: [k, k] of their errors; may be singular. Of what a few seeds add, the variances alone: their
            covariances are mostly noise.
        degrees_of_freedom: of the standard errors, [k] or one number; inf where they are known. Where a few seeds are
            in the errors, see :func:`lis_spark.inference.errors_with_seeds`.
        level: of all intervals together, in (0, 1).
        draws: how many.
        seed: of the draws. The same inputs give the same bits, in whatever order the estimates are given.

    Raises:
        ValueError: inputs that do not fit together, or draws that are too few for the level.
    """
    if not 0.0 < level < 1.0:
        raise ValueError(f"a level lies between 0 and 1, not at {level}")
    estimates = checked(values, covariance)
    errors = estimates.errors
    degrees = checked_degrees(degrees_of_freedom, errors.shape)
    order = own_order(estimates, degrees)
    order = order[errors[order] > 0]
    ours = Estimates(estimates.values[order], estimates.covariance[np.ix_(order, order)])
    smallest = _smallest_p(ours, degrees[order], draws, seed) if len(order) > 1 else None
    chance = _common_chance(smallest, len(order), 1.0 - level)
    half, p_values = np.zeros(errors.shape), np.where(estimates.values == 0, 1.0, 0.0)
    for place in order:
        half[place] = errors[place] * critical_value(degrees[place], chance)
        p_value = 2.0 * upper_chance(abs(estimates.values[place]) / errors[place], degrees[place])
        p_values[place] = _adjusted(p_value, smallest, len(order))
    return SimultaneousIntervals(estimates.values - half, estimates.values + half, p_values)


def holm(p_values: Sequence[float]) -> list[float]:
    """p adjusted so that any false finding among them stays within the level (Holm 1979), in the order given."""
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    adjusted, reached = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        reached = max(reached, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = reached
    return adjusted


def holm_lower_bounds(
    p_values: Sequence[float], bound_at: Callable[[int, float], float], level: float = 0.975
) -> list[float]:
    """Lower bounds of several effects that all hold together with the level, as Holm's test of "not above 0" has them.

    Strassburger and Bretz 2008, "Compatible Simultaneous Lower Confidence Bounds for the Holm Procedure and Other
    Bonferroni-Based Closed Tests". The bound of an effect that is shown is 0: how large it is, the test leaves open
    unless it shows all of them. Bounds of either side at .975 make two-sided intervals at 95 %.

    Args:
        p_values: one-sided, of each effect being above 0.
        bound_at: (place, chance) -> the lower bound of an effect alone that is missed with this chance.
        level: of all bounds together.
    """
    chance = 1.0 - level
    is_shown = [adjusted <= chance for adjusted in holm(p_values)]
    left = is_shown.count(False)
    if not left:
        return [max(0.0, bound_at(place, chance / len(p_values))) for place in range(len(p_values))]
    return [0.0 if shown else bound_at(place, chance / left) for place, shown in enumerate(is_shown)]


def _smallest_p(estimates: Estimates, degrees: Numbers, draws: int, seed: int) -> Numbers:
    """The smallest two-sided p of each draw, ascending [draws]."""
    statistics = drawn_statistics(correlation(estimates.covariance), degrees, draws, seed)
    return np.sort(2.0 * smallest_chances(np.abs(statistics), degrees))


def _common_chance(smallest: Numbers | None, count: int, chance: float) -> float:
    """The chance at which each interval is taken, so that all together miss with ``chance``."""
    if smallest is None:
        return chance
    quantile = float(smallest[smallest_expected(len(smallest), chance) - 1])
    return min(max(quantile, chance / count), chance)


def _adjusted(p_value: float, smallest: Numbers | None, count: int) -> float:
    """P(the smallest p of all is at most this one), within what it can be whatever the correlation."""
    if smallest is None:
        return p_value
    share = (1.0 + float(np.searchsorted(smallest, p_value, side="right"))) / (len(smallest) + 1.0)
    return min(max(share, p_value), 1.0, count * p_value)
