"""What the best of many estimates is worth once it is no longer chosen for its luck (the winner's curse)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from lis_spark.inference.estimates import Estimates, Numbers, checked

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
    Inference: Theory and Applications"), over a fixed grid that is then refined. Standard errors hold what is not known
    of m, but take tau for known: with few estimates they are a little too small. A posterior mean lies between its
    estimate and m: what the others' errors say beyond that is cut off. Estimates that are one and the same, as two
    names of one thing have, count once.

    Args:
        values: [k].
        covariance: [k, k] of their errors; may be singular.

    Returns:
        The estimates unshrunken where fewer than three are distinct, or nothing varies.

    Raises:
        ValueError: inputs that do not fit together.
    """
    estimates = checked(values, covariance)
    group = _groups(estimates)
    first = np.array([int(np.argmax(group == one)) for one in range(group.max() + 1)])
    ours = Estimates(estimates.values[first], estimates.covariance[np.ix_(first, first)])
    unit = float(np.diag(ours.covariance).mean() + ours.values.var())
    if len(first) < FEWEST_ESTIMATES or not unit > 0:
        return Shrunken(estimates.values, estimates.errors, None, None, False)
    model = _Model(ours, unit)
    spread_squared = model.likeliest()
    mean, found, errors = model.posterior(spread_squared)
    found = np.clip(found, np.minimum(ours.values, mean), np.maximum(ours.values, mean))
    return Shrunken(found[group], errors[group], mean, float(np.sqrt(spread_squared)), True)


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
    """The marginal distribution N(m, covariance + tau^2) along the axes of the covariance."""

    def __init__(self, estimates: Estimates, unit: float) -> None:
        sizes, self.axes = np.linalg.eigh(estimates.covariance)
        self.unit = unit
        self.sizes = np.maximum(sizes, _LEAST * unit)
        self.ones = self.axes.sum(axis=0)
        self.turned = estimates.values @ self.axes

    def likeliest(self) -> float:
        """The tau^2 of the largest restricted likelihood."""
        tried = _TRIED * self.unit
        best = int(np.argmin([self._loss(one) for one in tried]))
        if best == 0:
            return 0.0
        low, high = tried[best - 1], tried[min(best + 1, len(tried) - 1)]
        refined = minimize_scalar(self._loss, bounds=(low, high), method="bounded", options={"xatol": 1e-9 * high})
        return float(refined.x if refined.fun <= self._loss(tried[best]) else tried[best])

    def posterior(self, spread_squared: float) -> tuple[float, Numbers, Numbers]:
        """(m, posterior means [k], posterior standard errors [k])."""
        weights = 1.0 / (self.sizes + spread_squared)
        known = float(weights @ self.ones**2)
        mean = float(weights @ (self.ones * self.turned)) / known
        # written by what is taken off: where tau is large next to an error, nothing of the estimate is lost to rounding
        noise = self.sizes * weights
        found = self.axes @ (self.turned - noise * (self.turned - mean * self.ones))
        variances = spread_squared * (self.axes**2 @ noise) + (self.axes @ (noise * self.ones)) ** 2 / known
        return mean, found, np.sqrt(variances)

    def _loss(self, spread_squared: float) -> float:
        """-2 log restricted likelihood, but for a constant."""
        variances = self.sizes + spread_squared
        known = float(np.sum(self.ones**2 / variances))
        mean = float(np.sum(self.ones * self.turned / variances)) / known
        apart = self.turned - mean * self.ones
        return float(np.sum(np.log(variances)) + np.log(known) + np.sum(apart**2 / variances))
