"""The state of M_t on disk: dense part, optimizers, table shards and counters as safetensors, hashed (architecture).

Each rank of a chain writes its own shard, so no rank holds a whole table that is sharded; a state can be read by
another number of ranks, which take the row ranges that are theirs. Manifests and hashes: see :mod:`state_files`.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterator, Mapping, Sequence
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
class TableRows:
    """Some rows of one table: first row, weights [rows, d] and Adagrad accumulator [rows], both live tensors."""

    first: int
    weights: Tensor
    momentum: Tensor

    @property
    def end(self) -> int:
        """One past the last row."""
        return self.first + len(self.weights)

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Everything that a state has of the rows."""
        yield "weights", self.weights
        yield "momentum", self.momentum


@dataclass
class TableShard(TableRows):
    """This rank's rows of one table with their counters."""

    counters: Counters = field(init=False)

    def __post_init__(self) -> None:
        rows = len(self.weights)
        self.counters = Counters(*[torch.zeros(rows, dtype=torch.int64) for _ in range(3)])

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Everything that is saved of the shard."""
        yield from super().tensors()
        yield "updates", self.counters.updates
        yield "touches", self.counters.touches
        yield "last_day", self.counters.last_day


def local_rows(tables: nn.Module) -> dict[str, TableRows]:
    """This rank's live rows of sharded tables, by table name."""
    optimizer = tables.fused_optimizer.state_dict()["state"]  # type: ignore[operator, union-attr]
    rows: dict[str, TableRows] = {}
    for key, sharded in tables.module.collection.state_dict().items():  # type: ignore[union-attr]
        name = key.split(".")[1]
        (local,) = sharded.local_shards()
        (momentum,) = optimizer[f"collection.{key}"][f"{name}.momentum1"].local_shards()
        rows[name] = TableRows(local.metadata.shard_offsets[0], local.tensor, momentum.tensor)
    return rows


def table_shards(tables: nn.Module) -> dict[str, TableShard]:
    """The same with counters at zero."""
    return {name: TableShard(rows.first, rows.weights, rows.momentum) for name, rows in local_rows(tables).items()}


def start_cold(spec: RankerSpec, seed: int, shards: Mapping[str, TableRows]) -> None:
    """Puts every row into its cold state."""
    for table in spec.tables:
        _cold_range(spec, seed, table.name, [shards[table.name]], 0)


def _cold_range(spec: RankerSpec, seed: int, name: str, copies: Sequence[TableRows], known_rows: int) -> None:
    """Cold state of the local rows from ``known_rows`` on, in every copy of the table."""
    copies = [rows for rows in copies if rows.end > max(rows.first, known_rows)]
    if not copies:
        return
    table = next(table for table in spec.tables if table.name == name)
    low = max(known_rows, min(rows.first for rows in copies))
    cold = torch.from_numpy(cold_weights(spec, seed, name, low, max(rows.end for rows in copies)))
    for rows in copies:
        first = max(rows.first, known_rows)
        for key, live in rows.tensors():
            with torch.no_grad():
                if key == "weights":
                    live[first - rows.first :] = cold[first - low : rows.end - low]
                else:
                    live[first - rows.first :] = table.initial_accumulator if key == "momentum" else 0


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
    copies: Sequence[Mapping[str, TableRows]],
    dense: nn.Module,
    optimizer: torch.optim.Optimizer | None,
) -> None:
    """Reads a state into live tensors; rows that the vocabulary has gained since then are cold.

    Args:
        state: where it lies.
        spec: the ranker.
        seed: of cold rows.
        copies: this rank's rows of the tables, by name; several times where arms have tables of their own.
        dense: the dense part.
        optimizer: of the dense part, where its state is wanted.

    Raises:
        StaleError: it is the state of another training, or a file is not there or has another hash than its manifest.
    """
    files = verified_files(state)
    known: dict[str, int] = dict.fromkeys(copies[0], 0)
    for file in files:
        with safe_open(str(file), framework="pt") as opened:
            keys = set(opened.keys())
            for name in known:
                first = int(opened.get_tensor(f"table.{name}.first"))
                end = first + opened.get_slice(f"table.{name}.weights").get_shape()[0]
                known[name] = max(known[name], end)
                _load_rows(opened, name, first, end, [tables[name] for tables in copies])
            if any(key.startswith("dense.") for key in keys):
                _load_dense(opened, keys, dense, optimizer)
    for name in known:
        _cold_range(spec, seed, name, [tables[name] for tables in copies], known[name])


def _load_rows(opened: safe_open, name: str, first: int, end: int, copies: Sequence[TableRows]) -> None:
    """Rows ``first`` to ``end`` of a table, which a file holds, read once for all copies."""
    copies = [rows for rows in copies if max(first, rows.first) < min(end, rows.end)]
    if not copies:
        return
    low, high = max(first, min(rows.first for rows in copies)), min(end, max(rows.end for rows in copies))
    for key, _ in copies[0].tensors():
        part = opened.get_slice(f"table.{name}.{key}")[low - first : high - first]
        for rows in copies:
            start, stop = max(first, rows.first), min(end, rows.end)
            with torch.no_grad():
                dict(rows.tensors())[key][start - rows.first : stop - rows.first] = part[start - low : stop - low]


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
