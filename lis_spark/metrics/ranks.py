"""Ranks in NumPy: the integer order of logits and the exact count of ordered pairs (method 2.1)."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]


def order_key(logits: npt.NDArray[np.floating]) -> npt.NDArray[np.signedinteger]:
    """Integers in the order of the logits, equal exactly where the logits are equal.

    The bits of an IEEE float, read as an integer, order the positive floats; those of a negative float are turned
    round. -0.0 becomes 0.0 first, so that the two are a tie. Infinities keep their place.

    Args:
        logits: shape (rows,), float32 or float64.

    Returns:
        Shape (rows,), int32 for float32 and int64 for float64: no float64 is narrowed.

    Raises:
        ValueError: a logit is NaN, or the type is neither float32 nor float64.
    """
    if logits.dtype not in (np.float32, np.float64):
        raise ValueError(f"logits are float32 or float64, not {logits.dtype}")
    integer = np.dtype(f"i{logits.dtype.itemsize}")
    if np.isnan(logits).any():
        raise ValueError("a NaN has no place in an order")
    canonical = np.where(logits == 0, logits.dtype.type(0), logits)
    bits: npt.NDArray[np.signedinteger] = canonical.view(integer)
    return np.where(bits < 0, bits ^ np.iinfo(integer).max, bits)


def pair_counts(segments: npt.NDArray[np.integer], keys: npt.NDArray[np.integer], labels: npt.NDArray) -> IntArray:
    """What each row adds to the doubled Mann-Whitney count U2 of its segment.

    A positive adds 2 x (negatives below) + (negatives tied); a negative adds 2 x (positives above) + (positives
    tied). Either side sums to U2 of the segment.

    Args:
        segments: shape (rows,), the ranking that a row belongs to; equal segments are adjacent.
        keys: shape (rows,), ascending within a segment.
        labels: shape (rows,), 1 or 0.

    Returns:
        Shape (rows,), int64.
    """
    if len(keys) == 0:
        return np.zeros(0, np.int64)
    positive = labels.astype(np.int64)
    first_of_segment = np.ones(len(keys), bool)
    first_of_segment[1:] = segments[1:] != segments[:-1]
    first_of_tie = first_of_segment.copy()
    first_of_tie[1:] |= keys[1:] != keys[:-1]
    tie_starts = np.flatnonzero(first_of_tie)
    tied_positives = np.add.reduceat(positive, tie_starts)
    tied_negatives = np.diff(np.append(tie_starts, len(keys))) - tied_positives
    # everything below is counted over ties, of which there are at most as many as rows
    segment_starts = np.flatnonzero(first_of_segment[tie_starts])
    segment_of_tie = np.cumsum(first_of_segment[tie_starts]) - 1
    positives = np.add.reduceat(tied_positives, segment_starts)[segment_of_tie]
    positives_above = positives - _below(tied_positives, segment_starts, segment_of_tie) - tied_positives
    negatives_below = _below(tied_negatives, segment_starts, segment_of_tie)
    tie = np.cumsum(first_of_tie) - 1
    return np.where(
        positive == 1,
        (2 * negatives_below + tied_negatives)[tie],
        (2 * positives_above + tied_positives)[tie],
    )


def _below(counts: IntArray, segment_starts: IntArray, segment_of_tie: IntArray) -> IntArray:
    before = np.cumsum(counts) - counts
    return before - before[segment_starts][segment_of_tie]


def exact_auc(labels: npt.NDArray, logits: npt.NDArray[np.floating]) -> Fraction:
    """The exact AUC of one ranking that fits in memory, ties counted a half: U2 / (2 P N).

    Raises:
        ValueError: only one class is there, or a logit is NaN.
    """
    keys = order_key(logits)
    order = np.argsort(keys, kind="stable")
    ordered = np.asarray(labels)[order].astype(np.int64)
    positives = int(ordered.sum())
    negatives = len(ordered) - positives
    if not positives or not negatives:
        raise ValueError(f"an AUC needs both classes: {positives} positives and {negatives} negatives")
    counts = pair_counts(np.zeros(len(keys), np.int8), keys[order], ordered)
    return Fraction(int(counts[ordered == 1].sum()), 2 * positives * negatives)
