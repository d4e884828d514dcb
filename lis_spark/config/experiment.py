"""Sections of an experiment: its tables, arms and metrics, how users are assigned, and what is replayed (method 7)."""

from __future__ import annotations

import datetime as dt
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from lis_spark.config.lake import RunOnLake
from lis_spark.config.section import Section

NAME = r"^[a-z][a-z0-9_]*$"
Budgets = Literal["shared", "split"]
# Days are kept as bits of 64-bit numbers, of which the last is the sign.
MOST_DAYS_ACTIVE = 62


class OutsideTable(Section):
    """A table with users in it: Delta or any other, with the names of its columns."""

    path: str = Field(description="a path, or catalog.schema.table with format: table")
    format: Literal["delta", "parquet", "csv", "json", "table"] = "delta"
    version: int | None = Field(None, ge=0, description="Delta version to read; the newest where absent")
    user: str = Field("user_id", description="column with the user")


class AssignmentTable(OutsideTable):
    """A row for each user that was given an arm, exposed or not."""

    arm: str = Field("arm", description="column with the name of the arm")
    entered: str | None = Field(None, description="column with the day of entry; the first day of all where absent")


class OutcomeTable(OutsideTable):
    """A row for each user and day on which there was something to count."""

    date: str = Field("date", description="column with the day")


class _Metric(Section):
    name: str = Field(pattern=NAME)
    covariate: bool = Field(True, description="adjusted by the same quantity before the exposure (CUPED)")
    primary: bool = Field(True, description="registered before the experiment: counted by Holm, and judged")


class MeanMetric(_Metric):
    """Total of a column over the days after entry, by user."""

    kind: Literal["mean"] = "mean"
    column: str

    @property
    def columns(self) -> tuple[str, ...]:
        """Of the outcome table."""
        return (self.column,)


class RatioMetric(_Metric):
    """Total of one column over the total of another, over all users."""

    kind: Literal["ratio"]
    numerator: str
    denominator: str

    @property
    def columns(self) -> tuple[str, ...]:
        """Of the outcome table."""
        return (self.numerator, self.denominator)


class DaysActiveMetric(_Metric):
    """Days on which a column is above 0, among the first ``days`` from a user's entry: LT30 with 30."""

    kind: Literal["days_active"]
    column: str
    days: int = Field(30, ge=1, le=MOST_DAYS_ACTIVE)

    @property
    def columns(self) -> tuple[str, ...]:
        """Of the outcome table."""
        return (self.column,)


def _kind(metric: Any) -> Any:
    return metric.get("kind", "mean") if isinstance(metric, dict) else metric.kind


Metric = Annotated[
    Annotated[MeanMetric, Tag("mean")]
    | Annotated[RatioMetric, Tag("ratio")]
    | Annotated[DaysActiveMetric, Tag("days_active")],
    Discriminator(_kind),
]


class Layer(Section):
    """Users in numbered buckets, by a salted hash: layers of different salts are independent of each other."""

    name: str = Field(pattern=NAME)
    salt: str = Field(min_length=1)
    buckets: int = Field(1000, ge=2, le=1_000_000)
    inside: str | None = Field(None, description="layer whose users this one divides; all users where absent")
    inside_buckets: tuple[int, int] = Field((0, 1), description="of that layer: first, and first beyond")


class AssignConfig(Section):
    """Which user gets which arm."""

    users: OutsideTable
    layers: tuple[Layer, ...] = Field(min_length=1, description="a layer stands after the one that it is inside of")
    arms: dict[str, tuple[int, int]] = Field(description="arm -> buckets of the last layer: first, and first beyond")

    @model_validator(mode="after")
    def _nested(self) -> AssignConfig:
        known: dict[str, Layer] = {}
        for layer in self.layers:
            if layer.inside is not None:
                outer = known.get(layer.inside)
                if outer is None:
                    raise ValueError(f"layers: {layer.name} is inside of {layer.inside!r}, which is not before it")
                _check_range(layer.inside_buckets, outer.buckets, f"layers: {layer.name}")
            if layer.name in known:
                raise ValueError(f"layers: two layers are named {layer.name!r}")
            if any(layer.salt == other.salt for other in known.values()):
                raise ValueError(f"layers: {layer.name} has the salt of another layer: they would not be independent")
            known[layer.name] = layer
        last = self.layers[-1]
        taken: list[tuple[int, int, str]] = []
        for arm, (first, beyond) in self.arms.items():
            _check_range((first, beyond), last.buckets, f"arms: {arm}")
            taken.append((first, beyond, arm))
        taken.sort()
        for (_, beyond, arm), (first, _, other) in pairwise(taken):
            if first < beyond:
                raise ValueError(f"arms: {arm} and {other} share buckets")
        return self

    @property
    def shares(self) -> dict[str, float]:
        """Arm -> share of all users."""
        by_name = {layer.name: layer for layer in self.layers}
        layer, within = self.layers[-1], 1.0
        while layer.inside is not None:
            first, beyond = layer.inside_buckets
            layer = by_name[layer.inside]
            within *= (beyond - first) / layer.buckets
        return {arm: within * (beyond - first) / self.layers[-1].buckets for arm, (first, beyond) in self.arms.items()}


def _check_range(buckets: tuple[int, int], of: int, where: str) -> None:
    first, beyond = buckets
    if not 0 <= first < beyond <= of:
        raise ValueError(f"{where}: buckets {first} to {beyond} (exclusive) are not among the {of} of the layer")


class ReplayConfig(Section):
    """Days without an experiment, divided at random many times: how often the read-out finds what is not there."""

    start_date: dt.date
    end_date: dt.date
    salts: int = Field(1000, ge=100, le=10_000)


class ExperimentConfig(Section):
    """What is read out."""

    name: str = Field(pattern=NAME, description="partition of experiment_results")
    scenario: Literal["feed", "ads"] | None = Field(None, description="which read-out of the paper stands beside it")
    start_date: dt.date
    end_date: dt.date = Field(description="the last day of outcomes")
    enrolled_until: dt.date | None = Field(None, description="users that entered later are left out; all where absent")
    control: str = "control"
    shares: dict[str, float] | None = Field(
        None, min_length=2, description="arm -> planned share of all users; from `assign` where absent"
    )
    population: int | None = Field(
        None, ge=1, description="users that went through the assignment, where it is known: those in no arm count too"
    )
    assign: AssignConfig | None = Field(None, description="lis-spark assign: users -> experiment_assignments")
    assignments: AssignmentTable | None = Field(None, description="who has which arm; experiment_assignments if absent")
    outcomes: OutcomeTable | None = Field(None, description="what users did; experiment_users where absent")
    budgets: Budgets = Field("shared", description="of advertisers: what the arms draw on, or a part for each arm")
    covariate_days: int = Field(14, ge=0, le=365, description="before each user's entry; 0: no covariates")
    units: dict[str, int] = Field(
        default_factory=dict,
        description="column -> units in 1, to which its values are rounded; 1 for integers, 1,000,000 for others",
    )
    metrics: tuple[Metric, ...] = Field(min_length=1)
    replay: ReplayConfig | None = Field(None, description="lis-spark replay")

    @model_validator(mode="after")
    def _fits(self) -> ExperimentConfig:
        if self.end_date < self.start_date:
            raise ValueError(f"end_date: {self.end_date} lies before start_date {self.start_date}")
        names = [metric.name for metric in self.metrics]
        if len(set(names)) < len(names):
            raise ValueError("metrics: two metrics have the same name")
        if self.shares is None and self.assign is None:
            raise ValueError("shares: give the planned share of each arm, or `assign`, from which they follow")
        if self.control not in self.planned_shares:
            raise ValueError(f"control: {self.control!r} is none of the arms {', '.join(self.planned_shares)}")
        if any(share <= 0 for share in self.planned_shares.values()) or sum(self.planned_shares.values()) > 1 + 1e-9:
            raise ValueError("shares: each is above 0, and together they are at most 1")
        last = self.enrolled_until or self.start_date
        if not self.start_date <= last <= self.end_date:
            raise ValueError(f"enrolled_until: {last} is not within {self.start_date} to {self.end_date}")
        for metric in self.metrics:
            if isinstance(metric, DaysActiveMetric):
                if metric.name in self.outcome_columns:
                    raise ValueError(f"metrics: {metric.name} is the name of a column of outcomes too")
                if self.replay and (self.replay.end_date - self.replay.start_date).days + 1 < metric.days:
                    raise ValueError(f"replay: {metric.name} needs {metric.days} days")
                needed = last + dt.timedelta(days=metric.days - 1)
                if needed > self.end_date:
                    raise ValueError(
                        f"metrics: {metric.name} needs {metric.days} days from the entry of each user, until {needed} "
                        f"for those that entered on {last}; end_date is {self.end_date}"
                    )
        return self

    @property
    def planned_shares(self) -> dict[str, float]:
        """Arm -> share of all users."""
        if self.shares is not None:
            return self.shares
        return self.assign.shares if self.assign is not None else {}

    @property
    def last_entry(self) -> dt.date:
        """Users that entered later are in no figure."""
        return self.enrolled_until or self.end_date

    @property
    def treatments(self) -> tuple[str, ...]:
        """The arms but for the control."""
        return tuple(arm for arm in self.planned_shares if arm != self.control)

    @property
    def outcome_columns(self) -> tuple[str, ...]:
        """Columns of the outcome table that the metrics read, each once."""
        return tuple(dict.fromkeys(column for metric in self.metrics for column in metric.columns))


class ReadOutConfig(RunOnLake):
    """The configuration of ``lis-spark read-out``, ``assign`` and ``replay``."""

    experiment: ExperimentConfig
