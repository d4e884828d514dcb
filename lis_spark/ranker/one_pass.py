"""A model on one rank, and one pass of training over a day's rows (method 1.1, 1.3)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from lis_spark.ranker.counts import count_columns
from lis_spark.ranker.day_reader import DayRows
from lis_spark.ranker.model_state import TableShard, table_shards
from lis_spark.ranker.network import assemble, dense_part, keyed_rows, sharded_tables
from lis_spark.ranker.plans import RankerSpec
from lis_spark.ranker.processes import Rank


@dataclass
class Model:
    """The parts of one model on one rank; chains take turns in it."""

    spec: RankerSpec
    tables: nn.Module
    shards: dict[str, TableShard]
    dense: nn.Module
    optimizer: torch.optim.Optimizer


def build_model(spec: RankerSpec, rank: Rank) -> Model:
    """A model with whatever values it is born with: a cold start or a state is loaded into it."""
    tables = sharded_tables(spec, rank.group, rank.device)
    dense = dense_part(spec, 0).to(rank.device)
    return Model(spec, tables, table_shards(tables), dense, new_optimizer(spec, dense.parameters()))


def new_optimizer(spec: RankerSpec, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Adam for a dense part; the tables have their own."""
    return torch.optim.Adam(parameters, lr=spec.dense_learning_rate, fused=True)


@dataclass(frozen=True)
class Batch:
    """What a rank has of one step.

    ``places`` are its rows' among all of the day, none where the rank has run out and takes part with nothing;
    ``scale`` makes the sum of its rows' losses its part of the sum over all ranks' rows divided by ``batch_size``, 0
    where it has none. A batch with fewer rows than ``batch_size`` so sends smaller gradients, each row the same: what a
    table's accumulator adds up, and starts with, does not depend on how many rows a day has.
    """

    rows: DayRows
    places: slice
    scale: float


def batches(spec: RankerSpec, rank: Rank, rows: DayRows) -> Iterator[Batch]:
    """This rank's share of a day, step by step in order; every rank of the group has as many steps.

    Gradients are averaged over the ranks, so the scale is as many times larger.
    """
    counts = [int(count) for count in rank.gathered(len(rows))]  # type: ignore[call-overload]
    share = max(rows_a_step(spec, sum(counts)) // rank.group_size, 1)
    for start in range(0, max(counts), share):
        places = slice(start, start + share)
        batch = rows[places]
        if len(batch):
            yield Batch(batch, places, rank.group_size / spec.batch_size)
        else:
            yield Batch(nothing(spec), places, 0.0)


def rows_a_step(spec: RankerSpec, rows: int) -> int:
    """``batch_size``, or fewer where a day is thin: it then has ``steps_a_day`` steps of ``smallest_batch`` or more.

    Args:
        spec: the ranker.
        rows: of the day, over all ranks.
    """
    return min(spec.batch_size, max(rows // spec.steps_a_day, spec.smallest_batch))


def one_pass(model: Model, rank: Rank, rows: DayRows) -> float:
    """One pass in order; returns the summed loss of this rank's rows.

    Args:
        model: tables, dense part and their optimizers.
        rank: of the group that trains the model.
        rows: this rank's share of a day.
    """
    total_loss = 0.0
    for batch in batches(model.spec, rank, rows):
        looked_up = model.tables(keyed_rows(model.spec, batch.rows).to(rank.device))
        logits = model.dense(assemble(model.spec, batch.rows, looked_up))
        labels = torch.from_numpy(batch.rows.labels).to(rank.device)
        loss = binary_cross_entropy_with_logits(logits, labels, reduction="sum")
        model.optimizer.zero_grad(set_to_none=False)
        (loss * batch.scale).backward()
        average_gradients(model.dense.parameters(), rank)
        model.optimizer.step()
        total_loss += float(loss.detach()) if batch.scale else 0.0
    return total_loss


def average_gradients(parameters: Iterable[Tensor], rank: Rank) -> None:
    """The mean of the ranks' gradients, as one message."""
    if rank.group_size == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat, group=rank.group)
    flat /= rank.group_size
    start = 0
    for gradient in gradients:
        gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
        start += gradient.numel()


def nothing(spec: RankerSpec) -> DayRows:
    """One row of missing values, for a rank that has run out: its loss does not count."""
    empty = np.full((1, spec.history_length), -1, np.int32)
    return DayRows(
        rows=np.full((1, len(spec.features)), -1, np.int32),
        clicks=empty,
        skips=empty,
        labels=np.zeros((1, len(spec.labels)), np.float32),
        buckets=np.zeros(1, np.int32),
        impression_ids=np.empty(0, object),
        user_ids=np.empty(0, object),
        counts=np.zeros((1, len(count_columns(spec.counted))), np.int64),
        numbers=np.empty((1, 0), np.int64),
    )
