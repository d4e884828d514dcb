"""A model on one rank, and one pass of training over a day's rows (method 1.1, 1.3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from lis_spark.ranker.arm_vectors import ArmVectors, no_vectors
from lis_spark.ranker.day_reader import DayRows
from lis_spark.ranker.model_state import TableShard, table_shards
from lis_spark.ranker.network import assemble, dense_part, keyed_rows, sharded_tables
from lis_spark.ranker.plans import RankerSpec
from lis_spark.ranker.port import Port
from lis_spark.ranker.processes import Rank


@dataclass
class Model:
    """The parts of one model on one rank; chains take turns in it."""

    spec: RankerSpec
    tables: nn.Module
    shards: dict[str, TableShard]
    dense: nn.Module
    optimizer: torch.optim.Optimizer


@dataclass
class PortedModel:
    """A port, its optimizer and the vectors of the rows at hand, beside a :class:`Model`."""

    port: Port
    vectors: ArmVectors
    optimizer: torch.optim.Optimizer

    def batch(self, rows: slice | np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Vectors and their mask of some rows; of none, those of :func:`nothing`."""
        table, places = self.vectors.table, self.vectors.places[rows]
        chosen = self.vectors if len(places) else no_vectors(table.shape[1], 1, table.device)
        return chosen.of(rows if len(places) else slice(None))


def build_model(spec: RankerSpec, rank: Rank) -> Model:
    """A model with whatever values it is born with: a cold start or a state is loaded into it."""
    tables = sharded_tables(spec, rank.group, rank.device)
    dense = dense_part(spec, 0).to(rank.device)
    return Model(spec, tables, table_shards(tables), dense, new_optimizer(spec, dense))


def new_optimizer(spec: RankerSpec, dense: nn.Module) -> torch.optim.Optimizer:
    """Adam for the dense part; the tables have their own, fused."""
    return torch.optim.Adam(dense.parameters(), lr=spec.dense_learning_rate, foreach=False)


def one_pass(model: Model, rank: Rank, rows: DayRows, ported: PortedModel | None = None) -> float:
    """One pass in order; returns the summed loss of this rank's rows. Ranks that have run out take part empty.

    Args:
        model: tables, dense part and their optimizers.
        rank: of the group that trains the model.
        rows: this rank's share of a day.
        ported: the port through which vectors of the rows enter, where there are any.
    """
    share = model.spec.batch_size // rank.group_size
    counts = [int(count) for count in rank.gathered(len(rows))]  # type: ignore[call-overload]
    port = ported.port if ported else None
    optimizers = [model.optimizer, *([ported.optimizer] if ported else [])]
    total_loss = 0.0
    for start in range(0, max(counts), share):
        batch = rows[start : start + share]
        weight = float(len(batch) > 0)
        together = sum(min(share, max(count - start, 0)) for count in counts)
        vectors = ported.batch(slice(start, start + share)) if ported else None
        batch = batch if len(batch) else nothing(model.spec)
        looked_up = model.tables(keyed_rows(model.spec, batch).to(rank.device))
        logits = model.dense(assemble(model.spec, batch, looked_up, vectors), port)
        labels = torch.from_numpy(batch.labels).to(rank.device)
        loss = weight * binary_cross_entropy_with_logits(logits, labels, reduction="sum")
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=False)
        (loss * (rank.group_size / together)).backward()
        for module in (model.dense, port):
            if module is not None:
                average_gradients(module, rank)
        for optimizer in optimizers:
            optimizer.step()
        total_loss += float(loss.detach())
    return total_loss


def average_gradients(dense: nn.Module, rank: Rank) -> None:
    """The mean of the ranks' dense gradients, as one message."""
    if rank.group_size == 1:
        return
    gradients = [parameter.grad for parameter in dense.parameters() if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat, group=rank.group)
    flat /= rank.group_size
    start = 0
    for gradient in gradients:
        gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
        start += gradient.numel()


def nothing(spec: RankerSpec) -> DayRows:
    """One row of missing values, for a rank that has run out: it is given the weight 0."""
    empty = np.full((1, spec.history_length), -1, np.int32)
    return DayRows(
        rows=np.full((1, len(spec.features)), -1, np.int32),
        clicks=empty,
        skips=empty,
        labels=np.zeros((1, len(spec.labels)), np.float32),
        folds=np.zeros(1, np.int32),
        impression_ids=np.empty(0, object),
        user_ids=np.empty(0, object),
        numbers=np.empty((1, 0), np.int64),
    )
