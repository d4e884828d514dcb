"""What a naive score is made of: evaluated labels, the same users' later events, everybody else (method 1.2)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from pyspark.sql import DataFrame

from lis_spark.config.leaks import HONEST, NAIVE
from lis_spark.inference import combine_orders, combine_seeds
from lis_spark.lis.plan.arms import TRUTH, TRUTH_BY_FOLD, is_by_fold
from lis_spark.lis.plan.chains import OTHER_FOLDS, SKIP_OWN_T
from lis_spark.lis.results.estimates import Found
from lis_spark.lis.results.result_row import ResultRow
from lis_spark.lis.results.rows import MEAN, ResultSet
from lis_spark.metrics import Combinations, Comparison, combine

Pairs = Mapping[str, Sequence[Mapping[str, object]]]


@dataclass(frozen=True)
class Named:
    """A row and the name of its comparison; whether its control is the same leak in the wrong order."""

    row: ResultRow
    name: str
    against_own_order: bool = False


class NamedScores:
    """Rows by the names of their comparisons, and the intervals of what is computed from several of them.

    Args:
        named: (what a row is of, seed, date) -> the row.
        found: its comparisons.
    """

    def __init__(self, named: Mapping[tuple[object, ...], Named], found: Found) -> None:
        self._named, self._found = named, found
        self._key_of = {one.name: key for key, one in named.items()}
        self._seeds = sorted({one.row.seed for one in named.values()} - {MEAN})

    def row_of(self, name: str) -> ResultRow:
        """The row of a comparison."""
        return self._named[self._key_of[name]].row

    def half_interval(
        self, row: ResultRow, weights: Mapping[str, float], user_error: float, users: int
    ) -> float | None:
        """Half of the 95 % interval of a weighted sum of scores: users, and what training seeds and orders add.

        None where the row itself has no interval: too few users, or rows of a class.

        Args:
            row: that the sum is written into.
            weights: name of a comparison -> weight.
            user_error: standard error of the sum over users.
            users: behind it.
        """
        if row.standard_error is None:
            return None
        sums = []
        for seed in self._seeds if row.seed == MEAN else ():
            rows = [self._named.get((*self._key_of[name][:-2], seed, row.evaluated_date)) for name in weights]
            known = [one.row.lis for one in rows if one is not None and one.row.lis is not None]
            if len(known) == len(weights):
                sums.append(sum(weight * value for weight, value in zip(weights.values(), known, strict=True)))
        error = user_error * self._found.widening(weights)
        if len(sums) < 2:
            estimate = combine_seeds([0.0], error**2, users)
        elif any(self._named[self._key_of[name]].against_own_order for name in weights):
            estimate = combine_orders(sums, [], error**2, users)
        else:
            estimate = combine_seeds(sums, error**2, users)
        low, high = estimate.interval()
        return (high - low) / 2


def truth_bounds(results: ResultSet, comparisons: Mapping[str, Comparison]) -> None:
    """AUC(p*) - AUC(control) beside each LIS over all impressions, ranked over all users or fold by fold as it is."""
    reached: dict[tuple[str, dt.date | None, str], float] = {}
    for row, pool in zip(results.rows, results.pools, strict=True):
        if row.protocol == "truth" and pool.name in comparisons:
            reached[row.seed, row.evaluated_date, row.variant] = comparisons[pool.name].auc.leaked
    for row in results.rows:
        variant = TRUTH_BY_FOLD if is_by_fold(row.protocol, row.variant) else TRUTH
        best = reached.get((row.seed, row.evaluated_date, variant))
        is_ranked_alike = row.variant != OTHER_FOLDS  # which ranks within folds of another number
        if best is not None and row.auc_control is not None and row.is_of_everything and is_ranked_alike:
            row.truth_bound = best - row.auc_control


def add_parts_of_naive(results: ResultSet, per_user: DataFrame, pairs: Pairs, found: Found) -> None:
    """Writes beside each honest score what the naive score holds more, and how much of it day T alone gives.

    ``evaluated_labels`` = naive - skip_own_t, ``later_events`` = skip_own_t - honest; at n = 1 there is no later day,
    and all that naive is above honest are evaluated labels. Where T is skipped for everybody (skip-T), what others do
    on T is gone, too, and would count as labels (``tests/perf/check_parts.py`` measures by how much).
    ``own_label_share`` = 1 - honest / naive_matched (append: / naive), ``first_day_share`` = honest(1) / honest(n),
    both null where the interval of what stands below touches 0. What training seeds add is in the intervals.
    """
    named = {
        (*row.place, row.seed, row.evaluated_date): Named(row, pool.name, pool.against_own_order)
        for row, pool in zip(results.rows, results.pools, strict=True)
        if pool.name in pairs
    }
    differences: list[tuple[Named, str, dict[str, int]]] = []
    ratios: list[tuple[Named, str, str, str]] = []
    for honest in list(named.values()):
        row = honest.row
        if row.variant != HONEST or not row.horizon_days or row.swap_scope not in (None, "both"):
            continue
        others = {
            variant: named.get(_key(replace(row, variant=variant))) for variant in (NAIVE, "naive_matched", SKIP_OWN_T)
        }
        naive, matched, skipped = others.values()
        first = named.get(_key(replace(row, horizon_days=1)))
        if naive and row.horizon_days == 1:
            differences.append((honest, "evaluated_labels", {naive.name: 1, honest.name: -1}))
        elif naive and skipped:
            differences.append((honest, "evaluated_labels", {naive.name: 1, skipped.name: -1}))
            differences.append((honest, "later_events", {skipped.name: 1, honest.name: -1}))
        whole = matched or (naive if row.protocol == "append" else None)
        if whole and _is_apart_from_zero(whole.row):
            ratios.append((honest, "own_label_share", honest.name, whole.name))
        if first and row.horizon_days > 1 and row.is_of_everything and _is_apart_from_zero(row):
            ratios.append((honest, "first_day_share", first.name, honest.name))
    sums = [weights for *_, weights in differences]
    shares = [(above, below) for *_, above, below in ratios]
    combined = combine(per_user, list(chain.from_iterable(pairs.values())), sums, shares)
    by_name = NamedScores(named, found)
    _write_differences(differences, combined, by_name)
    _write_ratios(ratios, combined, by_name)


def _is_apart_from_zero(row: ResultRow) -> bool:
    """Whether the interval of a score, with all that is in it, keeps off 0: below a ratio."""
    return row.ci_low is not None and row.ci_high is not None and (row.ci_low > 0 or row.ci_high < 0)


def _key(row: ResultRow) -> tuple[object, ...]:
    return (*row.place, row.seed, row.evaluated_date)


def _write_differences(
    differences: Sequence[tuple[Named, str, dict[str, int]]], found: Combinations, scores: NamedScores
) -> None:
    for (honest, column, weights), one in zip(differences, found.sums, strict=True):
        half = scores.half_interval(honest.row, weights, one.standard_error, one.clusters)
        _write(honest.row, column, one.value, half)


def _write_ratios(ratios: Sequence[tuple[Named, str, str, str]], found: Combinations, scores: NamedScores) -> None:
    for honest, column, above, below in ratios:
        ratio, whole = found.ratios[above, below], scores.row_of(below).lis
        if ratio is None or not whole:
            continue
        # a small change of the ratio is (change above - ratio x change below) / below
        weights = {above: 1 / whole, below: -ratio.value / whole}
        half = scores.half_interval(honest.row, weights, ratio.standard_error, ratio.clusters)
        _write(honest.row, column, 1 - ratio.value if column == "own_label_share" else ratio.value, half)


def _write(row: ResultRow, column: str, value: float, half: float | None) -> None:
    setattr(row, column, value)
    if half is not None:
        setattr(row, f"{column}_ci_low", value - half)
        setattr(row, f"{column}_ci_high", value + half)
