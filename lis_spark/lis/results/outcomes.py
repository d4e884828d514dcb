"""LIS, LIS_content and AIS of each preference data set, with their covariance, from one table of influence (1.8)."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lis_spark.config import RunConfig
from lis_spark.config.leaks import HONEST, OwnLeak
from lis_spark.lake import Lake
from lis_spark.lis.plan.append_arms import CONTENT
from lis_spark.lis.plan.arms import REPRESENTATION
from lis_spark.lis.plan.comparisons import Measurement
from lis_spark.lis.plan.strata import ALL, UNSEEN
from lis_spark.lis.results.agreement import FEWEST_SETS, Outcomes, agreement
from lis_spark.lis.results.measure import comparisons_of, group_of, groups_with_both_classes, known_sigma
from lis_spark.lis.results.pools import Pool, over_dates, with_checks
from lis_spark.metrics import LIS, joint_errors

AIS = "ais"
# Prediction -> variant and stratum of the measurements of a leak. AIS is measured on items unseen in alignment, and LIS
# beside it on the same impressions; over all of them it is known before anything is aligned.
PREDICTIONS = {"lis": (HONEST, ALL), "lis_unseen": (HONEST, UNSEEN), "lis_content": (CONTENT, ALL)}


def aligned_leaks(config: RunConfig) -> dict[str, str]:
    """Leak -> the representation whose encoder was aligned to it, of those that have one; controls left out."""
    if config.append is None:
        return {}
    encoders = {one.name: one for one in config.encoders if one.leak is not None and one.targets == "own"}
    found: dict[str, str] = {}
    for representation in config.append.representations:
        encoder = encoders.get(representation.encoder or "")
        if encoder is not None and encoder.leak is not None:
            found.setdefault(encoder.leak, representation.name)
    return found


def outcomes_of(config: RunConfig, per_user: DataFrame, measurements: Sequence[Measurement]) -> Outcomes | None:
    """Of the leaks that an encoder was aligned to and whose honest score is there; None where they are too few.

    AIS is that on items unseen in alignment. A score is the mean over the training seeds, all evaluated dates together.

    Args:
        config: which encoder was aligned to which leak.
        per_user: ``influence``.
        measurements: of protocol append, over all impressions and on items unseen in alignment.
    """
    encoders = aligned_leaks(config)
    if len(encoders) < FEWEST_SETS:
        return None
    horizon = max(config.append_horizons)
    present = groups_with_both_classes(per_user)
    possible = [
        one
        for one in measurements
        if one.stratum == ALL or all(group_of(pair) in present for pair in one.pairs(config.evaluation.folds))
    ]
    pools = with_checks(over_dates(possible, config.seeds, len(config.evaluation.dates)))
    whole = {_key(pool): pool for pool in pools if len(pool.seeds) == len(config.seeds)}
    has_content = config.append is not None and config.append.content is not None
    asked = [AIS, *(name for name in PREDICTIONS if name != "lis_content" or has_content)]
    sets: dict[str, dict[str, Pool]] = {}
    for leak, representation in encoders.items():
        own = {AIS: whole.get((representation, REPRESENTATION, 0, UNSEEN))}
        for name, (variant, stratum) in PREDICTIONS.items():
            own[name] = whole.get((leak, variant, _horizon(config, leak, horizon), stratum))
        if all(own[name] for name in asked):
            sets[leak] = {name: pool for name in asked if (pool := own[name])}
    if len(sets) < FEWEST_SETS:
        return None
    return _gathered(config, per_user, sets, asked, pools)


def _key(pool: Pool) -> tuple[str, str, int, str]:
    first = pool.members[0]
    return first.leak, first.variant, first.horizon_days, first.stratum


def write_agreement(lake: Lake, outcomes: Outcomes | None, row_id: str, replaces: bool = False) -> None:
    """Merges what :func:`agreement` says of the outcomes, where there are any; ``replaces`` a row that is there."""
    if outcomes is None:
        return
    lake.create("agreements")
    k, errors = len(outcomes.names), np.sqrt(np.diag(outcomes.covariance))
    columns = {AIS: outcomes.ais, **outcomes.predictions}
    listed = []
    for place, name in enumerate(outcomes.names):
        one: dict[str, object] = {"leak": name, "is_noise": bool(outcomes.is_noise[place])}
        for number, (score, values) in enumerate(columns.items()):
            one |= {score: values[place], f"{score}_standard_error": errors[number * k + place]}
            if outcomes.degrees is not None:
                one[f"{score}_degrees_of_freedom"] = outcomes.degrees[number * k + place]
        listed.append(one)
    told = json.dumps([asdict(each) for each in agreement(outcomes)])
    config = lake.config
    row = (row_id, config.run_name, config.fingerprint, k, json.dumps(listed), told, dt.datetime.now(dt.UTC))
    lake.merge("agreements", lake.spark.createDataFrame([row], lake.read("agreements").schema), "row_id", replaces)


def agreement_of(lake: Lake, row_id: str) -> dict[str, Any] | None:
    """What :func:`write_agreement` wrote under this identity: ``outcomes`` and ``agreement``, lists of plain data."""
    if not lake.exists("agreements"):
        return None
    row = lake.read("agreements").where(F.col("row_id") == row_id).first()
    if row is None:
        return None
    return {"outcomes": json.loads(row["outcomes"]), "agreement": json.loads(row["agreement"])}


def _horizon(config: RunConfig, leak: str, longest: int) -> int:
    """The longest n that a leak is measured at."""
    assert config.append is not None
    own = next(one for one in config.append.future_leaks if one.name == leak)
    return max(own.horizons_among(config.append_horizons)) if isinstance(own, OwnLeak) else longest


def _gathered(
    config: RunConfig,
    per_user: DataFrame,
    sets: Mapping[str, Mapping[str, Pool]],
    asked: Sequence[str],
    pools: Sequence[Pool],
) -> Outcomes:
    folds, names = config.evaluation.folds, tuple(sets)
    scores = [sets[leak][name] for name in asked for leak in names]  # AIS of all sets, then each prediction
    needed = {name for pool in scores for name in (pool.name, *pool.replicates, *pool.draws, *pool.checks)}
    pairs = [pair for pool in pools for pair in pool.pairs(folds) if pair["comparison_id"] in needed]
    found = comparisons_of(per_user, pairs)
    sigma = known_sigma(config).get(LIS)
    estimates = [found.estimate(pool, lambda one: one.auc, LIS, sigma) for pool in scores]
    known = [estimate for estimate in estimates if estimate is not None]
    joint = joint_errors(per_user, [[found.comparisons[pool.name] for pool in scores]])[0][LIS]
    of_users = [found.cluster_error(pool, found.comparisons[pool.name].auc, LIS) for pool in scores]
    covariance = joint.correlation * np.outer(of_users, of_users)
    covariance[np.diag_indices_from(covariance)] = [estimate.standard_error**2 for estimate in known]
    values = [estimate.value for estimate in known]
    k = len(names)
    assert config.append is not None
    noise = config.append.noise
    return Outcomes(
        names=names,
        is_noise=np.array([name in noise for name in names]),
        ais=np.array(values[:k]),
        predictions={name: np.array(values[k * place : k * (place + 1)]) for place, name in enumerate(asked) if place},
        covariance=covariance,
        degrees=np.array([estimate.degrees_of_freedom for estimate in known]),
    )
