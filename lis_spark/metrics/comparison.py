"""LIS with its interval for every comparison of a step, and ratios of LIS, from one influence table (method 2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from pyspark.sql import DataFrame

from lis_spark.errors import InputError
from lis_spark.metrics.estimates import Comparison, RatioInterval, SumInterval, estimate, estimate_ratio, estimate_sum
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


def ratio_interval(
    influences: DataFrame, pairs: Pairs, ratios: Sequence[tuple[str, str]], table: str = "influence"
) -> dict[tuple[str, str], RatioInterval | None]:
    """Ratios of the LIS of two comparisons, with intervals that know of their covariance, in one Spark job.

    ``own_label_share`` = 1 - value of (honest, naive_matched), its interval 1 - (high, low).

    Args:
        influences: see :func:`compare`.
        pairs: see :func:`compare`; rows of comparisons that no ratio names are left aside.
        ratios: (comparison_id above, comparison_id below).
        table: name in error messages.

    Returns:
        Ratio -> interval, None where the 95 % interval of the LIS below touches 0.

    Raises:
        InputError: a ratio names a comparison that ``pairs`` lacks, or see :func:`compare`.
    """
    if not ratios:
        return {}
    units = gather_pairs(pairs, influences)
    members = _units_by_comparison(units)
    for numerator_id, denominator_id in ratios:
        unknown = [name for name in (numerator_id, denominator_id) if name not in members]
        if unknown or numerator_id == denominator_id:
            raise InputError(
                "a ratio needs two different comparisons",
                table="pairs",
                found=(numerator_id, denominator_id),
                expected="two of " + ", ".join(members),
                remedy="name two comparisons that are measured",
            )
    bundles = [[*members[numerator_id], *members[denominator_id]] for numerator_id, denominator_id in ratios]
    moments = collect_moments(influences, units, bundles, table)
    return {
        (above, below): estimate_ratio(units, rows, above, below)
        for (above, below), rows in zip(ratios, moments, strict=True)
    }


def sum_intervals(
    influences: DataFrame, pairs: Pairs, sums: Sequence[Mapping[str, int | Fraction]], table: str = "influence"
) -> list[SumInterval]:
    """Weighted sums of LIS, for instance differences, with intervals that know of their covariance, in one Spark job.

    Args:
        influences: see :func:`compare`.
        pairs: see :func:`compare`; rows of comparisons that no sum names are left aside.
        sums: comparison_id -> weight, for each sum.
        table: name in error messages.

    Returns:
        One interval for each sum.

    Raises:
        InputError: a sum names a comparison that ``pairs`` lacks, or see :func:`compare`.
    """
    if not sums:
        return []
    units = gather_pairs(pairs, influences)
    members = _units_by_comparison(units)
    for weights in sums:
        if unknown := [name for name in weights if name not in members]:
            raise InputError(
                "a sum names a comparison that is not there",
                table="pairs",
                found=unknown[0],
                expected=", ".join(members),
                remedy="name comparisons that are measured",
            )
    bundles = [[unit for name in weights for unit in members[name]] for weights in sums]
    moments = collect_moments(influences, units, bundles, table)
    return [
        estimate_sum(units, rows, {name: Fraction(weight) for name, weight in weights.items()})
        for rows, weights in zip(moments, sums, strict=True)
    ]


def _units_by_comparison(units: Sequence[ArmPair]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for position, unit in enumerate(units):
        found.setdefault(unit.comparison_id, []).append(position)
    return found
