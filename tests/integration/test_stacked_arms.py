"""Arms that are trained together, against one arm by itself, written out in plain PyTorch, and against other stacks.

The vocabulary of items has grown since the state that the arms start from.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from lis_spark.ranker.cold_rows import cold_rows
from lis_spark.ranker.counts import count_columns, scaled_counts
from lis_spark.ranker.network import Inputs, dense_part
from lis_spark.ranker.plans import (
    AppendArmSpec,
    AppendEvaluationSpec,
    AppendPlan,
    DaySpec,
    PortSpec,
    RankerSpec,
    StateSpec,
    state_folder,
)
from lis_spark.ranker.port import new_port
from tests.ranker_worlds import (
    GROUP_SIZES,
    INITIAL_SCALE,
    ITEMS,
    TABLE_RATE,
    WIDTH,
    Arrays,
    World,
    count,
    day,
    make_chain,
    make_launch,
    make_train_plan,
    make_world,
    run_ranks,
    write_day,
    write_plan,
)

T, WINDOW, SEED, COLUMNS, GAINED = 3, 2, 7, 4, 5
VECTORS = {"planted": 3, "noise": 3, "wide": 5}
PORTS: dict[str, PortSpec | None] = {
    "bare": None,
    "planted": PortSpec(column="leaked_vector_planted", widths=(3,)),
    "noise": PortSpec(column="leaked_vector_noise", widths=(3,)),
    "wide, in parts": PortSpec(column="leaked_vector_wide", widths=(2, 3)),
    "stronger": PortSpec(column="leaked_vector_planted", widths=(3,), hidden=6),
    "nothing": PortSpec(column="leaked_vector_nothing", widths=(3,)),
}
# Which arms stand beside each other, in which order; an empty memory trains them one at a time.
COMPANY: dict[str, tuple[tuple[str, ...], int]] = {
    "all": (tuple(PORTS), 64),
    "one at a time": (tuple(PORTS), 0),
    "some": (("stronger", "planted", "bare"), 64),
    "backwards": (tuple(reversed(PORTS)), 64),
}


@dataclass
class Stacked:
    """The ranker that the arms train, its rows and vectors, the state that they start from, and logits of each run."""

    ranker: RankerSpec
    rows: dict[int, Arrays]
    vectors: dict[int, dict[str, np.ndarray]]
    state: Path
    logits: dict[str, dict[str, np.ndarray]]


def grown(world: World, architecture: str) -> RankerSpec:
    """The ranker with GAINED items more than its chain was trained with."""
    tables = []
    for table in world.ranker.tables:
        if table.name == "item":
            file = world.folder / "hashes-of-more-items.npy"
            np.save(file, np.r_[np.load(table.key_hashes), np.arange(GAINED) + 10**12])
            table = table.model_copy(update={"key_hashes": str(file), "rows": ITEMS + GAINED})
        tables.append(table)
    return world.ranker.model_copy(update={"architecture": architecture, "tables": tuple(tables)})


def with_vectors(rows: Arrays, number: int) -> tuple[Arrays, dict[str, np.ndarray]]:
    """Rows with items that the vocabulary has gained, the last of them only on T; and vectors, some rows without."""
    generator = np.random.default_rng(number)
    size = len(rows["user_id"])
    items = rows["row_item"].copy()
    items[::11] = ITEMS + np.arange(len(items[::11])) % (GAINED if number == T else GAINED - 1)
    vectors = {name: generator.normal(size=(size, width)).astype(np.float32) for name, width in VECTORS.items()}
    vectors["planted"][:, 0] += 2 * rows["label_click"] - 1
    columns: Arrays = {"leaked_vector_nothing": np.full(size, None, object)}
    for name, values in vectors.items():
        packed = np.empty(size, object)
        packed[:] = [vector.tobytes() for vector in values]
        packed[::7] = None
        columns[f"leaked_vector_{name}"] = packed
    return rows | {"row_item": items} | columns, vectors


@pytest.fixture(scope="module", params=["history_dcn", "fm"])
def stacked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Stacked:
    folder = tmp_path_factory.mktemp("stacked")
    plain = count(make_world(folder / "plain", T + 1))
    world = World(plain.folder, plain.ranker.model_copy(update={"architecture": request.param}), plain.rows, plain.days)
    train = write_plan(folder / "train.json", make_train_plan(world, folder / "states", [make_chain("base", 0, T)]))
    rows: dict[int, Arrays] = {}
    vectors: dict[int, dict[str, np.ndarray]] = {}
    days: dict[int, DaySpec] = {}
    for number in range(T - WINDOW, T + 1):
        rows[number], vectors[number] = with_vectors(world.rows[day(number)], number)
        days[number] = write_day(folder / "ported", day(number), rows[number], GROUP_SIZES)
    state = state_folder(str(folder / "states"), "base", day(T - WINDOW))
    ranker, commands = grown(world, request.param), [f"train:{train}"]
    for run, (arms, megabytes) in COMPANY.items():
        evaluation = AppendEvaluationSpec(
            date=day(T),
            seed=SEED,
            state=StateSpec(folder=str(state), fingerprint=f"base-{T - WINDOW}-first"),
            days=tuple(days[number] for number in range(T - WINDOW, T)),
            day=days[T],
            arms=tuple(AppendArmSpec(names=(arm,), port=PORTS[arm]) for arm in arms),
        )
        plan = AppendPlan(
            output_folder=str(folder / run),
            ranker=ranker,
            launch=make_launch().model_copy(update={"arm_megabytes": megabytes}),
            label="click",
            port_columns=COLUMNS,
            evaluations=(evaluation,),
        )
        commands.append(f"append:{write_plan(folder / f'{run}.json', plan)}")
    run_ranks(commands)
    logits = {run: scored(folder / run, rows[T]["impression_id"]) for run in COMPANY}
    return Stacked(ranker, rows, vectors, state, logits)


def scored(folder: Path, ids: np.ndarray) -> dict[str, np.ndarray]:
    """Arm -> logits in the order of the rows."""
    files = sorted((folder / str(SEED) / str(day(T))).glob("*.parquet"))
    table = pa.concat_tables([pq.read_table(file) for file in files]).to_pandas()
    assert len(table) == len(ids) * table["arm"].nunique()
    return {
        str(arm): rows.set_index("impression_id").loc[ids, "logit"].to_numpy() for arm, rows in table.groupby("arm")
    }


# -- one arm by itself -----------------------------------------------------------------------------------------------


class Alone:
    """The ranker of one arm on plain tensors: indexed tables, Adam, and row-wise Adagrad by its formula."""

    def __init__(self, stacked: Stacked, port: PortSpec | None) -> None:
        self.spec = stacked.ranker
        saved = load_file(next(stacked.state.glob("state-*.safetensors")))
        self.tables: dict[str, Tensor] = {}
        self.momentum: dict[str, Tensor] = {}
        for table in self.spec.tables:
            values, momentum = saved[f"table.{table.name}.weights"], saved[f"table.{table.name}.momentum"]
            hashes = np.load(table.key_hashes)[len(values) - 1 :]
            cold = torch.from_numpy(cold_rows(SEED, table.name, hashes, WIDTH, INITIAL_SCALE))
            self.tables[table.name] = torch.cat([values, cold])
            self.momentum[table.name] = torch.cat([momentum, torch.zeros(len(cold))])
        assert len(self.tables["item"]) == ITEMS + GAINED + 1
        self.dense = dense_part(self.spec, 0)
        self.dense.load_state_dict({key[6:]: value for key, value in saved.items() if key.startswith("dense.")})
        self.port = None if port is None else new_port(self.spec, port, COLUMNS, SEED)
        self.optimizers = [torch.optim.Adam(self.dense.parameters(), lr=self.spec.dense_learning_rate, foreach=False)]
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in saved.items():
            if key.startswith("optimizer."):
                state.setdefault(int(key.split(".")[1]), {})[key.split(".")[2]] = value
        groups = self.optimizers[0].state_dict()["param_groups"]
        self.optimizers[0].load_state_dict({"state": state, "param_groups": groups})
        if self.port is not None:
            parameters = self.port.parameters()
            self.optimizers.append(torch.optim.Adam(parameters, lr=self.spec.dense_learning_rate, foreach=False))

    def logits(self, rows: Arrays, vectors: tuple[Tensor, Tensor], chosen: slice) -> tuple[Tensor, dict[str, Tensor]]:
        """Of some rows, and the tables as the leaves that they were looked up in."""
        leaves = {name: table.clone().requires_grad_() for name, table in self.tables.items()}
        features = [
            leaves[f.table][torch.from_numpy(rows[f.column][chosen].astype(np.int64) + 1)] for f in self.spec.features
        ]
        places = [torch.from_numpy(rows[f"history_{name}"][chosen].astype(np.int64)) for name in ("clicks", "skips")]
        histories = [leaves["item"][place + 1] for place in places]
        masks = [place >= 0 for place in places]
        inputs = Inputs(
            torch.stack(features, dim=1),
            *histories,
            *masks,
            self._numbers(rows, chosen),
            *[part[chosen] for part in vectors],
        )
        return self.dense(inputs, self.port), leaves

    def _numbers(self, rows: Arrays, chosen: slice) -> Tensor:
        assert self.spec.counts is not None
        columns = [rows[name][chosen] for name in count_columns(self.spec.counted)]
        return torch.from_numpy(scaled_counts(np.stack(columns, axis=1), self.spec.counts.prior))

    def train(self, rows: Arrays, vectors: tuple[Tensor, Tensor]) -> None:
        """One pass of a day."""
        labels = torch.from_numpy(np.stack([rows["label_click"], rows["label_like"]], axis=1).astype(np.float32))
        starts = [*range(0, len(labels), self.spec.batch_size), len(labels)]
        for start, end in pairwise(starts):
            for optimizer in self.optimizers:
                optimizer.zero_grad()
            logits, leaves = self.logits(rows, vectors, slice(start, end))
            loss = binary_cross_entropy_with_logits(logits, labels[start:end], reduction="sum") / (end - start)
            loss.backward()
            for optimizer in self.optimizers:
                optimizer.step()
            for name, leaf in leaves.items():
                assert leaf.grad is not None
                self.momentum[name] += leaf.grad.square().mean(1)
                self.tables[name] -= TABLE_RATE * leaf.grad / (self.momentum[name].sqrt() + 1e-8).unsqueeze(1)


def of_port(stacked: Stacked, number: int, arm: str) -> tuple[Tensor, Tensor]:
    """Vectors and mask of the rows of a day, zeros where there is none."""
    size = len(stacked.rows[number]["user_id"])
    port = PORTS[arm]
    if port is None:
        return torch.zeros(size, 0), torch.zeros(size)
    there = np.arange(size) % 7 > 0 if arm != "nothing" else np.zeros(size, bool)
    name = port.column.removeprefix("leaked_vector_")
    vectors = stacked.vectors[number].get(name, np.zeros((size, port.width), np.float32))
    return torch.from_numpy(vectors * there[:, None].astype(np.float32)), torch.from_numpy(there.astype(np.float32))


def bits(logits: np.ndarray) -> np.ndarray:
    return logits.astype(np.float32).view(np.int32)


@pytest.mark.parametrize("arm", ["bare", "planted", "wide, in parts", "stronger"])
def test_an_arm_of_a_stack_is_the_arm_by_itself(stacked: Stacked, arm: str) -> None:
    """Keys that the vocabulary has gained, and one that no arm has seen before T, among them."""
    alone = Alone(stacked, PORTS[arm])
    before = alone.logits(stacked.rows[T], of_port(stacked, T, arm), slice(None))[0][:, 0].detach().numpy()
    for number in range(T - WINDOW, T):
        alone.train(stacked.rows[number], of_port(stacked, number, arm))
    with torch.no_grad():
        expected = alone.logits(stacked.rows[T], of_port(stacked, T, arm), slice(None))[0][:, 0].numpy()
    found = stacked.logits["all"][arm]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert np.abs(expected - before).max() > 0.1, "it has learned something"
    unseen = stacked.rows[T]["row_item"] == ITEMS + GAINED - 1
    assert unseen.sum() > 10
    cold = cold_rows(SEED, "item", np.array([GAINED - 1 + 10**12]), WIDTH, INITIAL_SCALE)
    assert np.array_equal(alone.tables["item"][-1:].numpy(), cold)


@pytest.mark.parametrize("run", [run for run in COMPANY if run != "all"])
def test_an_arm_has_the_same_bits_in_any_company(stacked: Stacked, run: str) -> None:
    arms, _ = COMPANY[run]
    for arm in arms:
        assert (bits(stacked.logits[run][arm]) == bits(stacked.logits["all"][arm])).all(), arm


def test_arms_differ_in_what_they_read_and_in_nothing_else(stacked: Stacked) -> None:
    logits = stacked.logits["all"]
    assert (bits(logits["nothing"]) == bits(logits["bare"])).all()
    reading = [arm for arm in PORTS if arm not in ("bare", "nothing")]
    for arm, other in pairwise(["bare", *reading]):
        assert np.abs(logits[arm] - logits[other]).max() > 0.01, (arm, other)
