"""One estimate from several training seeds on the same users."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import digamma, polygamma

from lis_spark.inference.students_t import Numbers, critical_value

# Degrees of freedom of a variance that is taken as known; a number, because JSON knows no infinity.
KNOWN_DEGREES = 1e9


@dataclass(frozen=True)
class Estimate:
    """A mean over training seeds with its uncertainty.

    ``value`` and ``standard_error`` are in the unit of the differences; ``sigma_seed`` is the standard deviation over
    seeds, None with one seed. ``seed_degrees``: degrees of freedom of what seeds add to the variance, 0 with one seed.
    """

    value: float
    standard_error: float
    degrees_of_freedom: float
    sigma_seed: float | None
    seed_degrees: float = 0.0

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """(low, high) by Student's t.

        Raises:
            ValueError: ``level`` is not in (0, 1).
        """
        if not 0.0 < level < 1.0:
            raise ValueError(f"a level lies between 0 and 1, not at {level}")
        half = self.standard_error * critical_value(self.degrees_of_freedom, 1.0 - level)
        return self.value - half, self.value + half


def satterthwaite(variances: Sequence[float], degrees_of_freedom: Sequence[float]) -> float:
    """Degrees of freedom of a sum of independently estimated variances: (sum of V)^2 / sum of V^2 / f.

    Satterthwaite 1946, "An Approximate Distribution of Estimates of Variance Components". For the difference of two
    estimates these are the variance of the difference over the users, and s^2 / R of either.

    Args:
        variances: V, none below 0, not all 0.
        degrees_of_freedom: f of each, above 0.

    Raises:
        ValueError: nothing varies, or a number that is out of its range.
    """
    total = math.fsum(variances)
    if not 0.0 < total < math.inf or min(variances) < 0 or not min(degrees_of_freedom) > 0:
        raise ValueError(f"variances {list(variances)} with degrees of freedom {list(degrees_of_freedom)} have no sum")
    # as shares of the sum: squares of small variances would be too small for a float
    inverse = sum((one / total) ** 2 / degrees for one, degrees in zip(variances, degrees_of_freedom, strict=True))
    return 1.0 / inverse if inverse else math.inf


def combine_seeds(
    values: Sequence[float], cluster_variance: float, clusters: float, known_sigma: float | None = None
) -> Estimate:
    """The mean over seeds; variance = cluster variance + s^2 / R.

    The users are the same under every seed, so their variance does not shrink with R. Degrees of freedom by
    :func:`satterthwaite` from K - 1 and R - 1; K - 1 with one seed or where nothing varies.

    Args:
        values: paired differences, one a training seed (R of them).
        cluster_variance: of their mean over the users, from each user's influence on the mean.
        clusters: users (K), or effective users where they weigh unequally.
        known_sigma: standard deviation over seeds that another run has measured, which stands in for s where there is
            one seed; not used where there are several.

    Raises:
        ValueError: no seed, fewer than two users, or a number that is out of its range.
    """
    seeds = len(values)
    if not seeds:
        raise ValueError("a mean over seeds needs at least one seed")
    if clusters < 2:
        raise ValueError(f"a variance over users needs at least two of them, there are {clusters}")
    if not all(map(math.isfinite, values)) or not 0.0 <= cluster_variance < math.inf:
        raise ValueError(f"values are finite and a variance is not below 0: {list(values)}, {cluster_variance}")
    value, degrees = statistics.fmean(values), clusters - 1.0
    if seeds == 1 and known_sigma is None:
        return Estimate(value, math.sqrt(cluster_variance), degrees, None)
    if seeds == 1:
        sigma_seed, seed_degrees = float(known_sigma or 0.0), KNOWN_DEGREES
    else:
        sigma_seed, seed_degrees = statistics.stdev(values), seeds - 1.0
    variances = cluster_variance, sigma_seed**2 / seeds
    if any(variances):
        degrees = satterthwaite(variances, (clusters - 1.0, seed_degrees))
    return Estimate(value, math.sqrt(sum(variances)), degrees, sigma_seed, seed_degrees)


def combine_orders(
    values: Sequence[float], checks: Sequence[float], cluster_variance: float, clusters: float
) -> Estimate:
    """The mean over seeds of a leak against its own vectors in a wrong order, a new one under each seed.

    If a leak is noise, its own order is one more draw beside the control's, and what that draw happens to fit is in no
    difference between seeds. ``checks`` are differences between two wrong orders: their mean is 0, and half of their
    variance is that of one order and one training. So what seeds and orders add is (1 + 1 / R) times that half, or
    s^2 / R where that is more; without checks (1 + 1 / R) s^2, which counts the training of the control twice.

    Args:
        values: differences from the control, one a training seed (R of them, two at least).
        checks: differences of two wrong orders, one a training seed; none where they were not measured.
        cluster_variance: of the mean over the users.
        clusters: users (K), or effective users where they weigh unequally.
    """
    seeds = len(values)
    estimate = combine_seeds(values, cluster_variance, clusters)
    if estimate.sigma_seed is None:
        return estimate
    own = estimate.sigma_seed**2 / seeds
    added, degrees = own * (seeds + 1.0), seeds - 1.0
    if checks:
        of_orders = statistics.fmean(check**2 for check in checks) * (seeds + 1.0) / (2.0 * seeds)
        added, degrees = (of_orders, float(len(checks))) if of_orders > own else (own, seeds - 1.0)
    variances = cluster_variance, added
    together = satterthwaite(variances, (clusters - 1.0, degrees)) if any(variances) else clusters - 1.0
    return Estimate(estimate.value, math.sqrt(sum(variances)), together, estimate.sigma_seed, degrees)


def errors_with_seeds(
    of_users: npt.ArrayLike, of_seeds: npt.ArrayLike, clusters: npt.ArrayLike, seed_degrees: npt.ArrayLike
) -> tuple[Numbers, Numbers]:
    """Standard errors of estimates that are read together, and their degrees of freedom.

    A variance over three seeds is often far too small by chance, and of twenty estimates the one whose variance is
    smallest stands out. So each is held against what the others say: the moderated variance of Smyth 2004 ("Linear
    Models and Empirical Bayes Methods for Assessing Differential Expression in Microarray Experiments") stands in where
    it is larger, with its own degrees of freedom. Where all scatter alike it is their mean; where they differ it is
    nearly each one's own. Twenty intervals of three seeds that scatter twice as much as users hold together in 94 % of
    simulated worlds with it, in 84 % without it.

    Args:
        of_users: [k] variances over the users.
        of_seeds: [k] what training seeds (and orders of a control) add to each; 0 with one seed.
        clusters: [k] users.
        seed_degrees: [k] degrees of freedom of ``of_seeds``; 0 with one seed.

    Returns:
        Standard errors [k], degrees of freedom [k] by :func:`satterthwaite`; K - 1 where nothing varies.
    """
    users, added, own = (np.asarray(given, dtype=float) for given in (of_users, of_seeds, seed_degrees))
    variances, degrees = added.copy(), np.maximum(own, 1.0)
    known = np.flatnonzero((own > 0) & (added > 0))
    if len(known) > 2:
        moderated, together = _moderated(added[known], own[known])
        is_larger = moderated > added[known]
        variances[known] = np.where(is_larger, moderated, added[known])
        degrees[known] = np.where(is_larger, together, own[known])
    found = [
        satterthwaite((one, other), (count - 1.0, df)) if one + other > 0 else count - 1.0
        for one, other, count, df in zip(users, variances, np.asarray(clusters, dtype=float), degrees, strict=True)
    ]
    return np.sqrt(users + variances), np.array(found)


def _moderated(variances: Numbers, degrees: Numbers) -> tuple[Numbers, Numbers]:
    """Each variance drawn towards a common one, and its degrees of freedom [k]; see :func:`errors_with_seeds`."""
    scores = np.log(variances) - digamma(degrees / 2.0) + np.log(degrees / 2.0)
    excess = float(scores.var(ddof=1) - polygamma(1, degrees / 2.0).mean())
    if excess <= 0:  # they scatter no more than variances of one truth do
        mean = float((degrees * variances).sum() / degrees.sum())
        return np.full(len(variances), mean), np.full(len(variances), degrees.sum())
    prior = 2.0 * brentq(lambda half: polygamma(1, half) - excess, 1e-6, 1e9)
    common = math.exp(float(scores.mean()) + float(digamma(prior / 2.0)) - math.log(prior / 2.0))
    together = np.minimum(prior + degrees, degrees.sum())
    return (prior * common + degrees * variances) / (prior + degrees), together
