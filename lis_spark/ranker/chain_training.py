"""Trains chains day by day on one rank: one pass a day, in order, a snapshot after each (method 0, 1.1).

Runs inside the processes that TorchDistributor starts; everything comes from the plan and goes to files.
"""

from __future__ import annotations

import datetime as dt
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import torch.distributed as dist

from lis_spark.folds import NO_FOLD, fold_held_out_on
from lis_spark.ranker.day_reader import DayReader, DayRows, check_count
from lis_spark.ranker.invariants import check_cold, check_untouched
from lis_spark.ranker.model_state import (
    TableShard,
    load_state,
    ordinal,
    save_state,
    start_cold,
)
from lis_spark.ranker.network import SHIFT, dense_part
from lis_spark.ranker.one_pass import build_model, new_optimizer, one_pass
from lis_spark.ranker.plans import ChainSpec, DaySpec, StateSpec, TrainPlan, TrainTask, state_folder
from lis_spark.ranker.processes import Rank, join, report_progress
from lis_spark.ranker.state_files import drop_state, publish, read_manifest
from lis_spark.ranker.withheld_counts import WithheldCounts
from lis_spark.vectors import pack

ONE_DAY = dt.timedelta(days=1)


def train_rank(plan_path: str) -> int:
    """The work of one rank: its share of every phase. Returns the number of chain days that it trained."""
    plan = TrainPlan.model_validate_json(Path(plan_path).read_text(encoding="utf-8"))
    rank = join(plan.launch)
    trainer = ChainTrainer(plan, rank, plan_path)
    for phase in plan.phases:
        for task in assigned(plan, phase, rank.groups, rank.group_number):
            trainer.run(task)
        dist.barrier()
    return trainer.trained


def assigned(plan: TrainPlan, phase: tuple[TrainTask, ...], groups: int, group: int) -> list[TrainTask]:
    """Which tasks of a phase a group of ranks takes: the largest first, to whoever has least."""

    def rows(task: TrainTask) -> int:
        days = (task.after + ONE_DAY * offset for offset in range((task.through - task.after).days))
        return sum(plan.days[day].rows for day in days if day in plan.days)

    load = [0] * groups
    mine: list[TrainTask] = []
    for task in sorted(phase, key=lambda task: (-rows(task), task.chain)):
        least = load.index(min(load))
        load[least] += rows(task)
        if least == group:
            mine.append(task)
    return mine


class ChainTrainer:
    """Trains stretches of chains in one model on one rank."""

    def __init__(self, plan: TrainPlan, rank: Rank, plan_path: str) -> None:
        self.plan, self.rank, self.plan_path = plan, rank, plan_path
        self.chains = {chain.name: chain for chain in plan.chains}
        self.model = build_model(plan.ranker, rank)
        self.reader = DayReader(plan.ranker, rank.place, rank.group_size, plan.launch.cache_megabytes)
        self.withheld = WithheldCounts(plan.ranker, rank)
        self.trained = 0

    def run(self, task: TrainTask) -> None:
        """Trains one stretch, going on after the last day that is finished on disk."""
        chain = self.chains[task.chain]
        dates = [date for date in chain.snapshot_dates if task.after < date <= task.through]
        done = 0
        while done < len(dates) and self._finished(chain, dates[done]):
            done += 1
        while 0 < done < len(dates) and not self._has_state(chain, dates[done - 1]):
            done -= 1  # its state was dropped: go back to one that is there
        for date in dates[:done]:
            if self.rank.place == 0:
                report_progress(self.plan_path, self.rank.rank, f"{chain.name} {date} found")
        if done == len(dates):
            return
        after = dates[done - 1] if done else task.after
        self._start(chain, after)
        self.withheld = self._withheld_until(chain, after)
        for date in dates[done:]:
            self._train_day(chain, date)
            if self.rank.place == 0:
                report_progress(self.plan_path, self.rank.rank, f"{chain.name} {date}")
                previous = date - ONE_DAY
                if not chain.keep_every_state and previous > chain.fork_date:
                    drop_state(state_folder(self.plan.work_folder, chain.name, previous))
            self.trained += 1

    def _finished(self, chain: ChainSpec, date: dt.date) -> bool:
        manifest = read_manifest(state_folder(self.plan.work_folder, chain.name, date))
        return manifest is not None and manifest["fingerprint"] == chain.fingerprints[date]

    def _has_state(self, chain: ChainSpec, date: dt.date) -> bool:
        return any(state_folder(self.plan.work_folder, chain.name, date).glob("state-*.safetensors"))

    def _start(self, chain: ChainSpec, date: dt.date) -> None:
        model = self.model
        if date > chain.fork_date:
            folder = state_folder(self.plan.work_folder, chain.name, date)
            state: StateSpec | None = StateSpec(folder=str(folder), fingerprint=chain.fingerprints[date])
        else:
            state = chain.parent
        if state is None:
            start_cold(model.spec, chain.seed, model.shards)
            model.dense.load_state_dict(dense_part(model.spec, chain.seed).state_dict())
            model.optimizer = new_optimizer(model.spec, model.dense.parameters())
            return
        model.optimizer = new_optimizer(model.spec, model.dense.parameters())
        load_state(state, model.spec, chain.seed, [model.shards], model.dense, model.optimizer)

    def _train_day(self, chain: ChainSpec, date: dt.date) -> None:
        started = time.monotonic()
        spec = self._spec_of(chain, date)
        of_day = self._rows_of(spec)
        given, labels = self._given(chain, of_day, date)
        rows = of_day if given.all() and labels is of_day.labels else replace(of_day, labels=labels)[given]
        rows = self.withheld.taken_off(rows)
        before = {name: (shard.weights.clone(), shard.momentum.clone()) for name, shard in self.model.shards.items()}
        loss = one_pass(self.model, self.rank, rows)
        if not chain.is_given_all:
            self.withheld.add(of_day, given, labels)
        touched = self._count(rows, spec.date)
        place, is_full = {"chain": chain.name, "snapshot_date": date.isoformat()}, date in chain.full_snapshots
        checked = check_untouched(before, self.model.shards, touched, place)
        cold = check_cold(self.model.spec, chain.seed, self.model.shards, place) if is_full else 0
        folder = state_folder(self.plan.work_folder, chain.name, date)
        temporary = folder.with_name(f"{folder.name}.tmp-{chain.fingerprints[date][:8]}")
        if self.rank.place == 0:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
        self.rank.gathered(None)
        files = self.rank.gathered(
            save_state(
                temporary,
                self.rank.place,
                self.rank.group_size,
                self.model.shards,
                self.model.dense,
                self.model.optimizer,
            )
        )
        snapshot = self._write_snapshot(temporary, touched, is_full)
        totals = np.array(self.rank.gathered((len(rows), loss, snapshot, checked, cold)), dtype=float).sum(axis=0)
        if self.rank.place == 0:
            manifest: dict[str, object] = {
                "chain": chain.name,
                "date": date.isoformat(),
                "fingerprint": chain.fingerprints[date],
                "files": files,
                "trained_rows": int(totals[0]),
                "mean_loss": totals[1] / totals[0] if totals[0] else None,
                "snapshot_rows": int(totals[2]),
                "is_full": is_full,
                "untouched_rows_checked": int(totals[3]),
                "cold_rows_checked": int(totals[4]),
                "seconds": time.monotonic() - started,
            }
            publish(temporary, folder, manifest)
        self.rank.gathered(None)

    def _spec_of(self, chain: ChainSpec, date: dt.date) -> DaySpec:
        """The day of data that leads to a snapshot."""
        day = chain.day_of_data(date)
        return self.plan.days.get(day) or DaySpec(date=day, files=(), rows=0, row_groups=0)

    def _rows_of(self, spec: DaySpec) -> DayRows:
        """This rank's share of a day, as the table has it."""
        rows = self.reader.read(spec)
        check_count(spec, sum(int(count) for count in self.rank.gathered(len(rows))))  # type: ignore[call-overload]
        return rows

    def _given(self, chain: ChainSpec, rows: DayRows, date: dt.date) -> tuple[np.ndarray, np.ndarray]:
        """Which rows of a day the chain is given on the way to a snapshot, and the labels [rows, labels] of all.

        Args:
            chain: what it holds out, skips or permutes.
            rows: this rank's share of the day.
            date: of the snapshot.
        """
        day = date - ONE_DAY
        given = np.full(len(rows), day not in chain.skip_days)
        held_out = fold_held_out_on(day, chain.held_out_fold, chain.held_out_days)
        if held_out != NO_FOLD:
            given &= rows.buckets % chain.folds != held_out
        if chain.trained_folds:
            given &= np.isin(rows.buckets % chain.folds, chain.trained_folds)
        labels = rows.labels
        if chain.permute_labels:
            # within this rank's share of the day: the number of clicks stays, what they are tied to does not
            seed = [chain.seed, ordinal(chain.day_of_data(date)), self.rank.place]
            chosen = np.flatnonzero(given)
            labels = labels.copy()
            labels[chosen] = labels[np.random.default_rng(seed).permutation(chosen)]
        return given, labels

    def _withheld_until(self, chain: ChainSpec, date: dt.date) -> WithheldCounts:
        """What the chain was not given from its fork to a snapshot that it goes on from."""
        withheld = WithheldCounts(self.model.spec, self.rank)
        if not chain.is_given_all:
            for earlier in chain.snapshot_dates:
                if earlier <= date:
                    rows = self._rows_of(self._spec_of(chain, earlier))
                    withheld.add(rows, *self._given(chain, rows, earlier))
        return withheld

    def _count(self, rows: DayRows, day: dt.date) -> dict[str, torch.Tensor]:
        """Adds the day to the counters; returns, by table, how often each local row was touched today."""
        spec, touched = self.model.spec, {}
        for name, shard in self.model.shards.items():
            columns = [index for index, feature in enumerate(spec.features) if feature.table == name]
            targets = rows.rows[:, columns].reshape(-1).astype(np.int64) + SHIFT
            lookups = [targets]
            if name == spec.history_table:
                lookups += [history[history >= 0].astype(np.int64) + SHIFT for history in (rows.clicks, rows.skips)]
            updates = self._local_counts(targets, shard)
            touches = self._local_counts(np.concatenate(lookups), shard)
            shard.counters.updates += updates
            shard.counters.touches += touches
            shard.counters.last_day[touches > 0] = ordinal(day)
            touched[name] = touches
        return touched

    def _local_counts(self, rows: np.ndarray, shard: TableShard) -> torch.Tensor:
        keys, counts = np.unique(rows, return_counts=True)
        local = np.zeros(len(shard.weights), np.int64)
        for part in self.rank.gathered((keys, counts)):
            assert isinstance(part, tuple)
            theirs, numbers = part
            inside = (theirs >= shard.first) & (theirs < shard.end)
            local[theirs[inside] - shard.first] += numbers[inside]
        return torch.from_numpy(local)

    def _write_snapshot(self, folder: Path, touched: dict[str, torch.Tensor], full: bool) -> int:
        slot = self.model.spec.slot
        shard = self.model.shards[slot]
        chosen = shard.counters.touches > 0 if full else touched[slot] > 0
        chosen[: max(SHIFT - shard.first, 0)] = False
        index = torch.nonzero(chosen).flatten()
        epoch = dt.date(1970, 1, 1).toordinal()
        days = (shard.counters.last_day[index] - epoch).numpy().astype(np.int32)
        table = pa.table(
            {
                "row": pa.array((index + shard.first - SHIFT).numpy().astype(np.int32)),
                "vector": pack(shard.weights[index].cpu().numpy()),
                "update_count": pa.array(shard.counters.updates[index].numpy()),
                "touch_count": pa.array(shard.counters.touches[index].numpy()),
                "last_update_date": pa.array(days).cast(pa.date32()),
            }
        )
        pq.write_table(table, folder / f"snapshot-{self.rank.place:05d}.parquet")
        return len(index)
