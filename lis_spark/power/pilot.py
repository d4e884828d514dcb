"""What the scores of a finished run scatter by, read from its influence: the pilot of a plan (method 2.5)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pyspark.sql import functions as F

from lis_spark.config.leaks import HONEST
from lis_spark.errors import InputError
from lis_spark.inference import Estimate
from lis_spark.lake import Lake
from lis_spark.lis.plan.comparisons import Measurement
from lis_spark.lis.plan.evaluation import EvaluationPlan, resolve
from lis_spark.lis.results.decision import FEWEST_USERS, is_too_few
from lis_spark.lis.results.estimates import TRAINED, Found
from lis_spark.lis.results.measure import (
    comparisons_of,
    influence_fingerprints,
    known_sigma,
    measurements_of,
    possible_pairs,
)
from lis_spark.lis.results.pools import Pool
from lis_spark.lis.results.rows import pools_of
from lis_spark.metrics import LIS, WITHIN_USER
from lis_spark.metrics.spread import Spread, spreads_of
from lis_spark.power.error_model import ErrorModel, Errors, ExpectedError, ScoreModel, SeedSpread

# Tables without which there has been no measurement.
_NEEDED = ("training_rows", "scores", "influence")


@dataclass(frozen=True, kw_only=True)
class PilotScore:
    """One judged score of a finished run: its error model, and the standard errors that it has there."""

    protocol: str
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
    try:
        plan = resolve(lake)
    except InputError:  # the lake does not reach as far as what is configured: no run of it has been there
        return []
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
    errors = [_user_errors(pool, found) for pool in pools]
    return [
        score
        for pool, own, spreads in zip(pools, errors, spreads_of(per_user, compared, errors), strict=True)
        if (score := _score(pool, spreads, own, found)) is not None
    ]


def _user_errors(pool: Pool, found: Found) -> dict[str, float]:
    """Kind -> standard error over users; none within users where few have impressions of both classes."""
    comparison = found.comparisons[pool.name]
    gains = {LIS: comparison.auc, WITHIN_USER: comparison.within_user}
    return {
        kind: found.cluster_error(pool, gain, kind)
        for kind, gain in gains.items()
        if gain is not None and gain.standard_error is not None and gain.clusters >= FEWEST_USERS
    }


def _score(
    pool: Pool, spreads: Mapping[str, Spread | None], of_users: Mapping[str, float], found: Found
) -> PilotScore | None:
    """None where the run has too few users or impressions for an interval."""
    comparison, first, seeds = found.comparisons[pool.name], pool.members[0], len(pool.seeds)
    counts = (comparison.users, comparison.positives // seeds, comparison.negatives // seeds)
    if is_too_few(*counts) or spreads[LIS] is None:
        return None
    sigma = found.known_sigma if first.protocol in TRAINED else {}
    estimates = {
        LIS: found.estimate(pool, lambda one: one.auc, LIS, sigma.get(LIS)),
        WITHIN_USER: found.estimate(pool, lambda one: one.within_user, WITHIN_USER, sigma.get(WITHIN_USER)),
    }

    def model(kind: str) -> ScoreModel | None:
        spread, estimate = spreads[kind], estimates[kind]
        if spread is None or estimate is None:
            return None
        return ScoreModel(spread=spread, seeds=_seeds(pool, estimate, of_users[kind]))

    def error(kind: str) -> ExpectedError | None:
        estimate = estimates[kind] if spreads[kind] is not None else None
        if estimate is None:
            return None
        return ExpectedError(value=estimate.standard_error, degrees_of_freedom=estimate.degrees_of_freedom)

    lis, dates = model(LIS), tuple(sorted({one.evaluated_date for one in pool.members}))
    if lis is None:
        return None
    basis = f"the run of {len(dates)} dates and {comparison.users:,} users, {first.leak}, n = {first.horizon_days}"
    return PilotScore(
        protocol=first.protocol,
        leak=first.leak,
        horizon_days=first.horizon_days,
        dates=dates,
        seeds=pool.seeds,
        users=comparison.users,
        model=ErrorModel(basis=basis, lis=lis, within_user=model(WITHIN_USER)),
        errors=Errors(lis=error(LIS), within_user=error(WITHIN_USER)),
    )


def _seeds(pool: Pool, estimate: Estimate, of_users: float) -> SeedSpread:
    """What trainings add; against the same vectors in the wrong order (1 + 1 / R) times what one order adds."""
    if estimate.sigma_seed is None:
        return SeedSpread()
    if pool.against_own_order:
        own = max(estimate.standard_error**2 - of_users**2, 0.0) / (1 + 1 / len(pool.seeds))
        return SeedSpread(fixed=own, by_seed=own)
    return SeedSpread(by_seed=estimate.sigma_seed**2)
