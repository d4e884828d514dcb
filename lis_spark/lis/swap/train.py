"""Step ``train``: brings every chain that the evaluation needs up to date, all of them in one launch (method 0, 1.2).

A chain day's fingerprint takes the day's training rows, the settings and the day before, so one more day of data runs
exactly the new chain days, and a late day makes those after it stale, by name.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path

from pyspark.sql import SparkSession

from lis_spark.config import RunConfig, fingerprint
from lis_spark.lake import Lake
from lis_spark.lis.plan.chains import ONE_DAY, Chain
from lis_spark.lis.plan.evaluation import EvaluationPlan, resolve
from lis_spark.ranker.exchange import import_days, launch_plan, launch_spec, ranker_spec
from lis_spark.ranker.plans import ChainSpec, DaySpec, StateSpec, TrainPlan, TrainTask, state_folder
from lis_spark.ranker.readable_days import readable_days
from lis_spark.step import StepResult
from lis_spark.table_files import absolute

STEP_VERSION = 4
# What every rank runs.
WORK = "lis_spark.ranker.chain_training:train_rank"
Stored = Mapping[tuple[str, ...], str]
ChainFingerprints = dict[str, dict[dt.date, str]]


def run(spark: SparkSession, config: RunConfig, force: bool = False, *, run_id: str = "") -> StepResult:
    """Trains what is missing or stale.

    Raises:
        StepFailed: a rank failed (its own error is in the message), or rows were lost between table and trainer.
    """
    lake = Lake(spark, config, run_id=run_id, step="train")
    plan = resolve(lake)
    lake.create("model_snapshots")
    lake.create("embedding_snapshots")
    stored = lake.fingerprints("model_snapshots")
    fingerprints = chain_fingerprints(plan)
    stale = stale_days(plan.chains, fingerprints, stored, force)
    total = sum(len(prints) for prints in fingerprints.values())
    if not stale:
        return StepResult("train", partitions_skipped=total, versions=dict(lake.pinned))
    if force:
        for chain in stale:
            _forget(absolute(config.lake.work_path), chain)
    done = [(chain, date) for chain, dates in stale.items() for date in dates]
    with readable_days(lake, plan.rows, _days(plan.chains, stale)) as days:
        train_plan = _train_plan(lake, plan, fingerprints, stale, days)
        title = f"training {len(stale)} chains, {len(done)} chain days"
        pieces = sum((task.through - task.after).days for phase in train_plan.phases for task in phase)
        launch_plan(config, "train", train_plan, WORK, title, pieces)
    trained = import_days(lake, train_plan, {chain.name: chain for chain in train_plan.chains}, done)
    return StepResult(
        "train",
        rows_read=trained,
        rows_written=trained,
        partitions_written=len(done),
        partitions_skipped=total - len(done),
        notes=tuple(_renewed(stale, stored)),
        versions=dict(lake.pinned),
        outputs=dict(lake.written),
    )


def chain_fingerprints(plan: EvaluationPlan) -> ChainFingerprints:
    """Chain -> snapshot date -> fingerprint, parents before their forks."""
    config = plan.config
    start = fingerprint(
        ["train", STEP_VERSION, config.ranker, config.history, list(config.features), config.labels],
        [config.counts.prior, [feature.name for feature in config.counted_features], config.label],
        [config.evaluation.slot, config.evaluation.folds],
        [config.launch.ranks_per_chain, config.launch.threads_per_process, config.launch.use_gpu],
    )
    prints: ChainFingerprints = {}
    for chain in plan.chains:
        before = prints[chain.parent][chain.fork_date] if chain.parent else fingerprint(start, chain.seed)
        prints[chain.name] = {}
        for day in chain.days:
            held_out = chain.fold_held_out_on(day)
            treatment = [held_out, chain.permute_labels, day in chain.skip_days, *chain.trained_folds]
            rows = plan.row_fingerprints.get(chain.day_of_data(day), "no rows")
            before = fingerprint(before, rows, treatment)
            prints[chain.name][day + ONE_DAY] = before
    return prints


def stale_days(
    chains: Sequence[Chain], fingerprints: ChainFingerprints, stored: Stored, force: bool
) -> dict[str, list[dt.date]]:
    """Chain -> snapshot dates to train: from the first that is missing or differs, all that follow."""
    stale: dict[str, list[dt.date]] = {}
    for chain in chains:
        dates = sorted(fingerprints[chain.name])
        wrong = [
            date
            for date in dates
            if force or stored.get((chain.name, date.isoformat())) != fingerprints[chain.name][date]
        ]
        if wrong:
            stale[chain.name] = [date for date in dates if date >= wrong[0]]
    return stale


def _days(chains: Sequence[Chain], stale: Mapping[str, list[dt.date]]) -> set[dt.date]:
    """The days of data that stale chains may need: all of their own, for a state that lies on disk may be missing."""
    return {
        chain.day_of_data(day)
        for chain in chains
        if chain.name in stale
        for day in chain.days
        if day < stale[chain.name][-1]
    }


def _train_plan(
    lake: Lake,
    plan: EvaluationPlan,
    fingerprints: ChainFingerprints,
    stale: Mapping[str, list[dt.date]],
    days: dict[dt.date, DaySpec],
) -> TrainPlan:
    config = plan.config
    chains = {chain.name: chain for chain in plan.chains if chain.name in stale}
    # A forked chain starts anew from its parent where a day of its own is stale; the base chain goes on.
    first: list[TrainTask] = []
    second: list[TrainTask] = []
    for name, dates in stale.items():
        chain = chains[name]
        after, through = chain.fork_date, dates[-1]
        if chain.parent is not None:
            second.append(TrainTask(chain=name, after=after, through=through))
            continue
        forks = [c.fork_date for c in chains.values() if c.parent == name and after < c.fork_date <= through]
        last_fork = max(forks, default=through)
        first.append(TrainTask(chain=name, after=after, through=last_fork))
        if last_fork < through:
            second.append(TrainTask(chain=name, after=last_fork, through=through))
    specs = tuple(
        ChainSpec(
            name=chain.name,
            seed=chain.seed,
            fork_date=chain.fork_date,
            parent=_parent_state(config, chain, fingerprints),
            folds=chain.folds,
            held_out_fold=chain.held_out_fold,
            held_out_days=chain.held_out_days,
            trained_folds=chain.trained_folds,
            skip_days=chain.skip_days,
            permute_labels=chain.permute_labels,
            replayed_days=chain.replayed_days,
            fingerprints=fingerprints[chain.name],
            keep_every_state=chain.parent is None,
            full_snapshots=_full_snapshots(config, chain),
        )
        for chain in chains.values()
    )
    return TrainPlan(
        work_folder=absolute(config.lake.work_path),
        ranker=ranker_spec(lake),
        launch=launch_spec(config),
        days=days,
        chains=specs,
        phases=(tuple(first), tuple(second)),
    )


def _parent_state(config: RunConfig, chain: Chain, fingerprints: ChainFingerprints) -> StateSpec | None:
    if chain.parent is None:
        return None
    folder = state_folder(absolute(config.lake.work_path), chain.parent, chain.fork_date)
    return StateSpec(folder=str(folder), fingerprint=fingerprints[chain.parent][chain.fork_date])


def _full_snapshots(config: RunConfig, chain: Chain) -> tuple[dt.date, ...]:
    """Full copies: every few days, and where other chains fork, so that their tables need no earlier day."""
    if chain.parent is not None:
        return ()
    regular = range(config.ranker.base_interval_days, len(chain.days) + 1, config.ranker.base_interval_days)
    window = ONE_DAY * (config.append.window_days if config.append else 0)
    forks = {date - days for date in config.evaluation.dates for days in (ONE_DAY * 0, window)}
    dates = {chain.fork_date + ONE_DAY * offset for offset in regular} | forks
    return tuple(sorted(dates))


def _forget(work_folder: str, chain: str) -> None:
    """With --force nothing that lies on disk counts as finished."""
    for manifest in (Path(work_folder) / "chains" / chain).glob("*/manifest.json"):
        manifest.unlink()


def _renewed(stale: Mapping[str, list[dt.date]], stored: Stored) -> list[str]:
    """Names the chain days that were there and are stale: a late day, or another setting."""
    notes = []
    for chain, dates in stale.items():
        again = [date for date in dates if (chain, date.isoformat()) in stored]
        if again:
            notes.append(f"stale and trained again: {chain}, {again[0]} to {again[-1]}")
    return notes
