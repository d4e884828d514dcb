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
    return key_rows(keys, time, label, np.zeros(len(keys))), rates


def looked_at(rows: KeyRows, columns: np.ndarray) -> tuple[Fit, np.ndarray, int]:
    known, values = past(rows), columns / columns.std(0)
    fit = fitted(moments(rows, known, values, REACH), known.shape[1])
    squared, keys = squared_influence(rows, known, values, REACH, fit)
    return fit, squared, keys


def test_what_is_said_of_pairs_is_that_of_a_loop_and_of_weighted_least_squares() -> None:
    rows, rates = world(5, users=30, shown=40)
    columns = np.column_stack([rates, np.random.default_rng(1).normal(size=len(rows))])
    fit, squared, keys = looked_at(rows, columns)
    known = past(rows)
    means, weights, places, labels = [], [], [], []
    for row in range(len(rows)):
        since = rows.time - rows.time[row]
        later = rows.label[(rows.keys == rows.keys[row]) & (since > 0) & (since <= REACH)]
        if len(later) > 1:
            places.append(row)
            labels.append(later)
            means.append(later.mean())
            weights.append(len(later) / (len(later) + 30))
    weight = np.array(weights)
    targets = np.column_stack([columns[places] / columns.std(0), means])
    said = np.empty_like(targets)
    for fold in range(4):  # the keys are dealt out to four blocks
        own = rows.blocks[places] == fold
        root, inputs = np.sqrt(weight[~own])[:, None], known[places][~own]
        said[own, :-1] = known[places][own] @ np.linalg.lstsq(inputs * root, targets[~own, :-1] * root, rcond=None)[0]
        # ridge regression as least squares with a row for each penalty, none of the constant
        penalty = np.diag(np.sqrt(0.01 * ((inputs * root) ** 2).sum(0)))[1:]
        stacked = np.vstack([inputs * root, penalty]), np.r_[targets[~own, -1] * root[:, 0], np.zeros(len(penalty))]
        said[own, -1] = known[places][own] @ np.linalg.lstsq(*stacked, rcond=None)[0]
    left = targets - said
    # the product of what the past leaves of two different later labels, over all pairs
    pairs = np.empty(len(places))
    for index, later in enumerate(labels):
        rest = later - said[index, -1]
        pairs[index] = np.mean([a * b for i, a in enumerate(rest) for j, b in enumerate(rest) if i != j])

    def mean(values: np.ndarray, kept: np.ndarray) -> np.ndarray:
        return np.average(values[kept], axis=0, weights=weight[kept])

    every = np.ones(len(places), bool)
    assert fit.weight == pytest.approx(weight.sum()) and keys == len(np.unique(rows.keys[places]))
    np.testing.assert_allclose(fit.covariance, mean(left[:, :-1] * left[:, -1:], every), atol=1e-9)
    np.testing.assert_allclose(fit.variance, mean(left[:, :-1] ** 2, every), rtol=1e-6)
    assert fit.knowable == pytest.approx(mean(pairs, every), rel=1e-6)
    assert fit.of_mean == pytest.approx(mean(left[:, -1] ** 2, every), rel=1e-6)
    # the influence is what the value loses when a key is left out, to first order
    estimate = fit.estimate(0, squared, keys)
    without, shares = [], []
    for key in np.unique(rows.keys[places]):
        kept = rows.keys[places] != key
        covariance = mean(left[:, 0] * left[:, -1], kept)
        beyond = covariance**2 / mean(left[:, 0] ** 2, kept) - mean(pairs, kept)
        without.append(beyond / fit.of_mean)
        shares.append(beyond / mean(left[:, -1] ** 2, kept))
    for error, values in ((estimate.error_at_zero, without), (estimate.standard_error, shares)):
        jackknife = np.sqrt((keys - 1) / keys * np.square(values - np.mean(values)).sum())
        assert error == pytest.approx(jackknife, rel=0.1)
    assert estimate.t == pytest.approx(estimate.value / estimate.error_at_zero)


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
        accused += [fit.estimate(place, squared, keys).t > 3 for place in range(4)]
    # the rate itself, a grade that knows it, the clicks so far; and the mean that holds the labels themselves
    np.testing.assert_array_equal(accused[:3], 0)
    assert accused[3] == 20


def test_where_a_click_pushes_the_next_away_nothing_is_said() -> None:
    """One click a slate of eight at most: later labels know less than nothing of each other."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        keys, slates = np.repeat(np.arange(150), 64), np.repeat(np.arange(1200), 8)
        time = np.sort(rng.integers(0, 10 * DAY, (150, 8)), axis=1).reshape(-1).repeat(8) + np.tile(np.arange(8), 1200)
        clicked = np.where(rng.random(1200) < 0.6, rng.integers(0, 8, 1200), -1)
        label = (np.tile(np.arange(8), 1200) == clicked[slates]).astype(np.int64)
        rows = key_rows(keys, time, label, np.zeros(len(keys)))
        fit, squared, count = looked_at(rows, rng.normal(size=(len(keys), 3)))
        assert fit.knowable < 0
        assert [fit.estimate(place, squared, count).t for place in range(3)] == [0, 0, 0]


def test_an_hour_that_the_other_keys_never_have_says_nothing() -> None:
    rows, rates = world(3, users=30)
    own = rows.blocks == 0
    hours = KeyRows(**{**vars(rows), "hour": np.where(own, 5, 7)})
    fit, squared, keys = looked_at(hours, rates[:, None])
    assert np.isfinite(fit.slopes).all() and np.abs(fit.slopes).max() < 1e3
    assert np.isfinite(fit.estimate(0, squared, keys).interval()).all()
