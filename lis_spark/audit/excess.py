"""Whether a column says more of later labels than can be known of them.

Labels are drawn: of the mean label F of a key's later impressions, only their probabilities can be known before, never
how the draws fell. How much there is to know shows between the later impressions of one row: two of them share what is
to be known and not their draws, so V, the variance of what is to be known given the key's own past, is the mean product
of what the past leaves of two different later labels, over all pairs. (Two random halves of them say the same on
average; all pairs say it without the scatter of one split.) An honest column x, given the same past, has
Cov(x, F)^2 <= Var(x) V by Cauchy and Schwarz, whoever made it and of whatever. One that was made of the draws goes
beyond, for instance a mean over the whole month, which no comparison in time can find: it never changes.

A mean of n labels scatters by its draws like 1/n, so a row counts as n / (n + NOISE_ROWS). What the past says is
learned on other keys: on its own it would learn of the draws too, and what is left of V would be too little. The bound
holds with any past, or none; the more it says, the less is left in which a leak could hide.
"""

from __future__ import annotations

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
# From so many later labels on, their draws scatter the mean by less than what is to be known of it: at a click rate of
# .2, .16 / 30 is a variance of .005, or a standard deviation of .07 between probabilities.
NOISE_ROWS = 30.0
# Fewer labels are no pair.
PAIR = 2
# Parts of the keys, by their blocks: what the past says in one is learned on the others.
FOLDS = 5
# What the past says of F is drawn to its mean by so much of each regressor's square: learned well, V is small.
RIDGE = 0.01


@dataclass(frozen=True)
class Fit:
    """What the past says, by weighted least squares, and moments of what it leaves.

    ``slopes``: [folds, past, columns + 1], of the columns and of F, each learned on the keys of the other folds.
    ``covariance``: of each column with F. ``variance``: of each column. ``knowable``: V, of pairs.
    ``of_mean``: variance of F. ``weight``: of all rows.
    """

    slopes: Numbers
    covariance: Numbers
    variance: Numbers
    knowable: float
    of_mean: float
    weight: float

    @property
    def excess(self) -> Numbers:
        """Of each column: how much more it explains than is to be known, as a share of the variance of F."""
        beyond = self.covariance**2 / np.maximum(self.variance, NOTHING_LEFT) - self.knowable
        return beyond / self.of_mean if self.of_mean > 0 else np.zeros_like(beyond)

    def estimate(self, column: int, squared: Numbers, keys: int) -> Estimate:
        """The excess of a column; 0 where nothing can be said of it.

        Nothing can be said where less than nothing is to be known: later labels push each other away then (a click
        that makes the next less likely), and every column, even noise, would be beyond such a bound.

        Args:
            column: place.
            squared: see :func:`squared_influence`.
            keys: how many there are.
        """
        told = self.variance[column] > NOTHING_LEFT and self.of_mean > 0 and self.knowable >= 0
        if keys < FEWEST_BLOCKS or not told:
            return Estimate(0.0, 0.0, 1)
        at_zero, error = np.sqrt(keys / (keys - 1) * squared[:, column])
        return Estimate(float(self.excess[column]), float(error), keys - 1, float(at_zero))


def past(rows: KeyRows) -> Numbers:
    """What the own past of whole keys says at each row, with the hour: [rows, width], the first a constant."""
    columns = [np.ones(len(rows)), *_of_window(*rows.today())]
    for milliseconds in _PAST:
        columns += _of_window(*rows.earlier(milliseconds))
    for number in _PAST_DAYS:
        columns += _of_window(*rows.days_before(number))
    hours = rows.hour[:, None] == np.arange(1, 24)
    return np.column_stack([*columns, hours]).astype(np.float64)


def _of_window(clicks: Numbers, shown: Numbers) -> list[Numbers]:
    return [clicks, np.log1p(shown), (clicks + 1.0) / (shown + 4.0)]


@dataclass(frozen=True)
class Later:
    """Of the rows with two later labels or more: which they are, fold, weight, how many labels and clicks follow."""

    there: np.ndarray
    fold: np.ndarray
    weight: Numbers
    shown: Numbers
    clicks: Numbers

    @classmethod
    def of(cls, rows: KeyRows, milliseconds: int | None) -> Later:
        """Within a window, see WINDOWS."""
        clicks, shown = rows.later(milliseconds)
        there = shown >= PAIR
        clicks, shown = clicks[there], shown[there]
        return cls(there, rows.blocks[there] % FOLDS, shown / (shown + NOISE_ROWS), shown, clicks)

    @property
    def mean(self) -> Numbers:
        """F."""
        return self.clicks / self.shown

    @property
    def both(self) -> Numbers:
        """Mean product of two different labels of a row."""
        return self.clicks * (self.clicks - 1) / (self.shown * (self.shown - 1))


def moments(rows: KeyRows, known: Numbers, values: Numbers, milliseconds: int | None) -> Numbers:
    """Weighted sums of products of (past, columns, F, product of two labels), by fold: [folds, width, width].

    Args:
        rows: whole keys.
        known: see :func:`past`.
        values: [rows, columns], standardised.
        milliseconds: how far the later labels reach, see WINDOWS.
    """
    later = Later.of(rows, milliseconds)
    joined = np.column_stack([known[later.there], values[later.there], later.mean, later.both])
    parts = [(joined[later.fold == fold], later.weight[later.fold == fold]) for fold in range(FOLDS)]
    return np.stack([part.T @ (part * weight[:, None]) for part, weight in parts])


def fitted(summed: Numbers, width: int) -> Fit:
    """From the sums of all keys.

    Args:
        summed: see :func:`moments`; the first place of each fold is its weight.
        width: of the past.
    """
    both, summed = float(summed[:, 0, -1].sum()), summed[:, :-1, :-1]
    total = summed.sum(0)
    weight, targets = float(total[0, 0]), len(total) - width
    slopes, left = np.zeros((FOLDS, width, targets)), np.zeros((targets, targets))
    knowable = both
    for fold, own in enumerate(summed):
        slopes[fold] = _slopes(total - own, width)
        said = slopes[fold].T @ own[:width, width:]
        of_said = slopes[fold].T @ own[:width, :width] @ slopes[fold]
        left += own[width:, width:] - said - said.T + of_said
        knowable += of_said[-1, -1] - 2 * said[-1, -1]  # the mean of (y - m)(y' - m), where m is said of F
    if weight <= 0:
        return Fit(slopes, np.zeros(targets - 1), np.zeros(targets - 1), 0.0, 0.0, 0.0)
    left /= weight
    return Fit(
        slopes=slopes,
        covariance=left[:-1, -1].copy(),
        variance=np.diag(left)[:-1].copy(),
        knowable=knowable / weight,
        of_mean=float(left[-1, -1]),
        weight=weight,
    )


def _slopes(summed: Numbers, width: int) -> Numbers:
    """Of every target on the past: [width, targets]; of F, the last, drawn to its mean; 0 of what is 0 in all rows."""
    squares = np.diag(summed)[:width]
    there = np.flatnonzero(squares > 1e-12 * squares.max(initial=0.0))
    slopes = np.zeros((width, len(summed) - width))
    if not len(there):
        return slopes
    spread = np.sqrt(squares[there])
    scaled = summed[np.ix_(there, there)] / np.outer(spread, spread)
    targets = summed[there, width:] / spread[:, None]
    slopes[there] = np.linalg.lstsq(scaled, targets, rcond=1e-9)[0]
    drawn = np.diag(np.where(there == 0, 0.0, RIDGE))
    slopes[there, -1] = np.linalg.lstsq(scaled + drawn, targets[:, -1], rcond=1e-9)[0]
    slopes[there] /= spread[:, None]
    return slopes


def squared_influence(
    rows: KeyRows, known: Numbers, values: Numbers, milliseconds: int | None, fit: Fit
) -> tuple[Numbers, int]:
    """Sums over keys of the squared influence on the excess of each column; and how many keys.

    Returns:
        [2, columns]: at an excess of 0, which is what is tested, and at the one that was found, whose share is of a
        variance that is estimated too; and the number of keys with a row that counts.
    """
    later = Later.of(rows, milliseconds)
    if not later.there.any() or fit.of_mean <= 0:
        return np.zeros((2, values.shape[1])), 0
    inputs = known[later.there]
    from_past = np.empty((len(inputs), values.shape[1] + 1))
    for fold in range(FOLDS):
        own = later.fold == fold
        from_past[own] = inputs[own] @ fit.slopes[fold]
    columns, expected = values[later.there] - from_past[:, :-1], from_past[:, -1]
    of_pairs = later.both - 2 * expected * later.mean + expected**2
    keys = rows.keys[later.there]
    starts = np.flatnonzero(np.r_[True, np.diff(keys) != 0])
    weights = np.add.reduceat(later.weight, starts)

    def by_key(products: Numbers) -> Numbers:
        return np.add.reduceat(products * later.weight[:, None], starts, axis=0)

    slope = np.divide(fit.covariance, fit.variance, out=np.zeros_like(fit.variance), where=fit.variance > NOTHING_LEFT)
    explained = by_key(columns * (later.mean - expected)[:, None]) - np.outer(weights, fit.covariance)
    varied = by_key(columns**2) - np.outer(weights, fit.variance)
    to_be_known = by_key(of_pairs[:, None]) - weights[:, None] * fit.knowable
    at_zero = (2 * slope * explained - slope**2 * varied - to_be_known) / (fit.weight * fit.of_mean)
    of_mean = by_key(np.square(later.mean - expected)[:, None]) - weights[:, None] * fit.of_mean
    found = at_zero - fit.excess * of_mean / (fit.weight * fit.of_mean)
    return np.stack([np.square(at_zero).sum(0), np.square(found).sum(0)]), len(starts)
