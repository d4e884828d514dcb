"""What an arm changed: difference and lift with intervals, p, CUPED, and the lift that could have been seen.

Welch's test on the difference; the lift's interval is that of the logarithm of the ratio, so that it is never below
-100 % and the same whichever arm is called control. CUPED (Deng, Xu, Kohavi and Walker 2013) takes off what was
different between the arms before the exposure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import norm, t

from lis_spark.experiment.moments import Moments, Quantity
from lis_spark.inference import satterthwaite
from lis_spark.inference.students_t import critical_value

CONFIDENCE = 0.95
POWER = 0.8


@dataclass(frozen=True)
class Effect:
    """One arm against the control on one quantity.

    ``control`` and ``treated``: the quantity in each arm, adjusted where there is a covariate. ``lift`` and its bounds
    are shares of the control, None where the control is not above 0. ``detectable_lift``: the smallest that this design
    finds with a probability of 80 %. ``theta``, ``variance_left``: slope on the covariate, and the share of the
    variance that is left with it; 0 and 1 without one. ``log_error``, ``log_degrees``: standard error of the logarithm
    of treated over control, and its degrees of freedom.
    """

    control: float
    treated: float
    difference: float
    difference_low: float
    difference_high: float
    lift: float | None
    lift_low: float | None
    lift_high: float | None
    p_value: float
    detectable_lift: float | None
    theta: float
    variance_left: float
    log_error: float = 0.0
    log_degrees: float = math.inf

    def lift_bound(self, chance: float, is_lower: bool) -> float:
        """A bound of the lift on one side, missed with this chance; there is none without a lift."""
        assert self.lift is not None
        half = self.log_error * critical_value(self.log_degrees, 2.0 * chance) if self.log_error else 0.0
        return (1.0 + self.lift) * math.exp(-half if is_lower else half) - 1.0


def effect_of(
    control: Moments, treated: Moments, pooled: Moments, quantity: Quantity, before: Quantity | None
) -> Effect:
    """The effect, with CUPED where ``before`` is the quantity before the exposure.

    Args:
        control, treated: moments of the arms.
        pooled: of both together: the slope on the covariate and its mean are one for both arms.
        quantity: after the exposure.
        before: strictly before; None for no adjustment.
    """
    theta, centre = 0.0, 0.0
    if before is not None:
        known = pooled.variance(before)
        centre = pooled.value(before)
        # a covariate that nobody has, or all have alike, tells nothing
        theta = pooled.covariance(quantity, before) / known if known > 0 and math.isfinite(centre) else 0.0
    means, variances, plain_variances = [], [], []
    for arm in (control, treated):
        mean, variance = arm.value(quantity), arm.variance(quantity)
        plain_variances.append(variance / arm.users)
        if before is not None and theta:
            mean -= theta * (arm.value(before) - centre)
            variance += theta * theta * arm.variance(before) - 2.0 * theta * arm.covariance(quantity, before)
        means.append(mean)
        variances.append(max(variance, 0.0) / arm.users)
    return _compared(means, variances, (control.users, treated.users), theta, sum(plain_variances))


def _compared(
    means: Sequence[float], variances: Sequence[float], users: Sequence[int], theta: float, plain_variance: float
) -> Effect:
    control, treated = means
    difference, error = treated - control, math.sqrt(sum(variances))
    half = error * _quantile(variances, users) if error else 0.0
    lift: tuple[float | None, float | None, float | None] = (None, None, None)
    detectable, spread, degrees = None, 0.0, math.inf
    if control > 0:
        detectable = detectable_lift(error / control)
    if control > 0 and treated > 0:
        relative = [variance / mean**2 for variance, mean in zip(variances, means, strict=True)]
        spread = math.sqrt(sum(relative))
        degrees = _degrees_of_freedom(relative, users) if spread else math.inf
        ratio, factor = treated / control, math.exp(spread * _quantile(relative, users)) if spread else 1.0
        lift = (ratio - 1.0, ratio / factor - 1.0, ratio * factor - 1.0)
    return Effect(
        control=control,
        treated=treated,
        difference=difference,
        difference_low=difference - half,
        difference_high=difference + half,
        lift=lift[0],
        lift_low=lift[1],
        lift_high=lift[2],
        p_value=_p_value(difference, error, variances, users),
        detectable_lift=detectable,
        theta=theta,
        variance_left=error**2 / plain_variance if plain_variance else 1.0,
        log_error=spread,
        log_degrees=degrees,
    )


def _degrees_of_freedom(variances: Sequence[float], users: Sequence[int]) -> float:
    """Welch's, of variances of means."""
    return satterthwaite(variances, [count - 1 for count in users])


def _quantile(variances: Sequence[float], users: Sequence[int]) -> float:
    return float(t.ppf((1.0 + CONFIDENCE) / 2.0, _degrees_of_freedom(variances, users)))


def _p_value(difference: float, error: float, variances: Sequence[float], users: Sequence[int]) -> float:
    if not error:  # no user differs from another: nothing was shown, unless the arms themselves differ
        return 1.0 if difference == 0 else 0.0
    return float(2.0 * t.sf(abs(difference / error), _degrees_of_freedom(variances, users)))


def detectable_lift(relative_error: float) -> float:
    """The smallest lift found with 80 % power at the 5 % level: 2.80 standard errors, not the interval's 1.96.

    Args:
        relative_error: standard error of the difference as a share of the control: CV sqrt(2 / n) for arms of n.
    """
    return float(norm.ppf((1.0 + CONFIDENCE) / 2.0) + norm.ppf(POWER)) * relative_error


def users_needed(coefficient_of_variation: float, lift: float) -> int:
    """Users in each of two equal arms with which a lift is found with 80 % power."""
    return math.ceil(2.0 * (detectable_lift(coefficient_of_variation) / lift) ** 2)
