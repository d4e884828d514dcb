"""States read into several copies of the tables: each is the saved one, and cold where the vocabulary has grown."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from lis_spark.ranker.cold_rows import cold_rows
from lis_spark.ranker.model_state import Counters, TableRows, TableShard, load_state
from lis_spark.ranker.network import dense_part
from lis_spark.ranker.plans import RankerSpec, StateSpec
from tests.ranker_worlds import INITIAL_SCALE, ITEMS, WIDTH, make_ranker, sha256_of

SEED, GAINED = 9, 7
# Where the shards of the two ranks that wrote begin, of ITEMS keys and the row of missing values.
BOUNDS = (0, 60, ITEMS + 1)


@pytest.fixture
def saved(tmp_path: Path) -> tuple[RankerSpec, StateSpec, dict[str, np.ndarray]]:
    """A state that two ranks wrote, of the item table alone, and its arrays; the vocabulary has GAINED keys more."""
    spec = make_ranker(tmp_path)
    (item,) = [table for table in spec.tables if table.name == "item"]
    hashes = np.load(item.key_hashes)
    np.save(item.key_hashes, np.r_[hashes, np.arange(GAINED)])
    spec = spec.model_copy(update={"tables": (item.model_copy(update={"rows": ITEMS + GAINED}),)})
    generator = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {
        "weights": generator.normal(size=(ITEMS + 1, WIDTH)).astype(np.float32),
        "momentum": generator.random(ITEMS + 1).astype(np.float32),
        **{name: generator.integers(0, 9, ITEMS + 1) for name in ("updates", "touches", "last_day")},
    }
    folder = tmp_path / "state"
    folder.mkdir()
    dense = {f"dense.{name}": value.numpy() for name, value in dense_part(spec, 3).state_dict().items()}
    for place, (first, end) in enumerate(pairwise(BOUNDS)):
        tensors = {f"table.item.{name}": values[first:end] for name, values in arrays.items()}
        tensors["table.item.first"] = np.array([first])
        save_file(tensors | (dense if place == 0 else {}), folder / f"state-{place}.safetensors")
    files = [{"name": f"state-{place}.safetensors", "sha256": sha} for place, sha in enumerate(sha256_of(folder))]
    (folder / "manifest.json").write_text(json.dumps({"fingerprint": "one", "files": files}), encoding="utf-8")
    return spec, StateSpec(folder=str(folder), fingerprint="one"), arrays


def garbage(first: int, end: int) -> tuple[int, torch.Tensor, torch.Tensor]:
    return first, torch.full((end - first, WIDTH), 7.0), torch.full((end - first,), 7.0)


def expected_of(spec: RankerSpec, arrays: dict[str, np.ndarray], first: int, end: int) -> tuple[np.ndarray, np.ndarray]:
    hashes = np.load(spec.tables[0].key_hashes)[ITEMS:]
    cold = cold_rows(SEED, "item", hashes, WIDTH, INITIAL_SCALE)
    weights = np.concatenate([arrays["weights"], cold])
    return weights[first:end], np.r_[arrays["momentum"], np.zeros(GAINED, np.float32)][first:end]


@pytest.mark.parametrize(
    "bounds", [(0, ITEMS + 1 + GAINED), (50, 90), (70, ITEMS + 4), (ITEMS + 3, ITEMS + 5), (20, 20)]
)
@pytest.mark.parametrize("copies", [1, 3])
def test_every_copy_is_the_saved_table(
    saved: tuple[RankerSpec, StateSpec, dict[str, np.ndarray]], bounds: tuple[int, int], copies: int
) -> None:
    spec, state, arrays = saved
    tables = [{"item": TableRows(*garbage(*bounds))} for _ in range(copies)]
    dense = dense_part(spec, 4)
    load_state(state, spec, SEED, tables, dense, None)
    weights, momentum = expected_of(spec, arrays, *bounds)
    for copy in tables:
        assert np.array_equal(copy["item"].weights.numpy(), weights)
        assert np.array_equal(copy["item"].momentum.numpy(), momentum)
    assert all(torch.equal(value, dense_part(spec, 3).state_dict()[name]) for name, value in dense.state_dict().items())


def test_counters_are_read_and_gained_keys_have_none(
    saved: tuple[RankerSpec, StateSpec, dict[str, np.ndarray]],
) -> None:
    spec, state, arrays = saved
    shard = TableShard(*garbage(40, ITEMS + 1 + GAINED))
    shard.counters = Counters(*[torch.full((len(shard.weights),), 5) for _ in range(3)])
    load_state(state, spec, SEED, [{"item": shard}], dense_part(spec, 4), None)
    for name in ("updates", "touches", "last_day"):
        assert getattr(shard.counters, name).tolist() == [*arrays[name][40:], *[0] * GAINED]
    assert np.array_equal(shard.weights.numpy(), expected_of(spec, arrays, 40, ITEMS + 1 + GAINED)[0])
