"""Scores all arms of an evaluated day on the same batches in one pass (method 1.1), inside the training processes.

Rows are shared among all ranks; what does not depend on the arm (every lookup in the ranker's own tables) is done once
a chunk. A swap copies the other table's rows into the live shards, so it is seen by the next lookup, and is undone by
copying the old rows back. Keys that the other table does not have keep the ranker's own rows, or are cold where the
arm says so.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from lis_spark.folds import serves
from lis_spark.ranker.day_reader import DayReader, DayRows, check_count
from lis_spark.ranker.model_state import TableShard, cold_weights, load_state
from lis_spark.ranker.network import HISTORY, SHIFT, Inputs, assemble, keyed_rows
from lis_spark.ranker.one_pass import average_gradients, build_model, new_optimizer, nothing, rows_a_step
from lis_spark.ranker.plans import ArmSpec, EvaluationSpec, ScorePlan, StateSpec
from lis_spark.ranker.processes import Rank, join, report_progress
from lis_spark.ranker.vector_files import read_vectors

CHUNK_ROWS = 65_536
BATCH_ROWS = 4_096


def score_rank(plan_path: str) -> int:
    """The work of one rank: its share of the rows of every evaluation. Returns the logits that it wrote."""
    plan = ScorePlan.model_validate_json(Path(plan_path).read_text(encoding="utf-8"))
    rank = join(plan.launch)
    scorer = Scorer(plan, rank, plan_path)
    written = 0
    for evaluation in plan.evaluations:
        written += scorer.run(evaluation)
    dist.barrier()
    return written


class Scorer:
    """Scores evaluations in one model on one rank."""

    def __init__(self, plan: ScorePlan, rank: Rank, plan_path: str) -> None:
        self.plan, self.rank, self.plan_path = plan, rank, plan_path
        self.model = build_model(plan.ranker, rank)
        self.slot = self.model.shards[plan.ranker.slot]
        self.cold: dict[int, Tensor] = {}
        self.swapped = plan.ranker.swapped_feature.name
        self.label = plan.ranker.labels.index(plan.label)
        self.position = {feature.name: index for index, feature in enumerate(plan.ranker.features)}
        self.rows = DayReader(plan.ranker, rank.rank, rank.ranks, plan.launch.cache_megabytes, with_ids=True)
        # a refit is done by one group of ranks, which therefore shares its days among its own ranks only
        self.refit_rows = DayReader(plan.ranker, rank.place, rank.group_size, plan.launch.cache_megabytes)

    def run(self, evaluation: EvaluationSpec) -> int:
        """Scores this rank's rows of one evaluated day under every arm."""
        self._load(evaluation, evaluation.state)
        refitted = self._refits(evaluation)
        rows = self.rows.read(evaluation.day)
        counts: list[object] = [None] * self.rank.ranks
        dist.all_gather_object(counts, len(rows))
        check_count(evaluation.day, sum(int(count) for count in counts))  # type: ignore[call-overload]
        self.rows.cache.clear()
        folder = Path(self.plan.output_folder) / str(evaluation.seed) / evaluation.date.isoformat()
        folder.mkdir(parents=True, exist_ok=True)
        written, slot = 0, self.position[self.swapped]
        with pq.ParquetWriter(folder / f"part-{self.rank.rank:05d}.parquet", LOGITS_SCHEMA) as writer:
            # Every rank of a group takes part in every lookup, so all of them count chunks by the longest share.
            for start in range(0, max(int(count) for count in counts), CHUNK_ROWS):  # type: ignore[call-overload]
                chunk = rows[start : start + CHUNK_ROWS]
                for arm, index, logits in self._chunk(evaluation, chunk, refitted):
                    writer.write_table(logits_table(arm.name, chunk[index], logits, slot, self.label))
                    written += len(index)
        if self.rank.rank == 0:
            report_progress(self.plan_path, 0, f"{evaluation.seed} {evaluation.date}")
        return written

    def _chunk(
        self, evaluation: EvaluationSpec, chunk: DayRows, refitted: dict[str, nn.Module]
    ) -> Iterator[tuple[ArmSpec, np.ndarray, Tensor]]:
        own = self._lookup(chunk)
        batches = bucket_batches(chunk.buckets)
        for arm in evaluation.arms:
            inputs = self._arm_inputs(evaluation, arm, chunk, own)
            dense = refitted.get(arm.name, self.model.dense)
            served = [index for bucket, index in batches if serves(arm.served, bucket, arm.folds, arm.held_out_fold)]
            with torch.inference_mode():
                parts = [dense(inputs[torch.from_numpy(index).to(self.rank.device)]) for index in served]
            if arm.model_state is not None:
                self._load(evaluation, evaluation.state)
            if served:
                yield arm, np.concatenate(served), torch.cat(parts)[:, self.label].cpu()

    def _arm_inputs(self, evaluation: EvaluationSpec, arm: ArmSpec, chunk: DayRows, own: Inputs) -> Inputs:
        if arm.model_state is not None:
            self._load(evaluation, arm.model_state)
            return self._lookup(chunk)
        inputs = own
        if arm.permute_feature is not None:
            position = self.position[arm.permute_feature]
            order = np.random.default_rng([evaluation.seed, position, self.rank.rank]).permutation(len(chunk))
            features = own.features.clone()
            features[:, position] = own.features[torch.from_numpy(order), position]
            inputs = replace(inputs, features=features)
        if arm.target_vectors is not None:
            swapped = self._swapped(evaluation, arm, arm.target_vectors, chunk, (self.swapped,))
            features = own.features.clone()
            features[:, self.position[self.swapped]] = swapped[self.swapped]
            inputs = replace(inputs, features=features)
        if arm.history_vectors is not None and own.clicks.shape[1]:
            swapped = self._swapped(evaluation, arm, arm.history_vectors, chunk, (HISTORY,))
            length = self.plan.ranker.history_length
            history = swapped[HISTORY].view(len(chunk), 2 * length, self.plan.ranker.dimension)
            inputs = replace(inputs, clicks=history[:, :length], skips=history[:, length:])
        return inputs

    def _swapped(
        self, evaluation: EvaluationSpec, arm: ArmSpec, folder: str, chunk: DayRows, only: tuple[str, ...]
    ) -> dict[str, Tensor]:
        """Lookups in the table with another snapshot's rows put in; the table is put back afterwards."""
        kept = self.slot.weights.clone()
        rows, vectors = read_vectors(folder, self.plan.ranker.dimension)
        if arm.permute_rows:
            vectors = vectors[np.random.default_rng([evaluation.seed, 1]).permutation(len(vectors))]
        if arm.cold_seed is not None:
            self.slot.weights.copy_(self._cold_slot(arm.cold_seed))
        put_rows(self.slot, rows, vectors)
        batch = chunk if len(chunk) else nothing(self.plan.ranker)
        with torch.no_grad():
            values = self.model.tables(keyed_rows(self.plan.ranker, batch, only).to(self.rank.device))
            found = {name: values[name][: len(values[name]) if len(chunk) else 0] for name in only}
            self.slot.weights.copy_(kept)
        return found

    def _cold_slot(self, seed: int) -> Tensor:
        """The rank's rows of the swapped table as they were born."""
        if seed not in self.cold:
            spec = self.plan.ranker
            self.cold[seed] = torch.from_numpy(cold_weights(spec, seed, spec.slot, self.slot.first, self.slot.end))
        return self.cold[seed]

    def _lookup(self, rows: DayRows) -> Inputs:
        batch = rows if len(rows) else nothing(self.plan.ranker)
        with torch.no_grad():
            looked_up = self.model.tables(keyed_rows(self.plan.ranker, batch).to(self.rank.device))
            return assemble(self.plan.ranker, batch, looked_up)[: len(rows)]

    def _load(self, evaluation: EvaluationSpec, state: StateSpec) -> None:
        model = self.model
        load_state(state, model.spec, evaluation.seed, [model.shards], model.dense, model.optimizer)

    # -- swap+refit --------------------------------------------------------------------------------------------

    def _refits(self, evaluation: EvaluationSpec) -> dict[str, nn.Module]:
        """The dense parts of the refitted arms: each group of ranks fits its share, then all groups get all of them."""
        arms = [arm for arm in evaluation.arms if arm.refit]
        if not arms:
            return {}
        mine: dict[str, dict[str, Tensor]] = {}
        shares = [self.refit_rows.read(day) for day in evaluation.refit_days]
        rows = _joined(shares)
        own = self._lookup(rows)
        for number, arm in enumerate(arms):
            if number % self.rank.groups == self.rank.group_number:
                on_earlier_days = arm.model_copy(update={"target_vectors": arm.refit_vectors})
                inputs = self._arm_inputs(evaluation, on_earlier_days, rows, own)
                mine[arm.name] = self._refit(evaluation, inputs, torch.from_numpy(rows.labels).to(self.rank.device))
        everyone: list[object] = [None] * self.rank.ranks
        dist.all_gather_object(everyone, mine)
        fitted: dict[str, nn.Module] = {}
        for part in everyone:
            assert isinstance(part, dict)
            for name, values in part.items():
                dense = type(self.model.dense)(self.plan.ranker).to(self.rank.device)
                dense.load_state_dict(values)
                fitted[name] = dense
        return fitted

    def _refit(self, evaluation: EvaluationSpec, inputs: Inputs, labels: Tensor) -> dict[str, Tensor]:
        """k steps of the dense part on frozen tables; every arm sees the same batches in the same order."""
        dense = type(self.model.dense)(self.plan.ranker).to(self.rank.device)
        dense.load_state_dict(self.model.dense.state_dict())
        optimizer = new_optimizer(self.plan.ranker, dense.parameters())
        # The optimizer goes on where that of M_T stands: the large first steps of a fresh one cost the control .01 AUC.
        optimizer.load_state_dict(copy.deepcopy(self.model.optimizer.state_dict()))
        # batches and gradients of the size that trained the model: it is what the state of the optimizer is of
        rows = sum(day.rows for day in evaluation.refit_days) // max(len(evaluation.refit_days), 1)
        share = max(rows_a_step(self.plan.ranker, rows) // self.rank.group_size, 1)
        scale = self.rank.group_size / self.plan.ranker.batch_size
        for parameter in dense.parameters():  # a rank without rows takes part with gradients of zero
            parameter.grad = torch.zeros_like(parameter)
        order = np.random.default_rng([evaluation.seed, 2, self.rank.place]).permutation(len(labels))
        for step in range(evaluation.refit_steps):
            chosen = order[np.arange(step * share, (step + 1) * share) % max(len(order), 1)] if len(order) else order
            index = torch.from_numpy(chosen).to(self.rank.device)
            optimizer.zero_grad(set_to_none=False)
            if len(labels):
                loss = binary_cross_entropy_with_logits(dense(inputs[index]), labels[index], reduction="sum")
                (loss * scale).backward()
            average_gradients(dense.parameters(), self.rank)
            optimizer.step()
        return {name: value.cpu() for name, value in dense.state_dict().items()}


LOGITS_SCHEMA = pa.schema(
    [
        ("arm", pa.string()),
        ("bucket", pa.int32()),
        ("impression_id", pa.string()),
        ("user_id", pa.string()),
        ("slot_row", pa.int32()),
        ("label", pa.int8()),
        ("logit", pa.float32()),
    ]
)


def logits_table(arm: str, rows: DayRows, logits: Tensor, slot: int, label: int) -> pa.Table:
    """Rows of ``scores`` of one arm.

    Args:
        arm: its name.
        rows: the scored rows, with ids.
        logits: shape [rows].
        slot: place of the swapped feature among the ranker's.
        label: place of the scored label.
    """
    return pa.table(
        {
            "arm": pa.array([arm]).take(pa.array(np.zeros(len(rows), np.int64))),
            "bucket": pa.array(rows.buckets),
            "impression_id": pa.array(rows.impression_ids, pa.string()),
            "user_id": pa.array(rows.user_ids, pa.string()),
            "slot_row": pa.array(rows.rows[:, slot]),
            "label": pa.array(rows.labels[:, label].astype(np.int8)),
            "logit": pa.array(logits.numpy()),
        },
        schema=LOGITS_SCHEMA,
    )


def put_rows(shard: TableShard, rows: np.ndarray, vectors: np.ndarray) -> None:
    """Copies the vectors of the keys that this rank holds into its live shard."""
    shifted = rows.astype(np.int64) + SHIFT
    inside = (shifted >= shard.first) & (shifted < shard.end)
    with torch.no_grad():
        shard.weights[torch.from_numpy(shifted[inside] - shard.first)] = torch.from_numpy(vectors[inside]).to(
            shard.weights.device
        )


def bucket_batches(buckets: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """(bucket of users, row numbers) of the batches of a chunk; no batch holds two buckets, hence none two folds.

    The last bits of a matrix product depend on which rows stand in it. An arm that scores one fold and an arm that
    scores all of them therefore see the same batches, and equal tables give bit-equal logits.
    """
    batches = []
    for bucket in np.unique(buckets):
        index = np.flatnonzero(buckets == bucket)
        batches += [(int(bucket), index[first : first + BATCH_ROWS]) for first in range(0, len(index), BATCH_ROWS)]
    return batches


def _joined(shares: list[DayRows]) -> DayRows:
    return DayRows(
        **{name: np.concatenate([getattr(share, name) for share in shares]) for name in DayRows.__dataclass_fields__}
    )
