"""What the best of many estimates is worth once it is no longer chosen for its luck (the winner's curse)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from lis_spark.inference.estimates import Estimates, Numbers, checked, own_order

# With fewer there is no spread of the truths to speak of.
FEWEST_ESTIMATES = 3
# Variances of the truths that are tried, in units of what was measured; the best of them is then refined.
_TRIED = np.concatenate([[0.0], np.geomspace(1e-8, 1e2, 201)])
# Variances below this share of the unit are taken for it, so that what is singular can be inverted.
_LEAST = 1e-12
# Two estimates whose difference has a standard error below this share of theirs are one estimate.
_SAME = 1e-6


@dataclass(frozen=True)
class Shrunken:
    """Posterior of k truths: ``values`` and ``standard_errors`` [k] in the unit of the estimates.

    ``mean`` and ``spread`` (standard deviation) of the truths; None, and the estimates as they were, where
    ``is_shrunken`` is False.
    """

    values: Numbers
    standard_errors: Numbers
    mean: float | None
    spread: float | None
    is_shrunken: bool


def shrink(values: npt.ArrayLike, covariance: npt.ArrayLike) -> Shrunken:
    """Empirical Bayes with correlated errors: truth ~ N(m, tau^2), estimate | truth ~ N(truth, covariance).

    tau^2 maximises the restricted likelihood, in which m is integrated out (Morris 1983, "Parametric Empirical Bayes
    Inference: Theory and Applications"), over a fixed grid that is then refined. A posterior mean lies between its
    estimate and m: what the others' errors say beyond that is cut off. Standard errors hold what is not known of m, but
    take tau and the covariance for known: they are too small where there are few estimates, or not many times more
    users than estimates. Estimates that are one and the same, as two names of one thing have, count once.

    Args:
        values: [k].
        covariance: [k, k] of their errors; may be singular.

    Returns:
        The estimates unshrunken where fewer than three are distinct, or nothing varies.

    Raises:
        ValueError: inputs that do not fit together.
    """
    estimates = checked(values, covariance)
    # in an order of their own, so that the same estimates in another order have the same bits
    order = own_order(estimates, np.ones(estimates.values.shape))
    group = np.empty(len(order), dtype=np.int64)
    group[order] = _groups(Estimates(estimates.values[order], estimates.covariance[np.ix_(order, order)]))
    first = np.array([order[np.argmax(group[order] == one)] for one in range(group.max() + 1)])
    ours = Estimates(estimates.values[first], estimates.covariance[np.ix_(first, first)])
    unit = float(np.diag(ours.covariance).mean() + ours.values.var())
    if len(first) < FEWEST_ESTIMATES or not unit > 0:
        return Shrunken(estimates.values, estimates.errors, None, None, False)
    model = _Model(ours, unit)
    spread_squared = model.likeliest()
    mean, found, errors = model.posterior(spread_squared)
    found = np.clip(found, np.minimum(ours.values, mean), np.maximum(ours.values, mean))
    return Shrunken(found[group], errors[group], mean, math.sqrt(spread_squared), True)


def _groups(estimates: Estimates) -> npt.NDArray[np.int64]:
    """Numbers [k] from 0, the same for estimates that are one and the same."""
    group = np.full(len(estimates.values), -1)
    variances = np.diag(estimates.covariance)
    for place in range(len(group)):
        if group[place] >= 0:
            continue
        size = variances + variances[place]
        apart = np.abs(estimates.values - estimates.values[place])
        same = (size - 2.0 * estimates.covariance[place] <= _SAME**2 * size) & (apart <= _SAME * np.sqrt(size))
        group[same & (group < 0)] = group.max() + 1
    return group


class _Model:
    """The marginal distribution N(m, covariance + tau^2) along the axes of the covariance.

    ``errors`` [k] are the variances of the errors, ``sizes`` [k] what is inverted in their place.
    """

    def __init__(self, estimates: Estimates, unit: float) -> None:
        sizes, self.axes = np.linalg.eigh(estimates.covariance)
        self.unit = unit
        self.errors = np.where(sizes > _LEAST * unit, sizes, 0.0)
        self.sizes = np.maximum(sizes, _LEAST * unit)
        self.ones = self.axes.sum(axis=0)
        self.turned = estimates.values @ self.axes

    def likeliest(self) -> float:
        """The tau^2 of the largest restricted likelihood."""
        tried = _TRIED * self.unit
        losses = self.losses(tried)
        best = int(np.argmin(losses))
        if best == 0:
            return 0.0
        low, high = tried[best - 1], tried[min(best + 1, len(tried) - 1)]
        refined = minimize_scalar(
            lambda one: self.losses(np.array([one]))[0],
            bounds=(low, high),
            method="bounded",
            options={"xatol": 1e-9 * high},
        )
        return float(refined.x if refined.fun <= losses[best] else tried[best])

    def posterior(self, spread_squared: float) -> tuple[float, Numbers, Numbers]:
        """(m, posterior means [k], posterior standard errors [k])."""
        weights = 1.0 / (self.sizes + spread_squared)
        known = float(weights @ self.ones**2)
        mean = float(weights @ (self.ones * self.turned)) / known
        # written by what is taken off: where tau is large next to an error, nothing of the estimate is lost to rounding
        noise = self.errors * weights
        found = self.axes @ (self.turned - noise * (self.turned - mean * self.ones))
        variances = spread_squared * (self.axes**2 @ noise) + (self.axes @ (noise * self.ones)) ** 2 / known
        return mean, found, np.sqrt(variances)

    def losses(self, spreads_squared: Numbers) -> Numbers:
        """-2 log restricted likelihood of each tau^2, but for a constant."""
        variances = self.sizes + spreads_squared[:, None]
        known = (self.ones**2 / variances).sum(axis=1)
        means = (self.ones * self.turned / variances).sum(axis=1) / known
        apart = self.turned - means[:, None] * self.ones
        return np.asarray(np.log(variances).sum(axis=1) + np.log(known) + (apart**2 / variances).sum(axis=1))
