"""Whether a column says more of later labels than can be known of them.

Labels are drawn: of the mean label of a key's later impressions, only their probabilities can be known before, never
how the draws fell. How much there is to know shows when the later impressions are split into two halves at random:
halves share the probabilities and not the draws, so with V the variance of what is to be known, given the key's own
past, V = Cov(F1, F2). An honest column x, given the same past, has Cov(x, F)^2 <= Var(x) V by Cauchy and Schwarz,
whoever made it and of whatever. One that was made of the draws goes beyond, for instance a mean over the whole month,
which no comparison in time can find: it never changes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lis_spark.audit.key_rows import KeyRows, Numbers
from lis_spark.audit.movement import FEWEST_BLOCKS, Estimate

_HOUR, _DAY = 3_600_000, 86_400_000
# How far the later labels reach that a column is held against, in ms; None is the rest of the day.
WINDOWS = {
    "8 hours": 8 * _HOUR,
    "the rest of the day": None,
    "24 hours": _DAY,
    "7 days": 7 * _DAY,
    "all later": 36_500 * _DAY,
}
_PAST = (_HOUR, *(window for window in WINDOWS.values() if window is not None))
# Sums over whole days: what daily tables are made of, by the week and by the month.
_PAST_DAYS = (*range(1, 8), 13, 14, 27, 28, 29, 30, 36_500)
# Of a column that the past explains but for so little of its variance, nothing is left to be looked at.
NOTHING_LEFT = 1e-6


@dataclass(frozen=True)
class Fit:
    """What the past says, by least squares: ``slopes`` [past, columns + 2] and moments of what it leaves.

    ``covariance``: of each column with the mean of the halves. ``variance``: of each column. ``knowable``: Cov(F1, F2).
    ``of_mean``: variance of the mean of the halves. ``rows``: how many there are with a label in each half.
    """

    slopes: Numbers
    covariance: Numbers
    variance: Numbers
    knowable: float
    of_mean: float
    rows: float

    def estimate(self, column: int, squared: float, keys: int) -> Estimate:
        """How much more the column explains than is to be known, as a share of the variance of the later labels."""
        if keys < FEWEST_BLOCKS or self.variance[column] <= NOTHING_LEFT or self.of_mean <= 0:
            return Estimate(0.0, 0.0, 1)
        beyond = self.covariance[column] ** 2 / self.variance[column] - self.knowable
        error = math.sqrt(keys / (keys - 1) * squared)
        return Estimate(float(beyond) / self.of_mean, error / self.of_mean, keys - 1)


def past(rows: KeyRows, days: np.ndarray) -> Numbers:
    """What the key's own past says at each row, with the hour and the day: [rows, width], the first a constant.

    Args:
        rows: whole keys.
        days: all days of the data, ascending.
    """
    columns = [np.ones(len(rows)), *_of_window(*rows.today())]
    for milliseconds in _PAST:
        columns += _of_window(*rows.earlier(milliseconds))
    for number in _PAST_DAYS:
        columns += _of_window(*rows.days_before(number))
    hours = rows.hour[:, None] == np.arange(1, 24)
    own_day = rows.day[:, None] == days[1:]
    return np.column_stack([*columns, hours, own_day]).astype(np.float64)


def _of_window(clicks: Numbers, shown: Numbers) -> list[Numbers]:
    return [clicks, np.log1p(shown), (clicks + 1.0) / (shown + 4.0)]


def moments(rows: KeyRows, known: Numbers, values: Numbers, milliseconds: int | None) -> Numbers:
    """Sums of products of (past, columns, the two halves), over rows with a label in both halves.

    Args:
        rows: whole keys.
        known: see :func:`past`.
        values: [rows, columns], standardised.
        milliseconds: how far the later labels reach, see WINDOWS.
    """
    there, halves = _halves(rows, milliseconds)
    joined = np.column_stack([known[there], values[there], halves])
    return joined.T @ joined


def fitted(summed: Numbers, width: int) -> Fit:
    """From the sums of all keys.

    Args:
        summed: see :func:`moments`; the first place is the number of rows.
        width: of the past.
    """
    rows = float(summed[0, 0])
    if rows < 1:
        none = np.zeros(len(summed) - width - 2)
        return Fit(np.zeros((width, len(summed) - width)), none, none, 0.0, 0.0, 0.0)
    spread = np.sqrt(np.maximum(np.diag(summed)[:width], 1e-300))
    scaled = summed[:width, :width] / np.outer(spread, spread)
    slopes = np.linalg.lstsq(scaled, summed[:width, width:] / spread[:, None], rcond=1e-9)[0] / spread[:, None]
    left = (summed[width:, width:] - slopes.T @ summed[:width, width:]) / rows
    half = left[-2:, -2:]
    return Fit(
        slopes=slopes,
        covariance=(left[:-2, -2] + left[:-2, -1]) / 2,
        variance=np.diag(left)[:-2].copy(),
        knowable=float(half[0, 1]),
        of_mean=float(half.sum() / 4),
        rows=rows,
    )


def squared_influence(
    rows: KeyRows, known: Numbers, values: Numbers, milliseconds: int | None, fit: Fit
) -> tuple[Numbers, int]:
    """Sum over keys of the squared influence on what a column explains beyond what is to be known; and how many keys.

    Returns:
        [columns], and the number of keys with a row that counts.
    """
    there, halves = _halves(rows, milliseconds)
    if not there.any():
        return np.zeros(values.shape[1]), 0
    left = np.column_stack([values[there], halves]) - known[there] @ fit.slopes
    columns, first, second = left[:, :-2], left[:, -2], left[:, -1]
    keys = np.cumsum(np.r_[True, np.diff(rows.keys[there]) != 0]) - 1
    starts = np.flatnonzero(np.r_[True, np.diff(keys) != 0])
    counts = np.bincount(keys).astype(np.float64)

    def by_key(products: Numbers) -> Numbers:
        return np.add.reduceat(products, starts, axis=0)

    slope = np.divide(fit.covariance, fit.variance, out=np.zeros_like(fit.variance), where=fit.variance > NOTHING_LEFT)
    explained = by_key(columns * ((first + second) / 2)[:, None]) - np.outer(counts, fit.covariance)
    varied = by_key(columns**2) - np.outer(counts, fit.variance)
    to_be_known = by_key(first * second) - counts * fit.knowable
    influence = (2 * slope * explained - slope**2 * varied - to_be_known[:, None]) / fit.rows
    return np.square(influence).sum(0), len(starts)


def _halves(rows: KeyRows, milliseconds: int | None) -> tuple[np.ndarray, Numbers]:
    """Which rows have later labels in both halves, and the mean label of each half there."""
    clicks, shown = rows.later(milliseconds)
    there = (shown > 0).all(1)
    return there, clicks[there] / shown[there]
