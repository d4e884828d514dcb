"""What more, or less, data and training would show, and what each would cost (method 2.5)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lis_spark.config import RunConfig
from lis_spark.power.costs import Costs
from lis_spark.power.error_model import ErrorModel, Errors, dates_for, resolving_error
from lis_spark.power.sizes import EvaluatedSizes

# A standard error of a fourth of the threshold: a LIS of twice the threshold is then clearly useful.
PARTS_OF_THRESHOLD = 4
# Shares of users are told in steps of a hundredth, and seeds up to so many.
_SHARE_STEP, _MOST_SEEDS = 100, 50
Aim = Literal["as configured", "standard error", "order within users", "folds"]
Way = Literal["", "share of users", "more users", "more dates"]


@dataclass(frozen=True, kw_only=True)
class Option:
    """One way to run: what it takes, the standard errors that it is expected to have, seconds and bytes on disk.

    ``reaches`` says whether the LIS has an error of a fourth of the threshold, ``resolves`` whether the order within
    users would be resolved at the threshold. ``users``, seconds and bytes are None where no number reaches the aim.
    """

    aim: Aim
    way: Way
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


def plan_options(config: RunConfig, sizes: EvaluatedSizes, model: ErrorModel, costs: Costs) -> list[Option]:
    """The configured run first, then what would reach each aim, then other folds.

    Args:
        config: dates, seeds, folds, threshold.
        sizes: of all users of the evaluated dates.
        model: of the score that is planned for.
        costs: of the configuration.
    """
    seeds, share = len(config.seeds), config.evaluation.user_share
    maker = _Maker(config, sizes, model, costs)
    options = [maker.option("as configured", factor=share, seeds=seeds)]
    options += maker.reaching("standard error", maker.wanted_error, seeds)
    options += maker.reaching("order within users", maker.resolving, seeds)
    other_folds = [folds for folds in (2, 10) if folds != config.evaluation.folds]
    return options + [maker.option("folds", factor=share, seeds=seeds, folds=folds) for folds in other_folds]


def sufficient_share(options: Sequence[Option], aim: Aim) -> float | None:
    """The share of the users that reaches an aim with the configured seeds, where fewer than all do."""
    seeds = next(one.seeds for one in options if one.aim == "as configured")
    shares = [
        one.user_share
        for one in options
        if one.aim == aim and one.way == "share of users" and one.seeds == seeds and one.user_share < 1
    ]
    return min(shares, default=None)


@dataclass(frozen=True)
class _Maker:
    config: RunConfig
    sizes: EvaluatedSizes
    model: ErrorModel
    costs: Costs

    @property
    def wanted_error(self) -> float:
        """Of the LIS."""
        return self.config.evaluation.decision_threshold / PARTS_OF_THRESHOLD

    @property
    def resolving(self) -> float:
        """The error within users with which a gain of the threshold is resolved."""
        return resolving_error(self.config.evaluation.decision_threshold)

    @property
    def dates(self) -> int:
        """How many dates there are."""
        return len(self.sizes.by_date)

    def reaching(self, aim: Aim, error: float, seeds: int) -> list[Option]:
        """With the configured seeds, and with more where they are more than half of the squared error."""
        figure, _ = self.model.figure(self.sizes.together, within_user=aim == "order within users")
        if figure is None:
            return [self._impossible(aim, "more users", seeds)]
        options = self._ways(aim, error, seeds)
        enough = figure.seeds.seeds_for(error)
        if enough is not None and seeds < enough <= _MOST_SEEDS:
            options = [one for one in options if one.users is not None] + self._ways(aim, error, enough)
        return options

    def _ways(self, aim: Aim, error: float, seeds: int) -> list[Option]:
        """By a share of the users, or by more users and by more dates."""
        within_user = aim == "order within users"
        figure, weights = self.model.figure(self.sizes.together, within_user=within_user)
        factor = figure.factor_for(weights, seeds, error) if figure else None
        if factor is None:
            return [self._impossible(aim, "more users", seeds)]
        factor = max(factor, self.sizes.smallest_share)
        if factor <= 1:
            share = min(math.ceil(factor * _SHARE_STEP) / _SHARE_STEP, 1.0)
            return [self.option(aim, "share of users", factor=share, seeds=seeds)]
        dates = dates_for(self.model, self.sizes, seeds, error, within_user=within_user)
        return [
            self.option(aim, "more users", factor=factor, seeds=seeds),
            self.option(aim, "more dates", factor=1.0, seeds=seeds, dates=dates)
            if dates is not None
            else self._impossible(aim, "more dates", seeds),
        ]

    def _impossible(self, aim: Aim, way: Way, seeds: int) -> Option:
        return Option(
            aim=aim,
            way=way,
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

    def option(self, aim: Aim, way: Way = "", *, factor: float, seeds: int, folds: int = 0, dates: int = 0) -> Option:
        """A run on so many times the users, or on so many dates with the users that there are."""
        share, more = min(factor, 1.0), max(factor, 1.0)
        size = self.sizes.on_dates(dates or self.dates)
        errors = self.model.errors(size, seeds, factor=factor)
        seconds, disk = self.costs.of(
            factor=more,
            dates=dates,
            seeds=seeds if seeds != len(self.config.seeds) else 0,
            folds=folds,
            share=share,
        )
        return Option(
            aim=aim,
            way=way,
            users=math.ceil(size.users * factor),
            dates=dates or self.dates,
            seeds=seeds,
            folds=folds or self.config.evaluation.folds,
            user_share=share,
            errors=errors,
            reaches=errors.lis is not None and errors.lis.value <= _nearly(self.wanted_error),
            resolves=errors.within_user is not None and errors.within_user.value <= _nearly(self.resolving),
            seconds=seconds,
            bytes_on_disk=disk,
        )


def _nearly(error: float) -> float:
    """An option that is made to reach an error reaches it, whatever rounding did."""
    return error * (1 + 1e-9)
