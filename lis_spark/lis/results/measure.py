"""Step ``measure``: scores -> influence -> LIS with intervals, controls and verdicts (method 1.2, 1.7, 2).

All measurements of the step come from one influence table and one job of comparisons; the driver sees integers of the
size of the number of measurements, never of the impressions.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lis_spark.config import RunConfig, fingerprint
from lis_spark.config.leaks import HONEST, NAIVE
from lis_spark.errors import StepFailed
from lis_spark.lake import Lake
from lis_spark.lis.plan.arms import CONTROL
from lis_spark.lis.plan.comparisons import Measurement, plan_measurements
from lis_spark.lis.plan.evaluation import EvaluationPlan, resolve
from lis_spark.lis.plan.strata import ALL, SEEN, UNSEEN
from lis_spark.lis.results.all_data import add_all_data
from lis_spark.lis.results.coverage import append_coverage, coverage, coverage_key
from lis_spark.lis.results.diagnosis import Diagnosis, diagnoses, write_diagnoses
from lis_spark.lis.results.estimates import Found, fill_row, fill_several_rows, with_few_users
from lis_spark.lis.results.parts_of_naive import add_parts_of_naive, truth_bounds
from lis_spark.lis.results.pools import Pool
from lis_spark.lis.results.rankings import scored_steps, strata_of_days, write_influence
from lis_spark.lis.results.result_row import ResultRow
from lis_spark.lis.results.rows import MEAN, ResultSet, pool_id, pools_of
from lis_spark.metrics import LIS, WITHIN_USER, Comparison, compare, joint_errors
from lis_spark.partitions import PartitionKey
from lis_spark.progress import described
from lis_spark.step import StepResult

STEP_VERSION = 10


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
    wanted = influence_fingerprints(lake, plan)
    stored = lake.fingerprints("influence")
    todo = {key: value for key, value in wanted.items() if force or stored.get(key) != value}
    measurements = measurements_of(plan)
    ids = row_ids(config, wanted, measurements)
    known = {row["measurement_id"] for row in lake.read("lis_results").select("measurement_id").collect()}
    unmeasured = force or not known.issuperset(ids)
    if todo or unmeasured:
        for name in _inputs(config):
            lake.pin(name)  # what is gone is told before hours of work, and results name all that was read
    rows_in = rows_out = 0
    if todo:
        rows_in, rows_out = write_influence(lake, plan, measurements, todo)
    if unmeasured:
        results, ladder_ratios = _results(lake, plan, measurements, wanted)
        schema = lake.read("lis_results").schema
        rows = spark.createDataFrame([asdict(row) for row in results.rows], schema)
        lake.merge("lis_results", rows, "measurement_id", replaces=force)
        write_diagnoses(lake, ladder_ratios, force)
    counts = (rows_in, rows_out, 0, len(todo), len(wanted) - len(todo))
    return StepResult("measure", *counts, versions=dict(lake.pinned), outputs=dict(lake.written))


def _inputs(config: RunConfig) -> list[str]:
    """Tables that a measurement reads besides those of the plan, all from earlier steps."""
    features = ("leaked_features", "control_features", "embedding_snapshots")
    return ["scores", *features, "vocabularies", *(("preference_items",) if config.represents else ())]


def influence_fingerprints(lake: Lake, plan: EvaluationPlan) -> dict[PartitionKey, str]:
    """Of the influence of each (seed, T): the scores of all steps, the arms of this plan, and the strata.

    The scores may hold arms of other configurations; the influence is of those that this plan asks for.
    """
    evaluation = lake.config.evaluation
    strata: list[object] = [evaluation.update_count_edges, evaluation.item_age_edges, evaluation.user_share]
    preference = lake.config.preference
    if lake.config.represents and preference is not None:
        strata.append(lake.fingerprints("preference_items").get((preference.name,)))
    scores = lake.fingerprints("scores")
    keys = [(str(seed), date.isoformat()) for seed in lake.config.seeds for date in evaluation.dates]
    steps = scored_steps(lake.config)
    arms = {key: sorted(arm.name for arm in plan.all_arms(int(key[0]), dt.date.fromisoformat(key[1]))) for key in keys}
    return {
        key: fingerprint("measure", STEP_VERSION, [scores.get((step, *key), "") for step in steps], arms[key], strata)
        for key in keys
    }


def measurement_ids(
    config: RunConfig, wanted: Mapping[PartitionKey, str], measurements: Sequence[Measurement]
) -> list[str]:
    """The identity of each measurement: what it compares, and the state of every day and seed that a verdict looks at.

    A change on one date thus measures all dates again: verdicts and means of seeds depend on the others.
    """
    state = fingerprint("result", sorted(wanted.items()), config.evaluation.decision_threshold, config.scenario)
    if known_sigma(config):
        state = fingerprint(state, known_sigma(config))
    return [fingerprint(state, measurement.comparison_id) for measurement in measurements]


def row_ids(config: RunConfig, wanted: Mapping[PartitionKey, str], measurements: Sequence[Measurement]) -> set[str]:
    """Identities of all rows that the measurements give, those of seeds and dates together among them."""
    identities = measurement_ids(config, wanted, measurements)
    ids = {one.comparison_id: identity for one, identity in zip(measurements, identities, strict=True)}
    return {pool_id(pool, ids) for pool in pools_of(measurements, config.seeds)}


def measurements_of(plan: EvaluationPlan) -> list[Measurement]:
    """All measurements that the configuration asks for, of all seeds and dates."""
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
    identities = measurement_ids(config, wanted, measurements)
    ids = {one.comparison_id: identity for one, identity in zip(measurements, identities, strict=True)}
    pools = pools_of(measurements, config.seeds)
    pairs = possible_pairs(per_user, pools, config.evaluation.folds)
    with described(lake.spark, f"{len(pairs)} comparisons"):
        listed = [pair for members in pairs.values() for pair in members]
        found = comparisons_of(per_user, listed, known_sigma(config))
    with described(lake.spark, "coverage of the tables"):
        covered = coverage(lake, strata_of_days(lake, plan, set(config.evaluation.dates)))
        appended = append_coverage(lake) if config.append else {}
    results = ResultSet()
    whole = {_without_stratum(pool): pool.name for pool in pools if pool.members[0].stratum == ALL}
    for pool in pools:
        row = _row(config, pool, pool_id(pool, ids), lake.pinned)
        row.coverage, row.dead_item_share = _coverage(pool, covered, appended)
        if pool.name not in found.comparisons:
            row.note = "no impressions of both classes in this stratum: no AUC"
        else:
            fill_row(row, pool, found)
            fill_several_rows(row, pool, found.comparisons)
            first = pool.members[0]
            if first.horizon_days == 0 and first.variant in (NAIVE, HONEST):
                _assert_zero(found.comparisons[pool.name])
            row.share_of_impressions = _share(pool, whole, found.comparisons)
        results.rows.append(row)
        results.pools.append(pool)
    truth_bounds(results, found.comparisons)
    with described(lake.spark, "what scores share: parts of the naive score, intervals that hold together"):
        add_parts_of_naive(results, per_user, pairs, found)
        add_all_data(results, per_user, pairs, found)
        add_simultaneous(results, list(results.families().values()), per_user, found)
    results.judge(config.evaluation.decision_threshold)
    return results, diagnoses(lake, measurements, identities, per_user, pairs, results.rows, found.comparisons)


def _row(config: RunConfig, pool: Pool, identity: str, versions: Mapping[str, int]) -> ResultRow:
    row = ResultRow.of(config, pool.members[0], identity, versions)
    if len(pool.seeds) > 1:
        row.seed = MEAN
    if pool.dates > 1:
        row.evaluated_date = None
    if len(pool.members) > 1:
        several = [f"{pool.dates} dates"] * (pool.dates > 1) + [f"{len(pool.seeds)} training seeds"] * (
            len(pool.seeds) > 1
        )
        row.note = f"over {' and '.join(several)}"
    return row


def possible_pairs(per_user: DataFrame, pools: Sequence[Pool], folds: int) -> dict[str, list[Mapping[str, object]]]:
    """comparison_id -> the pairs of arms that have both classes; strata may be too small for an AUC."""
    present = groups_with_both_classes(per_user)
    pairs: dict[str, list[Mapping[str, object]]] = {}
    for pool in pools:
        for pair in pool.pairs(folds):
            if pair["stratum"] == ALL or group_of(pair) in present:
                pairs.setdefault(str(pair["comparison_id"]), []).append(pair)
    return pairs


def comparisons_of(
    per_user: DataFrame, listed: Sequence[Mapping[str, object]], sigma: Mapping[str, float] | None = None
) -> Found:
    """All comparisons, with the errors by leaving out users of those with few users in a ranking."""
    comparisons = {comparison.comparison_id: comparison for comparison in compare(per_user, listed)}
    few = with_few_users(comparisons)
    jackknife: dict[str, dict[str, float | None]] = {}
    if few:
        for kind, errors in joint_errors(per_user, [few], correlated=False)[0].items():
            for name, error in zip(errors.names, errors.jackknife, strict=True):
                jackknife.setdefault(name, {})[kind] = error
    return Found(comparisons, jackknife, sigma or {})


def known_sigma(config: RunConfig) -> dict[str, float]:
    """Kind of gain -> its standard deviation over training seeds, where the configuration gives it."""
    sigma = config.evaluation.sigma_seed
    return {LIS: sigma.lis, WITHIN_USER: sigma.within_user} if sigma is not None else {}


def add_simultaneous(results: ResultSet, families: Sequence[Sequence[int]], per_user: DataFrame, found: Found) -> None:
    """Writes the intervals that hold together within each family of rows (places in ``results``), in one Spark job."""
    compared = [[found.comparisons[results.pools[place].name] for place in places] for places in families]
    for places, joint in zip(families, joint_errors(per_user, compared), strict=True):
        results.add_simultaneous(places, joint)


def _coverage(
    pool: Pool, covered: Mapping[Any, tuple[float | None, float | None]], appended: Mapping[Any, float]
) -> tuple[float | None, float | None]:
    """Shares of impressions that the table has, and of dead items: means over the members."""
    found: list[tuple[float | None, float | None]] = []
    for one in pool.members:
        if one.other_folds is not None:  # told of the evaluation's own folds
            found.append((None, None))
        elif one.protocol == "append":
            place = (one.evaluated_date, one.leak, one.variant, one.horizon_days)
            known = appended.get((str(one.seed), *place), appended.get(("", *place)))
            found.append((known if one.stratum == ALL else None, None))
        else:
            found.append(covered.get(coverage_key(one), (None, None)))
    sides = []
    for values in zip(*found, strict=True):
        known_values = [value for value in values if value is not None]
        sides.append(sum(known_values) / len(known_values) if len(known_values) == len(values) else None)
    return sides[0], sides[1]


def group_of(pair: Mapping[str, object]) -> tuple[object, ...]:
    """(seed, date, fold, stratum) of a pair of arms."""
    return pair["seed"], pair["date"], pair["fold"], pair["stratum"]


def groups_with_both_classes(per_user: DataFrame) -> set[tuple[object, ...]]:
    """(seed, date, fold, stratum) in which an AUC exists; strata may be too small for one."""
    is_control = F.split_part("arm", F.lit("|"), F.lit(2)) == CONTROL
    rows = (
        per_user.where(is_control | F.col("arm").contains(f"|{CONTROL}_"))
        .groupBy("seed", "date", "fold", "stratum", "arm")
        .agg(F.sum("positives").alias("positives"), F.sum("negatives").alias("negatives"))
        .where("positives > 0 AND negatives > 0")
        .select("seed", "date", "fold", "stratum")
        .distinct()
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


def _share(pool: Pool, whole_of: Mapping[tuple[object, ...], str], totals: Mapping[str, Comparison]) -> float | None:
    """Share of a stratum in all impressions of the same dates and seeds."""
    own, whole = totals.get(pool.name), totals.get(whole_of.get(_without_stratum(pool), "none"))
    if whole is None or own is None:
        return None
    return (own.positives + own.negatives) / (whole.positives + whole.negatives)


def _without_stratum(pool: Pool) -> tuple[object, ...]:
    return tuple(replace(member, stratum=ALL).comparison_id for member in pool.members)


def results_of(lake: Lake) -> list[dict[str, Any]]:
    """The stored rows of this configuration on the scores as they are now, as JSON data, in reading order."""
    config, plan = lake.config, resolve(lake)
    measurements = measurements_of(plan)
    wanted = row_ids(config, influence_fingerprints(lake, plan), measurements)
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
