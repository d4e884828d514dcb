"""Quantiles of Student's t, and draws of many t statistics together as they would be if nothing were true."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.special import gammainccinv, gammaincinv, ndtr, ndtri, stdtr, stdtrit

Numbers = npt.NDArray[np.float64]

# A distribution is looked up between points that are as near as this many allow; what is lost, below a thousandth of
# a p, is far below the noise of the draws.
_SCORES = np.linspace(-8.0, 8.0, 401)
_STATISTICS = np.sinh(np.linspace(0.0, np.arcsinh(1e7), 1201))
# From here on the cube of Wilson and Hilferty (1931) is as good: a p of .001 is off by its 2,000th part.
_MANY_DEGREES = 50.0
_LEAST_CHANCE = 1e-300


def critical_value(degrees_of_freedom: float, chance: float) -> float:
    """What |t| exceeds with this chance; the normal quantile for infinitely many degrees of freedom.

    Args:
        degrees_of_freedom: above 0.
        chance: on both sides together, in (0, 1).
    """
    if math.isinf(degrees_of_freedom):
        return float(-ndtri(chance / 2.0))
    return float(-stdtrit(degrees_of_freedom, chance / 2.0))


def upper_chance(statistic: float, degrees_of_freedom: float) -> float:
    """P(t > statistic)."""
    if math.isinf(degrees_of_freedom):
        return float(ndtr(-statistic))
    return float(stdtr(degrees_of_freedom, -statistic))


def drawn_statistics(correlation: Numbers, degrees_of_freedom: Numbers, draws: int, seed: int) -> Numbers:
    """Draws [draws, m] of m t statistics that belong together and whose truths are all 0.

    T_j = Z_j / sqrt(U_j): Z is normal with the given correlation, and U_j, the ratio of the estimated to the true
    variance, is chi-square over its degrees of freedom. Two of the U are correlated as the square of the correlation of
    their Z, as two variances are that are estimated from the same normal data, by a normal copula. So two estimates
    that are one and the same count as one; with independent U, sixty of them would be tested as if they differed.

    Args:
        correlation: [m, m], of rank m or less.
        degrees_of_freedom: [m], above 0; inf where the variance is known.
        draws: how many.
        seed: of the draws; the same inputs give the same bits.
    """
    random = np.random.default_rng(seed)
    statistics = random.standard_normal((draws, len(correlation))) @ _root(correlation)
    scores = random.standard_normal(statistics.shape) @ _root(correlation**2)
    for degrees in np.unique(degrees_of_freedom):
        same = degrees_of_freedom == degrees
        statistics[:, same] /= np.sqrt(_variance_ratios(scores[:, same], float(degrees)))
    return statistics


def smallest_chances(statistics: Numbers, degrees_of_freedom: Numbers) -> Numbers:
    """The smallest P(t > T_j) of each row [draws].

    Args:
        statistics: [draws, m].
        degrees_of_freedom: [m].
    """
    smallest = np.ones(len(statistics))
    for degrees in np.unique(degrees_of_freedom):
        # of those with the same distribution, the largest statistic has the smallest chance
        largest = statistics[:, degrees_of_freedom == degrees].max(axis=1)
        smallest = np.minimum(smallest, _upper_chances(largest, float(degrees)))
    return smallest


def smallest_expected(draws: int, chance: float) -> int:
    """The m for which the m-th smallest of the draws is undercut by one more with at most this chance.

    Raises:
        ValueError: so few draws have no such m.
    """
    place = math.floor(chance * (draws + 1))
    if place < 1:
        raise ValueError(f"{draws} draws do not reach a chance of {chance:.3g}: {math.ceil(1 / chance) - 1} are needed")
    return place


def _root(correlation: Numbers) -> Numbers:
    """The symmetric root: the axes of an eigen-decomposition come with signs of their own on each machine."""
    sizes, axes = np.linalg.eigh(correlation)
    root = (axes * np.sqrt(np.maximum(sizes, 0.0))) @ axes.T
    # what was clipped at 0 has added to the variances, which are 1
    return np.asarray(root / np.sqrt((root * root).sum(axis=0)))


def _variance_ratios(scores: Numbers, degrees: float) -> Numbers:
    """Chi-square over its degrees of freedom at standard normal scores, of the same shape."""
    if math.isinf(degrees):
        return np.ones_like(scores)
    if degrees >= _MANY_DEGREES:
        ninth = 2.0 / (9.0 * degrees)
        return np.asarray((1.0 - ninth + np.sqrt(ninth) * scores) ** 3)
    half = degrees / 2.0
    # each half from its own tail: 1 - 1e-15 has lost its digits
    below, above = _SCORES[_SCORES < 0], _SCORES[_SCORES >= 0]
    ratios = np.concatenate([gammaincinv(half, ndtr(below)), gammainccinv(half, ndtr(-above))]) / half
    return np.exp(np.interp(scores, _SCORES, np.log(np.maximum(ratios, _LEAST_CHANCE))))


def _upper_chances(statistics: Numbers, degrees: float) -> Numbers:
    """P(t > statistic), of the same shape."""
    chances = ndtr(-_STATISTICS) if math.isinf(degrees) else stdtr(degrees, -_STATISTICS)
    looked_up = np.interp(np.abs(statistics), _STATISTICS, np.log(np.maximum(chances, _LEAST_CHANCE)))
    return np.where(statistics > 0, np.exp(looked_up), 1.0 - np.exp(looked_up))
