"""From measurements to a verdict (method 1.7), and what several training seeds say together."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

Z_95 = 1.959963984540054

USEFUL, HARMFUL, NOT_SHOWN, UNUSABLE = "useful", "harmful", "not shown", "threshold not usable"
NEGLIGIBLE, NOT_MEASURABLE = "negligible", "not measurable"
# Above this the threshold of .0010 drowns in training randomness (method 1.7).
LARGEST_SIGMA_SEED = 0.0005
# TOST at 5 %: the 90 % interval lies inside the threshold on either side.
Z_90 = 1.6448536269514722
# Quantiles that a test of a true 0 needs for a power of 80 %: z_.95 + z_.90.
Z_TOST_POWER = 2.926405192
# Below this share of impressions that have the leak at all, nothing can be said of it (method 1.5).
SMALLEST_COVERAGE = 0.5


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


def negligible(
    lis: float, standard_error: float, coverage: float | None, impressions: int, threshold: float
) -> tuple[str | None, str]:
    """Two one-sided tests of a claim of no effect (method 1.5; Schuirmann 1987): (verdict, what a reader must know).

    The verdict is None where the tests do not decide.

    Args:
        lis: the honest score.
        standard_error: of it.
        coverage: share of the impressions that have the leak.
        impressions: on which it was measured.
        threshold: absolute AUC that counts.
    """
    needed = math.ceil(impressions * (Z_TOST_POWER * standard_error / threshold) ** 2)
    note = f"TOST against {threshold}: a true 0 would be told in 8 of 10 cases from about {needed:,} impressions"
    if coverage is not None and coverage < SMALLEST_COVERAGE:
        return NOT_MEASURABLE, f"only {coverage:.0%} of the impressions have the leak; {note}"
    if abs(lis) + Z_90 * standard_error < threshold:
        return NEGLIGIBLE, note
    return None, note


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
