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
from scipy.special import ndtri

from lis_spark.config import parse_config
from lis_spark.metrics.spread import ErrorWeights, Spread
from lis_spark.power.error_model import ErrorModel, Errors, resolving_error
from lis_spark.power.pilot import PilotScore
from lis_spark.power.plan import PowerPlan, date_line, make_plan
from lis_spark.power.sizes import EvaluatedSizes, SampleSize
from lis_spark.sources.days import Day

DATES = (dt.date(2022, 4, 30), dt.date(2022, 5, 1))
DAYS = {dt.date(2022, 4, 25) + dt.timedelta(days=n): Day(accepted=10_000) for n in range(15)}
MODEL = ErrorModel(
    basis="a run",
    lis=Spread(by_impression=0.001, by_user_day=0.0001, by_user=0.0001),
    within_user=Spread(by_impression=0.002, by_user_day=0.0, by_user=0.0001),
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
        leak="id_embedding",
        horizon_days=7,
        dates=DATES,
        seeds=(17,),
        users=100,
        model=model,
        errors=Errors(lis=0.001, within_user=0.002),
    )
    return make_plan(config, sizes, DAYS, [pilot])


def test_plan_of_few_users_says_how_many_reach_each_aim(config_data: dict[str, Any]) -> None:
    plan = plan_of(config_data, sizes_of(1_000))
    configured, *others = plan.options
    assert not configured.reaches and not configured.resolves
    by_users = [one for one in others if "more users" in one.name]
    assert len(by_users) == 2 and by_users[0].reaches and by_users[1].resolves
    assert by_users[0].errors.lis == pytest.approx(0.00025)
    assert by_users[1].errors.within_user == pytest.approx(0.001 / (ndtri(0.975) + ndtri(0.8)))
    assert by_users[0].users is not None and configured.errors.lis is not None
    wanted = 1_000 * (configured.errors.lis / 0.00025) ** 2
    assert by_users[0].users == pytest.approx(wanted, abs=1), "errors fall with the root"
    assert by_users[0].seconds > configured.seconds and by_users[0].bytes_on_disk > configured.bytes_on_disk  # type: ignore[operator]
    assert plan.share_for_lis is None
    assert f"{by_users[0].users:,} users" in plan.plain()["answer"]
    assert json.loads(json.dumps(plan.plain()))["expectations"][0]["date"] is None


def test_plan_of_many_users_finds_the_share_that_suffices(config_data: dict[str, Any]) -> None:
    sizes = sizes_of(2_000_000)
    plan = plan_of(config_data, sizes)
    share = plan.share_for_lis
    assert share is not None and share < 1 and f"{share:.2f} of the users would do" in plan.plain()["answer"]
    assert plan.options[0].reaches
    on_share = plan_of(config_data, sizes, user_share=share)
    assert on_share.options[0].reaches and on_share.options[0].user_share == share
    assert on_share.options[0].seconds < plan.options[0].seconds  # type: ignore[operator]
    less = plan_of(config_data, sizes, user_share=share - 0.01)
    assert not less.options[0].reaches, "a hundredth less does not suffice"


def test_plan_of_users_who_return_says_when_no_number_of_dates_is_enough(config_data: dict[str, Any]) -> None:
    always = replace(sizes_of(1_000), lis_returning=1.0, within_returning=1.0)
    shared = replace(MODEL, lis=Spread(by_impression=0.0, by_user_day=0.0, by_user=0.01))
    names = [one.name for one in plan_of(config_data, always, shared).options]
    assert any("of which no number does: the same users return" in name for name in names)
    never = replace(sizes_of(1_000), lis_returning=0.0, within_returning=0.0)
    plan = plan_of(config_data, never, shared)
    dates = next(one for one in plan.options if one.name.startswith("standard error") and "more dates" in one.name)
    users = next(one for one in plan.options if one.name.startswith("standard error") and "more users" in one.name)
    assert users.users is not None and dates.dates == math.ceil(2 * users.users / 1_000), "strangers are more users"


def test_plan_of_seeds_that_scatter_takes_more_seeds(config_data: dict[str, Any]) -> None:
    scattered = replace(MODEL, sigma_seed=0.001)
    plan = plan_of(config_data, sizes_of(1_000), scattered)
    reaching = next(one for one in plan.options if one.name.startswith("standard error"))
    assert reaching.seeds == 32 and reaching.reaches, "2 x .001^2 / .00025^2"
    assert "with 32 training seeds" in plan.plain()["answer"]


def test_plan_below_the_floor_says_too_few_and_what_would_mend_it(config_data: dict[str, Any]) -> None:
    plan = plan_of(config_data, sizes_of(38, rows=4, share=0.25))
    assert plan.together.lis is not None, "38 positives"
    few = plan_of(config_data, sizes_of(20))
    assert few.together.is_too_few and not few.options[0].reaches
    assert few.plain()["answer"].startswith("Too few: no verdict can be made. There are 20 of at least 30 users")
    assert "evaluate 2 times as many dates" in few.plain()["answer"]
    line = date_line(few.expectations[1], 0.001)
    assert line.startswith("too few for a verdict: 20 users, 40 positives")
    share = plan_of(config_data, sizes_of(1_000), user_share=0.01)
    assert "evaluation.user_share leaves too few" in share.plain()["answer"]


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
    model = ErrorModel(basis="any", lis=spread, within_user=spread, sigma_seed=sigma, sigma_seed_within=sigma)
    sizes, error = sizes_of(users), resolving_error(0.001)
    name = "within_user" if within_user else "lis"
    factor = model.factor_for(sizes.together, seeds, error, within_user=within_user)
    assert factor is not None
    endless = {name: 10**12 for name in ("users", "users_of_both", "positives", "negatives")}  # above every floor
    reached = model.errors(replace(sizes.together, **endless), seeds, factor=factor)
    assert getattr(reached, name) == pytest.approx(error, rel=1e-6)
    dates = model.dates_for(sizes, seeds, error, within_user=within_user)
    if dates is not None:
        assert getattr(model.errors(sizes.on_dates(dates), seeds), name) <= error * (1 + 1e-6)
