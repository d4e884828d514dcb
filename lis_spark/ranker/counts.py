"""What the ranker makes of counts: of each counted feature's value, impressions and positives before the day.

Numbers come to the ranker raw, as integers, and are scaled here, in one place for training and scoring: the log odds of
the rate of all impressions, and of each value the distance of its smoothed rate from them, the logarithm of its number
of impressions, and whether there was any.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Of all impressions of the scenario, beside those of each feature's value.
ALL = "all"
NUMBERS_A_FEATURE = 3


def count_columns(names: Sequence[str]) -> list[str]:
    """Columns of ``training_rows``: impressions and positives before the day of each feature's value, then of all.

    None where there are no features.
    """
    counted = (*names, ALL) if names else ()
    return [column for name in counted for column in (f"impressions_before_{name}", f"positives_before_{name}")]


def scaled_counts(counts: np.ndarray, prior: float) -> np.ndarray:
    """Raw counts -> the numbers that the ranker reads.

    The rate of a value is smoothed by ``prior`` impressions with the rate of all, which itself is smoothed by one
    positive and one negative, so that there is always one.

    Args:
        counts: int64 [rows, 2 (C + 1)], in the order of :func:`count_columns`.
        prior: impressions.

    Returns:
        float32 [rows, 1 + 3 C]: the log odds of the rate of all; then of each feature its rate's log odds minus those,
        the natural logarithm of 1 + impressions, and 1 where there were none.
    """
    shown, positive = counts[:, 0::2].astype(np.float64), counts[:, 1::2].astype(np.float64)
    rate_of_all = (positive[:, -1:] + 1) / (shown[:, -1:] + 2)
    rate = (positive[:, :-1] + prior * rate_of_all) / (shown[:, :-1] + prior)
    of_all = np.log(rate_of_all / (1 - rate_of_all))
    excess = np.log(rate / (1 - rate)) - of_all
    numbers = np.stack([excess, np.log10(1 + shown[:, :-1]), shown[:, :-1] == 0], axis=2)
    return np.concatenate([of_all, numbers.reshape(len(counts), -1)], axis=1).astype(np.float32)
