"""The state of M_t on disk: dense part, optimizers, table shards and counters as safetensors, hashed (architecture).

Each rank of a chain writes its own shard, so no rank holds a whole table that is sharded; a state can be read by
another number of ranks, which take the row ranges that are theirs. Manifests and hashes: see :mod:`state_files`.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from lis_spark.ranker.cold_rows import cold_rows
from lis_spark.ranker.network import SHIFT
from lis_spark.ranker.plans import RankerSpec, StateSpec
from lis_spark.ranker.state_files import verified_files


@dataclass
class Counters:
    """Of one table's local rows: examples with the key as target, lookups that sent a gradient, last day (ordinal)."""

    updates: Tensor
    touches: Tensor
    last_day: Tensor


@dataclass
class TableShard:
    """This rank's rows of one table: first row, weights [rows, d] and Adagrad accumulator [rows], both live tensors."""

    first: int
    weights: Tensor
    momentum: Tensor
    counters: Counters = field(init=False)

    def __post_init__(self) -> None:
        rows = len(self.weights)
        self.counters = Counters(*[torch.zeros(rows, dtype=torch.int64) for _ in range(3)])

    @property
    def end(self) -> int:
        """One past the last row."""
        return self.first + len(self.weights)

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Everything that is saved of the shard."""
        yield "weights", self.weights
        yield "momentum", self.momentum
        yield "updates", self.counters.updates
        yield "touches", self.counters.touches
        yield "last_day", self.counters.last_day


def table_shards(tables: nn.Module) -> dict[str, TableShard]:
    """The live local shards of sharded tables, by table name."""
    optimizer = tables.fused_optimizer.state_dict()["state"]  # type: ignore[operator, union-attr]
    shards: dict[str, TableShard] = {}
    for key, sharded in tables.module.collection.state_dict().items():  # type: ignore[union-attr]
        name = key.split(".")[1]
        (local,) = sharded.local_shards()
        (momentum,) = optimizer[f"collection.{key}"][f"{name}.momentum1"].local_shards()
        shards[name] = TableShard(local.metadata.shard_offsets[0], local.tensor, momentum.tensor)
    return shards


def start_cold(spec: RankerSpec, seed: int, shards: dict[str, TableShard]) -> None:
    """Puts every row into its cold state."""
    for table in spec.tables:
        _cold_range(spec, seed, table.name, shards[table.name], 0)


def _cold_range(spec: RankerSpec, seed: int, name: str, shard: TableShard, known_rows: int) -> None:
    """Cold state of the local rows from ``known_rows`` on."""
    first = max(shard.first, known_rows)
    if first >= shard.end:
        return
    table = next(table for table in spec.tables if table.name == name)
    local = slice(first - shard.first, None)
    with torch.no_grad():
        shard.weights[local] = torch.from_numpy(cold_weights(spec, seed, name, first, shard.end))
        shard.momentum[local] = table.initial_accumulator
    for counter in vars(shard.counters).values():
        counter[local] = 0


def cold_weights(spec: RankerSpec, seed: int, name: str, first: int, end: int) -> np.ndarray:
    """float32 [end - first, d]: rows ``first`` .. ``end - 1`` of a table before any training."""
    table = next(table for table in spec.tables if table.name == name)
    hashes = np.load(table.key_hashes, mmap_mode="r")
    keys = hashes[max(first - SHIFT, 0) : end - SHIFT]
    vectors = cold_rows(seed, name, np.asarray(keys), spec.dimension, table.initial_scale)
    if first < SHIFT:  # the row of missing values starts at zero
        vectors = np.concatenate([np.zeros((SHIFT - first, spec.dimension), np.float32), vectors])
    return vectors


def save_state(
    folder: Path,
    rank: int,
    ranks: int,
    shards: dict[str, TableShard],
    dense: nn.Module,
    optimizer: torch.optim.Optimizer,
) -> dict[str, str]:
    """Writes this rank's file into ``folder`` and returns its name and SHA-256."""
    tensors = {
        f"table.{name}.{key}": value.contiguous() for name, shard in shards.items() for key, value in shard.tensors()
    }
    for name, shard in shards.items():
        tensors[f"table.{name}.first"] = torch.tensor([shard.first])
    if rank == 0:
        tensors |= {f"dense.{name}": value.contiguous() for name, value in dense.state_dict().items()}
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{key}": torch.as_tensor(value) for key, value in state.items()}
    file = folder / f"state-{rank:05d}-of-{ranks:05d}.safetensors"
    save_file(tensors, file)
    return {"name": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}


def load_state(
    state: StateSpec,
    spec: RankerSpec,
    seed: int,
    shards: dict[str, TableShard],
    dense: nn.Module,
    optimizer: torch.optim.Optimizer | None,
) -> None:
    """Reads a state into live tensors; rows that the vocabulary has gained since then are cold.

    Raises:
        StaleError: it is the state of another training, or a file is not there or has another hash than its manifest.
    """
    files = verified_files(state)
    known: dict[str, int] = dict.fromkeys(shards, 0)
    for file in files:
        with safe_open(str(file), framework="pt") as opened:
            keys = set(opened.keys())
            for name, shard in shards.items():
                first = int(opened.get_tensor(f"table.{name}.first"))
                count = opened.get_slice(f"table.{name}.weights").get_shape()[0]
                known[name] = max(known[name], first + count)
                low, high = max(first, shard.first), min(first + count, shard.end)
                if low >= high:
                    continue
                for key, live in shard.tensors():
                    part = opened.get_slice(f"table.{name}.{key}")[low - first : high - first]
                    with torch.no_grad():
                        live[low - shard.first : high - shard.first] = part
            if any(key.startswith("dense.") for key in keys):
                _load_dense(opened, keys, dense, optimizer)
    for name, shard in shards.items():
        _cold_range(spec, seed, name, shard, known[name])


def _load_dense(opened: safe_open, keys: set[str], dense: nn.Module, optimizer: torch.optim.Optimizer | None) -> None:
    dense.load_state_dict({key[6:]: opened.get_tensor(key) for key in keys if key.startswith("dense.")})
    if optimizer is None:
        return
    state: dict[int, dict[str, Tensor]] = {}
    for key in keys:
        if key.startswith("optimizer."):
            _, index, name = key.split(".")
            state.setdefault(int(index), {})[name] = opened.get_tensor(key)
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def ordinal(date: dt.date) -> int:
    """A date as the counters hold it."""
    return date.toordinal()
