"""The section on a simulated experiment: rankers choose what users see and learn from what they showed (method 7)."""

from __future__ import annotations

import datetime as dt
from typing import Literal

from pydantic import Field, model_validator

from lis_spark.config.experiment import NAME, Budgets, Metric
from lis_spark.config.section import Section

# A candidate's number within its request is a part of its key.
MOST_CANDIDATES = 63
# What is summed and counted of a user and day.
TOTALS = ("time_spent_ms", "advertiser_value_micros", "cost_micros")
OUTCOMES = ("impressions", "clicks", "reads", "engagements", *TOTALS)


class ArmRanker(Section):
    """What an arm's ranker reads beside the features of all: an encoder's representation, or old preference data."""

    encoder: str | None = Field(None, description="name of an encoder; its representation of the item")
    preference: bool = Field(False, description="the raw vectors of preference data, zeros for items without one")

    @model_validator(mode="after")
    def _one(self) -> ArmRanker:
        if self.encoder is not None and self.preference:
            raise ValueError("an arm reads an encoder's representations or raw preference data, not both")
        return self

    @property
    def reads(self) -> bool:
        """Whether its ranker has a port."""
        return self.encoder is not None or self.preference


class ClosedLoopConfig(Section):
    """An experiment in the simulated world, from a ranker of ``first_date`` on."""

    name: str = Field("closed_loop", pattern=NAME)
    start_date: dt.date
    days: int = Field(30, ge=2)
    run_in_days: int = Field(0, ge=0, description="before start_date, on which every arm has the ranker of the control")
    arms: dict[str, ArmRanker] = Field(min_length=2)
    control: str = "control"
    share: float = Field(0.1, gt=0, le=0.5, description="of all users, in each arm")
    salt: str = "closed loop"
    candidates: int = Field(20, ge=2, le=MOST_CANDIDATES, description="of each request; the same for every arm")
    explored: int = Field(1, ge=0, description="last places of a request, given to candidates at random")
    staying: float = Field(2.0, description="logit of coming on a day that the world would have a user come")
    attachment: float = Field(8.0, ge=0, description="what a read more an impression adds to it")
    memory: float = Field(0.9, ge=0, lt=1, description="of satisfaction, from one day to the next that a user comes")
    daily_budget: float | None = Field(
        None, gt=0, description="currency units that an advertisement has a day for the users of the experiment"
    )
    budgets: Budgets = Field(
        "shared", description="split: every arm has its part of the money, as where all users had its ranker"
    )
    logs: Literal["own", "shared"] = Field(
        "own", description="what a ranker learns from: what its own arm has shown, or what every arm has"
    )
    covariate_days: int = Field(14, ge=0)
    metrics: tuple[Metric, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _fits(self) -> ClosedLoopConfig:
        if self.control not in self.arms:
            raise ValueError(f"control: {self.control!r} is none of the arms {', '.join(self.arms)}")
        if self.arms[self.control].reads:
            raise ValueError(f"arms: the control {self.control} reads nothing beside the features of all arms")
        if self.budgets == "split" and self.daily_budget is None:
            raise ValueError("budgets: there is no daily_budget to split")
        if self.share * len(self.arms) > 1:
            raise ValueError("share: the arms have more users than there are")
        return self

    @property
    def first_date(self) -> dt.date:
        """The first day on which rankers choose: of the run-in, where there is one."""
        return self.start_date - dt.timedelta(days=self.run_in_days)

    @property
    def end_date(self) -> dt.date:
        """The last day."""
        return self.start_date + dt.timedelta(days=self.days - 1)
