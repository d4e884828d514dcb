"""Step ``compare``: all leaks of one run side by side, with ties, costs, and the ways in which LIS misleads (1.8)."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from typing import Any

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from lis_spark.config import RunConfig, fingerprint
from lis_spark.config.leaks import HONEST, NAIVE
from lis_spark.errors import ConfigError
from lis_spark.lake import Lake
from lis_spark.lis.plan.append_arms import CONTENT, SHUFFLED_GRAPH
from lis_spark.lis.plan.append_feature import ROW_SHUFFLED
from lis_spark.lis.plan.comparisons import Measurement
from lis_spark.lis.plan.evaluation import resolve
from lis_spark.lis.plan.strata import ALL, UNSEEN
from lis_spark.lis.results.decision import NO_HONEST_SCORE
from lis_spark.lis.results.leak_comparison import (
    COMPARED,
    Compared,
    Row,
    compare_leaks,
    headline_rows,
    longest_horizons,
)
from lis_spark.lis.results.measure import known_sigma, measurements_of, results_of
from lis_spark.lis.results.misleading import warnings
from lis_spark.lis.results.outcomes import agreement_of, aligned_leaks, outcomes_of, write_agreement
from lis_spark.lis.results.pools import Pool
from lis_spark.lis.results.rows import pools_of
from lis_spark.progress import described
from lis_spark.step import StepResult

STEP_VERSION = 6


def run(spark: SparkSession, config: RunConfig, force: bool = False, *, run_id: str = "") -> StepResult:
    """Compares the leaks of protocol append over all evaluated dates, where anything of them is new.

    Raises:
        ConfigError: fewer than two leaks are configured.
    """
    refuse_fewer_than_two(config)
    lake = Lake(spark, config, run_id=run_id, step="compare", measurement=True)
    lake.create("leak_comparison")
    wanted = row_ids(lake)
    known = {row["row_id"] for row in lake.read("leak_comparison").select("row_id").collect()}
    if known.issuperset(wanted.values()) and not force:
        return StepResult("compare", partitions_skipped=len(wanted), versions=dict(lake.pinned))
    plan = resolve(lake)
    measurements = measurements_of(plan)
    of_append = [one for one in measurements if one.protocol == "append"]
    per_user = lake.read("influence")
    assert config.append is not None
    with described(spark, f"{len(wanted)} leaks against each other"):
        dates, seeds = len(config.evaluation.dates), len(config.seeds)
        headline = headline_rows(results_of(lake), dates, seeds)
        pools = _headline_pools(of_append, config)
        compared = compare_leaks(per_user, headline, pools, config.evaluation.folds, config.append.without_data)
    if aligned_leaks(config):
        with described(spark, "LIS against AIS"):
            found = outcomes_of(config, per_user, [one for one in of_append if one.stratum in (ALL, UNSEEN)])
            write_agreement(lake, found, fingerprint(sorted(wanted.values())), force)
    rows = _rows(lake, headline, compared, wanted)
    schema = lake.read("leak_comparison").schema
    frame = spark.createDataFrame([tuple(row[name] for name in schema.names) for row in rows], schema)
    lake.merge("leak_comparison", frame, "row_id", force)
    counts = (len(wanted), len(rows), 0, len(rows), 0)
    return StepResult("compare", *counts, versions=dict(lake.pinned), outputs=dict(lake.written))


def _headline_pools(measurements: Sequence[Measurement], config: RunConfig) -> dict[tuple[str, str, int], Pool]:
    """(leak, variant, n) -> all dates and seeds of a measurement together."""
    dates, seeds = len(config.evaluation.dates), len(config.seeds)
    return {
        (pool.members[0].leak, pool.members[0].variant, pool.members[0].horizon_days): pool
        for pool in pools_of([one for one in measurements if one.stratum == ALL], config.seeds)
        if pool.dates == dates and len(pool.seeds) == seeds
    }


def refuse_fewer_than_two(config: RunConfig) -> None:
    """Raises :class:`ConfigError` where there is nothing to compare."""
    if not config.compares_leaks:
        raise ConfigError(
            "a comparison needs at least two leaks",
            found="none" if config.append is None else config.append.future_leaks[0].name,
            expected="append: {leaks: [...]} with two or more",
            remedy="see conf/kuairand_compare.yaml",
        )


def compared_leaks(lake: Lake) -> list[dict[str, Any]]:
    """The stored rows of this configuration on the scores as they are now, the best honest score first, noise last."""
    config = lake.config
    if not config.compares_leaks or not lake.exists("leak_comparison"):
        return []
    wanted = sorted(row_ids(lake).values())
    rows = lake.read("leak_comparison").where(F.col("row_id").isin(wanted))
    best_first = (F.col("lis_honest").desc_nulls_last(), F.col("lis_naive").desc_nulls_last())
    ordered = rows.orderBy("is_noise", *best_first, "leak")
    found = []
    for row in ordered.collect():
        data = row.asDict()
        data["misleading"] = json.loads(data["misleading"])
        data["tied_with"] = [name for name in data["tied_with"].split(", ") if name]
        data["created_ts"] = data["created_ts"].isoformat()
        found.append(data)
    return found


def compared_outcomes(lake: Lake) -> dict[str, Any] | None:
    """LIS against AIS of this configuration on the scores as they are now, where several leaks have an encoder."""
    if not lake.config.compares_leaks or not aligned_leaks(lake.config):
        return None
    return agreement_of(lake, fingerprint(sorted(row_ids(lake).values())))


def row_ids(lake: Lake) -> dict[str, str]:
    """Leak -> identity of its row: the state of every influence, and what is compared."""
    config = lake.config
    assert config.append is not None
    influence = lake.fingerprints("influence")
    keys = [(str(seed), date.isoformat()) for seed in config.seeds for date in config.evaluation.dates]
    encoders = sorted(aligned_leaks(config).items())
    verdicts = (config.evaluation.decision_threshold, config.scenario, known_sigma(config))
    state = fingerprint(
        "compare", STEP_VERSION, config.append, encoders, [influence.get(key) for key in keys], verdicts
    )
    return {leak.name: fingerprint(state, leak.name) for leak in config.append.future_leaks}


def _rows(
    lake: Lake, headline: Mapping[tuple[str, str, int], Row], compared: Compared, wanted: Mapping[str, str]
) -> list[dict[str, Any]]:
    config, costs, now = lake.config, _costs(lake), dt.datetime.now(dt.UTC)
    assert config.append is not None
    kinds = {leak.name: leak.kind for leak in config.append.future_leaks}
    noise = config.append.noise
    rows = []
    for name, horizon in longest_horizons(headline).items():
        if name not in wanted:
            continue
        scores = {
            variant: headline[name, variant, horizon] for variant in COMPARED if (name, variant, horizon) in headline
        }
        decided_by = HONEST if HONEST in scores else NAIVE
        decides = scores[decided_by]
        is_ranked = name in compared.names
        place = compared.names.index(name) if is_ranked else 0
        rows.append(
            {
                "row_id": wanted[name],
                "run_name": config.run_name,
                "config_fingerprint": config.fingerprint,
                "leak": name,
                "kind": kinds[name],
                "is_noise": name in noise,
                "horizon_days": horizon,
                "decided_by": decided_by,
                **_columns("lis_naive", scores.get(NAIVE), "lis"),
                **_columns("lis_honest", scores.get(HONEST), "lis"),
                **{name: decides[name] for name in _COPIED},
                "lis_shrunken": compared.shrunken.get(name),
                **_columns("lis_content", scores.get(CONTENT), "lis"),
                **_columns("lis_row_shuffled", scores.get(ROW_SHUFFLED), "lis"),
                **dict(zip(("leak_rows", "leak_bytes", "leak_seconds"), costs.get(name, (None,) * 3), strict=True)),
                "rank_lowest": int(compared.ranks.lowest[place]) if is_ranked else None,
                "rank_highest": int(compared.ranks.highest[place]) if is_ranked else None,
                "tied_with": ", ".join(compared.tied_with(name)) if is_ranked else "",
                "verdict": decides["verdict"] if decided_by == HONEST else NO_HONEST_SCORE,
                "reason": decides["reason"] if decided_by == HONEST else _NO_HONEST_REASON,
                "misleading": json.dumps(_warnings(name, headline, scores, name in compared.rising, config)),
                "created_ts": now,
            }
        )
    return rows


def _warnings(
    name: str, headline: Mapping[tuple[str, str, int], Row], scores: Mapping[str, Row], rises: bool, config: RunConfig
) -> list[str]:
    decided_by = HONEST if HONEST in scores else NAIVE
    by_horizon = {
        n: row["lis"] for (leak, variant, n), row in headline.items() if (leak, variant) == (name, decided_by)
    }
    return warnings(
        scores[decided_by],
        content=scores.get(CONTENT),
        by_horizon=by_horizon,
        rises=rises,
        threshold=config.evaluation.decision_threshold,
        presence=scores.get(SHUFFLED_GRAPH),
        in_wrong_order=scores.get(ROW_SHUFFLED),
    )


# Columns of ``lis_results`` that stand in ``leak_comparison`` under the same name, of the score that decides.
_COPIED = (
    *("folds", "sigma_seed", "simultaneous_low", "simultaneous_high", "p_holm", "coverage"),
    *("within_pair_share", "within_pair_share_ci_low", "within_pair_share_ci_high"),
    *("lis_gauc", "lis_gauc_ci_low", "lis_gauc_ci_high"),
    *("lis_within_user", "lis_within_user_ci_low", "lis_within_user_ci_high"),
    *("lis_within_request", "lis_within_request_ci_low", "lis_within_request_ci_high"),
    *("lis_user_part", "lis_user_part_ci_low", "lis_user_part_ci_high"),
    *("lis_item_part", "lis_item_part_ci_low", "lis_item_part_ci_high"),
    *("own_label_share", "own_label_share_ci_low", "own_label_share_ci_high"),
    *("first_day_share", "first_day_share_ci_low", "first_day_share_ci_high"),
)
_NO_HONEST_REASON = (
    "its only score may hold nothing but the labels that are scored: it comes neither by fold nor without labels"
)


def _columns(name: str, row: Row | None, column: str) -> dict[str, float | None]:
    values = (row[column], row["ci_low"], row["ci_high"]) if row else (None, None, None)
    return dict(zip((name, f"{name}_ci_low", f"{name}_ci_high"), values, strict=True))


def _costs(lake: Lake) -> dict[str, tuple[int, int, float]]:
    """Leak -> rows, bytes and seconds of its feature rows, as they were last made, all evaluated dates together."""
    if not lake.exists("leak_costs"):
        return {}
    config = lake.config
    assert config.append is not None
    last = (
        lake.read("leak_costs")
        .where(F.col("evaluated_date").isin(list(config.evaluation.dates)))
        .where(F.col("leak").isin([leak.name for leak in config.append.future_leaks]))
        .groupBy("leak", "evaluated_date", "feature_table")
        .agg(F.max_by(F.struct("row_count", "bytes", "seconds"), "made_ts").alias("last"))
        .groupBy("leak")
        .agg(F.sum("last.row_count").alias("n"), F.sum("last.bytes").alias("b"), F.sum("last.seconds").alias("s"))
        .collect()
    )
    return {row["leak"]: (row["n"], row["b"], row["s"]) for row in last}
