"""What the scores of a finished run scatter by, read from its influence: the pilot of a plan (method 2.5)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from pyspark.sql import functions as F

from lis_spark.config.leaks import HONEST
from lis_spark.lake import Lake
from lis_spark.lis.plan.comparisons import Measurement
from lis_spark.lis.plan.evaluation import EvaluationPlan, resolve
from lis_spark.lis.results.measure import (
    comparisons_of,
    influence_fingerprints,
    known_sigma,
    measurements_of,
    possible_pairs,
)
from lis_spark.lis.results.rows import pools_of
from lis_spark.metrics import LIS, WITHIN_USER
from lis_spark.metrics.spread import Spread, spreads_of
from lis_spark.power.error_model import ErrorModel, Errors

# Tables without which there has been no measurement.
_NEEDED = ("training_rows", "scores", "influence")


@dataclass(frozen=True, kw_only=True)
class PilotScore:
    """One judged score of a finished run: its error model, and the standard errors that it has there."""

    leak: str
    horizon_days: int
    dates: tuple[dt.date, ...]
    seeds: tuple[int, ...]
    users: int
    model: ErrorModel
    errors: Errors


def pilot_scores(lake: Lake) -> list[PilotScore]:
    """The honest scores of the configured run on the evaluated dates whose influence is up to date; none without one.

    Args:
        lake: of a measurement.
    """
    if not all(lake.exists(name) for name in _NEEDED):
        return []
    plan = resolve(lake)
    dates, seeds = _measured(lake, plan)
    judged = [
        one
        for one in measurements_of(plan)
        if one.variant == HONEST and one.is_headline and one.evaluated_date in dates and one.seed in seeds
    ]
    return _scores(lake, judged, seeds) if judged else []


def _measured(lake: Lake, plan: EvaluationPlan) -> tuple[tuple[dt.date, ...], tuple[int, ...]]:
    """The dates that have an up-to-date influence under most seeds, and those seeds."""
    stored = lake.fingerprints("influence")
    current = {key for key, value in influence_fingerprints(lake, plan).items() if stored.get(key) == value}
    seeds_of: dict[dt.date, set[int]] = {}
    for seed, date in current:
        seeds_of.setdefault(dt.date.fromisoformat(date), set()).add(int(seed))
    most = max(map(len, seeds_of.values()), default=0)
    dates = tuple(sorted(date for date, seeds in seeds_of.items() if len(seeds) == most))
    common = set.intersection(*[seeds_of[date] for date in dates]) if dates else set()
    return (dates, tuple(sorted(common))) if common else ((), ())


def _scores(lake: Lake, judged: Sequence[Measurement], seeds: Sequence[int]) -> list[PilotScore]:
    pools = pools_of(judged, seeds)
    widest = max((pool.dates, len(pool.seeds)) for pool in pools)
    per_user = lake.read("influence").where(F.col("seed").isin(list(seeds)))
    pairs = possible_pairs(per_user, pools, lake.config.evaluation.folds)
    found = comparisons_of(per_user, [pair for own in pairs.values() for pair in own], known_sigma(lake.config))
    pools = [pool for pool in pools if (pool.dates, len(pool.seeds)) == widest and pool.name in found.comparisons]
    compared = [found.comparisons[pool.name] for pool in pools]
    scores = []
    for pool, comparison, spreads in zip(pools, compared, spreads_of(per_user, compared), strict=True):
        lis = found.estimate(pool, lambda one: one.auc, LIS)
        within = found.estimate(pool, lambda one: one.within_user, WITHIN_USER)
        own = spreads[LIS]
        if lis is None or own is None:
            continue
        first = pool.members[0]
        dates = tuple(sorted({one.evaluated_date for one in pool.members}))
        model = ErrorModel(
            basis=f"the run of {len(dates)} dates and {comparison.users:,} users, {first.leak}, n = "
            f"{first.horizon_days}",
            lis=own,
            within_user=spreads[WITHIN_USER] or Spread(by_impression=0.0, by_user_day=0.0, by_user=0.0),
            sigma_seed=lis.sigma_seed or 0.0,
            sigma_seed_within=within.sigma_seed or 0.0 if within else 0.0,
        )
        errors = Errors(lis=lis.standard_error, within_user=within.standard_error if within else None)
        scores.append(
            PilotScore(
                leak=first.leak,
                horizon_days=first.horizon_days,
                dates=dates,
                seeds=pool.seeds,
                users=comparison.users,
                model=model,
                errors=errors,
            )
        )
    return scores
