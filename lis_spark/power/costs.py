"""Seconds and bytes of runs of one configuration on more users, dates, seeds or other folds (method 2.5)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import replace

from lis_spark.config import RunConfig
from lis_spark.errors import InputError
from lis_spark.forecast import forecast_steps
from lis_spark.lis.plan.chains import ONE_DAY
from lis_spark.sources.days import Day


class Costs:
    """Of whole runs on two cores, start-up, graphs and encoders aside."""

    def __init__(self, config: RunConfig, days: Mapping[dt.date, Day]) -> None:
        self.config, self.days = config, dict(days)

    def of(
        self, *, factor: float = 1.0, dates: int = 0, seeds: int = 0, folds: int = 0, share: float = 0.0
    ) -> tuple[float, float]:
        """(seconds, bytes on disk).

        Args:
            factor: so many times the impressions of each day.
            dates: so many evaluated dates; 0 as configured.
            seeds: how many training seeds; 0 as configured.
            folds: of the users; 0 as configured.
            share: of the users that are evaluated; 0 as configured.
        """
        config = self.config
        evaluation = config.evaluation.model_copy(
            update={"folds": folds or config.evaluation.folds, "user_share": share or config.evaluation.user_share}
        )
        changed = config.model_copy(
            update={"evaluation": evaluation, "seeds": tuple(range(seeds)) if seeds else config.seeds}
        )
        own = self._of_dates(changed, evaluation.dates, factor)
        more = dates - len(evaluation.dates) if dates else 0
        if not more:
            return own
        a_date = self._of_one_date(changed, factor)
        return own[0] + more * a_date[0], own[1] + more * a_date[1]

    def _of_dates(self, config: RunConfig, dates: tuple[dt.date, ...], factor: float) -> tuple[float, float]:
        evaluation = config.evaluation.model_copy(update={"dates": dates})
        days = {date: replace(day, accepted=round(day.accepted * factor)) for date, day in self.days.items()}
        steps = forecast_steps(config.model_copy(update={"evaluation": evaluation}), days, None)
        return sum(one.seconds for one in steps), sum(one.bytes_on_disk for one in steps)

    def _of_one_date(self, config: RunConfig, factor: float) -> tuple[float, float]:
        """What one more date adds: the base chain and the rows are there already."""
        dates = config.evaluation.dates
        try:
            fewer, all_of_them = (dates[-1:], dates) if len(dates) > 1 else (dates, (dates[0] - ONE_DAY, *dates))
            one, several = (self._of_dates(config, chosen, factor) for chosen in (fewer, all_of_them))
        except InputError:  # the day before the only date is too early to be evaluated
            one, several, fewer, all_of_them = (0.0, 0.0), self._of_dates(config, dates, factor), (), dates
        added = len(all_of_them) - len(fewer)
        return (several[0] - one[0]) / added, (several[1] - one[1]) / added
