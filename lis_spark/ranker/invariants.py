"""Invariants of method 1.1 that each rank asserts of its rows while it trains."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from lis_spark.errors import StepFailed
from lis_spark.ranker.cold_rows import cold_rows
from lis_spark.ranker.model_state import TableShard
from lis_spark.ranker.network import SHIFT
from lis_spark.ranker.plans import RankerSpec

# Rows whose cold vectors are made at once: of 64 numbers, half a gigabyte while they are drawn.
ROWS_AT_ONCE = 2**20


def check_untouched(
    before: Mapping[str, tuple[Tensor, Tensor]],
    shards: Mapping[str, TableShard],
    touched: Mapping[str, Tensor],
    place: Mapping[str, str],
) -> int:
    """Invariant 1: a row that no gradient of the day reached has kept its bits; returns how many were looked at.

    Args:
        before: table -> weights [rows, d] and momentum [rows] before the day.
        shards: the same tables after it.
        touched: table -> [rows] how often each row was looked up.
        place: chain and date, for the error.

    Raises:
        StepFailed: a row moved.
    """
    checked = 0
    for name, shard in shards.items():
        still = _without_the_empty_row(touched[name] == 0, shard).to(shard.weights.device)
        weights, momentum = before[name]
        moved = (weights != shard.weights).any(dim=1) | (momentum != shard.momentum)
        wrong = torch.nonzero(moved & still).flatten()
        if len(wrong):
            raise StepFailed(
                f"{len(wrong)} rows changed although no gradient reached them",
                table=f"embedding table {name}",
                partition=place,
                found=f"for instance row {int(wrong[0]) + shard.first - SHIFT}",
                expected="bit-identical rows (a sparse or row-wise optimizer without weight decay)",
                remedy="run the step again; if it comes back, the training is not to be trusted: report it",
            )
        checked += int(still.sum())
    return checked


def check_cold(spec: RankerSpec, seed: int, shards: Mapping[str, TableShard], place: Mapping[str, str]) -> int:
    """Invariant 2: a row that was never looked up is the function of (seed, table, key); returns how many there are.

    So an item that neither arm has seen has the same vector in both, whatever day and chain they are of.

    Args:
        spec: where the hashes of the keys lie.
        seed: of the chain.
        shards: the tables.
        place: chain and date, for the error.

    Raises:
        StepFailed: a row is not cold.
    """
    checked = 0
    for table in spec.tables:
        shard = shards[table.name]
        never = torch.nonzero(_without_the_empty_row(shard.counters.touches == 0, shard)).flatten().numpy()
        hashes = np.load(table.key_hashes, mmap_mode="r")
        for start in range(0, len(never), ROWS_AT_ONCE):
            local = never[start : start + ROWS_AT_ONCE]
            rows = local + shard.first - SHIFT
            cold = cold_rows(seed, table.name, np.asarray(hashes[rows]), spec.dimension, table.initial_scale)
            found = shard.weights[torch.from_numpy(local)].cpu().numpy()
            wrong = np.flatnonzero((found.view(np.uint32) != cold.view(np.uint32)).any(axis=1))
            if len(wrong):
                raise StepFailed(
                    f"{len(wrong)} rows that were never looked up are not cold",
                    table=f"embedding table {table.name}",
                    partition=place,
                    found=f"for instance row {rows[wrong[0]]}",
                    expected="the vector that its key has before any training",
                    remedy="train with --force; if it comes back, the training is not to be trusted: report it",
                )
        checked += len(never)
    return checked


def _without_the_empty_row(chosen: Tensor, shard: TableShard) -> Tensor:
    """The row of empty places gets gradients of exactly 0, and is no item's."""
    chosen[: max(SHIFT - shard.first, 0)] = False
    return chosen
