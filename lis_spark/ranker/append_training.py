"""Arms of protocol ``append``: the ranker trained on with a frozen vector of each impression, then scored (method 1.3).

Every arm starts from the same M_{T-w}, sees the same days in the same batches with the same seed, and differs from the
others only in what its port reads. Arms are dealt out to the groups of ranks; all of a step run in one launch.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
import torch.distributed as dist

from lis_spark.ranker.arm_scoring import LOGITS_SCHEMA, fold_batches, logits_table
from lis_spark.ranker.arm_vectors import ArmVectors
from lis_spark.ranker.day_reader import DayRows
from lis_spark.ranker.evaluation_days import EvaluationDays
from lis_spark.ranker.model_state import load_state
from lis_spark.ranker.network import assemble, keyed_rows
from lis_spark.ranker.one_pass import PortedModel, build_model, new_optimizer, nothing, one_pass
from lis_spark.ranker.plans import AppendArmSpec, AppendEvaluationSpec, AppendPlan
from lis_spark.ranker.port import Port, new_port
from lis_spark.ranker.processes import Rank, join, report_progress

CHUNK_ROWS = 65_536


def append_rank(plan_path: str) -> int:
    """The work of one rank: its group's share of all arms. Returns the logits that it wrote."""
    plan = AppendPlan.model_validate_json(Path(plan_path).read_text(encoding="utf-8"))
    rank = join(plan.launch)
    trainer = AppendTrainer(plan, rank)
    arms = [(evaluation, arm) for evaluation in plan.evaluations for arm in evaluation.arms]
    written = 0
    for number, (evaluation, arm) in enumerate(arms):
        if number % rank.groups == rank.group_number:
            written += trainer.run(evaluation, arm, number)
            if rank.place == 0:
                report_progress(plan_path, rank.rank, f"{evaluation.seed} {evaluation.date} {arm.names[0]}")
    dist.barrier()
    return written


class AppendTrainer:
    """Trains and scores one arm after the other in one model on one rank."""

    def __init__(self, plan: AppendPlan, rank: Rank) -> None:
        self.plan, self.rank = plan, rank
        self.model = build_model(plan.ranker, rank)
        self.days: EvaluationDays | None = None
        self.label = plan.ranker.labels.index(plan.label)

    def run(self, evaluation: AppendEvaluationSpec, arm: AppendArmSpec, number: int) -> int:
        """One arm from M_{T-w} to the logits of this rank's rows of T."""
        model = self.model
        model.optimizer = new_optimizer(model.spec, model.dense)
        load_state(evaluation.state, model.spec, evaluation.seed, model.shards, model.dense, model.optimizer)
        port = self._port(arm, evaluation.seed)
        if self.days is None or self.days.evaluation != evaluation:
            self.days = EvaluationDays(self.plan, evaluation, self.rank)
        reader = self.days.vectors([arm.port])
        for day in evaluation.days:
            rows = self.days.rows(day)
            one_pass(model, self.rank, rows, self._ported(port, reader.read(day, rows)))
        rows = self.days.rows(evaluation.day)
        ported = self._ported(port, reader.read(evaluation.day, rows))
        folder = Path(self.plan.output_folder) / str(evaluation.seed) / evaluation.date.isoformat()
        folder.mkdir(parents=True, exist_ok=True)
        counts = self.rank.gathered(len(rows))
        slot = [feature.name for feature in model.spec.features].index(model.spec.swapped_feature.name)
        written = 0
        with pq.ParquetWriter(folder / f"arm-{number:05d}-{self.rank.place:05d}.parquet", LOGITS_SCHEMA) as writer:
            # every rank of a group takes part in every lookup, so all count chunks by the longest share
            for start in range(0, max(int(count) for count in counts), CHUNK_ROWS):  # type: ignore[call-overload]
                chunk = rows[start : start + CHUNK_ROWS]
                index, logits = self._scored(chunk, start, ported)
                for name in arm.names:
                    writer.write_table(logits_table(name, chunk[index], logits[:, self.label], slot, self.label))
                    written += len(index)
        return written

    def _port(self, arm: AppendArmSpec, seed: int) -> tuple[Port, torch.optim.Optimizer] | None:
        if arm.port is None:
            return None
        port = new_port(self.plan.ranker, arm.port, self.plan.port_columns, seed).to(self.rank.device)
        return port, new_optimizer(self.plan.ranker, port)

    def _ported(
        self, port: tuple[Port, torch.optim.Optimizer] | None, vectors: list[ArmVectors | None]
    ) -> PortedModel | None:
        return None if port is None or vectors[0] is None else PortedModel(port[0], vectors[0], port[1])

    def _scored(self, chunk: DayRows, start: int, ported: PortedModel | None) -> tuple[np.ndarray, torch.Tensor]:
        """Row numbers and logits [rows, labels] of a chunk, in the batches of :func:`fold_batches`."""
        batch = chunk if len(chunk) else nothing(self.plan.ranker)
        vectors = ported.batch(slice(start, start + CHUNK_ROWS)) if ported else None
        with torch.no_grad():
            looked_up = self.model.tables(keyed_rows(self.plan.ranker, batch).to(self.rank.device))
            inputs = assemble(self.plan.ranker, batch, looked_up, vectors)
            if not len(chunk):
                return np.empty(0, np.int64), torch.empty((0, len(self.plan.ranker.labels)))
            served = [index for _, index in fold_batches(chunk.folds)]
            port = ported.port if ported else None
            parts = [self.model.dense(inputs[torch.from_numpy(i).to(self.rank.device)], port) for i in served]
        return np.concatenate(served), torch.cat(parts).cpu()
