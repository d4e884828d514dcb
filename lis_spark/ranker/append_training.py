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

from lis_spark.ranker.arm_scoring import LOGITS_SCHEMA, bucket_batches, logits_table
from lis_spark.ranker.day_reader import DayReader, DayRows, check_count
from lis_spark.ranker.model_state import load_state
from lis_spark.ranker.network import assemble, keyed_rows
from lis_spark.ranker.one_pass import PortedModel, build_model, new_optimizer, nothing, one_pass
from lis_spark.ranker.plans import AppendArmSpec, AppendEvaluationSpec, AppendPlan, DaySpec
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
        self.label = plan.ranker.labels.index(plan.label)

    def run(self, evaluation: AppendEvaluationSpec, arm: AppendArmSpec, number: int) -> int:
        """One arm from M_{T-w} to the logits of this rank's rows of T."""
        model = self.model
        model.optimizer = new_optimizer(model.spec, model.dense)
        load_state(evaluation.state, model.spec, evaluation.seed, model.shards, model.dense, model.optimizer)
        ported = self._ported(arm, evaluation.seed)
        reader = self._reader(arm)
        for day in evaluation.days:
            one_pass(model, self.rank, self._rows(reader, day), ported)
        rows = self._rows(self._reader(arm, with_ids=True), evaluation.day)
        folder = Path(self.plan.output_folder) / str(evaluation.seed) / evaluation.date.isoformat()
        folder.mkdir(parents=True, exist_ok=True)
        counts = self.rank.gathered(len(rows))
        slot = [feature.name for feature in model.spec.features].index(model.spec.swapped_feature.name)
        written = 0
        with pq.ParquetWriter(folder / f"arm-{number:05d}-{self.rank.place:05d}.parquet", LOGITS_SCHEMA) as writer:
            # every rank of a group takes part in every lookup, so all count chunks by the longest share
            for start in range(0, max(int(count) for count in counts), CHUNK_ROWS):  # type: ignore[call-overload]
                chunk = rows[start : start + CHUNK_ROWS]
                index, logits = self._scored(chunk, ported.port if ported else None)
                for name in arm.names:
                    writer.write_table(logits_table(name, chunk[index], logits[:, self.label], slot, self.label))
                    written += len(index)
        return written

    def _ported(self, arm: AppendArmSpec, seed: int) -> PortedModel | None:
        if arm.port is None:
            return None
        port = new_port(self.plan.ranker, arm.port, self.plan.port_columns, seed).to(self.rank.device)
        return PortedModel(port, new_optimizer(self.plan.ranker, port))

    def _reader(self, arm: AppendArmSpec, with_ids: bool = False) -> DayReader:
        """Of this rank's share of days with the arm's vectors; days are read once, so none is kept."""
        place, size = self.rank.place, self.rank.group_size
        return DayReader(self.plan.ranker, place, size, 0, with_ids, measurement=True, port=arm.port)

    def _rows(self, reader: DayReader, day: DaySpec) -> DayRows:
        rows = reader.read(day)
        check_count(day, sum(int(count) for count in self.rank.gathered(len(rows))))  # type: ignore[call-overload]
        return rows

    def _scored(self, chunk: DayRows, port: Port | None) -> tuple[np.ndarray, torch.Tensor]:
        """Row numbers and logits [rows, labels] of a chunk, in the batches of :func:`bucket_batches`."""
        batch = chunk if len(chunk) else nothing(self.plan.ranker, chunk.vectors.shape[1])
        with torch.no_grad():
            looked_up = self.model.tables(keyed_rows(self.plan.ranker, batch).to(self.rank.device))
            inputs = assemble(self.plan.ranker, batch, looked_up)
            if not len(chunk):
                return np.empty(0, np.int64), torch.empty((0, len(self.plan.ranker.labels)))
            served = [index for _, index in bucket_batches(chunk.buckets)]
            parts = [self.model.dense(inputs[torch.from_numpy(i).to(self.rank.device)], port) for i in served]
        return np.concatenate(served), torch.cat(parts).cpu()
