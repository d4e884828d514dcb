"""Leaks against each other on one table of influence: ranks, ties and a shrunken best, with their covariance (1.8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pyspark.sql import DataFrame

from lis_spark.config.leaks import HONEST, NAIVE
from lis_spark.inference import RankSets, rank_sets, shrink
from lis_spark.inference.students_t import critical_value
from lis_spark.lis.plan.append_arms import CONTENT, SHUFFLED_GRAPH
from lis_spark.lis.plan.append_feature import ROW_SHUFFLED
from lis_spark.lis.results.pools import Pool
from lis_spark.lis.results.rows import errors_together, shared_covariance
from lis_spark.metrics import LIS, compare, joint_errors

Row = Mapping[str, Any]
COMPARED = (HONEST, NAIVE, CONTENT, SHUFFLED_GRAPH, ROW_SHUFFLED)


@dataclass(frozen=True)
class Compared:
    """The honest scores of k leaks at their longest horizon, all dates and seeds together.

    Attributes:
        names: of the leaks.
        ranks: the ranks that the data allows, 1 for the largest score, and who is shown to be above whom.
        shrunken: leak -> its score, drawn towards the mean of all preference data by as much as their errors ask for;
            the score itself where there are fewer than three. Noise and planted truth are no preference data.
        rising: leaks whose score at the longest horizon is above that at the shortest, with the interval of the
            difference.
    """

    names: tuple[str, ...]
    ranks: RankSets
    shrunken: Mapping[str, float]
    rising: frozenset[str]

    def tied_with(self, name: str) -> list[str]:
        """Leaks that the data does not tell from one, in their order."""
        place = self.names.index(name)
        apart = self.ranks.is_above[place] | self.ranks.is_above[:, place]
        return [other for number, other in enumerate(self.names) if number != place and not apart[number]]


def headline_rows(rows: Sequence[Row], dates: int, seeds: int) -> dict[tuple[str, str, int], Row]:
    """(leak, variant, n) -> the row of protocol append that holds all dates and all training seeds together."""
    found = {}
    for row in rows:
        is_whole = row["evaluated_dates"] == dates and row["training_seeds"] == seeds
        if row["protocol"] == "append" and row["stratum"] == "all" and is_whole:
            found[row["leak"], row["variant"], row["horizon_days"]] = row
    return found


def longest_horizons(headline: Mapping[tuple[str, str, int], Row]) -> dict[str, int]:
    """Leak -> the longest n at which it has a naive or an honest score."""
    longest: dict[str, int] = {}
    for leak, variant, horizon in headline:
        if variant in (HONEST, NAIVE):
            longest[leak] = max(longest.get(leak, 0), horizon)
    return longest


def compare_leaks(
    per_user: DataFrame,
    headline: Mapping[tuple[str, str, int], Row],
    pools: Mapping[tuple[str, str, int], Pool],
    folds: int,
    controls: Set[str] = frozenset(),
) -> Compared:
    """Ranks and ties of the honest scores, from the covariance of their errors.

    Args:
        per_user: ``influence``.
        headline: see :func:`headline_rows`.
        pools: the same keys -> what was measured.
        folds: of users.
        controls: leaks that are no preference data.
    """
    keys = [key for key, row in headline.items() if key[1] == HONEST and row["standard_error"] is not None]
    if not keys:
        nobody = np.zeros((0, 0), bool)
        return Compared((), RankSets(np.zeros(0, int), np.zeros(0, int), nobody), {}, frozenset())
    correlation = _correlation(per_user, [pools[key] for key in keys], folds)
    return rank_leaks({key: headline[key] for key in keys}, correlation, longest_horizons(headline), controls)


def rank_leaks(
    rows: Mapping[tuple[str, str, int], Row],
    correlation: npt.NDArray[np.float64],
    longest: Mapping[str, int],
    controls: Set[str] = frozenset(),
) -> Compared:
    """Ranks, ties and a shrunken best of the honest scores of k leaks.

    Args:
        rows: (leak, honest, n) -> its row, with an interval; in the order of the correlation.
        correlation: [rows, rows] of the errors over the users.
        longest: leak -> the n that it is ranked at.
        controls: leaks that are no preference data, and in no mean that others are drawn towards.
    """
    keys = list(rows)
    values = np.array([row["lis"] for row in rows.values()])
    plain, of_users = ([row[name] for row in rows.values()] for name in ("standard_error", "cluster_standard_error"))
    seed_degrees = [row["seed_degrees_of_freedom"] or 0.0 for row in rows.values()]
    errors, degrees = errors_together(plain, of_users, [row["users"] for row in rows.values()], seed_degrees)
    covariance = shared_covariance(correlation, of_users, errors)
    last = [place for place, (leak, _, n) in enumerate(keys) if n == longest[leak]]
    own = np.ix_(last, last)
    data = [place for place in last if keys[place][0] not in controls]
    drawn = shrink(values[data], covariance[np.ix_(data, data)]).values if data else ()
    return Compared(
        names=tuple(keys[place][0] for place in last),
        ranks=rank_sets(values[last], covariance[own], np.minimum.outer(degrees[last], degrees[last])),
        shrunken={keys[place][0]: float(value) for place, value in zip(data, drawn, strict=True)},
        rising=_rising(keys, values, covariance, degrees),
    )


def _correlation(per_user: DataFrame, pools: Sequence[Pool], folds: int) -> npt.NDArray[np.float64]:
    """Of the errors over the users, which the scores share."""
    pairs = [pair for pool in pools for pair in pool.pairs(folds) if pair["comparison_id"] == pool.name]
    found = {comparison.comparison_id: comparison for comparison in compare(per_user, pairs)}
    return joint_errors(per_user, [[found[pool.name] for pool in pools]])[0][LIS].correlation


def _rising(
    keys: Sequence[tuple[str, str, int]],
    values: npt.NDArray[np.float64],
    covariance: npt.NDArray[np.float64],
    degrees: npt.NDArray[np.float64],
) -> frozenset[str]:
    by_leak: dict[str, dict[int, int]] = {}
    for place, (leak, _, n) in enumerate(keys):
        by_leak.setdefault(leak, {})[n] = place
    rising = set()
    for leak, places in by_leak.items():
        one, other = places[max(places)], places[min(places)]
        variance = covariance[one, one] + covariance[other, other] - 2 * covariance[one, other]
        half = critical_value(min(degrees[one], degrees[other]), 0.05) * np.sqrt(max(variance, 0.0))
        if one != other and values[one] - values[other] > half:
            rising.add(leak)
    return frozenset(rising)
