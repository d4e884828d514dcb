"""eta and the efficiency of alignment: ratios of rungs of the nested ladder, with intervals (method 6)."""

from __future__ import annotations

import datetime as dt
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lis_spark.config import fingerprint
from lis_spark.config.leaks import HONEST
from lis_spark.lake import Lake
from lis_spark.lis.arms import RUNG
from lis_spark.lis.comparisons import Measurement
from lis_spark.lis.ladder import ALIGNED, LADDER, REACHABLE, STEP
from lis_spark.lis.results import MEAN, ResultRow
from lis_spark.metrics import RatioInterval, ratio_interval

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
    draws: Mapping[str, Sequence[float]],
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
        draws: comparison_id -> the gain over each draw of its control, in one order, where it has several.
    """
    ladders: dict[tuple[Any, ...], dict[str, list[tuple[Measurement, str]]]] = {}
    seeds = {measurement.seed for measurement in measurements}
    for measurement, identity in zip(measurements, ids, strict=True):
        if measurement.leak == LADDER and measurement.comparison_id in pairs:
            for seed in (str(measurement.seed), *([MEAN] if len(seeds) > 1 else [])):
                key = (seed, measurement.evaluated_date, measurement.stratum)
                ladders.setdefault(key, {}).setdefault(measurement.variant, []).append((measurement, identity))
    for key, variants in list(ladders.items()):
        if key[0] == MEAN:  # of what all seeds have measured
            ladders[key] = {name: members for name, members in variants.items() if len(members) == len(seeds)}
    ladders = {key: variants for key, variants in ladders.items() if variants}
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
    named = sorted({name for ratio in asked.values() for name in ratio})
    intervals = ratio_interval(per_user, [pair for name in named for pair in listed[name]], list(asked.values()))
    rows, config = [], lake.config
    gains = {(row.seed, row.evaluated_date, row.stratum, row.variant): row for row in results if row.leak == LADDER}
    for key, variants in ladders.items():
        values: dict[str, float | None] = {}
        for name, (above, below) in RATIOS.items():
            ratio = asked.get((key, name))
            of_users, under = intervals.get(ratio) if ratio else None, gains.get((*key, below))
            interval = None
            if of_users and under and under.lis and under.ci_low is not None and under.ci_low > 0:
                replicates = _replicates(variants[above], variants[below], gains, draws)
                interval = of_users.widened(_replicate_variance(replicates, of_users.value) / under.lis**2)
            values |= _columns(name, interval)
        identities = sorted(identity for members in variants.values() for _, identity in members)
        seed, date, stratum = key
        rows.append(
            Diagnosis(
                row_id=fingerprint("diagnosis", identities),
                run_name=config.run_name,
                config_fingerprint=config.fingerprint,
                evaluated_date=date,
                horizon_days=next(iter(variants.values()))[0][0].horizon_days,
                stratum=stratum,
                seed=seed,
                created_ts=dt.datetime.now(dt.UTC),
                **values,
            )
        )
    return rows


def _replicates(
    above: Sequence[tuple[Measurement, str]],
    below: Sequence[tuple[Measurement, str]],
    gains: Mapping[tuple[Any, ...], ResultRow],
    draws: Mapping[str, Sequence[float]],
) -> Iterator[tuple[Sequence[float], Sequence[float]]]:
    """Of each seed the gains over each draw of noise, or the one gain where the control has no draws."""

    def of(measurement: Measurement) -> Sequence[float]:
        row = gains[str(measurement.seed), measurement.evaluated_date, measurement.stratum, measurement.variant]
        assert row.lis is not None
        return draws.get(measurement.comparison_id) or [row.lis]

    for (over, _), (under, _) in zip(above, below, strict=True):
        yield of(over), of(under)


def _replicate_variance(replicates: Iterable[tuple[Sequence[float], Sequence[float]]], ratio: float) -> float:
    """Variance of mean above - ratio x mean below over draws and seeds, beside that of users (method 1.6, 1.7)."""
    left = [[over - ratio * under for over, under in zip(*pair, strict=True)] for pair in replicates]
    within = [statistics.variance(values) / len(values) if len(values) > 1 else 0.0 for values in left]
    means = [statistics.fmean(values) for values in left]
    between = statistics.variance(means) / len(means) if len(means) > 1 else 0.0
    return statistics.fmean(within) + between


def _name(key: tuple[Any, ...], variant: str) -> str:
    return "|".join(map(str, (*key, variant)))


def write_diagnoses(lake: Lake, rows: Sequence[Diagnosis]) -> None:
    """Merges rows that are not there."""
    if not rows:
        return
    lake.create("diagnoses")
    schema = lake.read("diagnoses").schema
    values = [tuple(asdict(row)[name] for name in schema.names) for row in rows]
    lake.append_new("diagnoses", lake.spark.createDataFrame(values, schema), "row_id")


def diagnoses_of(lake: Lake) -> list[dict[str, Any]]:
    """The newest of each seed, day and stratum of this configuration."""
    if lake.config.append is None or lake.config.append.ladder is None or not lake.exists("diagnoses"):
        return []
    own = lake.read("diagnoses").where(F.col("config_fingerprint") == lake.config.fingerprint)
    newest: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in own.orderBy("created_ts", "evaluated_date", "stratum", "seed").collect():
        data = row.asDict()
        newest[data["seed"], data["evaluated_date"], data["stratum"]] = data
    return list(newest.values())


def _columns(name: str, interval: RatioInterval | None) -> dict[str, float | None]:
    values = (interval.value, interval.ci_low, interval.ci_high) if interval else (None, None, None)
    return dict(zip((name, f"{name}_ci_low", f"{name}_ci_high"), values, strict=True))
