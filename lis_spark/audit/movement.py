"""What a column knew of a label before it, against what it knows after it, in AUC.

An honest column is made of what came before, so its next change may hold the label of the impression, and its last
change cannot. The column is scored twice on the same rows: by (its value, its change since the key's row before), and
by the control that is shifted in time, (its value, its change until the key's row after). The AUC of the first above
the second is 0 or less for an honest column, also for one that only moves with time, where both know the same.

A score is the click rate of a cell of bins, learned on the other blocks of users (items, days), so all that is needed
are clicks and rows by block and cell. Its error is that of a delete-one-block jackknife, which repeats the learning.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from lis_spark.audit.key_rows import Numbers

# Rows of a cell that count as much as the overall rate.
PRIOR_ROWS = 20.0
# With fewer blocks the error is a guess, and Student's t is off by more than 1 %.
FEWEST_BLOCKS = 8


@dataclass(frozen=True)
class Estimate:
    """A value with its standard error, the degrees of freedom of that error, and the error that it would have at 0."""

    value: float
    standard_error: float
    freedom: int
    error_at_zero: float | None = None

    @property
    def t(self) -> float:
        """Value in the standard errors of one that is 0; 0 where nothing varies."""
        error = self.standard_error if self.error_at_zero is None else self.error_at_zero
        return self.value / error if error > 0 else 0.0

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Two-sided interval by Student's t."""
        half = student_quantile(0.5 + level / 2, self.freedom) * self.standard_error
        return self.value - half, self.value + half


def auc_gain(before: Numbers, after: Numbers) -> Estimate:
    """AUC of the scores by ``before`` above that of the scores by ``after``.

    Args:
        before: [blocks, cells, 2], rows without and with a click by block and cell.
        after: the same of the control, on the same rows.
    """
    kept = before.sum((1, 2)) > 0
    before, after = before[kept], after[kept]
    gain = cross_fitted_auc(before) - cross_fitted_auc(after)
    blocks = len(before)
    if blocks < FEWEST_BLOCKS or math.isnan(gain):
        return Estimate(0.0, 0.0, 1)
    without = np.empty(blocks)
    for block in range(blocks):
        left = np.arange(blocks) != block
        without[block] = cross_fitted_auc(before[left]) - cross_fitted_auc(after[left])
    variance = (blocks - 1) / blocks * float(np.square(without - without.mean()).sum())
    return Estimate(gain, math.sqrt(variance), blocks - 1)


def cross_fitted_auc(counts: Numbers) -> float:
    """AUC of click rates of cells, each block scored by the rates of the others; NaN without both classes.

    Args:
        counts: [blocks, cells, 2], rows without and with a click.
    """
    negatives, positives = counts[..., 0], counts[..., 1]
    if not negatives.sum() or not positives.sum():
        return float("nan")
    scores = _scores(counts)
    used = (negatives + positives) > 0
    won, pairs = _ordered_pairs(scores[used], counts[used])
    return won / pairs


def auc_within_blocks(counts: Numbers) -> float:
    """AUC of click rates of cells over the pairs of rows of one block; NaN where no block has both classes.

    Each block is scored by the rates of the others, and a block that clicks more has others that click less: over pairs
    of different blocks a value that is the same everywhere would have an AUC below one half.

    Args:
        counts: [blocks, cells, 2], rows without and with a click.
    """
    if not counts.sum():
        return float("nan")
    by_block = [_ordered_pairs(*block) for block in zip(_scores(counts), counts, strict=True)]
    won, pairs = (sum(values) for values in zip(*by_block, strict=True))
    return won / pairs if pairs else float("nan")


def _ordered_pairs(scores: Numbers, counts: Numbers) -> tuple[float, float]:
    """Pairs of a row without and a row with a click whose scores are in that order (a tie is one half), and all pairs.

    Args:
        scores: [cells].
        counts: [cells, 2], rows without and with a click.
    """
    _, place = np.unique(scores, return_inverse=True)
    n, p = (np.bincount(place, weights=counts[:, label]) for label in (0, 1))
    below = np.cumsum(n) - n
    return float((p * (below + n / 2)).sum()), float(n.sum() * p.sum())


def _scores(counts: Numbers) -> Numbers:
    """[blocks, cells] click rates of the other blocks, drawn towards that of all."""
    negatives, positives = counts[..., 0], counts[..., 1]
    overall = positives.sum() / (negatives.sum() + positives.sum())
    clicks, rows = positives.sum(0) - positives, counts.sum((0, 2)) - counts.sum(2)
    return np.asarray((clicks + PRIOR_ROWS * overall) / (rows + PRIOR_ROWS))


def student_quantile(probability: float, freedom: int) -> float:
    """Quantile of Student's t, to 1 % from 7 degrees of freedom on (Abramowitz and Stegun 26.7.5)."""
    z, v = NormalDist().inv_cdf(probability), freedom
    return (
        z
        + (z**3 + z) / (4 * v)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)
        + (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / (92160 * v**4)
    )
