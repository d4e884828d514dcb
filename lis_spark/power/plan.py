"""The plan of a run: what its data could show, by date and fold, and what would show more (method 2.5)."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lis_spark.config import RunConfig
from lis_spark.lis.results.decision import FEWEST_OF_A_CLASS, FEWEST_USERS
from lis_spark.power.error_model import ErrorModel, Range, half_interval
from lis_spark.power.known_models import KNOWN_MODELS
from lis_spark.power.options import PARTS_OF_THRESHOLD, Costs, Option, plan_options, sufficient_share
from lis_spark.power.pilot import PilotScore
from lis_spark.power.sizes import EvaluatedSizes, SampleSize
from lis_spark.sources.days import Day


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """What one date, one fold of it, or all dates together could show.

    Half intervals are of 95 %, in AUC; a pair where there is no pilot: of the data sets with the narrowest and the
    widest. None where there is no interval. ``date`` and ``fold`` are None where all are together.
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

    ``basis``: what the expectations are from. ``share_for_lis`` and ``share_for_order``: the share of the users whose
    evaluation suffices for the LIS, and for the order within users; None where all of them, or more, are needed.
    """

    run_name: str
    config_fingerprint: str
    threshold: float
    basis: str
    has_pilot: bool
    pilot: Sequence[PilotScore]
    expectations: Sequence[Expectation]
    options: Sequence[Option]
    share_for_lis: float | None
    share_for_order: float | None

    @property
    def together(self) -> Expectation:
        """All dates."""
        return next(one for one in self.expectations if one.date is None)

    def plain(self) -> dict[str, Any]:
        """As JSON data: dates as ISO text."""
        plain: dict[str, Any] = _plain({**asdict(self), "answer": answer(self)})
        return plain


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
    if pilot:
        widest = max(pilot, key=lambda one: one.errors.lis or 0.0)
        models: Sequence[ErrorModel] = [widest.model]
        basis = widest.model.basis
    else:
        models = KNOWN_MODELS
        basis = "no run of this data yet: between what the data sets of this project have (docs/method.md, 2.5)"
    expected = Range(models=models)
    seeds, share = len(config.seeds), config.evaluation.user_share
    listed: list[tuple[dt.date | None, int | None, SampleSize]] = [(None, None, sizes.together)]
    listed += [(date, None, size) for date, size in sizes.by_date.items()]
    listed += [(date, fold, size) for (date, fold), size in sizes.by_fold.items()]
    careful = max(models, key=lambda one: one.errors(sizes.together, seeds).lis or 0.0)
    is_empty = not sizes.by_date
    options = [] if is_empty else plan_options(config, sizes, careful, Costs(config, days))
    return PowerPlan(
        run_name=config.run_name,
        config_fingerprint=config.fingerprint,
        threshold=config.evaluation.decision_threshold,
        basis=basis,
        has_pilot=bool(pilot),
        pilot=list(pilot),
        expectations=[_expectation(date, fold, size, expected, seeds, share) for date, fold, size in listed],
        options=options,
        share_for_lis=sufficient_share(options, within_user=False),
        share_for_order=sufficient_share(options, within_user=True),
    )


def _expectation(
    date: dt.date | None, fold: int | None, size: SampleSize, expected: Range, seeds: int, share: float
) -> Expectation:
    low, high = expected.bounds(size, seeds, factor=share)

    def half(name: str, clusters: int) -> tuple[float, float] | None:
        ends = [getattr(errors, name) for errors in (low, high)]
        return None if ends[0] is None else (half_interval(ends[0], clusters), half_interval(ends[1], clusters))

    return Expectation(
        date=date,
        fold=fold,
        size=size,
        lis=half("lis", round(size.users * share)),
        within_user=half("within_user", round(size.users_of_both * share)),
    )


def answer(plan: PowerPlan) -> str:
    """One sentence: whether the configured run could show what counts."""
    together, threshold = plan.together, plan.threshold
    if together.lis is None:
        return f"Too few: no verdict can be made. {mend_floor(together.size)}"
    expected = _between(together.lis)
    first = next(one for one in plan.options if one.name == "as configured")
    wanted = threshold / PARTS_OF_THRESHOLD
    said = f"The honest LIS is expected to within {expected} (95 %), where {threshold:.4f} counts"
    if first.reaches:
        more = plan.share_for_lis
        enough = f"; a share of {more:.2f} of the users would do (evaluation.user_share)" if more is not None else ""
        return f"{said}: enough for a standard error of {wanted:.5f}{enough}. {_order(plan, first)}"
    ways = [one for one in plan.options if one.name.startswith("standard error") and one.users is not None]
    return f"{said}: for a standard error of {wanted:.5f} {_ways(ways, first)}. {_order(plan, first)}"


def _order(plan: PowerPlan, first: Option) -> str:
    if plan.together.within_user is None:
        return "No order within users can be told: too few users have impressions of both classes."
    expected = _between(plan.together.within_user)
    if first.resolves:
        return f"Within users it is expected to within {expected}: a gain of {plan.threshold:.4f} would be resolved."
    ways = [one for one in plan.options if one.name.startswith("order within") and one.users is not None]
    return (
        f"Within users it is expected to within {expected}: to resolve a gain of {plan.threshold:.4f} "
        f"{_ways(ways, first)}."
    )


def _ways(ways: Sequence[Option], first: Option) -> str:
    if not ways:
        return "no number of users or dates is enough with these seeds"
    parts = [
        f"{way.dates:,} dates" if way.dates != first.dates else f"{way.users:,} users"
        for way in ways
        if way.users is not None
    ]
    seeds = f" with {ways[0].seeds} training seeds" if ways[0].seeds != first.seeds else ""
    return f"it takes {' or '.join(parts)}{seeds} (configured: {first.users:,} users on {first.dates} dates)"


def _between(ends: tuple[float, float]) -> str:
    low, high = ends
    return f"±{low:.4f}" if f"{low:.4f}" == f"{high:.4f}" else f"±{low:.4f} to ±{high:.4f}"


def mend_floor(size: SampleSize) -> str:
    """What is missing for an interval, and what to do."""
    counts = (
        ("users", size.users, FEWEST_USERS),
        ("positives", size.positives, FEWEST_OF_A_CLASS),
        ("negatives", size.negatives, FEWEST_OF_A_CLASS),
    )
    missing = [f"{found:,} of at least {needed} {name}" for name, found, needed in counts if found < needed]
    if not missing:
        return "evaluation.user_share leaves too few of them: raise it."
    short = math.ceil(max(needed / max(found, 1) for _, found, needed in counts))
    remedy = f"evaluate {short} times as many dates together (evaluation.dates), or days with more users"
    return f"There are {', '.join(missing)}: {remedy}."


def date_lines(plan: PowerPlan) -> list[tuple[str, str, bool]]:
    """Name, line and whether it is too few, of all evaluated dates together and of each."""
    return [
        (
            f"evaluated {one.date}" if one.date else "all evaluated dates",
            date_line(one, plan.threshold),
            one.is_too_few,
        )
        for one in plan.expectations
        if one.fold is None
    ]


def date_line(expectation: Expectation, threshold: float) -> str:
    """What one date could show, in one line."""
    size = expectation.size
    counts = f"{size.users:,} users, {size.positives:,} positives, {size.negatives:,} negatives"
    if expectation.lis is None:
        return f"too few for a verdict: {counts}. {mend_floor(size)}"
    within = "none" if expectation.within_user is None else _between(expectation.within_user)
    return (
        f"{counts}: LIS expected to within {_between(expectation.lis)}, within users {within}; {threshold:.4f} counts"
    )
