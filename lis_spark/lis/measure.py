"""Step ``measure``: scores -> influence -> LIS with intervals, controls and verdicts (method 1.2, 1.7, 2).

All measurements of the step come from one influence table and one job of comparisons; the driver sees integers of the
size of the number of measurements, never of the impressions.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import reduce
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lis_spark.config import RunConfig, fingerprint
from lis_spark.errors import StepFailed
from lis_spark.lake import Lake, PartitionKey
from lis_spark.lis.arms import CONTROL, control_arm
from lis_spark.lis.chains import NO_FOLD, base_name
from lis_spark.lis.comparisons import BY_FOLD, Measurement, is_stratified, plan_measurements
from lis_spark.lis.features import snapshot_tables
from lis_spark.lis.plan import EvaluationPlan, resolve
from lis_spark.lis.results import ResultRow, ResultSet
from lis_spark.lis.strata import ALL, item_strata
from lis_spark.metrics import Comparison, compare, influence, ratio_interval
from lis_spark.progress import described
from lis_spark.sources.days import hash_sums
from lis_spark.step import StepResult

STEP_VERSION = 1
GROUPS = ("seed", "date", "arm", "fold", "stratum")


def run(spark: SparkSession, config: RunConfig, force: bool = False) -> StepResult:
    """Measures every evaluated day whose scores are new, and merges the results by ``measurement_id``.

    Raises:
        StepFailed: n = 0 is not exactly 0, or rows were lost between scores and influence.
        InputError: a score is NaN, a day has one class only, or arms cover different impressions.
    """
    lake = Lake(spark, config, step="measure", measurement=True)
    plan = resolve(lake)
    lake.create("influence")
    lake.create("lis_results")
    keys: list[PartitionKey] = [
        (str(seed), date.isoformat()) for seed in config.seeds for date in config.evaluation.dates
    ]
    scores = lake.fingerprints("scores")
    wanted = {key: _fingerprint(config, scores.get(key, "")) for key in keys}
    stored = lake.fingerprints("influence")
    todo = {key: value for key, value in wanted.items() if force or stored.get(key) != value}
    rows_in = rows_out = 0
    if todo:
        rows_in, rows_out = _write_influence(lake, plan, todo)
    measurements = _measurements(plan)
    known = {row["measurement_id"] for row in lake.read("lis_results").select("measurement_id").collect()}
    if not known.issuperset(_identity(config, wanted, measurement) for measurement in measurements):
        new = _results(lake, plan, measurements, wanted).rows
        schema = lake.read("lis_results").schema
        frame = spark.createDataFrame([tuple(asdict(row)[name] for name in schema.names) for row in new], schema)
        lake.append_new("lis_results", frame, "measurement_id")
    return StepResult(
        "measure", rows_in, rows_out, 0, len(todo), len(wanted) - len(todo), (), versions=dict(lake.pinned)
    )


def _fingerprint(config: RunConfig, scores: str) -> str:
    evaluation = config.evaluation
    return fingerprint("measure", STEP_VERSION, scores, evaluation.update_count_edges, evaluation.item_age_edges)


def _write_influence(lake: Lake, plan: EvaluationPlan, todo: Mapping[PartitionKey, str]) -> tuple[int, int]:
    spark = lake.spark
    keys = sorted((int(seed), dt.date.fromisoformat(date)) for seed, date in todo)
    conditions = [(F.col("seed") == seed) & (F.col("date") == F.lit(date)) for seed, date in keys]
    wanted = reduce(lambda left, right: left | right, conditions)
    scores = lake.read("scores").where(wanted)
    with described(spark, f"n = 0 against the control on {len(todo)} evaluated days"):
        rows_in = _check_identity(scores, plan, keys)
    with described(spark, f"influence of every user on every AUC of {len(todo)} evaluated days"):
        dates = {date for _, date in keys}
        tables = snapshot_tables(lake, plan, {(base_name(lake.config.seeds[0]), date) for date in dates})
        evaluation = lake.config.evaluation
        vocabulary = lake.read("vocabularies").where(F.col("slot") == evaluation.slot)
        strata = item_strata(tables, vocabulary, evaluation.update_count_edges, evaluation.item_age_edges)
        grouped = grouped_scores(scores, _ranked_arms(spark, plan, keys), strata.localCheckpoint())
        per_user = influence(grouped, GROUPS)
        lake.write_partitions("influence", per_user, todo)
        per_user.unpersist()
    counted = lake.read("influence").where((F.col("stratum") == ALL) & wanted)
    # the control arm stands twice: over all users, and fold by fold
    once = counted.where(f"NOT (split_part(arm, '|', 2) = '{CONTROL}' AND fold > {NO_FOLD})")
    rows_out = once.agg(F.sum(F.col("positives") + F.col("negatives")).alias("rows")).first()
    if rows_out is None or rows_out["rows"] != rows_in:
        raise StepFailed(
            "scores were lost or doubled on the way to influence",
            table="influence",
            partition=", ".join("/".join(key) for key in todo),
            found=f"{rows_out['rows'] if rows_out else 0:,} scores",
            expected=f"{rows_in:,} scores",
        )
    return rows_in, rows_in


def _check_identity(scores: DataFrame, plan: EvaluationPlan, keys: Sequence[tuple[int, dt.date]]) -> int:
    """n = 0 must give bit-equal logits through its own table (invariant 4 of method 1.1); returns the scores counted.

    Sums of hashes of (impression, logit) are compared fold by fold; the rows are joined only to name one that differs.
    """
    control = control_arm(keys[0][1]).name
    identical = {arm.name for seed, date in keys for arm in plan.arms(seed, date) if arm.is_identity}
    compared = F.when(F.col("arm").isin(control, *identical), F.xxhash64("impression_id", "logit"))
    upper, lower = hash_sums(compared)
    summed = scores.groupBy("seed", "date", "arm", "fold").agg(
        F.count(F.lit(1)).alias("rows"), upper.alias("upper"), lower.alias("lower")
    )
    found = {
        (row["seed"], row["date"], row["arm"], row["fold"]): (row["rows"], row["upper"], row["lower"])
        for row in summed.collect()
    }
    for (seed, date, arm, fold), sums in sorted(found.items()):
        if arm in identical and sums != found.get((seed, date, control, fold)):
            own = scores.where((F.col("seed") == seed) & (F.col("date") == F.lit(date)) & (F.col("fold") == fold))
            raise _not_the_identity(own, arm, control, {"seed": seed, "date": str(date), "fold": fold})
    return sum(rows for rows, *_ in found.values())


def _not_the_identity(scores: DataFrame, arm: str, control: str, partition: Mapping[str, object]) -> StepFailed:
    logits = [
        scores.where(F.col("arm") == name).select("impression_id", F.col("logit").alias(alias))
        for name, alias in ((arm, "own"), (control, "control"))
    ]
    differs = ~F.col("own").eqNullSafe(F.col("control"))
    first = logits[0].join(logits[1], "impression_id", "full").where(differs).orderBy("impression_id").first()
    return StepFailed(
        "the table of n = 0 does not give the logits of the ranker's own table",
        table="scores",
        partition=partition,
        found=f"arm {arm}, impression {first['impression_id']}: {first['own']!r}" if first else f"arm {arm}",
        expected=f"{first['control'] if first else 'the logits of ' + control!r}, bit for bit",
        remedy="control_features or embedding_snapshots were changed since training: train with --force",
    )


def _ranked_arms(spark: SparkSession, plan: EvaluationPlan, keys: Sequence[tuple[int, dt.date]]) -> DataFrame:
    """seed, date, arm -> whether it ranks all users, each fold, and strata.

    Scores of different models are never pooled into one ranking: arms of a held-out fold rank within the fold, and the
    control, which is compared with both kinds, does both.
    """
    rows = [
        (seed, date, arm.name, arm.variant not in BY_FOLD, arm.variant in (*BY_FOLD, CONTROL), is_stratified(arm))
        for seed, date in keys
        for arm in plan.arms(seed, date)
    ]
    schema = "seed int, date date, arm string, ranks_all boolean, ranks_folds boolean, stratified boolean"
    return spark.createDataFrame(rows, schema)


def grouped_scores(scores: DataFrame, arms: DataFrame, strata: DataFrame) -> DataFrame:
    """Each score once for each ranking that it takes part in: over all users or within its fold, and in its strata.

    Args:
        scores: the table of that name.
        arms: see :func:`_ranked_arms`.
        strata: see :func:`lis_spark.lis.strata.item_strata`.
    """
    of_item = (F.col("date") == F.col("evaluated_date")) & (F.col("item_row") == F.col("row"))
    joined = scores.join(F.broadcast(arms), ["seed", "date", "arm"]).join(F.broadcast(strata), of_item, "left")
    everyone = F.lit(NO_FOLD)
    folds = (
        F.when(F.col("ranks_all") & F.col("ranks_folds"), F.array(everyone, "fold"))
        .when(F.col("ranks_all"), F.array(everyone))
        .otherwise(F.array("fold"))
    )
    everything = F.array(F.lit(ALL))
    with_strata = F.concat(everything, F.coalesce("strata", F.array().cast("array<string>")))
    memberships = F.when(F.col("stratified"), with_strata).otherwise(everything)
    return joined.withColumn("fold", F.explode(folds)).select(
        "seed",
        "date",
        "arm",
        "fold",
        F.explode(memberships).alias("stratum"),
        "user_id",
        "impression_id",
        "label",
        "logit",
    )


def _measurements(plan: EvaluationPlan) -> list[Measurement]:
    config = plan.config
    return [
        measurement
        for seed in config.seeds
        for date in config.evaluation.dates
        for measurement in plan_measurements(config.evaluation, seed, date, plan.arms(seed, date))
    ]


def _identity(config: RunConfig, wanted: Mapping[PartitionKey, str], measurement: Measurement) -> str:
    key = (str(measurement.seed), measurement.evaluated_date.isoformat())
    return fingerprint("result", wanted[key], measurement.comparison_id, config.fingerprint)


def _results(
    lake: Lake, plan: EvaluationPlan, measurements: Sequence[Measurement], wanted: Mapping[PartitionKey, str]
) -> ResultSet:
    config = lake.config
    per_user = lake.read("influence")
    present = _groups_with_both_classes(per_user)
    pairs = {
        measurement.comparison_id: [
            pair
            for pair in measurement.pairs(config.evaluation.folds)
            if measurement.stratum == ALL or _key(pair) in present
        ]
        for measurement in measurements
    }
    with described(lake.spark, f"{len(measurements)} comparisons"):
        listed = [pair for members in pairs.values() for pair in members]
        comparisons = {comparison.comparison_id: comparison for comparison in compare(per_user, listed)}
    covered = _coverage(lake)
    results = ResultSet()
    for measurement in measurements:
        comparison = comparisons.get(measurement.comparison_id)
        row = ResultRow.of(config, measurement, _identity(config, wanted, measurement), lake.pinned)
        if comparison is None:
            row.note = "one class only in this stratum: no AUC"
        else:
            row.take(comparison)
            row.coverage, row.dead_item_share = covered.get(_coverage_key(measurement), (None, None))
            if measurement.horizon_days == 0 and measurement.variant in ("naive", "honest"):
                _assert_zero(comparison)
            row.share_of_impressions = _share(measurement, comparison, comparisons)
        results.rows.append(row)
    _own_label_shares(results, measurements, per_user, pairs)
    results.add_seed_means(config.seeds)
    results.judge(config.evaluation.decision_threshold)
    return results


def _key(pair: Mapping[str, object]) -> tuple[object, ...]:
    return pair["seed"], pair["date"], pair["fold"], pair["stratum"]


def _groups_with_both_classes(per_user: DataFrame) -> set[tuple[object, ...]]:
    """(seed, date, fold, stratum) in which an AUC exists; strata may be too small for one."""
    rows = (
        per_user.where(f"split_part(arm, '|', 2) = '{CONTROL}'")
        .groupBy("seed", "date", "fold", "stratum")
        .agg(F.sum("positives").alias("positives"), F.sum("negatives").alias("negatives"))
        .where("positives > 0 AND negatives > 0")
        .collect()
    )
    return {(row["seed"], row["date"], row["fold"], row["stratum"]) for row in rows}


def _assert_zero(comparison: Comparison) -> None:
    if comparison.u2_control != comparison.u2_leaked:
        raise StepFailed(
            "LIS at n = 0 is not the integer 0",
            table="influence",
            found=f"U2 {comparison.u2_leaked} against {comparison.u2_control} in {comparison.comparison_id}",
            expected="the same integer",
            remedy="the table of n = 0 is not the control's own table: look at control_features",
        )


def _share(measurement: Measurement, comparison: Comparison, totals: Mapping[str, Comparison]) -> float | None:
    whole = totals.get(measurement.comparison_id.rsplit("|", 1)[0] + f"|{ALL}")
    if whole is None:
        return None
    return (comparison.positives + comparison.negatives) / (whole.positives + whole.negatives)


def _coverage(lake: Lake) -> dict[tuple[Any, ...], tuple[float, float]]:
    """(T, variant, n) -> share of impressions whose item is in the table, share whose item had no update after T."""
    frames = [
        lake.read(name).select("evaluated_date", "variant", "horizon_days", "present", "last_update_date")
        for name in ("leaked_features", "control_features")
    ]
    rows = (
        frames[0]
        .unionByName(frames[1])
        .groupBy("evaluated_date", "variant", "horizon_days")
        .agg(
            F.avg(F.col("present").cast("double")).alias("coverage"),
            F.avg(F.coalesce(F.col("last_update_date") < F.col("evaluated_date"), F.lit(True)).cast("double")).alias(
                "dead"
            ),
        )
        .collect()
    )
    return {
        (row["evaluated_date"], row["variant"], row["horizon_days"]): (row["coverage"], row["dead"]) for row in rows
    }


def _coverage_key(measurement: Measurement) -> tuple[Any, ...]:
    variant = {"row_permuted": "naive", "whole": "naive"}.get(measurement.variant, measurement.variant)
    return measurement.evaluated_date, variant, measurement.horizon_days


def _own_label_shares(
    results: ResultSet,
    measurements: Sequence[Measurement],
    per_user: DataFrame,
    pairs: Mapping[str, Sequence[Mapping[str, object]]],
) -> None:
    """own_label_share = 1 - honest / naive_matched, where the interval of naive_matched keeps off 0 (method 1.2)."""
    ratios: list[tuple[str, str]] = []
    for measurement in measurements:
        if measurement.variant == "honest" and measurement.scope == "both" and measurement.stratum == ALL:
            matched = measurement.comparison_id.replace("|honest|", "|naive_matched|")
            if measurement.horizon_days > 0 and matched in pairs:
                ratios.append((measurement.comparison_id, matched))
    named = {name for ratio in ratios for name in ratio}
    listed = [pair for name in sorted(named) for pair in pairs[name]]
    intervals = ratio_interval(per_user, listed, ratios)
    by_honest = {above: interval for (above, _), interval in intervals.items()}
    for row, measurement in zip(results.rows, measurements, strict=True):
        interval = by_honest.get(measurement.comparison_id)
        if interval is not None:
            row.own_label_share = 1 - interval.value
            row.own_label_share_ci_low, row.own_label_share_ci_high = 1 - interval.ci_high, 1 - interval.ci_low


def results_of(lake: Lake) -> list[dict[str, Any]]:
    """The stored rows of this configuration, as JSON data, in reading order."""
    config = lake.config
    frame = lake.read("lis_results").where(F.col("config_fingerprint") == config.fingerprint)
    latest = frame.orderBy("evaluated_date", "protocol", "variant", "swap_scope", "horizon_days", "stratum", "seed")
    rows = []
    for row in latest.collect():
        data = row.asDict()
        data["evaluated_date"] = str(data["evaluated_date"]) if data["evaluated_date"] else None
        data["created_ts"] = data["created_ts"].isoformat()
        data["table_versions"] = json.loads(data["table_versions"] or "{}")
        rows.append(data)
    return rows
