"""Two one-sided tests of a claim of no effect (Schuirmann 1987, "A Comparison of the Two One-Sided Tests Procedure and
the Power Approach for Assessing the Equivalence of Average Bioavailability")."""

from __future__ import annotations

import math

from scipy.special import ndtri

from lis_spark.inference.students_t import critical_value

# Each of the two tests is at 5 %, so the interval that both together are is one of 90 %.
ONE_SIDED_CHANCE = 0.05


def smallest_margin(value: float, standard_error: float, degrees_of_freedom: float) -> float:
    """The threshold from which on the value would be negligible: |value| + t_.95 x standard error, in its unit.

    Args:
        value: the estimate.
        standard_error: of it, not below 0.
        degrees_of_freedom: of the standard error; inf for a normal test.

    Raises:
        ValueError: a standard error below 0 or degrees of freedom that are not above 0.
    """
    if not (math.isfinite(value) and 0.0 <= standard_error < math.inf and degrees_of_freedom > 0):
        raise ValueError(
            f"no estimate has value {value}, standard error {standard_error}, {degrees_of_freedom} degrees of freedom"
        )
    return abs(value) + critical_value(degrees_of_freedom, 2.0 * ONE_SIDED_CHANCE) * standard_error


def is_negligible(value: float, standard_error: float, degrees_of_freedom: float, threshold: float) -> bool:
    """Whether the 90 % t interval lies inside (-threshold, threshold): both one-sided tests reject at 5 %.

    Args:
        value, standard_error, degrees_of_freedom: see :func:`smallest_margin`.
        threshold: what counts, in the unit of the value.

    Raises:
        ValueError: a threshold that is not above 0; what :func:`smallest_margin` refuses.
    """
    _require_threshold(threshold)
    return smallest_margin(value, standard_error, degrees_of_freedom) < threshold


def largest_error(threshold: float, power: float = 0.8) -> float:
    """The standard error with which a true 0 is told as negligible with this power; normal quantiles.

    A true 0 is missed on either side alike, so that each side may be missed with (1 - power) / 2.

    Args:
        threshold: what counts, in the unit of the standard error.
        power: in (0, 1).

    Raises:
        ValueError: a number that is out of its range.
    """
    _require_threshold(threshold)
    if not 0.0 < power < 1.0:
        raise ValueError(f"a power lies between 0 and 1, not at {power}")
    return threshold / float(ndtri(1.0 - ONE_SIDED_CHANCE) + ndtri((1.0 + power) / 2.0))


def _require_threshold(threshold: float) -> None:
    if not 0.0 < threshold < math.inf:
        raise ValueError(f"a threshold is above 0, not {threshold}")
