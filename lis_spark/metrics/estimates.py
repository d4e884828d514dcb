"""From exact moments to AUC, GAUC, their differences and intervals: rational arithmetic, rounded once (method 2.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from lis_spark.errors import InputError
from lis_spark.metrics.forms import Form, cell_sizes, standard_error, t_interval
from lis_spark.metrics.moments import Moments
from lis_spark.metrics.pair_share import PairShare, pair_share
from lis_spark.metrics.pairs import ArmPair
from lis_spark.metrics.products import UNITS
from lis_spark.metrics.terms import UnitTerms, unit_terms

# An interval has one degree of freedom at least.
FEWEST_CLUSTERS = 2.0


@dataclass(frozen=True)
class Gain:
    """A figure of the control arm and of the leaked arm, and their difference with its standard error.

    ``clusters`` are the users behind it; with only one there is no standard error. ``effective_clusters``: of a figure
    that weighs users, as many users of one weight would know as much, (sum of weights)^2 / sum of squared weights
    (Kish 1965, "Survey Sampling"). A few users hold most pairs of impressions: with one degree of freedom less than
    that, intervals within 30, 80 and 150 users hold the truth in 96, 97 and 94 % of simulated worlds, with one less
    than all users in 91, 93 and 93 % (``tests/perf/check_coverage.py``).
    """

    control: float
    leaked: float
    value: float
    standard_error: float | None
    clusters: int
    effective_clusters: float

    @property
    def interval(self) -> tuple[float | None, float | None]:
        """The 95 % interval by Student's t."""
        if self.standard_error is None:
            return None, None
        return t_interval(self.value, self.standard_error, self.effective_clusters)


@dataclass(frozen=True)
class Comparison:
    """Leaked arm against control arm on the same impressions.

    Counts are impressions, of which each stands once however many controls rank it; ``pairs`` is the sum of P x N over
    the rankings (folds, days), which are never pooled. The U2 are exact: a fraction where they are the mean of
    replicates. Log loss is in nats, PCOC = sum of predictions / sum of labels. ``gauc`` weighs each user with both
    classes by its impressions, ``gauc_coverage`` is their share. ``within_user`` is the AUC over all pairs of
    impressions of one user, ``within_pair_share`` their share of all pairs that are ranked; ``within_request`` and
    ``request_pair_share`` likewise of one request. A gain is None where no user has such a pair.
    """

    comparison_id: str
    positives: int
    negatives: int
    pairs: int
    users: int
    u2_control: Fraction
    u2_leaked: Fraction
    auc: Gain
    auc_control_standard_error: float
    gauc: Gain | None
    gauc_coverage: float
    within_user: Gain | None
    within_pair_share: PairShare
    within_request: Gain | None
    request_pair_share: float
    smallest_fold_users: int
    log_loss_control: float
    log_loss_leaked: float
    pcoc_control: float
    pcoc_leaked: float
    terms: tuple[UnitTerms, ...] = field(default=(), repr=False)

    @property
    def lis(self) -> float:
        """AUC of the leaked arm minus AUC of the control."""
        return self.auc.value

    @property
    def standard_error(self) -> float:
        """Of the LIS, clustered by user."""
        assert self.auc.standard_error is not None
        return self.auc.standard_error


@dataclass(frozen=True)
class Difference:
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
    sizes = cell_sizes(units, own)

    def total(value: Callable[[Moments], int | Fraction]) -> Fraction:
        """Over the rankings; where several controls rank the same impressions, their mean."""
        return sum((Fraction(value(row)) / sizes[unit] for unit, row in own.items()), Fraction(0))

    def leaked(name: str) -> Callable[[Moments], Fraction]:
        return lambda row: _leaked(units, row, name)

    difference = difference_of(units, own)
    users = sum(row.users for row in own.values())
    comparison_id = units[next(iter(own))].comparison_id
    error = standard_error(moments, difference.lis_form, users, comparison_id)
    lis, auc_control = float(difference.lis), float(difference.auc_control)
    positives = total(lambda row: row.sums["p"])
    negatives = total(lambda row: row.sums["n"])
    pairs = total(lambda row: row.sums["p"] * row.sums["n"])
    rows = positives + negatives
    gauc, _ = _ratio_gain(units, own, moments, _Ratio("g", "m", "g", UNITS), "GAUC")
    within_user, within_form = _ratio_gain(
        units, own, moments, _Ratio("w", "b", "u2_within_user", 1), "AUC within users"
    )
    within_request, _ = _ratio_gain(
        units, own, moments, _Ratio("r", "q", "u2_within_request", 1), "AUC within requests"
    )
    return Comparison(
        comparison_id=comparison_id,
        positives=int(positives),
        negatives=int(negatives),
        pairs=int(pairs),
        users=users,
        u2_control=total(lambda row: row.sums["control_u2_positives"]),
        u2_leaked=total(leaked("leaked_u2_positives")),
        auc=Gain(auc_control, float(difference.auc_control + difference.lis), lis, error, users, float(users)),
        auc_control_standard_error=standard_error(moments, difference.control_form, users, comparison_id),
        gauc=gauc,
        gauc_coverage=float(total(lambda row: row.sums["m"]) / rows),
        within_user=within_user,
        within_pair_share=pair_share(units, own, moments, users),
        within_request=within_request,
        request_pair_share=float(total(lambda row: row.sums["q"]) / (2 * pairs)),
        smallest_fold_users=min(row.members for row in own.values()),
        log_loss_control=float(total(lambda row: row.sums["control_log_loss_units"]) / (rows * UNITS)),
        log_loss_leaked=float(total(leaked("leaked_log_loss_units")) / (rows * UNITS)),
        pcoc_control=float(total(lambda row: row.sums["control_probability_units"]) / (positives * UNITS)),
        pcoc_leaked=float(total(leaked("leaked_probability_units")) / (positives * UNITS)),
        terms=unit_terms(units, own, difference.lis_form, within_form),
    )


def difference_of(units: Sequence[ArmPair], own: Mapping[int, Moments]) -> Difference:
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
    sizes = cell_sizes(units, own)
    whole = sum((Fraction(2 * row.sums["p"] * row.sums["n"], sizes[unit]) for unit, row in own.items()), Fraction(0))
    lis_form, control_form = {}, {}
    lis = auc_control = Fraction(0)
    for unit, row in own.items():
        p, n = row.sums["p"], row.sums["n"]
        scale = 1 / (whole * sizes[unit])  # several controls of one ranking count as their mean
        control = row.sums["control_u2_positives"] * scale
        gain = _leaked(units, row, "leaked_u2_positives") * scale - control
        lis_form[unit] = {"d": scale / len(units[unit].leaked_arms), "p": -gain / p, "n": -gain / n}
        control_form[unit] = {"c": scale, "p": -control / p, "n": -control / n}
        lis += gain
        auc_control += control
    return Difference(lis, auc_control, lis_form, control_form)


def _leaked(units: Sequence[ArmPair], row: Moments, name: str) -> Fraction:
    """A sum over the leaked arms as the mean over the replicates."""
    return Fraction(row.sums[name], len(units[row.left].leaked_arms))


@dataclass(frozen=True)
class _Ratio:
    """A mean over users, weighted: letters of the difference and of the weight, sum of one arm, units of that sum."""

    difference: str
    weight: str
    arm_sum: str
    units: int


def _ratio_gain(
    units: Sequence[ArmPair], own: Mapping[int, Moments], moments: Iterable[Moments], ratio: _Ratio, name: str
) -> tuple[Gain | None, Form]:
    """sum_u a_u / sum_u b_u of both arms; psi_u = (difference_u - gain x weight_u) / sum of the weights."""
    sizes = cell_sizes(units, own)
    weight = sum((Fraction(row.sums[ratio.weight], sizes[unit]) for unit, row in own.items()), Fraction(0))
    if not weight:
        return None, {}
    scales = {unit: 1 / (weight * ratio.units * size) for unit, size in sizes.items()}
    control = sum((row.sums[f"control_{ratio.arm_sum}"] * scales[unit] for unit, row in own.items()), Fraction(0))
    leaked = sum(
        (_leaked(units, row, f"leaked_{ratio.arm_sum}") * scales[unit] for unit, row in own.items()), Fraction(0)
    )
    gain = leaked - control
    counts = {"m": "users_with_both_classes", "b": "users_with_both_classes", "q": "users_with_request_pairs"}
    users = sum(getattr(row, counts[ratio.weight]) for row in own.values())
    form = {
        unit: {
            ratio.difference: scales[unit] / len(units[unit].leaked_arms),
            ratio.weight: -gain / (weight * sizes[unit]),
        }
        for unit in own
    }
    if users < 2:
        return Gain(float(control), float(leaked), float(gain), None, users, float(users)), form
    shares = {unit: {ratio.weight: 1 / (weight * size)} for unit, size in sizes.items()}
    squares = standard_error(moments, shares, users, name) ** 2 * (users - 1) / users
    effective = min(max(1 / squares, FEWEST_CLUSTERS), float(users))
    error = standard_error(moments, form, users, name)
    return Gain(float(control), float(leaked), float(gain), error, users, effective), form
