"""Means and covariances of users' outcomes, from exact integer sums: the same bits whatever the order of the rows.

Outcomes are counted in units (:class:`Sums`), so that a sum of users is an integer and so is a sum of products. A ratio
of two means is handled by its gradient (the delta method; Deng, Knoblich and Lu 2018): to first order, it varies over
users as a weighted sum of numerator and denominator does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Quantity:
    """A mean of users, or the ratio of two: names of columns."""

    numerator: str
    denominator: str | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """What it is made of."""
        return (self.numerator,) if self.denominator is None else (self.numerator, self.denominator)


@dataclass(frozen=True)
class Sums:
    """Sums over the users of one arm; users of whom nothing is known count with zeros.

    ``scales``: units in 1, by column. ``sums``: of units. ``products``: [left][right], of units of both.
    """

    columns: tuple[str, ...]
    scales: tuple[int, ...]
    users: int
    sums: tuple[int, ...]
    products: tuple[tuple[int, ...], ...]

    def __add__(self, other: Sums) -> Sums:
        """Of the users of both."""
        return Sums(
            self.columns,
            self.scales,
            self.users + other.users,
            tuple(a + b for a, b in zip(self.sums, other.sums, strict=True)),
            tuple(
                tuple(a + b for a, b in zip(left, right, strict=True))
                for left, right in zip(self.products, other.products, strict=True)
            ),
        )

    def moments(self) -> Moments:
        """Each mean and covariance is one division of integers, rounded once.

        Raises:
            ValueError: of fewer than two users there is no variance.
        """
        n = self.users
        if n < 2:
            raise ValueError(f"an arm of {n} users has no variance")
        means = [total / (n * scale) for total, scale in zip(self.sums, self.scales, strict=True)]
        covariances = [
            [
                (n * self.products[i][j] - self.sums[i] * self.sums[j])
                / (n * (n - 1) * self.scales[i] * self.scales[j])
                for j in range(len(self.columns))
            ]
            for i in range(len(self.columns))
        ]
        return Moments(self.columns, n, np.array(means), np.array(covariances))


@dataclass(frozen=True)
class Moments:
    """Of one arm, or of several together: ``means`` [columns], sample ``covariances`` [columns, columns]."""

    columns: tuple[str, ...]
    users: int
    means: FloatArray
    covariances: FloatArray

    def value(self, quantity: Quantity) -> float:
        """The mean, or the ratio of the means; nan where nothing stands below the line."""
        above = float(self.means[self.columns.index(quantity.numerator)])
        if quantity.denominator is None:
            return above
        below = float(self.means[self.columns.index(quantity.denominator)])
        return above / below if below else float("nan")

    def gradient(self, quantity: Quantity) -> FloatArray:
        """[columns]: how the quantity answers to the mean of each column."""
        weights = np.zeros(len(self.columns))
        if quantity.denominator is None:
            weights[self.columns.index(quantity.numerator)] = 1.0
            return weights
        below = self.means[self.columns.index(quantity.denominator)]
        if below:
            weights[self.columns.index(quantity.numerator)] = 1.0 / below
            weights[self.columns.index(quantity.denominator)] -= self.value(quantity) / below
        return weights

    def covariance(self, left: Quantity, right: Quantity) -> float:
        """Of one user's share in two quantities; divided by the users, that of the quantities."""
        return float(self.gradient(left) @ self.covariances @ self.gradient(right))

    def variance(self, quantity: Quantity) -> float:
        """Of one user's share in the quantity."""
        return self.covariance(quantity, quantity)
