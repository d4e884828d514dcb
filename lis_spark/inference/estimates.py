"""Estimates whose errors are correlated, as they are given: checked, and in an order that is their own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]
# Of a covariance, relative to its variances: what rounding may do.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Estimates:
    """``values`` [k], ``covariance`` [k, k] of their errors, symmetric; ``errors`` [k]: the standard errors."""

    values: Numbers
    covariance: Numbers

    @property
    def errors(self) -> Numbers:
        return np.sqrt(np.diag(self.covariance))


def checked(values: npt.ArrayLike, covariance: npt.ArrayLike) -> Estimates:
    """The estimates as arrays.

    Raises:
        ValueError: shapes that do not fit, numbers that are none, or a matrix that is no covariance.
    """
    found, matrix = np.array(values, dtype=float), np.array(covariance, dtype=float)
    if found.ndim != 1 or not len(found) or matrix.shape != (len(found), len(found)):
        raise ValueError(f"k estimates need a covariance of [k, k]: there are {found.shape} and {matrix.shape}")
    if not np.isfinite(found).all() or not np.isfinite(matrix).all():
        raise ValueError("an estimate or a covariance is not finite")
    variances = np.diag(matrix)
    if (variances < 0).any():
        raise ValueError("a variance is below 0")
    largest = np.sqrt(np.outer(variances, variances)) * (1.0 + _ROUNDING)
    if (np.abs(matrix) > largest).any() or (np.abs(matrix - matrix.T) > _ROUNDING * largest).any():
        raise ValueError("the covariance is not symmetric, or is larger than its variances allow")
    return Estimates(found, (matrix + matrix.T) / 2.0)


def checked_degrees(degrees_of_freedom: npt.ArrayLike, shape: tuple[int, ...]) -> Numbers:
    """Degrees of freedom in the wanted shape; one number stands for all.

    Raises:
        ValueError: another shape, or one that is not above 0.
    """
    degrees = np.array(degrees_of_freedom, dtype=float)
    if degrees.ndim and degrees.shape != shape:
        raise ValueError(f"degrees of freedom are one number or {shape}: there are {degrees.shape}")
    if not (degrees > 0).all():
        raise ValueError("degrees of freedom are above 0")
    return np.array(np.broadcast_to(degrees, shape))


def correlation(covariance: Numbers) -> Numbers:
    """[k, k] with 1 on the diagonal, of variances above 0."""
    errors = np.sqrt(np.diag(covariance))
    found = np.clip(covariance / np.outer(errors, errors), -1.0, 1.0)
    np.fill_diagonal(found, 1.0)
    return np.asarray(found)


def own_order(estimates: Estimates, degrees_of_freedom: Numbers) -> npt.NDArray[np.int64]:
    """Positions [k] in an order that does not depend on the one in which the estimates are given.

    Draws are dealt out in it, so that estimates that are given in another order have the same bits. Only estimates that
    agree in all of their numbers, correlations included, keep the order in which they come.

    Args:
        estimates: k of them.
        degrees_of_freedom: [k] or [k, k].
    """
    degrees = degrees_of_freedom.reshape(len(estimates.values), -1)
    keys = [
        (*sorted(degrees[place]), estimates.covariance[place, place], *sorted(estimates.covariance[place]), value)
        for place, value in enumerate(estimates.values)
    ]
    return np.array(sorted(range(len(keys)), key=keys.__getitem__))
