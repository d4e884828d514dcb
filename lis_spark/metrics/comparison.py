"""LIS with its interval for every comparison of a step, and ratios of LIS, from one influence table (method 2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from pyspark.sql import DataFrame

from lis_spark.errors import InputError
from lis_spark.metrics.combined_estimates import CombinedEstimate, estimate_ratio, estimate_sum
from lis_spark.metrics.estimates import Comparison, estimate
from lis_spark.metrics.moments import collect_moments
from lis_spark.metrics.pairs import ArmPair, gather_pairs

Pairs = DataFrame | Sequence[Mapping[str, Any]]


def compare(influences: DataFrame, pairs: Pairs, table: str = "influence") -> list[Comparison]:
    """Compares leaked arms with control arms, all comparisons in one Spark job.

    Args:
        influences: see :func:`lis_spark.metrics.influence.influence`.
        pairs: comparison_id, control_arm, leaked_arm, and the group columns of ``influences`` other than ``arm``.
            Several rankings (folds, days) of one comparison are never pooled: AUC = sum U2_f / sum 2 P_f N_f. Several
            leaked arms, or several control arms, within one ranking are replicates: their mean counts. A user that
            stands in several rankings is one cluster.
        table: name in error messages.

    Returns:
        One comparison for each comparison_id, in the order of first appearance.

    Raises:
        InputError: an arm is missing, arms cover different impressions, a ranking has one class only, or one user.
        StepFailed: the influence table contradicts itself, or a sum is beyond decimal(38,0).
    """
    units = gather_pairs(pairs, influences)
    bundles = _units_by_comparison(units)
    moments = collect_moments(influences, units, list(bundles.values()), table)
    return [estimate(units, members) for members in moments]


@dataclass(frozen=True)
class Combinations:
    """Weighted sums of LIS in the order asked for; ratios by (above, below), None where what is below touches 0."""

    sums: list[CombinedEstimate]
    ratios: dict[tuple[str, str], CombinedEstimate | None]


def combine(
    influences: DataFrame,
    pairs: Pairs,
    sums: Sequence[Mapping[str, int | Fraction]] = (),
    ratios: Sequence[tuple[str, str]] = (),
    table: str = "influence",
) -> Combinations:
    """Weighted sums and ratios of the LIS of several comparisons, with intervals that know of their covariance.

    All of them take one Spark job. ``own_label_share`` = 1 - ratio of (honest, naive_matched), its interval
    1 - (high, low).

    Args:
        influences: see :func:`compare`.
        pairs: see :func:`compare`; rows of comparisons that nothing names are left aside.
        sums: comparison_id -> weight, for each sum; a difference weighs 1 and -1.
        ratios: (comparison_id above, comparison_id below); None where the 95 % interval of the LIS below touches 0.
        table: name in error messages.

    Raises:
        InputError: a sum or a ratio names a comparison that ``pairs`` lacks, a ratio names one twice, or see
            :func:`compare`.
    """
    if not sums and not ratios:
        return Combinations([], {})
    named = {name for names in (*sums, *ratios) for name in names}
    units = [unit for unit in gather_pairs(pairs, influences) if unit.comparison_id in named]
    members = _units_by_comparison(units)
    for weights in sums:
        if unknown := [name for name in weights if name not in members]:
            raise _unknown("a sum names a comparison that is not there", unknown[0], ", ".join(members))
    for ratio in ratios:
        if len(set(ratio) & members.keys()) < 2:
            raise _unknown("a ratio needs two different comparisons", ratio, "two of " + ", ".join(members))
    bundles = [[unit for name in names for unit in members[name]] for names in (*sums, *ratios)]
    moments = collect_moments(influences, units, bundles, table)
    of_sums, of_ratios = moments[: len(sums)], moments[len(sums) :]
    return Combinations(
        [
            estimate_sum(units, rows, {name: Fraction(weight) for name, weight in weights.items()})
            for rows, weights in zip(of_sums, sums, strict=True)
        ],
        {
            (above, below): estimate_ratio(units, rows, above, below)
            for (above, below), rows in zip(ratios, of_ratios, strict=True)
        },
    )


def _unknown(what: str, found: object, expected: str) -> InputError:
    return InputError(what, table="pairs", found=found, expected=expected, remedy="name comparisons that are measured")


def _units_by_comparison(units: Sequence[ArmPair]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for position, unit in enumerate(units):
        found.setdefault(unit.comparison_id, []).append(position)
    return found
