"""The plan of a run: what its data could show, by date and fold, and what would show more (method 2.5)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lis_spark.config import RunConfig
from lis_spark.power.answer import answer
from lis_spark.power.costs import Costs
from lis_spark.power.error_model import ErrorModel, ExpectedError, error_bounds
from lis_spark.power.known_models import KNOWN_MODELS
from lis_spark.power.options import Option, plan_options, sufficient_share
from lis_spark.power.pilot import PilotScore
from lis_spark.power.sizes import EvaluatedSizes, SampleSize
from lis_spark.sources.days import Day

# Of the JSON; another one is not put on a page.
PLAN_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """What one date, one fold of it, or all dates together could show.

    ``size`` is of the evaluated users, of a share of all where ``evaluation.user_share`` says so. ``lis`` and
    ``within_user`` are half intervals of 95 %, in AUC, two where there is no pilot: of the data sets with the narrowest
    and the widest. None where there is no interval. ``date`` and ``fold`` are None where all are together.
    """

    date: dt.date | None
    fold: int | None
    size: SampleSize
    lis: tuple[float, float] | None
    within_user: tuple[float, float] | None

    @property
    def is_too_few(self) -> bool:
        """Whether no verdict can be made on it alone."""
        return self.lis is None


@dataclass(frozen=True, kw_only=True)
class PowerPlan:
    """A plan, ready for a table, JSON or a page.

    ``basis``: what the expectations are from. ``needs_seeds``: arms are trained for the measurement under one seed, and
    nothing is known of how far another moves their scores, so nothing will be judged. ``share_for_lis`` and
    ``share_for_order``: the share of the users whose evaluation suffices for the LIS, and for the order within users;
    None where all of them, or more, are needed.
    """

    run_name: str
    config_fingerprint: str
    threshold: float
    user_share: float
    needs_seeds: bool
    basis: str
    has_pilot: bool
    pilot: Sequence[PilotScore]
    expectations: Sequence[Expectation]
    options: Sequence[Option]
    share_for_lis: float | None
    share_for_order: float | None

    def plain(self) -> dict[str, Any]:
        """As JSON data: dates as ISO text, with the answer in words."""
        plain: dict[str, Any] = _plain({**asdict(self), "version": PLAN_VERSION})
        return {**plain, "answer": answer(plain)}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value.isoformat() if isinstance(value, dt.date) else value


def make_plan(
    config: RunConfig, sizes: EvaluatedSizes, days: Mapping[dt.date, Day], pilot: Sequence[PilotScore]
) -> PowerPlan:
    """The plan for the score with the widest interval.

    Args:
        config: dates, folds, seeds, threshold, share of the users.
        sizes: of all users on the evaluated dates.
        days: what each day of the data holds, for costs.
        pilot: scores of a finished run, none where there is none: then other data sets say what is to be expected.
    """
    models, basis = _models(config, pilot)
    seeds, share = len(config.seeds), config.evaluation.user_share
    listed: list[tuple[dt.date | None, int | None, SampleSize]] = [(None, None, sizes.together)]
    for date, of_date in sizes.by_date.items():
        listed.append((date, None, of_date))
        listed += [(day, fold, size) for (day, fold), size in sizes.by_fold.items() if day == date]
    careful = max(models, key=lambda one: _value(one.errors(sizes.together, seeds).lis))
    options = plan_options(config, sizes, careful, Costs(config, days)) if sizes.by_date else []
    trains_arms = config.append is not None or config.evaluation.swap_refit
    return PowerPlan(
        run_name=config.run_name,
        config_fingerprint=config.fingerprint,
        threshold=config.evaluation.decision_threshold,
        user_share=share,
        needs_seeds=trains_arms and seeds == 1 and config.evaluation.sigma_seed is None,
        basis=basis,
        has_pilot=bool(pilot),
        pilot=list(pilot),
        expectations=[_expectation(date, fold, size, models, seeds, share) for date, fold, size in listed],
        options=options,
        share_for_lis=sufficient_share(options, "standard error") if options else None,
        share_for_order=sufficient_share(options, "order within users") if options else None,
    )


def _models(config: RunConfig, pilot: Sequence[PilotScore]) -> tuple[Sequence[ErrorModel], str]:
    """The model of the widest score of a finished run, or those of the data sets of this project."""
    if pilot:
        widest = max(pilot, key=lambda one: _value(one.errors.lis))
        return [widest.model], widest.model.basis
    basis = "no run of this data yet, but what the data sets of this project have (docs/method.md, 2.5)"
    sigma = config.evaluation.sigma_seed
    if sigma is None:
        return KNOWN_MODELS, basis
    return [model.with_sigma(sigma.lis, sigma.within_user) for model in KNOWN_MODELS], basis


def _value(error: ExpectedError | None) -> float:
    return error.value if error is not None else 0.0


def _expectation(
    date: dt.date | None, fold: int | None, size: SampleSize, models: Sequence[ErrorModel], seeds: int, share: float
) -> Expectation:
    low, high = error_bounds(models, size, seeds, share)

    def half(name: str) -> tuple[float, float] | None:
        ends = [getattr(errors, name) for errors in (low, high)]
        return None if ends[0] is None else (ends[0].half_interval, ends[1].half_interval)

    return Expectation(date=date, fold=fold, size=size.scaled(share), lis=half("lis"), within_user=half("within_user"))
