"""What the error of a comparison is made of: chance of single impressions, of a user's day, and of the user.

A user with p positives and n negatives on a day, ranked among P and N, weighs p N^2 + n P^2 in the squared error of an
AUC where each impression errs for itself; with c = p N + n P it weighs c^2 where all impressions of the user's day err
alike, and (sum of c over days)^2 where those of all days do. Within users, with w = p n pairs, these are w (p + n), w^2
and (sum of w)^2. All are divided by the square of the number of pairs. What each of the three adds, once measured, says
what another number of users, of impressions a user or of days would give (method 2.5).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from scipy.optimize import nnls

from lis_spark.metrics.estimates import Comparison
from lis_spark.metrics.integers import IntArray
from lis_spark.metrics.joint import KINDS, LIS, WITHIN_USER, user_chunks, user_effects
from lis_spark.metrics.moments import number_units, numbered_rankings
from lis_spark.metrics.products import Unit
from lis_spark.metrics.terms import UnitTerms

Numbers = npt.NDArray[np.float64]
# Sums over users and days: of psi^2 and the two weights of a day, and of the products of a regression of psi^2 on both,
# whose weights are 1 / (their sum)^2, for the variance of a square goes with the square of its mean. Then sums over
# users, of psi^2 and of the weight of all days.
_SUMS = ("psi2", "rows", "days", "rows_rows", "rows_days", "days_days", "psi2_rows", "psi2_days", "user_psi2", "users")
_SCHEMA = "comparison int, kind string, " + ", ".join(f"{name} double" for name in _SUMS)
# Of what a user's impressions of one day share, the part that those of other days share, too, where one day alone
# cannot tell: 0 to .18 of the LIS of the data sets in docs/method.md, 2.5, and 0 to .69 within users.
USUAL_OVER_DAYS = 0.2


@dataclass(frozen=True, kw_only=True)
class ErrorWeights:
    """What some users and days weigh in a squared error: per impression, per user and day, and per user."""

    impressions: float
    user_days: float
    users: float


@dataclass(frozen=True, kw_only=True)
class Spread:
    """What each of :class:`ErrorWeights` adds to the squared error over users, in squared AUC."""

    by_impression: float
    by_user_day: float
    by_user: float

    def error(self, weights: ErrorWeights) -> float:
        """The standard error over users, in AUC."""
        parts = (
            self.by_impression * weights.impressions,
            self.by_user_day * weights.user_days,
            self.by_user * weights.users,
        )
        return float(np.sqrt(sum(parts)))


def fit_spread(sums: Mapping[str, float], error: float) -> Spread | None:
    """The spread: impressions and user days by weighted least squares, users by what their days share.

    No part is below 0, and together they give the measured error.

    Args:
        sums: of :data:`_SUMS`, of one comparison and kind.
        error: its standard error over users, in AUC.

    Returns:
        None where no user has a pair, or nothing varies.
    """
    if not sums["rows"] or not error:
        return None
    # minimise |M x - v| with M'M the matrix of the products and M'v their products with psi^2
    matrix = np.array([[sums["rows_rows"], sums["rows_days"]], [sums["rows_days"], sums["days_days"]]])
    variances, axes = np.linalg.eigh(matrix)
    root = (axes * np.sqrt(np.maximum(variances, 0.0))) @ axes.T
    target = np.linalg.lstsq(root, np.array([sums["psi2_rows"], sums["psi2_days"]]), rcond=None)[0]
    by_impression, shared = nnls(root, target)[0]
    over_days = sums["users"] - sums["days"]
    # the products of a user's influences on two days have this mean
    both = (
        (sums["user_psi2"] - sums["psi2"]) / over_days if over_days > 1e-9 * sums["days"] else USUAL_OVER_DAYS * shared
    )
    by_user = float(np.clip(both, 0.0, shared))
    weights = ErrorWeights(impressions=sums["rows"], user_days=sums["days"], users=sums["users"])
    found = Spread(by_impression=by_impression, by_user_day=shared - by_user, by_user=by_user)
    if not found.error(weights):
        found = Spread(by_impression=1.0, by_user_day=0.0, by_user=0.0)
    scale = (error / found.error(weights)) ** 2
    return Spread(
        by_impression=float(found.by_impression * scale),
        by_user_day=float(found.by_user_day * scale),
        by_user=float(found.by_user * scale),
    )


def spreads_of(
    influences: DataFrame, comparisons: Sequence[Comparison], errors: Sequence[Mapping[str, float]]
) -> list[dict[str, Spread | None]]:
    """Of each comparison, kind (LIS, within users) -> its spread; one Spark job.

    Sums of doubles depend on the order of users in their last bits: this is for plans, not for results.

    Args:
        influences: the table that the comparisons were made of.
        comparisons: as :func:`lis_spark.metrics.compare` returns them.
        errors: of each, kind -> its standard error over users, in AUC, to which the spread is scaled.
    """
    terms = [comparison.terms for comparison in comparisons]
    units = [term.unit for own in terms for term in own]
    if not units:
        return []
    numbers, positions = number_units(units)
    rows = numbered_rankings(influences, numbers, tuple(units[0].cell))
    summed = (
        rows.mapInArrow(_chunk_sums(terms, positions), _SCHEMA)
        .groupBy("comparison", "kind")
        .agg(*[F.sum(name).alias(name) for name in _SUMS])
        .collect()
    )
    found = {(row["comparison"], row["kind"]): {name: row[name] for name in _SUMS} for row in summed}
    return [
        {kind: fit_spread(found[place, kind], own.get(kind, 0.0)) for kind in KINDS} for place, own in enumerate(errors)
    ]


def _chunk_sums(
    terms: Sequence[Sequence[UnitTerms]], positions: Sequence[Unit]
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    starts = np.cumsum([0, *[len(own) for own in terms]]).tolist()

    def chunks(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for rows, users, measures, people in user_chunks(batches, positions):
            for place, (own, (start, end)) in enumerate(zip(terms, pairwise(starts), strict=True)):
                days = _by_day(own, positions[start:end])
                totals = pair_totals(own)
                found = [
                    (
                        user_effects(day_terms, units, rows, users, measures, people),
                        user_weights(day_terms, units, totals, rows, users, measures, people),
                    )
                    for day_terms, units in days
                ]
                for kind in KINDS:
                    psi = np.stack([effects[kind][0] for effects, _ in found])
                    own_weights = np.stack([weights[kind][0] for _, weights in found])
                    shared = np.stack([weights[kind][1] for _, weights in found])
                    sums = spread_sums(psi, own_weights, shared)
                    arrays = [pa.array([place], pa.int32()), pa.array([kind]), *[pa.array([sums[k]]) for k in _SUMS]]
                    yield pa.RecordBatch.from_arrays(arrays, names=["comparison", "kind", *_SUMS])

    return chunks


Days = list[tuple[list[UnitTerms], list[Unit]]]


def _by_day(terms: Sequence[UnitTerms], units: Sequence[Unit]) -> Days:
    """The terms and their units, date by date."""
    days: dict[object, tuple[list[UnitTerms], list[Unit]]] = {}
    for term, unit in zip(terms, units, strict=True):
        day = days.setdefault(term.unit.cell.get("date"), ([], []))
        day[0].append(term)
        day[1].append(unit)
    return list(days.values())


def _ranking(term: UnitTerms) -> tuple[object, ...]:
    """Seeds, and draws of a control, rank the same impressions."""
    return tuple(value for name, value in term.unit.cell.items() if name != "seed")


def pair_totals(terms: Sequence[UnitTerms]) -> dict[str, float]:
    """Kind -> pairs of all rankings of a comparison, each ranking once."""
    rankings = {_ranking(term): term for term in terms}.values()
    return {
        LIS: float(sum(term.positives * term.negatives for term in rankings)),
        WITHIN_USER: sum(term.within_weight / term.share for term in rankings) / 2,
    }


def user_weights(
    terms: Sequence[UnitTerms],
    units: Sequence[Unit],
    totals: Mapping[str, float],
    rows: Sequence[IntArray],
    users: npt.NDArray[np.integer],
    measures: Mapping[str, IntArray],
    people: int,
) -> dict[str, tuple[Numbers, Numbers]]:
    """Of one day of a comparison: what the impressions of each user of a chunk weigh, each for itself and together.

    Args:
        totals: see :func:`pair_totals`, of the whole comparison.
        terms, units, rows, users, measures, people: see :func:`lis_spark.metrics.joint.user_effects`.

    Returns:
        Kind -> (weight of the impressions, root of the weight of the user's day), shape (people,) each.
    """
    own = {kind: np.zeros(people) for kind in KINDS}
    shared = {kind: np.zeros(people) for kind in KINDS}
    for term, unit in {_ranking(term): (term, unit) for term, unit in zip(terms, units, strict=True)}.values():
        control = rows[unit.control]
        user = users[control]
        p, n = (measures[name][control].astype(float) for name in ("positives", "negatives"))
        own[LIS][user] += (p * term.negatives**2 + n * term.positives**2) / totals[LIS] ** 2
        shared[LIS][user] += (p * term.negatives + n * term.positives) / totals[LIS]
        if totals[WITHIN_USER]:
            own[WITHIN_USER][user] += p * n * (p + n) / totals[WITHIN_USER] ** 2
            shared[WITHIN_USER][user] += p * n / totals[WITHIN_USER]
    return {kind: (own[kind], shared[kind]) for kind in KINDS}


def spread_sums(psi: Numbers, own: Numbers, shared: Numbers) -> dict[str, float]:
    """The sums that :func:`fit_spread` takes, of some users.

    Args:
        psi: shape (days, people), influences of one comparison, in AUC.
        own: likewise, what the impressions of a user's day weigh each for itself; 0 where there are none.
        shared: likewise, the root of what they weigh together.
    """
    known = own > 0
    psi2, impressions, days = psi[known] ** 2, own[known], shared[known] ** 2
    weight = 1 / (impressions + days) ** 2
    values = (
        psi2,
        impressions,
        days,
        weight * impressions * impressions,
        weight * impressions * days,
        weight * days * days,
        weight * psi2 * impressions,
        weight * psi2 * days,
        psi.sum(axis=0) ** 2,
        shared.sum(axis=0) ** 2,
    )
    return {name: float(value.sum()) for name, value in zip(_SUMS, values, strict=True)}
