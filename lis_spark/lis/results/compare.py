"""Step ``compare``: all leaks of one run side by side, with ties, costs, and the ways in which LIS misleads (1.8)."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from typing import Any

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from lis_spark.config import RunConfig, SimilarItemsLeak, fingerprint
from lis_spark.config.leaks import HONEST, NAIVE
from lis_spark.errors import ConfigError
from lis_spark.lake import Lake
from lis_spark.lis.plan.append_arms import CONTENT, SHUFFLED_GRAPH
from lis_spark.lis.plan.comparisons import plan_measurements
from lis_spark.lis.plan.evaluation import EvaluationPlan, resolve
from lis_spark.lis.plan.strata import ALL, UNSEEN
from lis_spark.lis.results.coverage import append_coverage
from lis_spark.lis.results.decision import negligible, verdict
from lis_spark.lis.results.leak_comparison import LeakScores, scores_of_leaks
from lis_spark.lis.results.misleading import Score, warnings
from lis_spark.lis.results.outcomes import agreement_of, aligned_leaks, outcomes_of, write_agreement
from lis_spark.progress import described
from lis_spark.step import StepResult

STEP_VERSION = 3


def run(spark: SparkSession, config: RunConfig, force: bool = False, *, run_id: str = "") -> StepResult:
    """Compares the leaks of protocol append over all evaluated dates, where anything of them is new.

    Raises:
        ConfigError: fewer than two leaks are configured.
    """
    refuse_fewer_than_two(config)
    lake = Lake(spark, config, run_id=run_id, step="compare", measurement=True)
    lake.create("leak_comparison")
    wanted = _row_ids(lake)
    known = {row["row_id"] for row in lake.read("leak_comparison").select("row_id").collect()}
    if known.issuperset(wanted.values()) and not force:
        return StepResult("compare", partitions_skipped=len(wanted), versions=dict(lake.pinned))
    plan = resolve(lake)
    measurements = [
        measurement
        for seed in config.seeds
        for date in config.evaluation.dates
        for measurement in plan_measurements(config.evaluation, seed, date, plan.append_arms(date), (UNSEEN,))
    ]
    per_user = lake.read("influence")
    with described(spark, f"{len(wanted)} leaks against each other"):
        of_leaks = [one for one in measurements if one.stratum == ALL and one.leak in wanted]
        leaks, differences = scores_of_leaks(per_user, of_leaks, config.evaluation.folds)
    if aligned_leaks(config):
        with described(spark, "LIS against AIS"):
            found = outcomes_of(config, per_user, measurements)
            write_agreement(lake, found, fingerprint(sorted(wanted.values())), force)
    rows = _rows(lake, plan, leaks, differences, wanted)
    schema = lake.read("leak_comparison").schema
    frame = spark.createDataFrame([tuple(row[name] for name in schema.names) for row in rows], schema)
    lake.merge("leak_comparison", frame, "row_id", force)
    counts = (len(wanted), len(rows), 0, len(rows), 0)
    return StepResult("compare", *counts, versions=dict(lake.pinned), outputs=dict(lake.written))


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
    """The stored rows of this configuration on the scores as they are now, the best honest score first."""
    config = lake.config
    if not config.compares_leaks or not lake.exists("leak_comparison"):
        return []
    wanted = sorted(_row_ids(lake).values())
    rows = lake.read("leak_comparison").where(F.col("row_id").isin(wanted))
    ordered = rows.orderBy(F.col("lis_honest").desc_nulls_last(), F.col("lis_naive").desc_nulls_last(), "leak")
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
    return agreement_of(lake, fingerprint(sorted(_row_ids(lake).values())))


def _row_ids(lake: Lake) -> dict[str, str]:
    """Leak -> identity of its row: the state of every influence, and what is compared."""
    config = lake.config
    assert config.append is not None
    influence = lake.fingerprints("influence")
    keys = [(str(seed), date.isoformat()) for seed in config.seeds for date in config.evaluation.dates]
    encoders = sorted(aligned_leaks(config).items())
    state = fingerprint("compare", STEP_VERSION, config.append, encoders, [influence.get(key) for key in keys])
    return {leak.name: fingerprint(state, leak.name) for leak in config.append.future_leaks}


def _rows(
    lake: Lake,
    plan: EvaluationPlan,
    leaks: Mapping[str, LeakScores],
    differences: Mapping[tuple[str, str], Score],
    wanted: Mapping[str, str],
) -> list[dict[str, Any]]:
    config = lake.config
    assert config.append is not None
    covered, costs = append_coverage(lake), _costs(lake)
    impressions = sum(plan.rows[date] for date in config.evaluation.dates)
    claimed = {leak.name for leak in config.append.future_leaks if isinstance(leak, SimilarItemsLeak)}
    now, rows = dt.datetime.now(dt.UTC), []
    kinds = {leak.name: leak.kind for leak in config.append.future_leaks}
    for name, leak in leaks.items():
        shares = [
            share
            for (_, date, of, variant, n), share in covered.items()
            if (of, variant, n) == (name, leak.decided_by, leak.horizon_days) and date in config.evaluation.dates
        ]
        coverage = sum(shares) / len(shares) if shares else None
        above, tied = _ranked(name, leaks, differences)
        told = _verdict(leak, coverage, impressions, config, claimed)
        content = leak.scores.get(CONTENT)
        threshold = config.evaluation.decision_threshold
        presence = leak.scores.get(SHUFFLED_GRAPH)
        ways = warnings(leak.decides, content, leak.gauc, leak.by_horizon, leak.rises, threshold, presence)
        rows.append(
            {
                "row_id": wanted[name],
                "run_name": config.run_name,
                "config_fingerprint": config.fingerprint,
                "leak": name,
                "kind": kinds[name],
                "horizon_days": leak.horizon_days,
                "decided_by": leak.decided_by,
                **_columns("lis_naive", leak.scores.get(NAIVE)),
                **_columns("lis_honest", leak.scores.get(HONEST)),
                "sigma_seed": leak.sigma_seed,
                **_columns("lis_gauc", leak.gauc),
                "coverage": coverage,
                **_columns("own_label_share", leak.own_label_share),
                **_columns("lis_content", content),
                **dict(zip(("leak_rows", "leak_bytes", "leak_seconds"), costs.get(name, (None,) * 3), strict=True)),
                "place": above + 1 if leak.decided_by == HONEST else None,
                "tied_with": ", ".join(tied),
                "verdict": told,
                "misleading": json.dumps(ways),
                "created_ts": now,
            }
        )
    return rows


def _columns(name: str, score: Score | None) -> dict[str, float | None]:
    values = (score.value, score.ci_low, score.ci_high) if score else (None, None, None)
    return dict(zip((name, f"{name}_ci_low", f"{name}_ci_high"), values, strict=True))


def _ranked(
    name: str, leaks: Mapping[str, LeakScores], differences: Mapping[tuple[str, str], Score]
) -> tuple[int, list[str]]:
    """How many leaks are above it with their interval, and which cannot be told from it."""
    above, tied = 0, []
    for (first, second), difference in differences.items():
        if name not in (first, second):
            continue
        other = second if name == first else first
        if difference.ci_low <= 0 <= difference.ci_high:
            tied.append(other)
        elif leaks[other].decides.value > leaks[name].decides.value:
            above += 1
    return above, tied


def _verdict(leak: LeakScores, coverage: float | None, impressions: int, config: RunConfig, claimed: set[str]) -> str:
    """In words; of leaks that are said to do nothing, by two one-sided tests."""
    if leak.decided_by != HONEST:
        return "no honest score"
    score, threshold = leak.decides, config.evaluation.decision_threshold
    told = verdict(score.value, score.ci_low, score.ci_high, leak.by_date, threshold, leak.sigma_seed)
    if leak.leak in claimed:
        tested, _ = negligible(score.value, score.standard_error, coverage, impressions, threshold)
        return tested or told
    return told


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
