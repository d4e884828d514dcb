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

Where a click makes the next ones less likely, two labels of a session share less than is to be known, and every column
would be beyond such a bound. So V is estimated from pairs of different sessions beside all pairs. Where that is
significantly more, in any window, a column has to be beyond both; elsewhere all pairs, which scatter less, are enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lis_spark.audit.key_rows import KeyRows, Numbers
from lis_spark.audit.later_labels import FOLDS, WINDOWS, Later
from lis_spark.audit.movement import FEWEST_BLOCKS, Estimate

_PAST = (3_600_000, *(window for window in WINDOWS.values() if window is not None))
# Sums over whole days: what daily tables are made of, by the week and by the month.
_PAST_DAYS = (*range(1, 8), 13, 14, 27, 28, 29, 30, 36_500)
# Of a column that the past explains but for so little of its variance, nothing is left to be looked at.
NOTHING_LEFT = 1e-6
# What the past says of F is drawn to its mean by so much of each regressor's square: learned well, V is small.
RIDGE = 0.01
# Standard errors by which pairs of different sessions share more than all pairs: by chance once in a hundred.
PUSHED_AWAY = 2.33


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


@dataclass(frozen=True)
class Influence:
    """Sums over keys, of one window and kind of pairs.

    ``squared``: [2, columns], of the squared influence on the excess of each column: at an excess of 0, which is what
    is tested, and at the one that was found, whose share is of a variance that is estimated too. ``pushed``: by how
    much these pairs share more than all pairs, and the sum of its squares. ``keys``: with a row that counts.
    """

    squared: Numbers
    pushed: Numbers
    keys: int

    @classmethod
    def of(cls, sums: Numbers) -> Influence:
        """From :attr:`sums`, added up."""
        return cls(sums[3:].reshape(2, -1), sums[:2], int(sums[2]))

    @property
    def sums(self) -> Numbers:
        """What is to be added up: [3 + 2 columns]."""
        return np.r_[self.pushed, self.keys, self.squared.reshape(-1)]

    @property
    def pushes(self) -> float:
        """By how many standard errors these pairs share more than all pairs."""
        total, squares = self.pushed
        return float(total / np.sqrt(squares)) if squares > 0 and self.keys >= FEWEST_BLOCKS else 0.0


@dataclass(frozen=True)
class Bound:
    """What is to be known by one kind of pairs within one window, and what each column says above it."""

    fit: Fit
    influence: Influence

    def estimate(self, column: int) -> Estimate:
        """The excess of a column; 0 where nothing can be said of it."""
        keys = self.influence.keys
        if keys < FEWEST_BLOCKS or self.fit.variance[column] <= NOTHING_LEFT or self.fit.of_mean <= 0:
            return NOTHING
        at_zero, error = np.sqrt(keys / (keys - 1) * self.influence.squared[:, column])
        return Estimate(float(self.fit.excess[column]), float(error), keys - 1, float(at_zero))


NOTHING = Estimate(0.0, 0.0, 1)


def excess_by_window(every: Sequence[Bound], apart: Sequence[Bound], column: int) -> dict[str, Estimate]:
    """Excess of a column, by window.

    Args:
        every: of all pairs, in the order of WINDOWS.
        apart: of pairs of different sessions.
        column: place.
    """
    pushed_away = max(bound.influence.pushes for bound in apart) > PUSHED_AWAY
    found = {}
    for window, of_all, of_apart in zip(WINDOWS, every, apart, strict=True):
        asked = (of_all, of_apart) if pushed_away else (of_all,)
        name = f"{window}, within and across sessions" if pushed_away else window
        # less than nothing to be known is no bound
        bounded = any(bound.fit.knowable >= 0 for bound in asked)
        estimates = [bound.estimate(column) for bound in asked]
        found[name] = min(estimates, key=lambda estimate: estimate.t) if bounded else NOTHING
    return found


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


def moments(rows: KeyRows, known: Numbers, values: Numbers, later: Later) -> Numbers:
    """Weighted sums of products of (past, columns, F, label of a pair, product of a pair), by fold.

    Args:
        rows: whole keys.
        known: see :func:`past`.
        values: [rows, columns], standardised.
        later: of these rows.

    Returns:
        [folds, width, width].
    """
    pairs = later.pairs
    joined = np.column_stack([known[later.there], values[later.there], later.mean, pairs.label, pairs.product])
    parts = [(joined[later.fold == fold], later.weight[later.fold == fold]) for fold in range(FOLDS)]
    return np.stack([part.T @ (part * weight[:, None]) for part, weight in parts])


def fitted(summed: Numbers, width: int) -> Fit:
    """From the sums of all keys.

    Args:
        summed: see :func:`moments`; the first place of each fold is its weight.
        width: of the past.
    """
    knowable, of_pairs = float(summed[:, 0, -1].sum()), summed[:, :width, -2]
    summed = summed[:, :-2, :-2]
    total = summed.sum(0)
    weight, targets = float(total[0, 0]), len(total) - width
    slopes, left = np.zeros((FOLDS, width, targets)), np.zeros((targets, targets))
    for fold, own in enumerate(summed):
        slopes[fold] = _slopes(total - own, width)
        said = slopes[fold].T @ own[:width, width:]
        of_said = slopes[fold].T @ own[:width, :width] @ slopes[fold]
        left += own[width:, width:] - said - said.T + of_said
        # the mean of (y - m)(y' - m), where m is said of F
        knowable += of_said[-1, -1] - 2 * slopes[fold][:, -1] @ of_pairs[fold]
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


def influence(rows: KeyRows, known: Numbers, values: Numbers, later: Later, fit: Fit) -> Influence:
    """Of each key on the excess of each column, see :class:`Influence`; the fit is of the same kind of pairs."""
    if not later.there.any() or fit.of_mean <= 0:
        return Influence(np.zeros((2, values.shape[1])), np.zeros(2), 0)
    inputs = known[later.there]
    from_past = np.empty((len(inputs), values.shape[1] + 1))
    for fold in range(FOLDS):
        own = later.fold == fold
        from_past[own] = inputs[own] @ fit.slopes[fold]
    columns, expected = values[later.there] - from_past[:, :-1], from_past[:, -1]
    of_pairs = later.pairs.left(expected)
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
    more = by_key((of_pairs - later.every.left(expected))[:, None])
    return Influence(
        squared=np.stack([np.square(at_zero).sum(0), np.square(found).sum(0)]),
        pushed=np.array([more.sum(), np.square(more).sum()]),
        keys=len(starts),
    )
