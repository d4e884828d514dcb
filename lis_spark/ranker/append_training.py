"""Arms of protocol ``append``: the ranker trained on with a frozen vector of each impression, then scored (method 1.3).

Every arm starts from the same M_{T-w}, sees the same days in the same batches with the same seed, and differs from the
others only in what its port reads. Several arms of an evaluation are trained together; what they have in common is done
once for all of them. Stacks of arms are dealt out to the groups of ranks; all of a step run in one launch.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
import torch.distributed as dist

from lis_spark.ranker.arm_scoring import CHUNK_ROWS, LOGITS_SCHEMA, logits_table
from lis_spark.ranker.day_reader import DayRows
from lis_spark.ranker.evaluation_days import EvaluationDays
from lis_spark.ranker.plans import AppendPlan
from lis_spark.ranker.processes import Rank, join, report_progress
from lis_spark.ranker.stacked_arms import StackedArms
from lis_spark.ranker.stacks import Stack, dealt


def append_rank(plan_path: str) -> int:
    """The work of one rank: its group's share of all arms. Returns the logits that it wrote."""
    plan = AppendPlan.model_validate_json(Path(plan_path).read_text(encoding="utf-8"))
    rank = join(plan.launch)
    stacks = dealt(plan, rank.groups)[rank.group_number]
    written = 0
    if stacks:
        trainer = AppendTrainer(plan, rank, max(len(stack.arms) for stack in stacks))
        for stack in stacks:
            written += trainer.run(stack)
            for arm in stack.arms if rank.place == 0 else ():
                report_progress(plan_path, rank.rank, f"{stack.evaluation.seed} {stack.evaluation.date} {arm.names[0]}")
    dist.barrier()
    return written


class AppendTrainer:
    """Trains and scores one stack of arms after the other on one rank."""

    def __init__(self, plan: AppendPlan, rank: Rank, arms: int) -> None:
        self.plan, self.rank = plan, rank
        self.arms = StackedArms(plan.ranker, rank, arms, plan.port_columns)
        self.days: EvaluationDays | None = None

    def run(self, stack: Stack) -> int:
        """Arms from M_{T-w} to the logits of this rank's rows of T."""
        evaluation, ports = stack.evaluation, [arm.port for arm in stack.arms]
        if self.days is None or self.days.evaluation != evaluation:
            self.days = EvaluationDays(self.plan, evaluation, self.rank)
        self.arms.start(evaluation.state, evaluation.seed, ports)
        vectors = self.days.vectors(ports)
        for day in evaluation.days:
            rows = self.days.rows(day)
            self.arms.one_pass(rows, vectors.read(day, rows))
        rows = self.days.rows(evaluation.day)
        label = self.plan.ranker.labels.index(self.plan.label)
        index, logits = self.arms.scored(rows, vectors.read(evaluation.day, rows), label)
        return self._write(stack, rows, index, logits)

    def _write(self, stack: Stack, rows: DayRows, index: np.ndarray, logits: np.ndarray) -> int:
        """A file an arm; returns the number of logits."""
        evaluation, ranker = stack.evaluation, self.plan.ranker
        folder = Path(self.plan.output_folder) / str(evaluation.seed) / evaluation.date.isoformat()
        folder.mkdir(parents=True, exist_ok=True)
        slot = [feature.name for feature in ranker.features].index(ranker.swapped_feature.name)
        label = ranker.labels.index(self.plan.label)
        written = 0
        for number, (arm, own) in enumerate(zip(stack.arms, logits, strict=True), stack.first):
            with pq.ParquetWriter(folder / f"arm-{number:05d}-{self.rank.place:05d}.parquet", LOGITS_SCHEMA) as writer:
                for start in range(0, len(index), CHUNK_ROWS):
                    part = slice(start, start + CHUNK_ROWS)
                    for name in arm.names:
                        table = logits_table(name, rows[index[part]], torch.from_numpy(own[part]), slot, label)
                        writer.write_table(table)
                        written += table.num_rows
        return written
