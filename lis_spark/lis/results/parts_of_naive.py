"""What a naive score is made of: evaluated labels, the same users' later events, everybody else (method 1.2)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pyspark.sql import DataFrame

from lis_spark.config.leaks import HONEST, NAIVE
from lis_spark.lis.plan.arms import TRUTH, TRUTH_BY_FOLD, is_by_fold
from lis_spark.lis.plan.chains import OTHER_FOLDS, SKIP_OWN_T
from lis_spark.lis.results.result_row import ResultRow
from lis_spark.lis.results.rows import ResultSet
from lis_spark.metrics import Combinations, Comparison, combine

Pairs = Mapping[str, Sequence[Mapping[str, object]]]


@dataclass(frozen=True)
class _Named:
    """A row and the name of its comparison."""

    row: ResultRow
    name: str


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


def add_parts_of_naive(results: ResultSet, per_user: DataFrame, pairs: Pairs) -> None:
    """Writes beside each honest score what the naive score holds more, and how much of it day T alone gives.

    ``evaluated_labels`` = naive - skip_own_t, ``later_events`` = skip_own_t - honest; at n = 1 there is no later day,
    and all that naive is above honest are evaluated labels. Where T is skipped for everybody (skip-T), what others do
    on T is gone, too, and would count as labels (``tests/perf/check_parts.py`` measures by how much).
    ``own_label_share`` = 1 - honest / naive_matched (append: / naive), ``first_day_share`` = honest(1) / honest(n),
    both null where the interval of what stands below touches 0.
    """
    named = {
        (*row.place, row.seed, row.evaluated_date): _Named(row, pool.name)
        for row, pool in zip(results.rows, results.pools, strict=True)
        if pool.name in pairs
    }
    differences: list[tuple[_Named, str, dict[str, int]]] = []
    ratios: list[tuple[_Named, str, str, str]] = []
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
    names = {name for one in (*sums, *shares) for name in one}
    found = combine(per_user, [pair for name in sorted(names) for pair in pairs[name]], sums, shares)
    _write_differences(differences, found)
    _write_ratios(ratios, found)


def _is_apart_from_zero(row: ResultRow) -> bool:
    """Whether the interval of a score, with all that is in it, keeps off 0: below a ratio."""
    return row.ci_low is not None and row.ci_high is not None and (row.ci_low > 0 or row.ci_high < 0)


def _key(row: ResultRow) -> tuple[object, ...]:
    return (*row.place, row.seed, row.evaluated_date)


def _write_differences(differences: Sequence[tuple[_Named, str, dict[str, int]]], found: Combinations) -> None:
    for (honest, column, _), interval in zip(differences, found.sums, strict=True):
        _write(honest.row, column, interval.value, *interval.interval)


def _write_ratios(ratios: Sequence[tuple[_Named, str, str, str]], found: Combinations) -> None:
    for honest, column, above, below in ratios:
        ratio = found.ratios[above, below]
        if ratio is None:
            continue
        low, high = ratio.interval
        if column == "own_label_share":
            _write(honest.row, column, 1 - ratio.value, 1 - high, 1 - low)
        else:
            _write(honest.row, column, ratio.value, low, high)


def _write(row: ResultRow, column: str, value: float, low: float, high: float) -> None:
    setattr(row, column, value)
    setattr(row, f"{column}_ci_low", low)
    setattr(row, f"{column}_ci_high", high)
