"""What can be known of later labels: honest columns stay within it, whatever they know; those made of labels do not."""

from __future__ import annotations

import numpy as np
import pytest

from lis_spark.audit.excess import WINDOWS, Fit, fitted, moments, past, squared_influence
from lis_spark.audit.key_rows import KeyRows
from tests.unit.test_audit_rows import DAY, key_rows

REACH = WINDOWS["7 days"]


def world(seed: int, users: int = 150, shown: int = 60) -> tuple[KeyRows, np.ndarray]:
    """Users with a click rate of their own, over ten days; and the rates, row by row."""
    rng = np.random.default_rng(seed)
    keys = np.repeat(np.arange(users), shown)
    time = np.sort(rng.integers(0, 10 * DAY, (users, shown)), axis=1).reshape(-1)
    rates = np.clip(rng.normal(0.3, 0.1, users), 0.02, 0.98)[keys]
    label = (rng.random(len(keys)) < rates).astype(np.int64)
    return key_rows(keys, time, label, rng.integers(0, 2, len(keys)), np.zeros(len(keys))), rates


def looked_at(rows: KeyRows, columns: np.ndarray) -> tuple[Fit, np.ndarray, int]:
    days = np.arange(10)
    known, values = past(rows, days), columns / columns.std(0)
    fit = fitted(moments(rows, known, values, REACH), known.shape[1])
    squared, keys = squared_influence(rows, known, values, REACH, fit)
    return fit, squared, keys


def test_moments_are_those_of_least_squares() -> None:
    rows, rates = world(5)
    columns = np.column_stack([rates, np.random.default_rng(1).normal(size=len(rows))])
    fit, squared, keys = looked_at(rows, columns)
    clicks, shown = rows.later(REACH)
    there = (shown > 0).all(1)
    halves = clicks[there] / shown[there]
    known = past(rows, np.arange(10))[there]
    targets = np.column_stack([columns[there] / columns.std(0), halves])
    left = targets - known @ np.linalg.lstsq(known, targets, rcond=None)[0]
    mean = left[:, -2:].mean(1)
    assert fit.rows == there.sum() and keys == len(np.unique(rows.keys[there]))
    np.testing.assert_allclose(fit.covariance, (left[:, :-2] * mean[:, None]).mean(0), atol=1e-9)
    np.testing.assert_allclose(fit.variance, (left[:, :-2] ** 2).mean(0), rtol=1e-6)
    assert fit.knowable == pytest.approx((left[:, -2] * left[:, -1]).mean(), rel=1e-6)
    # the influence is what the value loses when a key is left out, to first order
    estimate = fit.estimate(0, squared[0], keys)
    without = []
    for key in np.unique(rows.keys[there]):
        kept = rows.keys[there] != key
        covariance = (left[kept, 0] * mean[kept]).mean()
        beyond = covariance**2 / (left[kept, 0] ** 2).mean() - (left[kept, -2] * left[kept, -1]).mean()
        without.append(beyond / fit.of_mean)
    jackknife = np.sqrt((keys - 1) / keys * np.square(without - np.mean(without)).sum())
    assert estimate.standard_error == pytest.approx(jackknife, rel=0.05)


def test_honest_columns_are_not_accused_and_means_over_the_month_are() -> None:
    accused = np.zeros(4)
    for seed in range(20):
        rows, rates = world(seed)
        rng = np.random.default_rng(seed)
        sums = np.bincount(rows.keys, rows.label)[rows.keys] / np.bincount(rows.keys)[rows.keys]
        cumulated = np.cumsum(rows.label) - np.cumsum(np.bincount(rows.keys, rows.label))[rows.keys]
        own_past = cumulated - rows.label + np.bincount(rows.keys, rows.label)[rows.keys]
        noisy_grade = rates + rng.normal(0, 0.1, rates.shape)
        columns = np.column_stack([rates, noisy_grade, own_past, sums])
        fit, squared, keys = looked_at(rows, columns)
        accused += [fit.estimate(place, squared[place], keys).t > 3 for place in range(4)]
    # the rate itself, a grade that knows it, the clicks so far; and the mean that holds the labels themselves
    np.testing.assert_array_equal(accused[:3], 0)
    assert accused[3] == 20
