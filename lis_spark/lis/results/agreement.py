"""How well a score of preference data tells beforehand what an encoder gets from it: LIS against AIS (method 1.8).

The paper's claim is put as a number. AIS, which takes an alignment each, is the outcome; LIS and LIS_content are the
predictions. All are measured on the same users, so their errors are correlated: intervals come from draws of all true
scores together, given the covariance that the users give (:mod:`true_scores`). Of a share of pairs, the pairs are those
that the measured AIS tells apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from lis_spark.inference.students_t import critical_value
from lis_spark.lis.results.true_scores import true_scores

Numbers = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
DRAWS = 4_000
# Fewer data sets have no order to speak of, and fewer than the second no correlation.
FEWEST_SETS, FEWEST_CORRELATED = 3, 6
# Under so many resolvable pairs a share of them says nothing.
FEWEST_PAIRS = 10
CONCORDANCE, WITHOUT_NOISE = "concordance", "concordance_without_noise"
SPEARMAN, PEARSON = "spearman", "pearson"


@dataclass(frozen=True)
class Outcomes:
    """Scores of preference data sets: ``predictions`` name -> [k], ``ais`` [k].

    ``covariance`` [(1 + predictions) k]^2 of AIS, then the predictions in their order; ``is_noise`` [k]: known to say
    nothing. ``degrees`` [(1 + predictions) k] of freedom of each error, None where they are taken for known.
    """

    names: tuple[str, ...]
    is_noise: Flags
    ais: Numbers
    predictions: dict[str, Numbers]
    covariance: Numbers
    degrees: Numbers | None = None


@dataclass(frozen=True)
class Told:
    """A measure of agreement of the measured scores, with 95 % of what that of the true ones may be; None where too few
    pairs can be told apart, or all are equal.

    ``score`` is a prediction, or ``second - first`` for the difference of two. ``pairs`` are those that AIS can tell
    apart; None for a correlation.
    """

    measure: str
    score: str
    value: float | None
    ci_low: float | None
    ci_high: float | None
    pairs: int | None


def agreement(outcomes: Outcomes, seed: int = 0, draws: int = DRAWS) -> list[Told]:
    """Concordance over resolvable pairs, with and without noise sets, Spearman and Pearson, of each prediction and of
    the difference of each two.

    Args:
        outcomes: of at least three data sets.
        seed: of the draws.
        draws: how many.

    Raises:
        ValueError: fewer than three data sets.
    """
    k = len(outcomes.names)
    if k < FEWEST_SETS:
        raise ValueError(f"agreement needs at least three data sets, there are {k}")
    observed = np.concatenate([outcomes.ais, *outcomes.predictions.values()])
    points = observed.reshape(-1, k)
    drawn = true_scores(points, outcomes.covariance, seed, draws)
    first, second = np.triu_indices(k, 1)
    own = outcomes.covariance[:k, :k]
    error = np.sqrt(np.maximum(own[first, first] + own[second, second] - 2 * own[first, second], 0.0))
    resolved = np.abs(outcomes.ais[first] - outcomes.ais[second]) > critical_value(np.inf, 0.05) * error
    clean = resolved & ~(outcomes.is_noise[first] | outcomes.is_noise[second])

    def concordance(pairs: Flags) -> Callable[[Numbers, Numbers], float]:
        one, other = first[pairs], second[pairs]

        def share(ais: Numbers, score: Numbers) -> float:
            if not len(one):
                return np.nan
            agree = np.sign(score[one] - score[other]) * np.sign(ais[one] - ais[other])
            return float(np.mean((agree + 1) / 2))

        return share

    asked: list[tuple[str, Callable[[Numbers, Numbers], float], int | None]] = [
        (CONCORDANCE, concordance(resolved), int(resolved.sum())),
        (WITHOUT_NOISE, concordance(clean), int(clean.sum())),
        (SPEARMAN, spearman, None),
        (PEARSON, pearson, None),
    ]
    found = []
    for measure, function, pairs in asked:
        values = {name: function(points[0], points[place]) for place, name in enumerate(outcomes.predictions, 1)}
        spread = {
            name: np.array([function(one[0], one[place]) for one in drawn])
            for place, name in enumerate(outcomes.predictions, 1)
        }
        few = k < FEWEST_CORRELATED if pairs is None else pairs < FEWEST_PAIRS
        for name, value in values.items():
            ends = _percentiles(spread[name])
            found.append(_told(measure, name, value, ends, pairs, few))
        for before, after in combinations(values, 2):
            difference, apart = values[after] - values[before], spread[after] - spread[before]
            ends = _percentiles(apart)
            found.append(_told(measure, f"{after} - {before}", difference, ends, pairs, few))
    return found


def spearman(ais: Numbers, score: Numbers) -> float:
    """Of ranks, ties at their mean; NaN where all are equal."""
    return pearson(rankdata(ais), rankdata(score))


def pearson(ais: Numbers, score: Numbers) -> float:
    """Correlation; NaN where all are equal."""
    x, y = ais - ais.mean(), score - score.mean()
    norm = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / norm) if norm > 0 else float("nan")


def _percentiles(spread: Numbers) -> tuple[float, float]:
    known = spread[~np.isnan(spread)]
    if not len(known):
        return np.nan, np.nan
    low, high = np.quantile(known, [0.025, 0.975])
    return float(low), float(high)


def _told(measure: str, score: str, value: float, ends: tuple[float, float], pairs: int | None, is_few: bool) -> Told:
    if is_few or np.isnan(value) or np.isnan(ends[0]):
        return Told(measure, score, None, None, None, pairs)
    return Told(measure, score, value, *ends, pairs)
