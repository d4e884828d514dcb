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


def rank_range(
    group_id: npt.NDArray[np.integer],
    user_codes: npt.NDArray[np.integer],
    label: npt.NDArray[np.integer],
    logit: npt.NDArray[np.floating],
    log_loss_units: npt.NDArray[np.int64],
    probability_units: npt.NDArray[np.int64],
) -> dict[str, npt.NDArray[np.integer]]:
    """Ranks the rows of one range and sums them by (group, user).

    Args:
        group_id: shape (rows,), the ranking of each row; rows in any order, and so the others.
        user_codes: dense integers from 0.
        label: 0 or 1.
        logit: float32 or float64.
        log_loss_units: multiples of 2^-32.
        probability_units: multiples of 2^-32.

    Returns:
        group_id, user_codes, range_start (the smallest order key of the group in this range: it orders the ranges of
        a group) and the measures, one entry for each (group, user), with the counts within this range.
    """
    keys = order_key(logit)
    order = np.argsort(keys)
    order = order[np.argsort(group_id[order], kind="stable")]
    groups, keys, labels = group_id[order], keys[order], label[order].astype(np.int64)
    counts = pair_counts(groups, keys, labels)
    starts = np.flatnonzero(np.r_[True, groups[1:] != groups[:-1]])
    range_start = np.repeat(keys[starts].astype(np.int64), np.diff(np.r_[starts, len(keys)]))

    # by (group, user), still in the order of the keys
    owners = groups.astype(np.int64) * (int(user_codes.max()) + 1) + user_codes[order]
    by_owner = np.argsort(owners, kind="stable")
    owners, keys, labels, counts = owners[by_owner], keys[by_owner], labels[by_owner], counts[by_owner]
    within = pair_counts(owners, keys, labels)
    first = np.flatnonzero(np.r_[True, owners[1:] != owners[:-1]])
    source = order[by_owner]

    def summed(values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        return np.add.reduceat(values, first)

    return {
        "group_id": group_id[source][first].astype(np.int32),
        "user_codes": user_codes[source][first],
        "range_start": range_start[by_owner][first],
        "positives": summed(labels),
        "negatives": summed(1 - labels),
        "u2_positives": summed(counts * labels),
        "u2_negatives": summed(counts * (1 - labels)),
        "u2_within_user": summed(within * labels),
        "log_loss_units": summed(log_loss_units[source]),
        "probability_units": summed(probability_units[source]),
    }


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
