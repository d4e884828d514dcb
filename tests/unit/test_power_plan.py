"""The plan of a run: what would reach each aim reaches it, and the answer says so."""

from __future__ import annotations

import datetime as dt
import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.special import ndtri

from lis_spark.config import parse_config
from lis_spark.metrics.spread import ErrorWeights, Spread
from lis_spark.power.answer import date_line
from lis_spark.power.error_model import (
    ErrorModel,
    Errors,
    ExpectedError,
    ScoreModel,
    SeedSpread,
    dates_for,
    resolving_error,
)
from lis_spark.power.options import Option
from lis_spark.power.pilot import PilotScore
from lis_spark.power.plan import PowerPlan, make_plan
from lis_spark.power.sizes import EvaluatedSizes, SampleSize
from lis_spark.sources.days import Day

DATES = (dt.date(2022, 4, 30), dt.date(2022, 5, 1))
DAYS = {dt.date(2022, 4, 25) + dt.timedelta(days=n): Day(accepted=10_000) for n in range(15)}
MODEL = ErrorModel(
    basis="a run",
    lis=ScoreModel(spread=Spread(by_impression=0.001, by_user_day=0.0001, by_user=0.0001)),
    within_user=ScoreModel(spread=Spread(by_impression=0.002, by_user_day=0.0, by_user=0.0001)),
)


def size_of(users: int, rows: int = 10, share: float = 0.2) -> SampleSize:
    """Users with so many rows each, of which a share is positive, in one ranking."""
    positives, negatives = round(users * rows * share), round(users * rows * (1 - share))
    p, n = rows * share, rows * (1 - share)
    lis = ErrorWeights(
        impressions=1 / positives + 1 / negatives,
        user_days=users * (p * negatives + n * positives) ** 2 / (positives * negatives) ** 2,
        users=users * (p * negatives + n * positives) ** 2 / (positives * negatives) ** 2,
    )
    within = ErrorWeights(impressions=(p + n) / (users * p * n), user_days=1 / users, users=1 / users)
    return SampleSize(
        users=users, users_of_both=users, positives=positives, negatives=negatives, lis=lis, within_user=within
    )


def sizes_of(users: int, **of_size: Any) -> EvaluatedSizes:
    size = size_of(users, **of_size)
    return EvaluatedSizes(
        together=size,
        by_date={date: size_of(users, **of_size) for date in DATES},
        by_fold={(date, 0): size_of(users // 5, **of_size) for date in DATES},
        lis_returning=0.5,
        within_returning=0.5,
    )


def plan_of(
    config_data: dict[str, Any], sizes: EvaluatedSizes, model: ErrorModel = MODEL, **evaluation: Any
) -> PowerPlan:
    config = parse_config({**config_data, "evaluation": {**config_data["evaluation"], "dates": DATES, **evaluation}})
    pilot = PilotScore(
        protocol="swap",
        leak="id_embedding",
        horizon_days=7,
        dates=DATES,
        seeds=(17,),
        users=100,
        model=model,
        errors=Errors(lis=ExpectedError(value=0.001, degrees_of_freedom=99), within_user=None),
    )
    return make_plan(config, sizes, DAYS, [pilot])


def of(plan: PowerPlan, aim: str, way: str = "") -> list[Option]:
    return [one for one in plan.options if (one.aim, one.way) == (aim, way)]


def values(errors: Errors) -> tuple[float, float]:
    assert errors.lis is not None and errors.within_user is not None
    return errors.lis.value, errors.within_user.value


def test_plan_of_few_users_says_how_many_reach_each_aim(config_data: dict[str, Any]) -> None:
    plan = plan_of(config_data, sizes_of(1_000))
    (configured,) = of(plan, "as configured")
    assert not configured.reaches and not configured.resolves
    (for_lis,), (for_order,) = of(plan, "standard error", "more users"), of(plan, "order within users", "more users")
    assert for_lis.reaches and for_order.resolves
    assert values(for_lis.errors)[0] == pytest.approx(0.00025)
    assert values(for_order.errors)[1] == pytest.approx(0.001 / (ndtri(0.975) + ndtri(0.8)))
    wanted = 1_000 * (values(configured.errors)[0] / 0.00025) ** 2
    assert for_lis.users == pytest.approx(wanted, abs=1), "errors fall with the root"
    assert for_lis.seconds > configured.seconds and for_lis.bytes_on_disk > configured.bytes_on_disk  # type: ignore[operator]
    assert plan.share_for_lis is None
    assert f"{for_lis.users:,} users" in plan.plain()["answer"]
    assert json.loads(json.dumps(plan.plain()))["expectations"][0]["date"] is None


def test_plan_of_many_users_finds_the_share_that_suffices(config_data: dict[str, Any]) -> None:
    sizes = sizes_of(2_000_000)
    plan = plan_of(config_data, sizes)
    share = plan.share_for_lis
    assert share is not None and share < 1
    assert f"a share of {share:.2f} of the users (evaluation.user_share) would do" in plan.plain()["answer"]
    assert plan.options[0].reaches
    on_share = plan_of(config_data, sizes, user_share=share)
    assert on_share.options[0].reaches and on_share.options[0].user_share == share
    assert on_share.options[0].seconds < plan.options[0].seconds  # type: ignore[operator]
    assert on_share.expectations[0].size.users == round(2_000_000 * share), "counts are of the evaluated users"
    less = plan_of(config_data, sizes, user_share=share - 0.01)
    assert not less.options[0].reaches, "a hundredth less does not suffice"
    assert f"it takes a share of {share:.2f} of the users" in less.plain()["answer"]


def test_plan_of_a_loose_threshold_keeps_enough_impressions_in_each_fold(config_data: dict[str, Any]) -> None:
    plan = plan_of(config_data, sizes_of(500), decision_threshold=0.05)
    assert plan.share_for_lis == 0.06, "30 of 500 users; ten of 200 positives in a fold are 0.05"
    (option,) = of(plan, "standard error", "share of users")
    assert option.errors.lis is not None and option.reaches


def test_plan_of_users_who_return_says_when_no_number_of_dates_is_enough(config_data: dict[str, Any]) -> None:
    always = replace(sizes_of(1_000), lis_returning=1.0, within_returning=1.0)
    shared = replace(MODEL, lis=ScoreModel(spread=Spread(by_impression=0.0, by_user_day=0.0, by_user=0.01)))
    (by_dates,) = of(plan_of(config_data, always, shared), "standard error", "more dates")
    assert by_dates.users is None
    never = replace(sizes_of(1_000), lis_returning=0.0, within_returning=0.0)
    plan = plan_of(config_data, never, shared)
    (by_dates,), (by_users,) = of(plan, "standard error", "more dates"), of(plan, "standard error", "more users")
    assert by_users.users is not None and by_dates.users is not None
    assert by_dates.dates == math.ceil(2 * by_users.users / 1_000), "strangers are more users"
    assert by_dates.users == 1_000 * by_dates.dates / 2


def test_plan_of_seeds_that_scatter_takes_more_seeds(config_data: dict[str, Any]) -> None:
    scattered = replace(MODEL, lis=replace(MODEL.lis, seeds=SeedSpread(by_seed=0.001**2)))
    plan = plan_of(config_data, sizes_of(1_000), scattered)
    (reaching,) = of(plan, "standard error", "more users")
    assert reaching.seeds == 32 and reaching.reaches, "2 x .001^2 / .00025^2"
    assert "with 32 training seeds" in plan.plain()["answer"]
    many = plan_of(config_data, sizes_of(2_000_000), scattered)
    assert many.share_for_lis is None, "with the configured seed no share suffices"
    order = replace(MODEL, lis=replace(MODEL.lis, seeds=SeedSpread(fixed=0.001**2, by_seed=0.001**2)))
    plan = plan_of(config_data, sizes_of(1_000), order)
    assert of(plan, "standard error", "more users")[0].users is None, "one order stays one order with any seeds"
    assert "no number of users or dates is enough" in plan.plain()["answer"]


def test_plan_of_seeds_that_add_more_than_users_offers_both(config_data: dict[str, Any]) -> None:
    scattered = replace(MODEL, lis=replace(MODEL.lis, seeds=SeedSpread(by_seed=0.0002**2)))
    few, more = of(plan_of(config_data, sizes_of(1_000), scattered), "standard error", "more users")
    assert (few.seeds, more.seeds) == (1, 2) and few.users > more.users  # type: ignore[operator]


def test_plan_of_arms_that_are_trained_once_says_that_nothing_is_judged(config_data: dict[str, Any]) -> None:
    assert "nothing will be judged" in plan_of(config_data, sizes_of(1_000), swap_refit=True).plain()["answer"]
    known = {"sigma_seed": {"lis": 0.0001, "within_user": 0.0001}}
    assert "judged" not in plan_of(config_data, sizes_of(1_000), swap_refit=True, **known).plain()["answer"]


def test_expected_half_interval_of_few_seeds_is_that_of_few_degrees(config_data: dict[str, Any]) -> None:
    """Users 1e-4, seeds 5e-4 / sqrt(3): Satterthwaite's degrees are close to those of the seeds, not of the users."""
    model = ScoreModel(
        spread=Spread(by_impression=1.0, by_user_day=0.0, by_user=0.0), seeds=SeedSpread(by_seed=5e-4**2)
    )
    weights = ErrorWeights(impressions=1e-8, user_days=1e-8, users=1e-8)
    found = model.expected(weights, 10_000, 3, 1.0)
    of_users, of_seeds = 1e-8, 25e-8 / 3
    assert found.value == pytest.approx((of_users + of_seeds) ** 0.5)
    degrees = (of_users + of_seeds) ** 2 / (of_users**2 / 9_999 + of_seeds**2 / 2)
    assert found.half_interval == pytest.approx(stats.t.ppf(0.975, degrees) * found.value)


def test_plan_without_a_pilot_lies_between_the_data_sets_of_the_project(config_data: dict[str, Any]) -> None:
    config = parse_config({**config_data, "evaluation": {**config_data["evaluation"], "dates": DATES}})
    plan = make_plan(config, sizes_of(1_000), DAYS, [])
    assert plan.expectations[0].lis is not None and plan.expectations[0].lis[0] < plan.expectations[0].lis[1]
    assert not plan.has_pilot and "no run of this data yet" in plan.basis


def test_plan_below_the_floor_says_too_few_and_what_would_mend_it(config_data: dict[str, Any]) -> None:
    plan = plan_of(config_data, sizes_of(38, rows=4, share=0.25))
    assert plan.expectations[0].lis is not None, "38 positives"
    few = plan_of(config_data, sizes_of(20))
    assert few.expectations[0].is_too_few and not few.options[0].reaches
    assert few.plain()["answer"].startswith("Too few: no verdict can be made. There are 20 of at least 30 users")
    assert "evaluate 2 times as many dates" in few.plain()["answer"]
    line = date_line(few.plain()["expectations"][1], 0.001, 1.0)
    assert line.startswith("too few for a verdict: 20 users, 40 positives")
    share = plan_of(config_data, sizes_of(1_000), user_share=0.01).plain()
    assert "There are 10 of at least 30 users, 20 of at least 30 positives: raise" in share["answer"]


@given(
    users=st.integers(100, 10**7),
    parts=st.tuples(*[st.floats(1e-6, 1e-2)] * 3),
    sigma=st.floats(0, 1e-4),
    seeds=st.integers(1, 5),
    within_user=st.booleans(),
)
def test_factor_and_dates_of_any_model_reach_the_error(
    users: int, parts: tuple[float, float, float], sigma: float, seeds: int, within_user: bool
) -> None:
    spread = Spread(by_impression=parts[0], by_user_day=parts[1], by_user=parts[2])
    score = ScoreModel(spread=spread, seeds=SeedSpread(by_seed=sigma**2))
    model = ErrorModel(basis="any", lis=score, within_user=score)
    sizes, error = sizes_of(users), resolving_error(0.001)
    place = int(within_user)
    _, weights = model.figure(sizes.together, within_user=within_user)
    factor = score.factor_for(weights, seeds, error)
    assert factor is not None
    endless = dict.fromkeys(("users", "users_of_both", "positives", "negatives"), 10**12)  # above every floor
    reached = model.errors(replace(sizes.together, **endless), seeds, factor=factor)
    assert values(reached)[place] == pytest.approx(error, rel=1e-6)
    dates = dates_for(model, sizes, seeds, error, within_user=within_user)
    if dates is not None:
        assert values(model.errors(sizes.on_dates(dates), seeds))[place] <= error * (1 + 1e-6)
