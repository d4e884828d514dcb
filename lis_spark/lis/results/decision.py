"""From a measured score to a verdict: one function, whose rules are the table of method 1.7."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.special import ndtri

from lis_spark.inference import is_negligible, largest_error

USEFUL, CLEARLY_USEFUL = "useful", "clearly useful"
TELLS_USERS_APART, ORDER_NOT_RESOLVED = "tells users apart", "order not resolved"
NEGLIGIBLE, HARMFUL, CONFLICTING = "negligible", "harmful", "conflicting"
NOT_SHOWN, NOT_MEASURABLE = "not shown", "not measurable"
TOO_FEW, ONE_SEED = "too few", "one seed: not judged"
BELOW_BASELINE = "ranker below a simple baseline"
# What has no honest score is not judged, either.
NO_HONEST_SCORE = "no honest score"
VERDICTS = (
    *(CLEARLY_USEFUL, USEFUL, TELLS_USERS_APART, ORDER_NOT_RESOLVED, NEGLIGIBLE, HARMFUL, CONFLICTING),
    *(NOT_SHOWN, NOT_MEASURABLE, TOO_FEW, ONE_SEED, BELOW_BASELINE),
)
# Verdicts that say that the data is worth something.
POSITIVE = (CLEARLY_USEFUL, USEFUL)
# No interval stands on fewer: three positives cover the truth in 77 % of cases, and an AUC near 1 has an error of 0.
FEWEST_USERS, FEWEST_OF_A_CLASS = 30, 30
# Below this share of impressions that have the leak at all, nothing can be said of it (method 1.5).
SMALLEST_COVERAGE = 0.5
# Chance with which a test that is planned shall find what is there.
POWER = 0.8


@dataclass(frozen=True)
class Score:
    """A score with its standard error and the 95 % interval that holds together with those of the other scores.

    All in AUC. ``clusters``: users behind it; ``cluster_standard_error``: what they add to the standard error, which
    falls as there are more of them, while what training seeds add stays.
    """

    value: float
    standard_error: float
    degrees_of_freedom: float
    low: float
    high: float
    clusters: int
    cluster_standard_error: float

    def units_for(self, error: float, units: int) -> int | None:
        """How many units like those that there are give a standard error; None where no number does.

        Args:
            error: the standard error that is wanted, in AUC.
            units: that there are, users or impressions.
        """
        of_users, of_seeds = self.cluster_standard_error**2, self.standard_error**2 - self.cluster_standard_error**2
        left = error**2 - max(of_seeds, 0.0)
        return math.ceil(units * of_users / left) if left > 0 else None


@dataclass(frozen=True)
class BaselineGap:
    """By how much a simple baseline is above the ranker, in AUC, with its 95 % interval."""

    name: str
    baseline_auc: float
    ranker_auc: float
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Evidence:
    """What one verdict is made from.

    Attributes:
        lis: the honest score; None where there are too few users or rows for an interval.
        within_user: the same over pairs of impressions of one user; None where too few users have such pairs.
        by_date: the score on each evaluated date that has an interval.
        small_dates: the score on each evaluated date with too few users or rows for one.
        users: behind the score.
        positives: impressions of the positive class.
        negatives: of the other.
        coverage: share of them that have the leak; None where that is not counted.
        is_trained_once: whether arms were trained for the measurement, under one training seed.
        threshold: absolute AUC that counts.
        baselines: what simple baselines have beyond the ranker on the same impressions; empty where there are none.
    """

    lis: Score | None
    within_user: Score | None
    by_date: Sequence[Score]
    users: int
    positives: int
    negatives: int
    coverage: float | None
    is_trained_once: bool
    threshold: float
    small_dates: Sequence[float] = ()
    baselines: Sequence[BaselineGap] = ()


@dataclass(frozen=True)
class Verdict:
    """The decision and, in a sentence, why."""

    name: str
    reason: str


def judge(evidence: Evidence) -> Verdict:
    """The verdict on one honest score, by the first rule of method 1.7 that applies."""
    score, threshold = evidence.lis, evidence.threshold
    if score is None or is_too_few(evidence.users, evidence.positives, evidence.negatives):
        return Verdict(TOO_FEW, _too_few(evidence))
    above = [gap for gap in evidence.baselines if gap.low > 0]
    if above:
        return Verdict(BELOW_BASELINE, _below(max(above, key=lambda gap: gap.value)))
    if evidence.is_trained_once:
        return Verdict(
            ONE_SEED,
            "the arms were trained under one seed, and what another seed would change is in no interval: give three "
            "seeds or more",
        )
    shown = f"the honest LIS is {_with_interval(score)}"
    if score.value >= threshold and score.low > 0:
        return _judge_gain(evidence, score, shown)
    if is_negligible(score.value, score.standard_error, score.degrees_of_freedom, threshold):
        if evidence.coverage is not None and evidence.coverage < SMALLEST_COVERAGE:
            return Verdict(NOT_MEASURABLE, f"only {100 * evidence.coverage:.0f} % of the impressions have it; {shown}")
        return Verdict(NEGLIGIBLE, f"{shown}, and its 90 % interval lies within {threshold:.4f} of 0")
    if any(day.low > 0 for day in evidence.by_date) and any(day.high < 0 for day in evidence.by_date):
        return Verdict(CONFLICTING, f"{shown}; it is above 0 on one date and below 0 on another")
    if score.high < 0:
        return Verdict(HARMFUL, f"{shown}, below 0")
    below = [f"it is below the {threshold:.4f} that counts"] if score.value < threshold else []
    touches = ["its interval reaches 0"] if score.low <= 0 else []
    rows = score.units_for(largest_error(threshold, POWER), evidence.positives + evidence.negatives)
    needed = _needed(rows, "impressions")
    return Verdict(
        NOT_SHOWN,
        f"{shown}: {' and '.join([*below, *touches])}; 80 % power to show that it is negligible needs {needed}",
    )


def is_too_few(users: int, positives: int, negatives: int) -> bool:
    """Whether there are too few users, or rows of a class, for an interval."""
    return users < FEWEST_USERS or min(positives, negatives) < FEWEST_OF_A_CLASS


def _judge_gain(evidence: Evidence, score: Score, shown: str) -> Verdict:
    """Of a score that is at least the threshold with its interval above 0: what it orders."""
    threshold, within = evidence.threshold, evidence.within_user
    values = [*(day.value for day in evidence.by_date), *evidence.small_dates]
    below = sum(value <= 0 for value in values)
    if below:
        return Verdict(CONFLICTING, f"{shown}, but not above 0 on {below} of {len(values)} dates")
    if evidence.small_dates:
        shown += f" ({len(evidence.small_dates)} of {len(values)} dates are too small for an interval of their own)"
    if within is None:
        return Verdict(
            ORDER_NOT_RESOLVED, f"{shown}, and fewer than {FEWEST_USERS} users have impressions of both classes"
        )
    order = f"within users it is {_with_interval(within)}"
    if within.high < threshold:  # even where it is above 0: training profits a little from knowing who is who
        return Verdict(
            TELLS_USERS_APART,
            f"{shown}, but {order}, below the {threshold:.4f} that counts: it tells users apart and does not order the "
            "items that one user sees",
        )
    if within.low > 0:
        if score.low >= threshold:
            return Verdict(CLEARLY_USEFUL, f"{shown}, at least {threshold:.4f} with its interval; {order}")
        return Verdict(USEFUL, f"{shown}; {order}")
    effect = smallest_effect(within)
    needed = _needed(users_to_resolve(within, threshold), "users with impressions of both classes")
    return Verdict(
        ORDER_NOT_RESOLVED,
        f"{shown}, but {order}: the smallest gain within users that this data could have shown is {effect:.4f}; "
        f"{threshold:.4f} needs {needed} (there are {within.clusters:,})",
    )


def smallest_effect(score: Score) -> float:
    """The effect whose interval, as wide as this one, keeps above 0 with a power of 80 %, in the unit of the score."""
    return (score.high - score.low) / 2 + float(ndtri(POWER)) * score.standard_error


def users_to_resolve(score: Score, threshold: float) -> int | None:
    """Users with whom the smallest effect would be the threshold; None where no number does."""
    return score.units_for(threshold * score.standard_error / smallest_effect(score), score.clusters)


def _needed(units: int | None, name: str) -> str:
    if units is None:
        return f"more training seeds: they scatter too much for any number of {name}"
    return f"about {units:,} {name}"


def _below(gap: BaselineGap) -> str:
    return (
        f"the ranker has an AUC of {gap.ranker_auc:.4f}, {gap.name} {gap.baseline_auc:.4f}, {gap.value:+.4f} more "
        f"(95 % CI {gap.low:+.4f} to {gap.high:+.4f}): what leaked data adds to a ranker that has not learned is no "
        "LIS; give it more days before T, or other settings (ranker, counts)"
    )


def _too_few(evidence: Evidence) -> str:
    return (
        f"{evidence.users:,} users, {evidence.positives:,} positives and {evidence.negatives:,} negatives: an interval "
        f"needs {FEWEST_USERS} users and {FEWEST_OF_A_CLASS} impressions of each class"
    )


def _with_interval(score: Score) -> str:
    return f"{score.value:+.4f} (95 % simultaneous CI {score.low:+.4f} to {score.high:+.4f})"
