"""A user's influence as a linear form in its integers, and the exact sums of squares of such forms (method 2.2)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

from lis_spark.errors import InputError
from lis_spark.inference.students_t import critical_value
from lis_spark.metrics.moments import Moments
from lis_spark.metrics.pairs import ArmPair

# unit -> letter of a moment -> coefficient: a user's influence as a linear form in its integers
Form = Mapping[int, Mapping[str, Fraction]]


def standard_error(moments: Iterable[Moments], form: Form, users: int, name: str) -> float:
    """sqrt of K/(K-1) sum_u psi_u^2, where psi_u = sum over the units of the form applied to the user's integers.

    Args:
        moments: those of a bundle that holds the units of the form.
        form: the influence.
        users: K, the clusters.
        name: of what is estimated, for the message.

    Raises:
        InputError: there is only one user.
    """
    if users < 2:
        raise InputError(
            "one user alone has no standard error",
            table="influence",
            partition=name,
            expected="at least two users",
            remedy="evaluate days, or strata, with more users",
        )
    return math.sqrt(sum_of_squares(moments, form) * Fraction(users, users - 1))


def sum_of_squares(moments: Iterable[Moments], form: Form) -> Fraction:
    """sum_u psi_u^2, exact, where psi_u = sum over the units of the form applied to the user's integers."""
    total = Fraction(0)
    for row in moments:
        left, right = form.get(row.left), form.get(row.right)
        if left is None or right is None:
            continue
        squared = sum(left[a] * right[b] * row.products[a + b] for a in left for b in right)
        # a pair of different units is listed once and stands twice in the square
        total += squared if row.left == row.right else 2 * squared
    return total


def combine_forms(*terms: tuple[Form, Fraction]) -> dict[int, dict[str, Fraction]]:
    """A linear combination of forms, which may share no unit."""
    return {
        unit: {letter: factor * value for letter, value in letters.items()}
        for form, factor in terms
        for unit, letters in form.items()
    }


def t_interval(value: float, error: float, clusters: float, level: float = 0.95) -> tuple[float, float]:
    """The two-sided interval by Student's t with clusters - 1 degrees of freedom."""
    half = critical_value(clusters - 1, 1 - level) * error
    return value - half, value + half


def cell_sizes(units: Sequence[ArmPair], own: Iterable[int]) -> dict[int, int]:
    """Unit -> how many of the units rank the same impressions: several controls of one leaked arm.

    Args:
        units: all units.
        own: positions in it of the units of one comparison.
    """
    listed = list(own)
    cells = {unit: tuple(units[unit].cell.items()) for unit in listed}
    sizes: dict[tuple[object, ...], int] = {}
    for cell in cells.values():
        sizes[cell] = sizes.get(cell, 0) + 1
    return {unit: sizes[cells[unit]] for unit in listed}
