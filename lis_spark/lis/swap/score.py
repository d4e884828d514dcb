"""Step ``score``: the logits of every arm of every evaluated day, in one launch (method 1.1, 1.6).

The arms' tables come from leaked_features and control_features (targets) and from embedding_snapshots (histories);
n = 0 takes the same way as every other n.
"""

from __future__ import annotations

import datetime as dt
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import reduce
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lis_spark.config import RunConfig, fingerprint
from lis_spark.expected_rows import ExpectedRows
from lis_spark.lake import Lake
from lis_spark.leaks.id_embedding import LEAK
from lis_spark.lis.plan.arm_rows import rows_by_arm
from lis_spark.lis.plan.arms import SLOT_PERMUTED, TRUTH, Arm
from lis_spark.lis.plan.chains import ONE_DAY, base_name, days_between
from lis_spark.lis.plan.evaluated_rows import count_evaluated_rows, evaluated_rows, score_columns
from lis_spark.lis.plan.evaluation import EvaluationPlan, resolve
from lis_spark.lis.swap.baseline_scores import VERSION as BASELINES_VERSION
from lis_spark.lis.swap.baseline_scores import baseline_scores
from lis_spark.lis.swap.features import VECTOR_COLUMN, tables_of_requests
from lis_spark.lis.swap.trained_models import TrainedModel, model_state, trained_models
from lis_spark.partitions import PartitionKey
from lis_spark.progress import described
from lis_spark.ranker.exchange import launch_plan, launch_spec, ranker_spec
from lis_spark.ranker.plans import ArmSpec, DaySpec, EvaluationSpec, ScorePlan, file_url
from lis_spark.ranker.readable_days import exported_days, readable_days
from lis_spark.ranker.vector_files import export_vectors, vector_folder
from lis_spark.step import StepResult
from lis_spark.table_files import absolute

STEP_VERSION = 9
# Value of ``scores.step``.
STEP = "score"
# What every rank runs.
WORK = "lis_spark.ranker.arm_scoring:score_rank"


def run(spark: SparkSession, config: RunConfig, force: bool = False, *, run_id: str = "") -> StepResult:
    """Scores every evaluated day whose features, model or arms are new.

    Rows in = impressions x arms that serve them, counted from the plan; rows out must be the same number.

    Raises:
        StepFailed: a rank failed, or rows were lost or doubled.
    """
    lake = Lake(spark, config, run_id=run_id, step="score", measurement=True)
    plan = resolve(lake)
    lake.create("scores")
    stored = lake.fingerprints("scores")
    wanted = _fingerprints(lake, plan)
    todo = {key: value for key, value in wanted.items() if force or stored.get(key) != value}
    if not todo:
        return StepResult("score", partitions_skipped=len(wanted), versions=dict(lake.pinned))
    keys = sorted((int(seed), dt.date.fromisoformat(date)) for _, seed, date in todo)
    work = Path(absolute(config.lake.work_path)) / f"score-{run_id or uuid.uuid4().hex[:12]}"
    with described(spark, f"tables of the arms of {len(keys)} evaluated days"):
        _export(lake, plan, keys, work)
    with _readable_rows(lake, plan, keys, work) as (evaluated, refitted):
        score_plan = _score_plan(lake, plan, keys, work, evaluated, refitted)
        title = f"scoring {sum(len(evaluation.arms) for evaluation in score_plan.evaluations)} arms"
        launch_plan(config, "score", score_plan, WORK, title, pieces=len(keys))
    expected = sum(rows_by_arm(lake, [(*key, arm) for key in keys for arm in plan.arms(*key)]).values())
    with described(spark, "logits into the table scores"):
        scores = read_logits(spark, work / "logits", keys, config.evaluation.folds)
        if plan.knows_truth:
            scores = scores.unionByName(true_scores(lake, plan, keys))
        if config.has_baselines:
            scores = scores.unionByName(baseline_scores(lake, plan, keys))
        written = write_scores(lake, STEP, scores, todo, expected)
    shutil.rmtree(work, ignore_errors=True)
    counts = (expected, written, 0, len(todo), len(wanted) - len(todo))
    return StepResult("score", *counts, versions=dict(lake.pinned), outputs=dict(lake.written))


def _fingerprints(lake: Lake, plan: EvaluationPlan) -> dict[PartitionKey, str]:
    """Of each (seed, T): the model, the features, and the arms."""
    models = lake.fingerprints("model_snapshots")
    features = {**lake.fingerprints("leaked_features")}
    controls = lake.fingerprints("control_features")
    config = plan.config
    prints: dict[PartitionKey, str] = {}
    for seed in config.seeds:
        for date in config.evaluation.dates:
            day = date.isoformat()
            key = (LEAK, day, day)
            arms = [arm.name for arm in plan.arms(seed, date)]
            model = models.get((base_name(seed), day))
            prints[STEP, str(seed), day] = fingerprint(
                ["score", STEP_VERSION, model, features.get(key), controls.get(key), arms, config.label],
                [config.evaluation.refit, config.evaluation.swap_refit, config.launch.processes],
                config.evaluation.user_share,
                [BASELINES_VERSION, config.evaluation.baseline_days] if config.has_baselines else [],
            )
    return prints


def _export(lake: Lake, plan: EvaluationPlan, keys: list[tuple[int, dt.date]], work: Path) -> None:
    """Writes the tables of all arms where the ranks can read them: targets from the feature tables, histories whole."""
    requests = [request for seed, date in keys for request in plan.requests(seed, date)]
    tables = tables_of_requests(lake, plan, requests).persist()
    try:
        export_vectors(tables, ["chain", "snapshot_date", "evaluated_date"], work / "history")
        frames = []
        for name, column in VECTOR_COLUMN.items():
            of_days = F.col("evaluated_date").isin([date for _, date in keys])
            rows = lake.read(name).where((F.col("leak") == LEAK) & of_days & F.col("present"))
            if lake.config.evaluation.layout == "reference":
                rows = rows.drop(column).join(
                    tables.select("chain", "snapshot_date", "evaluated_date", "row", F.col("vector").alias(column)),
                    ["chain", "snapshot_date", "evaluated_date", "row"],
                )
            frames.append(
                rows.select("variant", "horizon_days", "chain", "evaluated_date", "row", F.col(column).alias("vector"))
            )
        export_vectors(
            frames[0].unionByName(frames[1]),
            ["variant", "horizon_days", "chain", "evaluated_date"],
            work / "target",
        )
    finally:
        tables.unpersist()


def _refit_days(config: RunConfig, date: dt.date) -> list[dt.date]:
    first = date - ONE_DAY * config.evaluation.refit.window_days
    return days_between(first, date) if config.evaluation.swap_refit else []


@contextmanager
def _readable_rows(
    lake: Lake, plan: EvaluationPlan, keys: Sequence[tuple[int, dt.date]], work: Path
) -> Iterator[tuple[Mapping[dt.date, DaySpec], Mapping[dt.date, DaySpec]]]:
    """Files that ranks can open while the block runs: of the evaluated rows, and of the whole days of a refit."""
    dates = sorted({date for _, date in keys})
    whole = {day for date in dates for day in _refit_days(lake.config, date)}
    if lake.config.evaluation.user_share >= 1:
        with readable_days(lake, plan.rows, whole | set(dates)) as days:
            yield days, days
        return
    with described(lake.spark, f"rows of the evaluated users on {len(dates)} days"):
        counts = count_evaluated_rows(lake, plan.rows, dates)
        evaluated = exported_days(lake, evaluated_rows(lake, dates), counts, dates, work / "rows")
    with readable_days(lake, plan.rows, whole) as days:
        yield evaluated, days


def _score_plan(
    lake: Lake,
    plan: EvaluationPlan,
    keys: list[tuple[int, dt.date]],
    work: Path,
    evaluated: Mapping[dt.date, DaySpec],
    refitted: Mapping[dt.date, DaySpec],
) -> ScorePlan:
    config = plan.config
    work_folder = absolute(config.lake.work_path)
    models = trained_models(lake)
    seeds = {chain.name: chain.seed for chain in plan.chains}
    evaluations = [
        EvaluationSpec(
            date=date,
            seed=seed,
            state=model_state(work_folder, base_name(seed), date, models),
            day=evaluated[date],
            arms=tuple(
                arm_spec(arm, work, work_folder, models, config.slot_is_in_histories, seeds)
                for arm in plan.arms(seed, date)
                if arm.is_scored_by_ranker
            ),
            refit_days=tuple(refitted[day] for day in _refit_days(config, date) if day in refitted),
            refit_steps=config.evaluation.refit.steps,
        )
        for seed, date in keys
    ]
    return ScorePlan(
        work_folder=work_folder,
        output_folder=str(work / "logits"),
        ranker=ranker_spec(lake),
        launch=launch_spec(config),
        label=config.label,
        evaluations=tuple(evaluations),
    )


def arm_spec(
    arm: Arm,
    work: Path,
    work_folder: str,
    models: Mapping[PartitionKey, TrainedModel],
    slot_is_in_histories: bool,
    seeds: Mapping[str, int],
) -> ArmSpec:
    """What the ranks do for an arm.

    Args:
        arm: of the plan.
        work: where :func:`_export` has put the tables: ``target`` by arm, ``history`` whole, by snapshot.
        work_folder: where the states of the models lie.
        models: those that there are.
        slot_is_in_histories: whether histories are looked up in the swapped table.
        seeds: chain -> its seed.
    """
    target = history = state = refitted = cold_seed = None
    if arm.chain is not None:
        assert arm.snapshot_date is not None
        if arm.protocol == "whole":
            state = model_state(work_folder, arm.chain, arm.snapshot_date, models)
        else:
            whole = vector_folder(work / "history", (arm.chain, arm.snapshot_date, arm.evaluated_date))
            if arm.scope in ("both", "target"):
                parts = (arm.variant, arm.horizon_days, arm.chain, arm.evaluated_date)
                # permuted is the table, so that an item has one vector, shown or remembered
                target = whole if arm.variant == "row_permuted" else vector_folder(work / "target", parts)
            if arm.scope in ("both", "history") and slot_is_in_histories:
                history = whole
            if arm.protocol == "swap+refit":
                refitted = whole
            if arm.variant == "backward":  # what E_{T-n} had not seen is cold in it, not missing
                cold_seed = seeds[arm.chain]
    return ArmSpec(
        name=arm.name,
        served=arm.served,
        folds=arm.folds,
        held_out_fold=arm.held_out_fold,
        target_vectors=target,
        history_vectors=history,
        model_state=state,
        cold_seed=cold_seed,
        permute_rows=arm.variant == "row_permuted",
        permute_feature=arm.scope if arm.variant == SLOT_PERMUTED else None,
        refit=arm.protocol == "swap+refit",
        refit_vectors=refitted,
    )


def write_scores(lake: Lake, step: str, scores: DataFrame, todo: Mapping[PartitionKey, str], expected: int) -> int:
    """Writes the logits of a step into ``scores``; returns how many.

    Raises:
        StepFailed: they are not as many as expected (impressions x arms that score them), and were taken back.
    """
    rows = ExpectedRows(
        count=expected,
        unit="logits: impressions x arms that score them",
        problem="scores were lost or doubled",
        remedy="run the step again; if it comes back, look for doubled impression ids",
    )
    return lake.write_partitions("scores", scores.withColumn("step", F.lit(step)), todo, expected=rows)


def read_logits(spark: SparkSession, folder: Path, keys: list[tuple[int, dt.date]], folds: int) -> DataFrame:
    """What the ranks have written for each (seed, T), with seed, date and the user's fold, one of ``folds``."""
    frames = [
        spark.read.parquet(file_url(folder / str(seed) / date.isoformat())).withColumns(
            {"seed": F.lit(seed), "date": F.lit(date), "fold": F.pmod("bucket", F.lit(folds))}
        )
        for seed, date in keys
    ]
    return reduce(DataFrame.unionByName, frames)


def true_scores(lake: Lake, plan: EvaluationPlan, keys: list[tuple[int, dt.date]]) -> DataFrame:
    """Rows of ``scores`` whose logit is that of p*, for every seed and day: what the best ranker would say."""
    config, spark = lake.config, lake.spark
    days = [date for _, date in keys]
    rows = evaluated_rows(lake, days)
    truth = lake.read("truth").where(F.col("date").isin(days)).select("date", "impression_id", "click_probability")
    arms = [(seed, date, next(a.name for a in plan.arms(seed, date) if a.variant == TRUTH)) for seed, date in keys]
    wanted = spark.createDataFrame(arms, "seed int, date date, arm string")
    p = F.col("click_probability")
    return (
        rows.join(truth, ["date", "impression_id"])
        .join(F.broadcast(wanted), "date")
        .select("arm", *score_columns(config), (F.log(p) - F.log1p(-p)).cast("float").alias("logit"), "seed", "date")
    )
