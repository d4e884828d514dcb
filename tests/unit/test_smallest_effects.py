"""The smallest gains that a run could have shown, by hand."""

from __future__ import annotations

from typing import Any

import pytest
from scipy.special import ndtri

from lis_spark.report.measurements import Row, clean
from lis_spark.report.smallest_effects import smallest_effects


def row(date: str | None = "2022-04-30", horizon: int = 7, **changes: Any) -> Row:
    settings: Row = {
        "leak": "id_embedding",
        "protocol": "swap",
        "verdict": "useful",
        "seed": "17",
        "evaluated_date": date,
        "evaluated_dates": 1 if date else 3,
        "horizon_days": horizon,
        "users": 1_000,
        "lis": 0.002,
        "standard_error": 0.0005,
        "cluster_standard_error": 0.0005,
        "degrees_of_freedom": 999.0,
        "simultaneous_low": 0.001,
        "simultaneous_high": 0.003,
        "within_user_users": 400,
        "lis_within_user": 0.001,
        "lis_within_user_standard_error": 0.001,
        "lis_within_user_cluster_standard_error": 0.001,
        "lis_within_user_degrees_of_freedom": 399.0,
        "lis_within_user_simultaneous_low": -0.001,
        "lis_within_user_simultaneous_high": 0.003,
    }
    return clean(settings | changes)


def test_smallest_effects_of_a_score_are_half_its_interval_and_power() -> None:
    (found,) = smallest_effects([row()], 0.001)
    power = float(ndtri(0.8))
    assert found.lis == pytest.approx(0.001 + power * 0.0005)
    assert found.within_user == pytest.approx(0.002 + power * 0.001)
    assert found.users_for_lis == pytest.approx(4_000, abs=1), "an error half as large takes four times the users"
    assert found.users_for_order == pytest.approx(400 * (2 + power) ** 2, abs=1), "two errors are half its interval"
    assert found.users_of_both == 400


def test_smallest_effects_of_seeds_that_scatter_take_more_seeds() -> None:
    (found,) = smallest_effects([row(cluster_standard_error=0.0002)], 0.001)
    assert found.users_for_lis is None, "0.0005^2 - 0.0002^2 is of seeds, more than 0.00025^2"


def test_smallest_effects_of_several_dates_are_of_all_together() -> None:
    rows = [
        row(),
        row(None),
        row(None, 3),
        row("2022-05-01"),
        row(None, verdict=None),
        row(None, 1, simultaneous_low=None),
    ]
    assert [(one.name, one.date) for one in smallest_effects(rows, 0.001)] == [
        ("id_embedding (swap), n = 3", "all dates"),
        ("id_embedding (swap), n = 7", "all dates"),
    ]


def test_smallest_effects_without_pairs_of_users_have_no_order() -> None:
    (found,) = smallest_effects([row(lis_within_user_standard_error=None)], 0.001)
    assert found.within_user is None and found.users_for_order is None and found.users_of_both == 0
