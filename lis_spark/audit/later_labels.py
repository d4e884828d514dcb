"""Labels of a key after each of its rows: their mean, and what pairs of them share.

Two later labels of one session can push each other away (one click a slate, a user who has had enough), so pairs whose
labels lie in different sessions are counted beside all pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lis_spark.audit.key_rows import Integers, KeyRows, Numbers, sum_between

_HOUR, _DAY = 3_600_000, 86_400_000
# How far the later labels reach that a column is held against, in ms; None is the rest of the day.
WINDOWS = {
    "8 hours": 8 * _HOUR,
    "the rest of the day": None,
    "24 hours": _DAY,
    "7 days": 7 * _DAY,
    "all later": 36_500 * _DAY,
}
# From so many later labels on, their draws scatter the mean by less than what is to be known of it: at a click rate of
# .2, .16 / 30 is a variance of .005, or a standard deviation of .07 between probabilities.
NOISE_ROWS = 30.0
# Parts of the keys, by their blocks: what the past says in one is learned on the others.
FOLDS = 5


@dataclass(frozen=True)
class Pairs:
    """Of each row: how many pairs of later labels there are, the mean label in them, and their mean product."""

    number: Numbers
    label: Numbers
    product: Numbers

    @classmethod
    def of(cls, number: Numbers, labels: Numbers, products: Numbers) -> Pairs:
        """From sums over pairs: of both labels, and of their product; 0 where there is no pair."""
        some = np.maximum(number, 1)
        return cls(number, labels / some / 2, products / some)

    def __getitem__(self, rows: np.ndarray) -> Pairs:
        return Pairs(self.number[rows], self.label[rows], self.product[rows])

    def left(self, expected: Numbers) -> Numbers:
        """Mean product of what is left of two labels when both are expected to be ``expected``."""
        return self.product - 2 * expected * self.label + expected**2


@dataclass(frozen=True)
class Later:
    """Of the rows with a pair of later labels: which they are, fold, weight, F (the mean label), and the pairs.

    ``pairs`` are those that are asked for, ``every`` all of them.
    """

    there: np.ndarray
    fold: Integers
    weight: Numbers
    mean: Numbers
    pairs: Pairs
    every: Pairs

    @classmethod
    def of(cls, rows: KeyRows, milliseconds: int | None, apart: bool = False) -> Later:
        """Within a window, see WINDOWS; of all pairs, or of those whose labels lie in different sessions."""
        low, high = rows.after(milliseconds)
        sums = _of_all(rows, low, high)
        every = Pairs.of(*sums)
        if apart:
            pairs = Pairs.of(*(total - within for total, within in zip(sums, _within(rows, low, high), strict=True)))
        else:
            pairs = every
        there = pairs.number > 0
        shown = (high - low)[there].astype(np.float64)
        return cls(
            there=there,
            fold=rows.blocks[there] % FOLDS,
            weight=shown / (shown + NOISE_ROWS),
            mean=every.label[there],
            pairs=pairs[there],
            every=every[there],
        )


def _of_all(rows: KeyRows, low: Integers, high: Integers) -> tuple[Numbers, Numbers, Numbers]:
    """How many pairs there are in [low, high), and sums over them: of both labels, and of their product."""
    clicks, shown = sum_between(rows.label, low, high), (high - low).astype(np.float64)
    return shown * (shown - 1) / 2, clicks * (shown - 1), clicks * (clicks - 1) / 2


def _within(rows: KeyRows, low: Integers, high: Integers) -> tuple[Numbers, Numbers, Numbers]:
    """The same of the pairs within a session.

    A row makes a pair with each row before it in its session. These are summed over the window, and of its first
    session, which it cuts, what reaches back beyond it is taken off.
    """
    first, end = rows.sessions
    here = np.arange(len(rows))
    clicks_before, rows_before = sum_between(rows.label, first, here), (here - first).astype(np.float64)
    cut = np.minimum(low, len(rows) - 1)
    start, cut_end = np.minimum(first[cut], low), np.maximum(np.minimum(end[cut], high), low)
    clicks_in, rows_in = sum_between(rows.label, low, cut_end), cut_end - low
    clicks_cut, rows_cut = sum_between(rows.label, start, low), low - start
    number = sum_between(rows_before, low, high) - rows_in * rows_cut
    labels = sum_between(rows.label * rows_before + clicks_before, low, high)
    labels -= clicks_in * rows_cut + rows_in * clicks_cut
    products = sum_between(rows.label * clicks_before, low, high) - clicks_in * clicks_cut
    return number, labels, products
