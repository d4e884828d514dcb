"""Which ranks of k populations the data allows (Mogstad, Romano, Shaikh and Wilhelm 2024, "Inference for Ranks with
Applications to Mobility across Neighbourhoods and Academic Achievement across Countries")."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lis_spark.inference.estimates import Estimates, Numbers, checked, checked_degrees, correlation, own_order
from lis_spark.inference.students_t import drawn_statistics, smallest_chances, smallest_expected, upper_chance

Flags = npt.NDArray[np.bool_]
# Fewer than for intervals: there are k (k - 1) / 2 differences, and the draws of all are held at once.
DRAWS = 10_000
# A difference whose standard error is below this share of those of its two estimates has none but rounding.
_ROUNDING = 1e-7


@dataclass(frozen=True)
class RankSets:
    """``lowest`` and ``highest`` rank [k] that the data allows, 1 for the largest value; ``is_above`` [k, k]: whether
    the population of the row is shown to be above that of the column."""

    lowest: npt.NDArray[np.int64]
    highest: npt.NDArray[np.int64]
    is_above: Flags


@dataclass(frozen=True)
class _Differences:
    """Of all pairs whose difference varies: ``upper`` and ``lower`` [m] are populations, ``statistics`` [m]."""

    upper: npt.NDArray[np.int64]
    lower: npt.NDArray[np.int64]
    statistics: Numbers
    correlation: Numbers


def rank_sets(
    values: npt.ArrayLike,
    covariance: npt.ArrayLike,
    degrees_of_freedom: npt.ArrayLike,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> RankSets:
    """Sets that hold the ranks of all populations at once with the level.

    Every difference of two is tested against 0 on both sides, with one critical chance for all from the joint
    distribution of the statistics, and again for what is left until nothing more is found (Romano and Wolf 2005, "Exact
    and Approximate Stepdown Methods for Multiple Hypothesis Testing"). A population's rank is then at least 1 + those
    above it, and at most k - those below it. Where a difference is found, the test of its opposite direction stays
    among those that are left, as in the paper: the level then holds for the directions, too, which the ranks rest on.

    Args:
        values: [k].
        covariance: [k, k] of their errors; may be singular. A pair whose difference has no variance is told apart if
            its values differ. Of what a few seeds add, the variances alone: covariances from three seeds are mostly
            noise. Where seeds scatter twice as much as users, sets that rest on them hold in 85 %, on the variances
            alone in 95 %.
        degrees_of_freedom: of the standard errors of the differences: one number, or [k, k] (the diagonal is not read).
        level: in (0.5, 1).
        draws: how many.
        seed: of the draws. The same inputs give the same bits, in whatever order the populations are given.

    Raises:
        ValueError: inputs that do not fit together, or draws that are too few for the level.
    """
    if not 0.5 < level < 1.0:
        raise ValueError(f"a level lies between .5 and 1, not at {level}")
    estimates = checked(values, covariance)
    k = len(estimates.values)
    degrees = _pair_degrees(degrees_of_freedom, k)
    order = own_order(estimates, degrees)
    ours = Estimates(estimates.values[order], estimates.covariance[np.ix_(order, order)])
    is_above, pairs = _compared(ours)
    if len(pairs.upper):
        own = degrees[np.ix_(order, order)][pairs.upper, pairs.lower]
        found, opposite = _told_apart(pairs, own, 1.0 - level, draws, seed)
        is_above[pairs.upper, pairs.lower] = found
        is_above[pairs.lower, pairs.upper] = opposite
    back = np.argsort(order)
    is_above = is_above[np.ix_(back, back)]
    return RankSets(1 + is_above.sum(axis=0), k - is_above.sum(axis=1), is_above)


def _pair_degrees(degrees_of_freedom: npt.ArrayLike, k: int) -> Numbers:
    given = np.array(degrees_of_freedom, dtype=float)
    if given.shape == (k, k):
        # one diagonal for all: it is not read, and shall not order the populations either
        given = np.where(np.eye(k, dtype=bool), 1.0, given)
    degrees = checked_degrees(given, (k, k))
    if not np.array_equal(degrees, degrees.T):
        raise ValueError("a pair has the same degrees of freedom whichever of the two comes first")
    return degrees


def _compared(estimates: Estimates) -> tuple[Flags, _Differences]:
    """(what is above what for sure, the differences that are to be tested)."""
    k = len(estimates.values)
    upper, lower = np.triu_indices(k, 1)
    variances = np.diag(estimates.covariance)
    size = np.sqrt(variances[upper] + variances[lower])
    found = estimates.covariance[upper] - estimates.covariance[lower]
    variance = found[np.arange(len(upper)), upper] - found[np.arange(len(upper)), lower]
    varies = variance > (_ROUNDING * size) ** 2
    apart = np.subtract.outer(estimates.values, estimates.values)
    is_above = np.zeros((k, k), dtype=bool)
    for above, below, own in zip(upper[~varies], lower[~varies], size[~varies], strict=True):
        # equal but for rounding is equal
        if abs(apart[above, below]) > _ROUNDING * own:
            is_above[above, below] = apart[above, below] > 0
            is_above[below, above] = apart[above, below] < 0
    upper, lower = upper[varies], lower[varies]
    covariance = found[varies][:, upper] - found[varies][:, lower]
    statistics = apart[upper, lower] / np.sqrt(variance[varies])
    return is_above, _Differences(upper, lower, statistics, correlation((covariance + covariance.T) / 2.0))


def _told_apart(pairs: _Differences, degrees: Numbers, chance: float, draws: int, seed: int) -> tuple[Flags, Flags]:
    """Whether each pair's first is shown to be above its second [m], and the second above the first [m]."""
    own = np.array([upper_chance(t, df) for t, df in zip(pairs.statistics, degrees, strict=True)])
    # the tests of one direction, then those of the other
    observed = np.concatenate([own, [upper_chance(-t, df) for t, df in zip(pairs.statistics, degrees, strict=True)]])
    if len(own) == 1:
        rejected = observed < chance / 2.0
        return rejected[:1], rejected[1:]
    place = smallest_expected(draws, chance) - 1
    statistics = drawn_statistics(pairs.correlation, degrees, draws, seed)
    rejected = np.zeros(len(observed), dtype=bool)
    while True:
        # never beyond Bonferroni over what is left
        critical = max(_critical(statistics, degrees, ~rejected, place), chance / np.count_nonzero(~rejected))
        found = ~rejected & (observed < critical)
        if not found.any():
            return rejected[: len(own)], rejected[len(own) :]
        rejected |= found


def _critical(statistics: Numbers, degrees: Numbers, left: Flags, place: int) -> float:
    """The smallest one-sided p of each draw among the tests that are left [2 m]; of these the one at ``place``."""
    first, second = left[: len(degrees)], left[len(degrees) :]
    smallest = np.minimum(
        smallest_chances(statistics[:, first], degrees[first]),
        smallest_chances(-statistics[:, second], degrees[second]),
    )
    return float(np.partition(smallest, place)[place])
