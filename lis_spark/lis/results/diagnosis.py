"""eta and the efficiency of alignment: ratios of rungs of the nested ladder, with intervals (method 6)."""

from __future__ import annotations

import datetime as dt
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from typing import Any, TypeVar

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lis_spark.config import fingerprint
from lis_spark.config.leaks import HONEST
from lis_spark.inference import Estimate, combine_seeds
from lis_spark.lake import Lake
from lis_spark.lis.plan.arms import RUNG
from lis_spark.lis.plan.comparisons import Measurement
from lis_spark.lis.plan.ladder import ALIGNED, LADDER, REACHABLE, STEP
from lis_spark.lis.results.result_row import ResultRow
from lis_spark.lis.results.rows import MEAN
from lis_spark.metrics import CombinedEstimate, Comparison, combine

T = TypeVar("T")
Key = tuple[str, str, str]
# Ratio -> variants above and below.
RATIOS = {
    "eta": (f"{RUNG}{ALIGNED}", f"{RUNG}{HONEST}"),
    "efficiency": (f"{STEP}{ALIGNED}", REACHABLE),
}


@dataclass
class Diagnosis:
    """One row of ``diagnoses``."""

    row_id: str
    run_name: str
    config_fingerprint: str
    evaluated_date: dt.date
    horizon_days: int
    stratum: str
    seed: str
    eta: float | None
    eta_ci_low: float | None
    eta_ci_high: float | None
    efficiency: float | None
    efficiency_ci_low: float | None
    efficiency_ci_high: float | None
    created_ts: dt.datetime


def diagnoses(
    lake: Lake,
    measurements: Sequence[Measurement],
    ids: Sequence[str],
    per_user: DataFrame,
    pairs: Mapping[str, Sequence[Mapping[str, object]]],
    results: Sequence[ResultRow],
    comparisons: Mapping[str, Comparison],
) -> list[Diagnosis]:
    """Of each seed, and of the mean of several, on each day and stratum that the ladder was measured on.

    A ratio is undefined where the interval of what stands below it, as ``lis_results`` has it, is not above 0. Its own
    error has the same parts as theirs: users, draws of noise, training seeds.

    Args:
        lake: whose configuration they belong to.
        measurements: all of them.
        ids: the identity of each.
        per_user: the table ``influence``.
        pairs: comparison_id -> pairs of arms, of those that have both classes.
        results: rows of ``lis_results`` of all measurements, and of their means over seeds.
        comparisons: those of the measurements, and of each draw of their controls.
    """
    entries = [
        (str(one.seed), one.evaluated_date.isoformat(), one.stratum, one.variant, (one, identity))
        for one, identity in zip(measurements, ids, strict=True)
        if one.leak == LADDER and one.comparison_id in pairs
    ]
    ladders = _ladders(entries, len({measurement.seed for measurement in measurements}))
    # of the mean of seeds: U2 of all seeds are added, as those of several dates are
    listed = {
        _name(key, variant): [
            {**pair, "comparison_id": _name(key, variant)} for one, _ in members for pair in pairs[one.comparison_id]
        ]
        for key, variants in ladders.items()
        for variant, members in variants.items()
    }
    asked = {
        (key, name): (_name(key, above), _name(key, below))
        for key, variants in ladders.items()
        for name, (above, below) in RATIOS.items()
        if {above, below} <= set(variants)
    }
    ratio_pairs = list(chain.from_iterable(listed.values()))
    intervals = combine(per_user, ratio_pairs, ratios=list(asked.values())).ratios
    rows, config = [], lake.config
    gains = {
        (row.seed, row.evaluated_date.isoformat(), row.stratum, row.variant): row
        for row in results
        if row.leak == LADDER and row.evaluated_date is not None
    }
    for key, variants in ladders.items():
        values: dict[str, float | None] = {}
        for name, (above, below) in RATIOS.items():
            ratio = asked.get((key, name))
            of_users, under = intervals.get(ratio) if ratio else None, gains.get((*key, below))
            interval = None
            if of_users and under and under.lis and under.ci_low is not None and under.ci_low > 0:
                over, own = ([_gains(one, comparisons) for one, _ in variants[rung]] for rung in (above, below))
                interval = _with_replicates(of_users, over, own, under.lis)
            values |= _columns(name, interval)
        seed, date, stratum = key
        identities = {name: [identity for _, identity in members] for name, members in variants.items()}
        rows.append(
            Diagnosis(
                row_id=_row_id(identities),
                run_name=config.run_name,
                config_fingerprint=config.fingerprint,
                evaluated_date=dt.date.fromisoformat(date),
                horizon_days=next(iter(variants.values()))[0][0].horizon_days,
                stratum=stratum,
                seed=seed,
                created_ts=dt.datetime.now(dt.UTC),
                **values,
            )
        )
    return rows


def _ladders(entries: Iterable[tuple[str, str, str, str, T]], seeds: int) -> dict[Key, dict[str, list[T]]]:
    """(seed or mean, day, stratum) -> variant -> what there is of it, one a seed.

    Args:
        entries: seed, day (ISO), stratum, variant, and what is asked for.
        seeds: how many there are: a mean is of what all of them have measured.
    """
    ladders: dict[Key, dict[str, list[T]]] = {}
    for seed, date, stratum, variant, value in entries:
        for name in (seed, *([MEAN] if seeds > 1 else [])):
            ladders.setdefault((name, date, stratum), {}).setdefault(variant, []).append(value)
    for key, variants in list(ladders.items()):
        if key[0] == MEAN:
            ladders[key] = {name: members for name, members in variants.items() if len(members) == seeds}
    return {key: variants for key, variants in ladders.items() if variants}


def _row_id(identities: Mapping[str, Sequence[str]]) -> str:
    """Identity of a diagnosis: the measurements that it is of."""
    return fingerprint("diagnosis", sorted(identity for members in identities.values() for identity in members))


def _gains(measurement: Measurement, comparisons: Mapping[str, Comparison]) -> list[float]:
    """Over each draw of the control, in one order for all rungs; the one gain where it has no draws."""
    return [comparisons[name].lis for name in measurement.draws.values()] or [
        comparisons[measurement.comparison_id].lis
    ]


def _with_replicates(
    of_users: CombinedEstimate, above: Sequence[Sequence[float]], below: Sequence[Sequence[float]], whole: float
) -> Estimate:
    """A ratio with what draws and seeds add to the error that it has from its users (method 1.6, 1.7).

    Args:
        of_users: the ratio and its error over the users.
        above: seed x draw -> gain.
        below: likewise.
        whole: the mean gain below.
    """
    ratio = of_users.value
    left = [[one - ratio * other for one, other in zip(*pair, strict=True)] for pair in zip(above, below, strict=True)]
    # each seed has draws of its own, so what draws add is in the scatter of the seeds
    values = left[0] if len(left) == 1 else [statistics.fmean(draws) for draws in left]
    estimate = combine_seeds([value / whole for value in values], of_users.standard_error**2, of_users.clusters)
    return replace(estimate, value=ratio)


def _name(key: tuple[Any, ...], variant: str) -> str:
    return "|".join(map(str, (*key, variant)))


def write_diagnoses(lake: Lake, rows: Sequence[Diagnosis], replaces: bool = False) -> None:
    """Merges rows that are not there; ``replaces`` those that are."""
    if not rows:
        return
    lake.create("diagnoses")
    schema = lake.read("diagnoses").schema
    lake.merge("diagnoses", lake.spark.createDataFrame([asdict(row) for row in rows], schema), "row_id", replaces)


def diagnoses_of(lake: Lake, results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Those of the measurements that are told.

    Args:
        lake: where ``diagnoses`` lies.
        results: rows of ``lis_results`` as JSON data.
    """
    entries = [
        (str(row["seed"]), str(row["evaluated_date"]), row["stratum"], row["variant"], row["measurement_id"])
        for row in results
        if row["leak"] == LADDER and row["lis"] is not None and row["seed"] != MEAN
    ]
    if not entries or not lake.exists("diagnoses"):
        return []
    wanted = {_row_id(variants) for variants in _ladders(entries, len(lake.config.seeds)).values()}
    own = lake.read("diagnoses").where(F.col("row_id").isin(sorted(wanted)))
    return [row.asDict() for row in own.orderBy("evaluated_date", "stratum", "seed").collect()]


def _columns(name: str, estimate: Estimate | None) -> dict[str, float | None]:
    values = (estimate.value, *estimate.interval()) if estimate else (None, None, None)
    return dict(zip((name, f"{name}_ci_low", f"{name}_ci_high"), values, strict=True))
