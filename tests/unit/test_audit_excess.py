"""What can be known of later labels: honest columns stay within it, whatever they know; those made of labels do not."""

from __future__ import annotations

import numpy as np
import pytest

from lis_spark.audit.excess import Bound, excess_by_window, fitted, influence, moments, past
from lis_spark.audit.key_rows import KeyRows
from lis_spark.audit.later_labels import WINDOWS, Later
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


def looked_at(rows: KeyRows, columns: np.ndarray, reach: int | None = REACH, apart: bool = False) -> Bound:
    known, values = past(rows), columns / columns.std(0)
    later = Later.of(rows, reach, apart)
    fit = fitted(moments(rows, known, values, later), known.shape[1])
    return Bound(fit, influence(rows, known, values, later, fit))


@pytest.mark.parametrize("apart", [False, True])
def test_what_is_said_of_pairs_is_that_of_a_loop_and_of_weighted_least_squares(apart: bool) -> None:
    rows, rates = world(5, users=30, shown=40)
    columns = np.column_stack([rates, np.random.default_rng(1).normal(size=len(rows))])
    bound = looked_at(rows, columns, apart=apart)
    fit, keys = bound.fit, bound.influence.keys
    known = past(rows)
    means, weights, places, labels, sessions = [], [], [], [], []
    pauses = np.cumsum(np.r_[True, (np.diff(rows.keys) != 0) | (np.diff(rows.time) > 1_800_000)])
    for row in range(len(rows)):
        since = rows.time - rows.time[row]
        those = (rows.keys == rows.keys[row]) & (since > 0) & (since <= REACH)
        later = rows.label[those]
        if len(set(pauses[those]) if apart else later) > 1:
            places.append(row)
            labels.append(later)
            sessions.append(pauses[those])
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
    # the product of what the past leaves of two different later labels, over all pairs or those of different sessions
    pairs, more = np.empty(len(places)), np.empty(len(places))
    for index, (later, of) in enumerate(zip(labels, sessions, strict=True)):
        products = np.outer(later - said[index, -1], later - said[index, -1])
        every = ~np.eye(len(later), dtype=bool)
        pairs[index] = products[(of[:, None] != of) if apart else every].mean()
        more[index] = pairs[index] - products[every].mean()

    def mean(values: np.ndarray, kept: np.ndarray) -> np.ndarray:
        return np.average(values[kept], axis=0, weights=weight[kept])

    every = np.ones(len(places), bool)
    assert fit.weight == pytest.approx(weight.sum()) and keys == len(np.unique(rows.keys[places]))
    np.testing.assert_allclose(fit.covariance, mean(left[:, :-1] * left[:, -1:], every), atol=1e-9)
    np.testing.assert_allclose(fit.variance, mean(left[:, :-1] ** 2, every), rtol=1e-6)
    assert fit.knowable == pytest.approx(mean(pairs, every), rel=1e-6)
    assert fit.of_mean == pytest.approx(mean(left[:, -1] ** 2, every), rel=1e-6)
    # the influence is what the value loses when a key is left out, to first order
    estimate = bound.estimate(0)
    by_key = [(weight * more)[rows.keys[places] == key].sum() for key in np.unique(rows.keys[places])]
    pushes = sum(by_key) / np.sqrt(np.square(by_key).sum()) if apart else 0.0
    assert bound.influence.pushes == pytest.approx(pushes, abs=1e-6)
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
        bound = looked_at(rows, columns)
        accused += [bound.estimate(place).t > 3 for place in range(4)]
    # the rate itself, a grade that knows it, the clicks so far; and the mean that holds the labels themselves
    np.testing.assert_array_equal(accused[:3], 0)
    assert accused[3] == 20


def sessions(rng: np.random.Generator, users: int, kept: float) -> tuple[KeyRows, np.ndarray]:
    """Eight sessions a user of eight rows, a minute apart; a click leaves ``kept`` of the rates after it."""
    keys = np.repeat(np.arange(users), 64)
    start = np.sort(rng.integers(0, 14 * DAY // 60_000, (users, 8)), axis=1)
    time = ((start[:, :, None] + np.arange(8)) * 60_000).reshape(-1)
    rate = 1 / (1 + np.exp(1.4 - 0.4 * rng.normal(size=users)))
    label, clicks = np.zeros((users, 8, 8), np.int64), np.zeros((users, 8))
    for place in range(8):
        label[:, :, place] = rng.random((users, 8)) < rate[:, None] * kept**clicks
        clicks += label[:, :, place]
    return key_rows(keys, time, label.reshape(-1), np.zeros(len(keys))), rate[keys]


def accused(rows: KeyRows, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray, bool]:
    """Columns more than 3.5 errors beyond in any window; those by all pairs alone; whether labels push each other."""
    every, apart = ([looked_at(rows, columns, reach, kind) for reach in WINDOWS.values()] for kind in (False, True))
    places = range(columns.shape[1])
    found = [excess_by_window(every, apart, place) for place in places]
    alone = [max(bound.estimate(place).t for bound in every) for place in places]
    return (
        np.array([max(one.t for one in of.values()) for of in found]) > 3.5,
        np.array(alone) > 3.5,
        "across" in next(iter(found[0])),
    )


@pytest.mark.parametrize(("users", "kept"), [(150, 0.7), (150, 0.85), (600, 0.9)])
def test_where_a_click_pushes_the_next_away_honest_columns_stay_within_the_bound(users: int, kept: float) -> None:
    """All pairs alone would accuse what knows the rate, in the first even noise; the mean over the month is found."""
    found, by_all_pairs, pushed = np.zeros(3), np.zeros(3), 0
    for seed in range(4):
        rng = np.random.default_rng(seed)
        rows, rates = sessions(rng, users, kept)
        month = (np.bincount(rows.keys, rows.label) / 64)[rows.keys]
        columns = np.column_stack([rng.normal(size=len(rows)), rates, month])
        beyond, alone, pushed_away = accused(rows, columns)
        found += beyond
        by_all_pairs += alone
        pushed += pushed_away
    np.testing.assert_array_equal(found, [0, 0, 4])
    assert pushed >= 3  # at .85 in nine of ten: where it is not seen, it is too weak to accuse
    assert by_all_pairs[1] > 0


def test_one_click_a_slate_leaves_less_than_nothing_to_be_known_by_all_pairs() -> None:
    """What is to be known shows between slates: noise and the rate stay within, the mean over the month does not."""
    for seed in range(3):
        rng = np.random.default_rng(seed)
        keys, slates = np.repeat(np.arange(150), 64), np.repeat(np.arange(1200), 8)
        time = np.sort(rng.integers(0, 10 * DAY, (150, 8)), axis=1).reshape(-1).repeat(8) + np.tile(np.arange(8), 1200)
        rate = rng.uniform(0.3, 0.9, 150)
        clicked = np.where(rng.random(1200) < rate.repeat(8), rng.integers(0, 8, 1200), -1)
        label = (np.tile(np.arange(8), 1200) == clicked[slates]).astype(np.int64)
        rows = key_rows(keys, time, label, np.zeros(len(keys)))
        month = (np.bincount(rows.keys, rows.label) / 64)[rows.keys]
        columns = np.column_stack([rng.normal(size=len(rows)), rate[rows.keys], month])
        assert looked_at(rows, columns).fit.knowable < 0
        found, _, pushed_away = accused(rows, columns)
        assert pushed_away and found.tolist() == [False, False, True]


def test_less_than_nothing_to_be_known_is_no_bound_where_all_is_one_session() -> None:
    """No pair of different sessions tells then, so nothing is said."""
    rng = np.random.default_rng(1)
    keys = np.repeat(np.arange(150), 64)
    time = np.tile(np.arange(64) * 60_000, 150)
    label = (np.arange(64) % 8 == rng.integers(0, 8, (150, 8)).repeat(8, axis=1)).astype(np.int64).reshape(-1)
    rows = key_rows(keys, time, label, np.zeros(len(keys)))
    columns = rng.normal(size=(len(keys), 2))
    assert looked_at(rows, columns).fit.knowable < 0
    found, _, pushed_away = accused(rows, columns)
    assert not pushed_away and not found.any()


def test_an_hour_that_the_other_keys_never_have_says_nothing() -> None:
    rows, rates = world(3, users=30)
    own = rows.blocks == 0
    hours = KeyRows(**{**vars(rows), "hour": np.where(own, 5, 7)})
    bound = looked_at(hours, rates[:, None])
    assert np.isfinite(bound.fit.slopes).all() and np.abs(bound.fit.slopes).max() < 1e3
    assert np.isfinite(bound.estimate(0).interval()).all()
