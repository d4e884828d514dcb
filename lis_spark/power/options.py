"""What more, or less, data and training would show, and what each would cost (method 2.5)."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from lis_spark.config import RunConfig
from lis_spark.forecast import forecast_steps
from lis_spark.power.error_model import ErrorModel, Errors, resolving_error
from lis_spark.power.sizes import EvaluatedSizes
from lis_spark.sources.days import Day

# A standard error of a fourth of the threshold: a LIS of twice the threshold is then clearly useful.
PARTS_OF_THRESHOLD = 4
# Shares of users are told in steps of a hundredth, and seeds up to so many.
_SHARE_STEP, _MOST_SEEDS = 100, 50


@dataclass(frozen=True, kw_only=True)
class Option:
    """One way to run: what it takes, the standard errors that it is expected to have, seconds and bytes on disk.

    ``reaches`` says whether the LIS has an error of a fourth of the threshold, ``resolves`` whether the order within
    users would be resolved at the threshold. All is None where no number of users reaches it.
    """

    name: str
    users: int | None
    dates: int
    seeds: int
    folds: int
    user_share: float
    errors: Errors
    reaches: bool
    resolves: bool
    seconds: float | None
    bytes_on_disk: float | None


class Costs:
    """Seconds and bytes of runs of one configuration on more users, days, seeds or other folds."""

    def __init__(self, config: RunConfig, days: Mapping[dt.date, Day]) -> None:
        self.config, self.days = config, dict(days)

    def of(
        self, *, factor: float = 1.0, date_factor: float = 1.0, seeds: int = 0, folds: int = 0, share: float = 0.0
    ) -> tuple[float, float]:
        """(seconds, bytes) of a whole run on two cores, start-up aside.

        Args:
            factor: so many times the impressions of each day.
            date_factor: so many times the evaluated dates; all but ingest and training rows grow with them.
            seeds: how many training seeds; 0 as configured.
            folds: of the users; 0 as configured.
            share: of the users that are evaluated; 0 as configured.
        """
        config = self.config
        evaluation = config.evaluation.model_copy(
            update={"folds": folds or config.evaluation.folds, "user_share": share or config.evaluation.user_share}
        )
        wanted = tuple(range(seeds)) if seeds else config.seeds
        changed = config.model_copy(update={"evaluation": evaluation, "seeds": wanted})
        days = {date: replace(day, accepted=round(day.accepted * factor)) for date, day in self.days.items()}
        steps = forecast_steps(changed, days, None)
        scale = [1.0 if one.step in ("ingest", "training-rows") else date_factor for one in steps]
        seconds = sum(one.seconds * times for one, times in zip(steps, scale, strict=True))
        disk = sum(one.bytes_on_disk * times for one, times in zip(steps, scale, strict=True))
        return seconds, disk


def plan_options(config: RunConfig, sizes: EvaluatedSizes, model: ErrorModel, costs: Costs) -> list[Option]:
    """The configured run first, then what would reach each aim, then other folds.

    Args:
        config: dates, seeds, folds, threshold.
        sizes: of all users of the evaluated dates.
        model: of the score that is planned for.
        costs: of the configuration.
    """
    threshold, seeds = config.evaluation.decision_threshold, len(config.seeds)
    aims = {
        f"standard error of the LIS {threshold / PARTS_OF_THRESHOLD:.5f}": (threshold / PARTS_OF_THRESHOLD, False),
        f"order within users resolved at {threshold:.4f}": (resolving_error(threshold), True),
    }
    maker = _Maker(config, sizes, model, costs)
    options = [maker.option("as configured", factor=config.evaluation.user_share, seeds=seeds)]
    for aim, (error, within_user) in aims.items():
        options += maker.reaching(aim, error, seeds, within_user=within_user)
    other_folds = [folds for folds in (2, 10) if folds != config.evaluation.folds]
    share = config.evaluation.user_share
    return options + [maker.option(f"{folds} folds", factor=share, seeds=seeds, folds=folds) for folds in other_folds]


def sufficient_share(options: Sequence[Option], within_user: bool) -> float | None:
    """The smallest share of the users that reaches the aim, where fewer than all do."""
    names = "order within users" if within_user else "standard error of the LIS"
    shares = [one.user_share for one in options if one.name.startswith(names) and one.user_share < 1]
    return min(shares, default=None)


@dataclass(frozen=True)
class _Maker:
    config: RunConfig
    sizes: EvaluatedSizes
    model: ErrorModel
    costs: Costs

    @property
    def dates(self) -> int:
        """How many dates there are."""
        return len(self.sizes.by_date)

    def reaching(self, aim: str, error: float, seeds: int, *, within_user: bool) -> list[Option]:
        """By a share of the users, or by more users and by more dates; with more seeds where these scatter too much."""
        size = self.sizes.together
        factor = self.model.factor_for(size, seeds, error, within_user=within_user)
        if factor is None and (self.model.sigma_seed_within if within_user else self.model.sigma_seed):
            seeds = min(max(self.model.seeds_for(error, within_user=within_user), seeds), _MOST_SEEDS)
            factor = self.model.factor_for(size, seeds, error, within_user=within_user)
        if factor is None:
            return [self._impossible(f"{aim}: no number of users", seeds)]
        if factor <= 1:
            share = min(math.ceil(factor * _SHARE_STEP) / _SHARE_STEP, 1.0)
            return [self.option(f"{aim}: by a share of the users", factor=share, seeds=seeds)]
        dates = self.model.dates_for(self.sizes, seeds, error, within_user=within_user)
        by_dates = f"{aim}: by more dates"
        return [
            self.option(f"{aim}: by more users", factor=factor, seeds=seeds),
            self.option(by_dates, factor=1.0, seeds=seeds, dates=dates)
            if dates is not None
            else self._impossible(f"{by_dates}, of which no number does: the same users return", seeds),
        ]

    def _impossible(self, name: str, seeds: int) -> Option:
        return Option(
            name=name,
            users=None,
            dates=self.dates,
            seeds=seeds,
            folds=self.config.evaluation.folds,
            user_share=1.0,
            errors=Errors(lis=None, within_user=None),
            reaches=False,
            resolves=False,
            seconds=None,
            bytes_on_disk=None,
        )

    def option(self, name: str, *, factor: float, seeds: int, folds: int = 0, dates: int = 0) -> Option:
        """A run on so many times the users, or on so many dates with the users that there are."""
        share, more = min(factor, 1.0), max(factor, 1.0)
        size = self.sizes.on_dates(dates or self.dates)
        errors = self.model.errors(size, seeds, factor=factor)
        threshold = self.config.evaluation.decision_threshold
        seconds, disk = self.costs.of(
            factor=more,
            date_factor=(dates or self.dates) / self.dates,
            seeds=seeds if seeds != len(self.config.seeds) else 0,
            folds=folds,
            share=share,
        )
        return Option(
            name=name,
            users=math.ceil(size.users * factor),
            dates=dates or self.dates,
            seeds=seeds,
            folds=folds or self.config.evaluation.folds,
            user_share=share,
            errors=errors,
            reaches=errors.lis is not None and errors.lis <= _nearly(threshold / PARTS_OF_THRESHOLD),
            resolves=errors.within_user is not None and errors.within_user <= _nearly(resolving_error(threshold)),
            seconds=seconds,
            bytes_on_disk=disk,
        )


def _nearly(error: float) -> float:
    """An option that is made to reach an error reaches it, whatever rounding did."""
    return error * (1 + 1e-9)
