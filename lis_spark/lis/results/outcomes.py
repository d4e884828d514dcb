"""LIS, LIS_content and AIS of each preference data set, with their covariance, from one table of influence (1.8)."""

from __future__ import annotations

import datetime as dt
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
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
from lis_spark.lis.results.leak_comparison import Entry, entries_of, scatter_of, score_of
from lis_spark.lis.results.measure import group_of, groups_with_both_classes
from lis_spark.metrics import compare, sum_intervals

AIS = "ais"
# Prediction -> variant of the measurements of a leak.
PREDICTIONS = {"lis": HONEST, "lis_content": CONTENT}


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
    seeds, horizon = sorted(config.seeds), max(config.append_horizons)
    present = groups_with_both_classes(per_user)
    unseen = [
        one
        for one in measurements
        if one.stratum == UNSEEN and all(group_of(pair) in present for pair in one.pairs(config.evaluation.folds))
    ]
    of_items = entries_of(unseen, (REPRESENTATION,))
    of_leaks = entries_of([one for one in measurements if one.stratum == ALL], tuple(PREDICTIONS.values()))
    sets: dict[str, dict[str, list[Entry | None]]] = {}
    for leak, representation in encoders.items():
        own = {AIS: [of_items.get((seed, representation, REPRESENTATION, 0)) for seed in seeds]}
        for name, variant in PREDICTIONS.items():
            own[name] = [of_leaks.get((seed, leak, variant, _horizon(config, leak, horizon))) for seed in seeds]
        sets[leak] = own
    asked = (AIS, "lis") if config.append is not None and config.append.content is None else (AIS, *PREDICTIONS)
    whole = {
        leak: {name: [entry for entry in own[name] if entry] for name in asked}
        for leak, own in sets.items()
        if all(all(own[name]) for name in asked)
    }
    if len(whole) < FEWEST_SETS:
        return None
    return _gathered(config, per_user, whole, asked)


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
    config: RunConfig, per_user: DataFrame, sets: Mapping[str, Mapping[str, Sequence[Entry]]], asked: Sequence[str]
) -> Outcomes:
    folds, names = config.evaluation.folds, tuple(sets)
    scores = [sets[leak][name] for name in asked for leak in names]  # AIS of all sets, then each prediction
    listed = [pair for entries in scores for entry in entries for pair in entry.pairs(folds)]
    found = {comparison.comparison_id: comparison for comparison in compare(per_user, listed)}
    by_seed = [[score_of(entry, found).value for entry in entries] for entries in scores]
    values = [statistics.fmean(each) for each in by_seed]
    # Var(a + b) of each two gives their covariance; of means over seeds, as the users are the same under each
    places = [(place, place) for place in range(len(scores))] + list(combinations(range(len(scores)), 2))
    weights = []
    for one, other in places:
        total: dict[str, int] = {}
        for entry in (*scores[one], *(scores[other] if other != one else ())):
            total[entry.name] = total.get(entry.name, 0) + entry.sign
        weights.append(total)
    errors = [told.standard_error for told in sum_intervals(per_user, listed, weights)]
    seeds = len(config.seeds)
    variance = {place: (error / seeds) ** 2 for place, error in zip(places, errors, strict=True)}
    covariance = np.zeros((len(scores), len(scores)))
    for one, other in places:
        if one == other:
            drawn = statistics.fmean(scatter_of(entry, found) for entry in scores[one])
            trained = statistics.variance(by_seed[one]) / seeds if seeds > 1 else 0.0
            covariance[one, one] = variance[one, one] + drawn + trained
        else:
            shared = (variance[one, other] - variance[one, one] - variance[other, other]) / 2
            covariance[one, other] = covariance[other, one] = shared
    k = len(names)
    assert config.append is not None
    noise = {leak.name for leak in config.append.future_leaks if isinstance(leak, OwnLeak) and leak.is_noise}
    return Outcomes(
        names=names,
        is_noise=np.array([name in noise for name in names]),
        ais=np.array(values[:k]),
        predictions={name: np.array(values[k * place : k * (place + 1)]) for place, name in enumerate(asked) if place},
        covariance=covariance,
    )
