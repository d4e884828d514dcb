"""From exact moments to AUC, GAUC, their differences and intervals: rational arithmetic, rounded once (method 2.2)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from lis_spark.errors import InputError
from lis_spark.metrics.moments import Moments
from lis_spark.metrics.pairs import ArmPair
from lis_spark.metrics.products import UNITS

# Normal quantile of a two-sided 95 % interval.
Z_95 = 1.959963984540054

# unit -> letter of a moment -> coefficient: a user's influence as a linear form in its integers
Form = Mapping[int, Mapping[str, Fraction]]


@dataclass(frozen=True)
class Comparison:
    """Leaked arm against control arm on the same impressions.

    Counts are impressions; ``pairs`` is the sum of P x N over the rankings (folds, days), which are never pooled. The
    U2 are exact: ``u2_leaked`` is a fraction where it is the mean of replicates. Intervals are normal, 95 %, clustered
    by user. Log loss is in nats, PCOC = sum of predictions / sum of labels. GAUC weighs each user with both classes by
    its impressions, ``gauc_coverage`` is their share; it is None where no user has both, its error where only one has.
    """

    comparison_id: str
    positives: int
    negatives: int
    pairs: int
    users: int
    u2_control: int
    u2_leaked: Fraction
    auc_control: float
    auc_leaked: float
    lis: float
    standard_error: float
    ci_low: float
    ci_high: float
    auc_control_standard_error: float
    gauc_control: float | None
    gauc_leaked: float | None
    lis_gauc: float | None
    lis_gauc_standard_error: float | None
    lis_gauc_ci_low: float | None
    lis_gauc_ci_high: float | None
    gauc_coverage: float
    log_loss_control: float
    log_loss_leaked: float
    pcoc_control: float
    pcoc_leaked: float


@dataclass(frozen=True)
class RatioInterval:
    """Ratio of the LIS of two comparisons on shared users, with its 95 % interval by the delta method."""

    numerator_id: str
    denominator_id: str
    value: float
    standard_error: float
    ci_low: float
    ci_high: float

    def widened(self, variance: float) -> RatioInterval:
        """With the variance of what is not of users, of draws and seeds, beside it."""
        error = math.sqrt(self.standard_error**2 + variance)
        ci_low, ci_high = self.value - Z_95 * error, self.value + Z_95 * error
        return replace(self, standard_error=error, ci_low=ci_low, ci_high=ci_high)


@dataclass(frozen=True)
class SumInterval:
    """A weighted sum of the LIS of comparisons on shared users, with its 95 % interval."""

    value: float
    standard_error: float
    ci_low: float
    ci_high: float


@dataclass(frozen=True)
class _Difference:
    """LIS and the control's AUC of one comparison, exact, with their influence forms."""

    lis: Fraction
    auc_control: Fraction
    lis_form: Form
    control_form: Form


def estimate(units: Sequence[ArmPair], moments: Sequence[Moments]) -> Comparison:
    """One comparison from the moments of its units.

    Args:
        units: all units; ``Moments.left`` and ``right`` are positions in it.
        moments: those of this comparison's bundle.

    Raises:
        InputError: a ranking has one class only, or there is only one user.
    """
    own = {row.left: row for row in moments if row.left == row.right}
    difference = _difference(units, own)
    users = sum(row.users for row in own.values())
    comparison_id = units[next(iter(own))].comparison_id
    standard_error = _standard_error(moments, difference.lis_form, users, comparison_id)
    lis = float(difference.lis)
    u2_leaked = sum((_leaked(units, row, "leaked_u2_positives") for row in own.values()), Fraction(0))
    rows = sum(row.sums["p"] + row.sums["n"] for row in own.values())
    positives = sum(row.sums["p"] for row in own.values())
    return Comparison(
        comparison_id=comparison_id,
        positives=positives,
        negatives=rows - positives,
        pairs=sum(row.sums["p"] * row.sums["n"] for row in own.values()),
        users=users,
        u2_control=sum(row.sums["control_u2_positives"] for row in own.values()),
        u2_leaked=u2_leaked,
        auc_control=float(difference.auc_control),
        auc_leaked=float(difference.auc_control + difference.lis),
        lis=lis,
        standard_error=standard_error,
        ci_low=lis - Z_95 * standard_error,
        ci_high=lis + Z_95 * standard_error,
        auc_control_standard_error=_standard_error(moments, difference.control_form, users, comparison_id),
        **_gauc(units, own, moments, rows),
        log_loss_control=_mean(own, "control_log_loss_units", rows),
        log_loss_leaked=_mean(own, "leaked_log_loss_units", rows, units),
        pcoc_control=_mean(own, "control_probability_units", positives),
        pcoc_leaked=_mean(own, "leaked_probability_units", positives, units),
    )


def estimate_ratio(
    units: Sequence[ArmPair], moments: Sequence[Moments], numerator_id: str, denominator_id: str
) -> RatioInterval | None:
    """LIS of one comparison over LIS of another, or None where the interval of the denominator touches 0.

    Never clamped: it may lie outside [0, 1].

    Args:
        units: all units.
        moments: those of a bundle that holds the units of both comparisons.
        numerator_id: comparison above.
        denominator_id: comparison below.
    """
    own = {row.left: row for row in moments if row.left == row.right}
    above, below = (
        _difference(units, {unit: row for unit, row in own.items() if units[unit].comparison_id == name})
        for name in (numerator_id, denominator_id)
    )
    users = sum(row.users for row in own.values())
    error_below = _standard_error(moments, below.lis_form, users, denominator_id)
    if abs(float(below.lis)) <= Z_95 * error_below or below.lis == 0:
        return None
    ratio = above.lis / below.lis
    # psi of the ratio = (psi above - ratio x psi below) / LIS below
    form = _combined((above.lis_form, 1 / below.lis), (below.lis_form, -ratio / below.lis))
    error = _standard_error(moments, form, users, numerator_id)
    value = float(ratio)
    ci_low, ci_high = value - Z_95 * error, value + Z_95 * error
    return RatioInterval(numerator_id, denominator_id, value, error, ci_low, ci_high)


def estimate_sum(units: Sequence[ArmPair], moments: Sequence[Moments], weights: Mapping[str, int]) -> SumInterval:
    """Sum of weight x LIS, its interval from the users that the comparisons share.

    Args:
        units: all units.
        moments: those of a bundle that holds the units of all comparisons.
        weights: comparison_id -> weight.
    """
    own = {row.left: row for row in moments if row.left == row.right}
    parts = [
        (_difference(units, {unit: row for unit, row in own.items() if units[unit].comparison_id == name}), weight)
        for name, weight in weights.items()
    ]
    form = _combined(*((part.lis_form, Fraction(weight)) for part, weight in parts))
    users = sum(row.users for row in own.values())
    value = float(sum(part.lis * weight for part, weight in parts))
    error = _standard_error(moments, form, users, " and ".join(weights))
    return SumInterval(value, error, value - Z_95 * error, value + Z_95 * error)


def _difference(units: Sequence[ArmPair], own: Mapping[int, Moments]) -> _Difference:
    """AUC = sum_f U2_f / W and psi_u = sum_f (share_uf - U2_f (p_uf / P_f + n_uf / N_f)) / W, W = sum_f 2 P_f N_f."""
    for unit, row in own.items():
        if not row.sums["p"] or not row.sums["n"]:
            raise InputError(
                "a ranking has one class only, so it has no AUC",
                table="influence",
                partition=units[unit].name,
                found=f"{row.sums['p']:,} positives and {row.sums['n']:,} negatives",
                expected="both classes",
                remedy="leave this ranking out, or widen it",
            )
    double_pairs = sum(2 * row.sums["p"] * row.sums["n"] for row in own.values())
    lis_form, control_form = {}, {}
    lis = auc_control = Fraction(0)
    for unit, row in own.items():
        p, n = row.sums["p"], row.sums["n"]
        control = Fraction(row.sums["control_u2_positives"], double_pairs)
        gain = _leaked(units, row, "leaked_u2_positives") / double_pairs - control
        replicates = len(units[unit].leaked_arms)
        lis_form[unit] = {"d": Fraction(1, replicates * double_pairs), "p": -gain / p, "n": -gain / n}
        control_form[unit] = {"c": Fraction(1, double_pairs), "p": -control / p, "n": -control / n}
        lis += gain
        auc_control += control
    return _Difference(lis, auc_control, lis_form, control_form)


def _leaked(units: Sequence[ArmPair], row: Moments, name: str) -> Fraction:
    """A sum over the leaked arms as the mean over the replicates."""
    return Fraction(row.sums[name], len(units[row.left].leaked_arms))


def _mean(own: Mapping[int, Moments], name: str, count: int, units: Sequence[ArmPair] | None = None) -> float:
    total = sum(
        (_leaked(units, row, name) if units else Fraction(row.sums[name]) for row in own.values()),
        Fraction(0),
    )
    return float(total / (count * UNITS))


def _gauc(
    units: Sequence[ArmPair], own: Mapping[int, Moments], moments: Iterable[Moments], rows: int
) -> dict[str, Any]:
    weight = sum(row.sums["m"] for row in own.values())
    users = sum(row.users_with_both_classes for row in own.values())
    names = (
        "gauc_control",
        "gauc_leaked",
        "lis_gauc",
        "lis_gauc_standard_error",
        "lis_gauc_ci_low",
        "lis_gauc_ci_high",
    )
    result: dict[str, Any] = {**dict.fromkeys(names), "gauc_coverage": weight / rows}
    if not weight:
        return result
    scale = weight * UNITS
    control = Fraction(sum(row.sums["control_g"] for row in own.values()), scale)
    leaked = sum((_leaked(units, row, "leaked_g") for row in own.values()), Fraction(0)) / scale
    gain = leaked - control
    result.update(gauc_control=float(control), gauc_leaked=float(leaked), lis_gauc=float(gain))
    if users > 1:
        replicates = {unit: len(units[unit].leaked_arms) for unit in own}
        form = {unit: {"g": Fraction(1, replicates[unit] * scale), "m": -gain / weight} for unit in own}
        error = _standard_error(moments, form, users, "GAUC")
        result.update(
            lis_gauc_standard_error=error,
            lis_gauc_ci_low=float(gain) - Z_95 * error,
            lis_gauc_ci_high=float(gain) + Z_95 * error,
        )
    return result


def _standard_error(moments: Iterable[Moments], form: Form, users: int, name: str) -> float:
    """sqrt of K/(K-1) sum_u psi_u^2, where psi_u = sum over the units of the form applied to the user's integers."""
    if users < 2:
        raise InputError(
            "one user alone has no standard error",
            table="influence",
            partition=name,
            expected="at least two users",
            remedy="evaluate days, or strata, with more users",
        )
    total = Fraction(0)
    for row in moments:
        left, right = form.get(row.left), form.get(row.right)
        if left is None or right is None:
            continue
        squared = sum(left[a] * right[b] * row.products[a + b] for a in left for b in right)
        # a pair of different units is listed once and stands twice in the square
        total += squared if row.left == row.right else 2 * squared
    return math.sqrt(total * Fraction(users, users - 1))


def _combined(*terms: tuple[Form, Fraction]) -> dict[int, dict[str, Fraction]]:
    """A linear combination of forms, which may share no unit."""
    return {
        unit: {letter: factor * value for letter, value in letters.items()}
        for form, factor in terms
        for unit, letters in form.items()
    }
