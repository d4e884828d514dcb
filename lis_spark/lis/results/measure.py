"""Step ``measure``: scores -> influence -> LIS with intervals, controls and verdicts (method 1.2, 1.7, 2).

All measurements of the step come from one influence table and one job of comparisons; the driver sees integers of the
size of the number of measurements, never of the impressions.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lis_spark.config import RunConfig, SimilarItemsLeak, fingerprint
from lis_spark.errors import StepFailed
from lis_spark.lake import Lake
from lis_spark.lis.plan.arms import CONTROL, TRUTH, TRUTH_BY_FOLD, is_by_fold
from lis_spark.lis.plan.comparisons import Measurement, plan_measurements
from lis_spark.lis.plan.evaluation import EvaluationPlan, resolve
from lis_spark.lis.plan.strata import ALL, SEEN, UNSEEN
from lis_spark.lis.results.coverage import append_coverage, coverage, coverage_key
from lis_spark.lis.results.diagnosis import Diagnosis, diagnoses, write_diagnoses
from lis_spark.lis.results.rankings import scored_steps, strata_of_days, write_influence
from lis_spark.lis.results.rows import ResultRow, ResultSet, mean_id
from lis_spark.metrics import Comparison, compare, ratio_interval
from lis_spark.partitions import PartitionKey
from lis_spark.progress import described
from lis_spark.step import StepResult

STEP_VERSION = 4


def run(spark: SparkSession, config: RunConfig, force: bool = False, *, run_id: str = "") -> StepResult:
    """Measures every evaluated day whose scores are new, and merges the results by ``measurement_id``.

    Raises:
        StepFailed: n = 0 is not exactly 0, or rows were lost between scores and influence.
        InputError: a score is NaN, a day has one class only, or arms cover different impressions.
    """
    lake = Lake(spark, config, run_id=run_id, step="measure", measurement=True)
    plan = resolve(lake)
    lake.create("influence")
    lake.create("lis_results")
    wanted = _fingerprints(lake)
    stored = lake.fingerprints("influence")
    todo = {key: value for key, value in wanted.items() if force or stored.get(key) != value}
    measurements = _measurements(plan)
    ids = measurement_ids(config, wanted, measurements)
    known = {row["measurement_id"] for row in lake.read("lis_results").select("measurement_id").collect()}
    unmeasured = force or not known.issuperset(ids)
    if todo or unmeasured:
        for name in _inputs(config):
            lake.pin(name)  # what is gone is told before hours of work, and results name all that was read
    rows_in = rows_out = 0
    if todo:
        rows_in, rows_out = write_influence(lake, plan, todo)
    if unmeasured:
        results, told = _results(lake, plan, measurements, wanted)
        new = results.rows
        schema = lake.read("lis_results").schema
        frame = spark.createDataFrame([tuple(asdict(row)[name] for name in schema.names) for row in new], schema)
        lake.merge("lis_results", frame, "measurement_id", replaces=force)
        write_diagnoses(lake, told, force)
    counts = (rows_in, rows_out, 0, len(todo), len(wanted) - len(todo))
    return StepResult("measure", *counts, versions=dict(lake.pinned), outputs=dict(lake.written))


def _inputs(config: RunConfig) -> list[str]:
    """Tables that a measurement reads besides those of the plan, all from earlier steps."""
    features = ("leaked_features", "control_features", "embedding_snapshots")
    return ["scores", *features, "vocabularies", *(("preference_items",) if config.represents else ())]


def _fingerprints(lake: Lake) -> dict[PartitionKey, str]:
    """Of the influence of each (seed, T): the scores of all steps and the strata."""
    evaluation = lake.config.evaluation
    strata: list[object] = [evaluation.update_count_edges, evaluation.item_age_edges]
    preference = lake.config.preference
    if lake.config.represents and preference is not None:
        strata.append(lake.fingerprints("preference_items").get((preference.name,)))
    scores = lake.fingerprints("scores")
    keys = [(str(seed), date.isoformat()) for seed in lake.config.seeds for date in evaluation.dates]
    steps = scored_steps(lake.config)
    return {
        key: fingerprint("measure", STEP_VERSION, [scores.get((step, *key), "") for step in steps], strata)
        for key in keys
    }


def measurement_ids(
    config: RunConfig, wanted: Mapping[PartitionKey, str], measurements: Sequence[Measurement]
) -> list[str]:
    """The identity of each measurement: what it compares, and the state of every day and seed that a verdict looks at.

    A change on one date thus measures all dates again: verdicts and means of seeds depend on the others.
    """
    state = fingerprint("result", sorted(wanted.items()), config.evaluation.decision_threshold, config.scenario)
    return [fingerprint(state, measurement.comparison_id) for measurement in measurements]


def _measurements(plan: EvaluationPlan) -> list[Measurement]:
    config = plan.config
    strata = (SEEN, UNSEEN) if config.represents else ()
    return [
        measurement
        for seed in config.seeds
        for date in config.evaluation.dates
        for measurement in plan_measurements(config.evaluation, seed, date, plan.all_arms(seed, date), strata)
    ]


def _results(
    lake: Lake, plan: EvaluationPlan, measurements: Sequence[Measurement], wanted: Mapping[PartitionKey, str]
) -> tuple[ResultSet, list[Diagnosis]]:
    config = lake.config
    per_user = lake.read("influence")
    present = groups_with_both_classes(per_user)
    pairs: dict[str, list[Mapping[str, object]]] = {}
    for measurement in measurements:
        for pair in measurement.pairs(config.evaluation.folds):
            if measurement.stratum == ALL or group_of(pair) in present:
                pairs.setdefault(str(pair["comparison_id"]), []).append(pair)
    with described(lake.spark, f"{len(measurements)} comparisons"):
        listed = [pair for members in pairs.values() for pair in members]
        comparisons = {comparison.comparison_id: comparison for comparison in compare(per_user, listed)}
    with described(lake.spark, "coverage of the tables"):
        covered = coverage(lake, strata_of_days(lake, plan, set(config.evaluation.dates)))
        appended = append_coverage(lake) if config.append else {}
    results, ids = ResultSet(), measurement_ids(config, wanted, measurements)
    for measurement, identity in zip(measurements, ids, strict=True):
        comparison = comparisons.get(measurement.comparison_id)
        row = ResultRow.of(config, measurement, identity, lake.pinned)
        if measurement.protocol == "append" and measurement.stratum == ALL:
            place = (measurement.evaluated_date, measurement.leak, measurement.variant, measurement.horizon_days)
            row.coverage = appended.get((str(measurement.seed), *place), appended.get(("", *place)))
        elif measurement.protocol != "append":
            row.coverage, row.dead_item_share = covered.get(coverage_key(measurement), (None, None))
        if comparison is None:
            row.note = "no impressions of both classes in this stratum: no AUC"
        else:
            row.take(comparison, [comparisons[name].lis for name in measurement.draws.values()])
            if measurement.horizon_days == 0 and measurement.variant in ("naive", "honest"):
                _assert_zero(comparison)
            row.share_of_impressions = _share(measurement, comparison, comparisons)
        results.rows.append(row)
    _truth_bounds(results, measurements, comparisons)
    _own_label_shares(results, measurements, per_user, pairs)
    results.add_seed_means(config.seeds)
    leaks = config.append.future_leaks if config.append else ()
    claimed_negligible = [leak.name for leak in leaks if isinstance(leak, SimilarItemsLeak)]
    results.judge(config.evaluation.decision_threshold, claimed_negligible)
    return results, diagnoses(lake, measurements, ids, per_user, pairs, results.rows, comparisons)


def group_of(pair: Mapping[str, object]) -> tuple[object, ...]:
    """(seed, date, fold, stratum) of a pair of arms."""
    return pair["seed"], pair["date"], pair["fold"], pair["stratum"]


def groups_with_both_classes(per_user: DataFrame) -> set[tuple[object, ...]]:
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


def _truth_bounds(
    results: ResultSet, measurements: Sequence[Measurement], comparisons: Mapping[str, Comparison]
) -> None:
    """AUC(p*) - AUC(control) beside each LIS over all impressions, ranked over all users or fold by fold as it is."""
    reached: dict[tuple[str, dt.date | None, str], float] = {
        (str(measurement.seed), measurement.evaluated_date, measurement.variant): comparison.auc_leaked
        for measurement in measurements
        if measurement.protocol == "truth" and (comparison := comparisons.get(measurement.comparison_id)) is not None
    }
    for row in results.rows:
        variant = TRUTH_BY_FOLD if is_by_fold(row.protocol, row.variant) else TRUTH
        best = reached.get((row.seed, row.evaluated_date, variant))
        if best is not None and row.auc_control is not None and row.stratum == ALL:
            row.truth_bound = best - row.auc_control


def _own_label_shares(
    results: ResultSet,
    measurements: Sequence[Measurement],
    per_user: DataFrame,
    pairs: Mapping[str, Sequence[Mapping[str, object]]],
) -> None:
    """own_label_share = 1 - honest / naive_matched, where the interval of naive_matched keeps off 0 (method 1.2)."""
    ratios: list[tuple[str, str]] = []
    for measurement in measurements:
        if measurement.variant == "honest" and measurement.scope == "both":
            matched = measurement.comparison_id.replace("|honest|", "|naive_matched|")
            if measurement.horizon_days > 0 and pairs.get(matched) and pairs.get(measurement.comparison_id):
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
    """The stored rows of this configuration on the scores as they are now, as JSON data, in reading order."""
    config, plan = lake.config, resolve(lake)
    measurements = _measurements(plan)
    ids = measurement_ids(config, _fingerprints(lake), measurements)
    by_place: dict[tuple[Any, ...], list[str]] = {}
    for measurement, identity in zip(measurements, ids, strict=True):
        by_place.setdefault(measurement.place, []).append(identity)
    wanted = {*ids, *(mean_id(members) for members in by_place.values() if len(members) > 1)}
    frame = lake.read("lis_results")
    current = frame.where(F.col("measurement_id").isin(sorted(wanted)))
    ordered = current.orderBy("evaluated_date", "protocol", "variant", "swap_scope", "horizon_days", "stratum", "seed")
    rows = []
    for row in ordered.collect():
        data = row.asDict()
        data["evaluated_date"] = str(data["evaluated_date"]) if data["evaluated_date"] else None
        data["created_ts"] = data["created_ts"].isoformat()
        data["table_versions"] = json.loads(data["table_versions"] or "{}")
        rows.append(data)
    return rows
