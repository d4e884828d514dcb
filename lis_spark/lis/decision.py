"""From measurements to a verdict (method 1.7), and what several training seeds say together."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

Z_95 = 1.959963984540054

USEFUL, HARMFUL, NOT_SHOWN, UNUSABLE = "useful", "harmful", "not shown", "threshold not usable"
# Above this the threshold of .0010 drowns in training randomness (method 1.7).
LARGEST_SIGMA_SEED = 0.0005


def verdict(
    lis: float,
    ci_low: float,
    ci_high: float,
    lis_by_date: Sequence[float],
    threshold: float,
    sigma_seed: float | None = None,
) -> str:
    """The decision on one honest score.

    ``useful``: at least the threshold, its interval above 0, and above 0 on every evaluated date. ``harmful``: its
    interval below 0. ``threshold not usable``: training seeds scatter by more than half of it.

    Args:
        lis: the honest score.
        ci_low: lower end of its 95 % interval.
        ci_high: upper end.
        lis_by_date: the same score on each evaluated date.
        threshold: absolute AUC that counts (paper: .0010).
        sigma_seed: standard deviation over training seeds, None with one seed.
    """
    if sigma_seed is not None and sigma_seed > LARGEST_SIGMA_SEED:
        return UNUSABLE
    if ci_high < 0:
        return HARMFUL
    if lis >= threshold and ci_low > 0 and all(value > 0 for value in lis_by_date):
        return USEFUL
    return NOT_SHOWN


def combine_seeds(values: Sequence[float], cluster_errors: Sequence[float]) -> tuple[float, float, float]:
    """(mean, standard error, sigma_seed) of the same measurement under several training seeds.

    Variance = cluster variance + s_seed^2 / R (method 1.7). The users are the same under every seed, so the cluster
    variance does not shrink with R: its mean over the seeds stands.

    Raises:
        ValueError: fewer than two seeds.
    """
    if len(values) < 2:
        raise ValueError("sigma_seed needs at least two seeds")
    sigma_seed = statistics.stdev(values)
    cluster_variance = statistics.fmean(error**2 for error in cluster_errors)
    return statistics.fmean(values), math.sqrt(cluster_variance + sigma_seed**2 / len(values)), sigma_seed


def interval(value: float, standard_error: float) -> tuple[float, float]:
    """The 95 % interval."""
    return value - Z_95 * standard_error, value + Z_95 * standard_error
