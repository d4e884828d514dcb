"""Step ``append``: the ranker retrained with each leak as one more feature, and with its control (method 1.3).

All arms start from M_{T-w}, go through D_{T-w} .. D_{T-1} in the same batches and are scored on D_T; all of them run in
one launch. What they differ in is what the port reads.
"""

from __future__ import annotations

import datetime as dt
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

from pyspark.sql import SparkSession

from lis_spark.config import RunConfig, fingerprint
from lis_spark.errors import ConfigError
from lis_spark.lake import Lake
from lis_spark.lis.append.features import source_of, wanted_partitions, write_append_features
from lis_spark.lis.append.rows import export_append_rows
from lis_spark.lis.plan.append_arms import append_features
from lis_spark.lis.plan.append_feature import AppendFeature, of_seeds
from lis_spark.lis.plan.chains import ONE_DAY, base_name, days_between
from lis_spark.lis.plan.evaluation import EvaluationPlan, resolve
from lis_spark.lis.swap.score import read_logits, write_scores
from lis_spark.lis.swap.trained_models import model_state, trained_models
from lis_spark.partitions import PartitionKey
from lis_spark.progress import described
from lis_spark.ranker.exchange import launch_plan, launch_spec, ranker_spec
from lis_spark.ranker.plans import AppendArmSpec, AppendEvaluationSpec, AppendPlan, PortSpec
from lis_spark.step import StepResult
from lis_spark.table_files import absolute

STEP_VERSION = 8
# Value of ``scores.step``.
STEP = "append"
# What every rank runs.
WORK = "lis_spark.ranker.append_training:append_rank"


def run(spark: SparkSession, config: RunConfig, force: bool = False, *, run_id: str = "") -> StepResult:
    """Writes the leaks' feature tables, then trains and scores the arms of every evaluated day that is new.

    Raises:
        ConfigError: no leak is configured.
        StepFailed: a rank failed, or rows were lost or doubled.
    """
    if config.append is None:
        raise ConfigError(
            "no leaks are configured for protocol append",
            expected="append: {leaks: [{kind: next_click}]} in the configuration, or on the command line",
            remedy="see lis_spark/config/append.py for the keys",
        )
    lake = Lake(spark, config, run_id=run_id, step="append", measurement=True)
    plan = resolve(lake)
    lake.create("scores")
    features = write_append_features(lake, plan, force)
    stored, wanted = lake.fingerprints("scores"), _fingerprints(lake, plan)
    todo = {key: value for key, value in wanted.items() if force or stored.get(key) != value}
    skipped = features.skipped + len(wanted) - len(todo)
    if not todo:
        counts = (features.rows, features.rows, 0, features.partitions, skipped)
        return StepResult("append", *counts, versions=dict(lake.pinned), outputs=dict(lake.written))
    keys = sorted((int(seed), dt.date.fromisoformat(date)) for _, seed, date in todo)
    work = Path(absolute(config.lake.work_path)) / f"append-{run_id or uuid.uuid4().hex[:12]}"
    try:
        append_plan = _append_plan(lake, plan, keys, work)
        arms = sum(len(evaluation.arms) for evaluation in append_plan.evaluations)  # identical ones once
        launch_plan(config, "append", append_plan, WORK, f"retraining {arms} arms", pieces=arms)
        expected = sum(
            evaluation.day.rows * len(arm.names) for evaluation in append_plan.evaluations for arm in evaluation.arms
        )
        with described(spark, "logits into the table scores"):
            scores = read_logits(spark, work / "logits", keys, config.evaluation.folds)
            written = write_scores(lake, STEP, scores, todo, expected)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    rows = features.rows + written
    counts = (rows, rows, 0, features.partitions + len(todo), skipped)
    return StepResult("append", *counts, versions=dict(lake.pinned), outputs=dict(lake.written))


def _fingerprints(lake: Lake, plan: EvaluationPlan) -> dict[PartitionKey, str]:
    """Of each (seed, T): the model that the arms start from, what they read, and how they are trained."""
    config = plan.config
    assert config.append is not None
    models = lake.fingerprints("model_snapshots")
    prints: dict[PartitionKey, str] = {}
    for date in config.evaluation.dates:
        first = date - ONE_DAY * config.append.window_days
        sources = [source_of(lake, plan, leak, date) for leak in config.append.leaks]
        read = [sorted(wanted_partitions(source).items()) for source in sources]
        rows = [plan.row_fingerprints.get(day, "no rows") for day in days_between(first, date + ONE_DAY)]
        # what each arm reads, for the name of a rung does not say of which encoder it is
        arms: list[object] = [
            (
                *(one.arm.name, one.leak.name, one.table, one.variant, one.horizon_days),
                *(one.made, one.draw, one.beside, one.port_hidden),
            )
            for one in append_features(config, date)
        ]
        if config.append.content is not None:
            shown = [sorted(lake.fingerprints(name).items()) for name in ("items", "impressions")]
            arms += [config.append.content, shown if config.append.content.context else shown[0]]
        for seed in config.seeds:
            # next clicks are looked up in the table of T
            states = [models.get((base_name(seed), day.isoformat())) for day in (first, date)]
            prints[STEP, str(seed), date.isoformat()] = fingerprint(
                ["append", STEP_VERSION, states, read, rows, arms, config.label, config.evaluation.user_share],
                [config.ranker, config.append.port_columns, config.launch.ranks_per_chain, config.launch.use_gpu],
            )
    return prints


def _append_plan(lake: Lake, plan: EvaluationPlan, keys: list[tuple[int, dt.date]], work: Path) -> AppendPlan:
    config = plan.config
    assert config.append is not None
    models = trained_models(lake)
    evaluations = []
    for date in sorted({date for _, date in keys}):
        seeds = [seed for seed, of_seed in keys if of_seed == date]
        first = date - ONE_DAY * config.append.window_days
        days = [day for day in days_between(first, date + ONE_DAY) if day in plan.rows]
        features = of_seeds(append_features(config, date), seeds)
        with described(lake.spark, f"rows of {len(features)} arms for T = {date}"):
            specs, ports = export_append_rows(lake, plan, date, days, features, work / "rows" / str(date))
        for seed in seeds:
            evaluations.append(
                AppendEvaluationSpec(
                    date=date,
                    seed=seed,
                    state=model_state(absolute(config.lake.work_path), base_name(seed), first, models),
                    days=tuple(specs[day] for day in days if day < date),
                    day=specs[date],
                    arms=_trainings(features, ports, seed),
                )
            )
    return AppendPlan(
        output_folder=str(work / "logits"),
        ranker=ranker_spec(lake),
        launch=launch_spec(config),
        label=config.label,
        port_columns=config.append.port_columns,
        evaluations=tuple(evaluations),
    )


def _trainings(
    features: Sequence[AppendFeature], ports: Sequence[PortSpec | None], seed: int
) -> tuple[AppendArmSpec, ...]:
    """One for all arms of a seed that read the same: they are one training."""
    names: dict[tuple[object, ...], list[str]] = {}
    port_of: dict[tuple[object, ...], PortSpec | None] = {}
    for feature, port in zip(features, ports, strict=True):
        if feature.seed not in (None, seed):
            continue
        names.setdefault(feature.read, []).append(feature.arm.name)
        port_of.setdefault(feature.read, port)
    return tuple(AppendArmSpec(names=tuple(names[read]), port=port_of[read]) for read in names)
