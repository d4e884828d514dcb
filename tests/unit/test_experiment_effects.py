"""Statistics of a read-out against tea-tasting and statsmodels on the same aggregates, and against simulation."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tea_tasting as tt
from statsmodels.stats.power import tt_ind_solve_power
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW
from tea_tasting.aggr import Aggregates

from lis_spark.experiment.effects import Effect, effect_of, users_needed
from lis_spark.experiment.moments import Quantity, Sums
from lis_spark.experiment.sample_ratio import sample_ratio

COLUMNS = ("clicks", "views", "clicks before", "views before")
CLICKS, BEFORE = Quantity("clicks"), Quantity("clicks before")
RATE, RATE_BEFORE = Quantity("clicks", "views"), Quantity("clicks before", "views before")


def drawn(users: int, seed: int, lift: float = 0.0) -> np.ndarray:
    """int64 [users, 4]: counts of users who differ in how much they look and how often they click."""
    random = np.random.default_rng(seed)
    activity, taste = random.lognormal(1.0, 0.7, users), random.beta(2.0, 5.0, users)
    views, views_before = random.poisson(activity * 8), random.poisson(activity * 8)
    clicks, before = random.binomial(views, np.minimum(taste * (1 + lift), 1)), random.binomial(views_before, taste)
    return np.stack([clicks, views, before, views_before], axis=1).astype(np.int64)


def sums_of(rows: np.ndarray, scales: tuple[int, ...] = (1, 1, 1, 1)) -> Sums:
    products = rows.T @ rows
    return Sums(
        COLUMNS, scales, len(rows), tuple(map(int, rows.sum(axis=0))), tuple(tuple(map(int, row)) for row in products)
    )


def aggregates_of(rows: np.ndarray) -> Aggregates:
    means, covariances = rows.mean(axis=0), np.cov(rows.T.astype(float))
    return Aggregates(
        count_=len(rows),
        mean_=dict(zip(COLUMNS, map(float, means), strict=True)),
        var_={name: float(covariances[i, i]) for i, name in enumerate(COLUMNS)},
        cov_={(a, b): float(covariances[i, j]) for i, a in enumerate(COLUMNS) for j, b in enumerate(COLUMNS) if i < j},
    )


def effect(control: np.ndarray, treated: np.ndarray, quantity: Quantity, before: Quantity | None) -> Effect:
    left, right = sums_of(control), sums_of(treated)
    return effect_of(left.moments(), right.moments(), (left + right).moments(), quantity, before)


@pytest.mark.parametrize(
    ("quantity", "before", "metric"),
    [
        (CLICKS, None, tt.Mean("clicks")),
        (CLICKS, BEFORE, tt.Mean("clicks", "clicks before")),
        (RATE, None, tt.RatioOfMeans("clicks", "views")),
        (RATE, RATE_BEFORE, tt.RatioOfMeans("clicks", "views", "clicks before", "views before")),
        (RATE, BEFORE, tt.RatioOfMeans("clicks", "views", "clicks before")),
    ],
)
@pytest.mark.parametrize(("users", "others", "lift"), [(400, 380, 0.1), (5000, 2500, 0.0), (60, 3000, -0.2)])
def test_effects_are_those_of_tea_tasting(
    quantity: Quantity, before: Quantity | None, metric: tt.RatioOfMeans, users: int, others: int, lift: float
) -> None:
    control, treated = drawn(users, 1), drawn(others, 2, lift)
    ours = effect(control, treated, quantity, before)
    theirs = metric.analyze_aggregates(aggregates_of(control), aggregates_of(treated))
    pairs = [
        (ours.control, theirs.control),
        (ours.treated, theirs.treatment),
        (ours.difference, theirs.effect_size),
        (ours.difference_low, theirs.effect_size_ci_lower),
        (ours.difference_high, theirs.effect_size_ci_upper),
        (ours.lift, theirs.rel_effect_size),
        (ours.lift_low, theirs.rel_effect_size_ci_lower),
        (ours.lift_high, theirs.rel_effect_size_ci_upper),
        (ours.p_value, theirs.pvalue),
    ]
    for own, other in pairs:
        assert own == pytest.approx(other, rel=1e-9, abs=1e-12)


def test_means_without_a_covariate_are_those_of_statsmodels() -> None:
    control, treated = drawn(700, 3), drawn(900, 4, 0.05)
    ours = effect(control, treated, CLICKS, None)
    theirs = CompareMeans(DescrStatsW(treated[:, 0].astype(float)), DescrStatsW(control[:, 0].astype(float)))
    assert ours.p_value == pytest.approx(theirs.ttest_ind(usevar="unequal")[1], rel=1e-9)
    low, high = theirs.tconfint_diff(usevar="unequal")
    assert (ours.difference_low, ours.difference_high) == pytest.approx((low, high), rel=1e-9)


def test_a_unit_of_measurement_changes_no_lift() -> None:
    control, treated = drawn(500, 5), drawn(500, 6, 0.1)
    plain = effect(control, treated, CLICKS, BEFORE)
    scales = (1000, 1, 7, 1)
    left, right = (sums_of(rows, scales) for rows in (control * np.array(scales), treated * np.array(scales)))
    scaled = effect_of(left.moments(), right.moments(), (left + right).moments(), CLICKS, BEFORE)
    assert dataclasses.astuple(scaled) == pytest.approx(dataclasses.astuple(plain), rel=1e-12)


def test_exact_sums_do_not_lose_a_small_spread_on_a_large_level() -> None:
    level = 10**15
    rows = np.array([[level + n % 2, 1, 0, 0] for n in range(1000)], dtype=object)
    products = rows.T @ rows
    total = Sums(COLUMNS, (1,) * 4, 1000, tuple(rows.sum(axis=0)), tuple(tuple(row) for row in products))
    assert total.moments().variance(CLICKS) == pytest.approx(250 / 999, rel=1e-15)


def test_arms_that_are_swapped_have_the_inverse_ratio() -> None:
    control, treated = drawn(800, 7), drawn(800, 8, 0.2)
    there, back = effect(control, treated, RATE, RATE_BEFORE), effect(treated, control, RATE, RATE_BEFORE)
    for forward, backward in ((there.lift, back.lift), (there.lift_low, back.lift_high)):
        assert forward is not None and backward is not None
        assert (1 + forward) * (1 + backward) == pytest.approx(1, rel=1e-12)
    assert there.p_value == pytest.approx(back.p_value, rel=1e-12)


def test_nobody_clicks_and_nobody_looks() -> None:
    nothing = np.zeros((10, 4), np.int64)
    none = effect(nothing, nothing, CLICKS, BEFORE)
    assert (none.difference, none.p_value, none.lift, none.detectable_lift) == (0.0, 1.0, None, None)
    with pytest.raises(ValueError, match="1 users has no variance"):
        sums_of(nothing[:1]).moments()


def test_users_needed_are_those_of_a_power_calculation() -> None:
    # method section 7: CV .6, +.02 % needs 1.4e8 users an arm
    assert users_needed(0.6, 0.0002) == pytest.approx(1.4e8, rel=0.02)
    for variation, lift in ((0.6, 0.01), (2.0, 0.05)):
        theirs = tt_ind_solve_power(lift / variation, alpha=0.05, power=0.8)
        assert users_needed(variation, lift) == pytest.approx(theirs, rel=1e-3)


@pytest.mark.parametrize(("users", "others"), [(2000, 2100), (100_000, 99_000), (5000, 5000)])
def test_sample_ratios_are_those_of_tea_tasting(users: int, others: int) -> None:
    theirs = tt.SampleRatio(2.0, method="norm", correction=False).analyze(
        {"control": Aggregates(count_=users), "treated": Aggregates(count_=2 * others)}, "control", "treated"
    )
    ours = sample_ratio({"control": users, "treated": 2 * others}, {"control": 0.1, "treated": 0.2})
    assert ours.p_value == pytest.approx(theirs.pvalue, rel=1e-9)


def test_a_hundredth_of_one_arm_that_is_lost_is_seen() -> None:
    arms = {"control": 100_000, "treated": 99_000}
    assert sample_ratio(arms, {"control": 0.5, "treated": 0.5}).is_mismatch is False  # p = .025
    dropped = {"control": 100_000, "treated": 98_500}
    assert sample_ratio(dropped, {"control": 0.5, "treated": 0.5}).is_mismatch is True


def test_intervals_cover_a_known_effect() -> None:
    """1,000 experiments of 2 x 500 users whose treated users click a tenth more often; 95 % +- 2 %."""
    estimates = {
        "mean": (CLICKS, None),
        "mean adjusted": (CLICKS, BEFORE),
        "ratio": (RATE, None),
        "ratio adjusted": (RATE, RATE_BEFORE),
    }
    truth, covered = 0.1, dict.fromkeys(estimates, 0)
    for seed in range(1000):
        control, treated = drawn(500, 2 * seed + 100_000), drawn(500, 2 * seed + 100_001, truth)
        for name, (quantity, before) in estimates.items():
            found = effect(control, treated, quantity, before)
            assert found.lift_low is not None and found.lift_high is not None
            covered[name] += found.lift_low <= truth <= found.lift_high
    assert all(0.93 <= count / 1000 <= 0.97 for count in covered.values()), covered
