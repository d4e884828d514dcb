"""Intervals of the parts of a naive score: what training seeds and few users add, by the formulas written out."""

from __future__ import annotations

import math
import statistics
from types import SimpleNamespace
from typing import Any

import pytest
from scipy.stats import t

from lis_spark.lis.results.estimates import Found
from lis_spark.lis.results.parts_of_naive import Named, NamedScores
from lis_spark.lis.results.rows import MEAN

USER_ERROR, USERS = 0.0004, 200


def named_scores(
    scores: dict[str, list[float]], found: Found, against_own_order: bool = False
) -> tuple[NamedScores, Any]:
    """Rows of each variant under three seeds and of their mean; the mean of the honest ones."""
    named, rows = {}, {}
    for variant, values in scores.items():
        for seed, lis in zip(("17", "18", "19", MEAN), [*values, statistics.fmean(values)], strict=True):
            rows[variant, seed] = row = SimpleNamespace(seed=seed, lis=lis, evaluated_date=None, standard_error=1e-4)
            named[variant, seed, None] = Named(row, f"{variant} {seed}", against_own_order)  # type: ignore[arg-type]
    return NamedScores(named, found), rows["honest", MEAN]


SCORES = {"naive": [0.0150, 0.0149, 0.0154], "honest": [0.0024, 0.0021, 0.0030]}
WEIGHTS = {f"naive {MEAN}": 1.0, f"honest {MEAN}": -1.0}


def test_half_interval_of_a_mean_over_seeds_holds_their_scatter() -> None:
    scores, row = named_scores(SCORES, Found({}, {}))
    differences = [one - other for one, other in zip(*SCORES.values(), strict=True)]
    of_users, of_seeds = USER_ERROR**2, statistics.variance(differences) / 3
    degrees = (of_users + of_seeds) ** 2 / (of_users**2 / (USERS - 1) + of_seeds**2 / 2)
    half = t.ppf(0.975, degrees) * math.sqrt(of_users + of_seeds)
    assert scores.half_interval(row, WEIGHTS, USER_ERROR, USERS) == pytest.approx(half, rel=1e-9)


def test_half_interval_of_one_seed_holds_users_alone() -> None:
    scores, _ = named_scores(SCORES, Found({}, {}))
    row: Any = SimpleNamespace(seed="17", evaluated_date=None, standard_error=1e-4)
    half = t.ppf(0.975, USERS - 1) * USER_ERROR
    assert scores.half_interval(row, {"naive 17": 1, "honest 17": -1}, USER_ERROR, USERS) == pytest.approx(half)


def test_half_interval_with_few_users_is_as_wide_as_the_widest_of_its_scores() -> None:
    comparisons: Any = {name: SimpleNamespace(auc=SimpleNamespace(standard_error=0.001)) for name in WEIGHTS}
    errors = {f"naive {MEAN}": {"lis": 0.0012}, f"honest {MEAN}": {"lis": 0.0015}}
    row: Any = SimpleNamespace(seed="17", evaluated_date=None, standard_error=1e-4)
    plain, _ = named_scores(SCORES, Found({}, {}))
    wide, _ = named_scores(SCORES, Found(comparisons, errors))
    ratio = wide.half_interval(row, WEIGHTS, USER_ERROR, USERS) / plain.half_interval(row, WEIGHTS, USER_ERROR, USERS)
    assert ratio == pytest.approx(1.5, rel=1e-9)


def test_half_interval_of_a_leak_against_its_own_order_holds_one_order_more() -> None:
    scores, mean = named_scores(SCORES, Found({}, {}), against_own_order=True)
    differences = [one - other for one, other in zip(*SCORES.values(), strict=True)]
    of_users, of_orders = USER_ERROR**2, statistics.variance(differences) * (1 + 1 / 3)
    degrees = (of_users + of_orders) ** 2 / (of_users**2 / (USERS - 1) + of_orders**2 / 2)
    half = t.ppf(0.975, degrees) * math.sqrt(of_users + of_orders)
    assert scores.half_interval(mean, WEIGHTS, USER_ERROR, USERS) == pytest.approx(half, rel=1e-9)


def test_half_interval_below_the_floor_is_none() -> None:
    scores, _ = named_scores(SCORES, Found({}, {}))
    small: Any = SimpleNamespace(seed="17", evaluated_date=None, standard_error=None)
    assert scores.half_interval(small, {"naive 17": 1, "honest 17": -1}, USER_ERROR, USERS) is None
