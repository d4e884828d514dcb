"""Worlds whose truth is planted, and what retrained arms of the ranker make of leaks in them, in one process.

Users click by an intercept of their own, the item's popularity and their taste; a leak knows one of these, all of them,
or nothing. Arms are trained by the ranker's own code (:mod:`lis_spark.ranker.append_training`) as protocol ``append``
trains them: each leak against its own vectors in the wrong order, under several training seeds.
"""

from __future__ import annotations

import datetime as dt
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from lis_spark.ranker.append_training import append_rank
from lis_spark.ranker.chain_training import train_rank
from lis_spark.ranker.plans import (
    AppendArmSpec,
    AppendEvaluationSpec,
    AppendPlan,
    ChainSpec,
    DaySpec,
    FeatureSpec,
    LaunchSpec,
    PortSpec,
    RankerSpec,
    StateSpec,
    TableSpec,
    TrainPlan,
    TrainTask,
    state_folder,
)
from lis_spark.vectors import pack

Numbers = npt.NDArray[np.float64]
FIRST_DAY = dt.date(2026, 1, 1)
DIMENSION, LATENTS = 8, 4
# Of users: what any number of folds that divides it is made of.
BUCKETS = 100
# Which vectors a leak has: one an item, one a user, or one an impression.
OWNERS = ("item", "user", "impression")


@dataclass(frozen=True)
class Sizes:
    """How large a world is: ``days`` of training, then T; ``window`` days before T the arms begin."""

    users: int = 400
    items_a_day: int = 12
    life_days: int = 8
    impressions_a_day: int = 6_000
    impressions_of_t: int = 40_000
    days: int = 10
    window: int = 6


@dataclass(frozen=True)
class Leak:
    """Vectors [keys, width] by owner; rows of NaN are absent."""

    name: str
    owner: str
    vectors: npt.NDArray[np.float32]


@dataclass(frozen=True)
class World:
    """One drawn world: its truth, and each day's rows (users, items, labels, logits of the truth)."""

    sizes: Sizes
    user_intercept: Numbers
    popularity: Numbers
    taste: Numbers
    trait: Numbers
    days: tuple[dict[str, np.ndarray], ...]

    @property
    def last(self) -> dict[str, np.ndarray]:
        """The rows of T."""
        return self.days[-1]


def draw_world(seed: int, sizes: Sizes, intercept: float = 0.7, popularity: float = 0.8, taste: float = 1.0) -> World:
    """A world; the numbers are standard deviations of the three parts of the logit."""
    random = np.random.default_rng(seed)
    items = sizes.items_a_day * (sizes.days + sizes.life_days)
    born = np.repeat(np.arange(-sizes.life_days + 1, sizes.days + 1), sizes.items_a_day)
    truth = (
        intercept * random.standard_normal(sizes.users),
        popularity * random.standard_normal(items),
        random.standard_normal((sizes.users, LATENTS)),
        random.standard_normal((items, LATENTS)) * taste / np.sqrt(LATENTS),
    )
    shown = random.lognormal(0.0, 0.7, items)
    days = []
    for day in range(sizes.days + 1):
        count = sizes.impressions_of_t if day == sizes.days else sizes.impressions_a_day
        alive = np.flatnonzero((born <= day) & (born > day - sizes.life_days))
        user = random.integers(0, sizes.users, count)
        item = random.choice(alive, count, p=shown[alive] / shown[alive].sum())
        logit = -1.0 + truth[0][user] + truth[1][item] + (truth[2][user] * truth[3][item]).sum(1)
        label = (random.random(count) < 1.0 / (1.0 + np.exp(-logit))).astype(np.int8)
        days.append({"user": user, "item": item, "label": label, "logit": logit})
    return World(sizes, *truth, tuple(days))


def planted_leaks(world: World) -> list[Leak]:
    """What only tells users apart, what orders items, the truth itself, and noise."""
    logits = np.concatenate([day["logit"] for day in world.days])
    random = np.random.default_rng([len(logits), int(1e6 * abs(logits[0]))])
    noise = random.standard_normal((len(world.popularity), DIMENSION))
    return [
        Leak("user_intercept", "user", _constant_beside(world.user_intercept)),
        Leak("item_popularity", "item", _constant_beside(world.popularity)),
        Leak("p_star", "impression", _constant_beside(logits)),
        Leak("noise", "item", noise.astype(np.float32)),
    ]


def _constant_beside(values: Numbers) -> npt.NDArray[np.float32]:
    """[keys, 3]: a port normalises each vector, so a number is told by its place between constants."""
    ends = np.full(len(values), 2.0 * np.abs(values).max())
    return np.stack([values, ends, -ends], axis=1).astype(np.float32)


class Trainings:
    """A world on disk, its base chain under each training seed, and arms from there."""

    def __init__(self, world: World, folder: Path, seeds: Sequence[int]) -> None:
        self.world, self.folder, self.seeds = world, folder, tuple(seeds)
        be_alone()
        self.launch = LaunchSpec(ranks_per_chain=1, threads_per_process=1, cache_megabytes=256, use_gpu=False)
        self.ranker = ranker_of(world, folder)
        starts = np.cumsum([0, *(len(rows["user"]) for rows in world.days)])
        self.days = [write_day(folder, number, int(starts[number]), rows) for number, rows in enumerate(world.days)]
        self._train_bases()

    def scores(self, leaks: Sequence[Leak], orders: int = 1) -> dict[int, dict[str, npt.NDArray[np.float32]]]:
        """Training seed -> arm -> logits of T's rows.

        The arms are ``NAME`` for each leak and ``NAME wrong order K`` for each order of its vectors.
        """
        return {seed: self._arms(seed, leaks, orders) for seed in self.seeds}

    def _train_bases(self) -> None:
        start = self.world.sizes.days - self.world.sizes.window
        dates = [FIRST_DAY + dt.timedelta(days=number) for number in range(1, start + 1)]
        chains = tuple(
            ChainSpec(
                name=f"base-s{seed}",
                seed=seed,
                fork_date=FIRST_DAY,
                parent=None,
                folds=1,
                held_out_fold=-1,
                trained_folds=(),
                skip_days=(),
                permute_labels=False,
                fingerprints={date: "planted" for date in dates},
                keep_every_state=False,
                full_snapshots=(),
            )
            for seed in self.seeds
        )
        tasks = tuple(TrainTask(chain=chain.name, after=FIRST_DAY, through=dates[-1]) for chain in chains)
        plan = TrainPlan(
            work_folder=str(self.folder),
            ranker=self.ranker,
            launch=self.launch,
            days={spec.date: spec for spec in self.days},
            chains=chains,
            phases=(tasks,),
        )
        path = self.folder / "train.json"
        path.write_text(plan.model_dump_json(), encoding="utf-8")
        train_rank(str(path))

    def _arms(self, seed: int, leaks: Sequence[Leak], orders: int) -> dict[str, npt.NDArray[np.float32]]:
        arms, folder = [], self.folder / f"vectors-{seed}"
        for number, leak in enumerate(leaks):
            for order in range(orders + 1):
                name = leak.name if not order else f"{leak.name} wrong order {order}"
                vectors = (
                    leak.vectors
                    if not order
                    else in_wrong_order(leak.vectors, [seed, number, order], self._days_of(leak))
                )
                place = folder / f"{number}-{order}"
                _write_vectors(place, vectors)
                port = PortSpec(column=f"owner_{leak.owner}", table=str(place), widths=(vectors.shape[1],))
                arms.append(AppendArmSpec(names=(name,), port=port))
        sizes = self.world.sizes
        state = state_folder(
            str(self.folder), f"base-s{seed}", FIRST_DAY + dt.timedelta(days=sizes.days - sizes.window)
        )
        evaluation = AppendEvaluationSpec(
            date=self.days[-1].date,
            seed=seed,
            state=StateSpec(folder=str(state), fingerprint="planted"),
            days=tuple(self.days[-1 - sizes.window : -1]),
            day=self.days[-1],
            arms=tuple(arms),
        )
        output = self.folder / "logits"
        plan = AppendPlan(
            output_folder=str(output),
            ranker=self.ranker,
            launch=self.launch,
            label="click",
            port_columns=DIMENSION,
            evaluations=(evaluation,),
        )
        path = self.folder / f"append-{seed}.json"
        path.write_text(plan.model_dump_json(), encoding="utf-8")
        append_rank(str(path))
        return read_logits(output / str(seed) / self.days[-1].date.isoformat(), sizes.impressions_of_t)

    def _days_of(self, leak: Leak) -> npt.NDArray[np.int64] | None:
        """Impressions change places within their day, keys with all others."""
        if leak.owner != "impression":
            return None
        return np.repeat(np.arange(len(self.world.days)), [len(day["user"]) for day in self.world.days])


def in_wrong_order(
    vectors: npt.NDArray[np.float32], seed: Sequence[int], groups: npt.NDArray[np.int64] | None = None
) -> npt.NDArray[np.float32]:
    """Each key with the vector of the next one in a drawn order, among those of its group that have one."""
    random, found = np.random.default_rng(seed), vectors.copy()
    present = ~np.isnan(vectors).any(axis=1)
    for group in np.unique(groups) if groups is not None else [None]:
        own = np.flatnonzero(present if group is None else present & (groups == group))
        order = random.permutation(own)
        found[order] = vectors[np.roll(order, -1)]
    return found


def be_alone() -> None:
    """The environment of a launch of one process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for name, value in {"RANK": 0, "WORLD_SIZE": 1, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}.items():
        os.environ.setdefault(name, str(value))


def ranker_of(world: World, folder: Path) -> RankerSpec:
    sizes = {"item": len(world.popularity), "user": len(world.user_intercept)}
    tables = []
    for number, (name, rows) in enumerate(sizes.items()):
        file = folder / f"hashes-{name}.npy"
        np.save(file, np.random.default_rng(number).integers(-(2**62), 2**62, rows))
        tables.append(
            TableSpec(
                name=name,
                rows=rows,
                key_hashes=str(file),
                learning_rate=0.08,
                initial_scale={"item": 0.01, "user": 0.3}[name],
                initial_accumulator=0.1 / 256**2,
            )
        )
    return RankerSpec(
        features=tuple(FeatureSpec(name=name, column=f"row_{name}", table=name) for name in ("user", "item")),
        tables=tuple(tables),
        labels=("click",),
        history_length=1,
        architecture="fm",
        dimension=DIMENSION,
        cross_layers=0,
        hidden=(8,),
        batch_size=256,
        steps_a_day=1,
        smallest_batch=1,
        dense_learning_rate=0.005,
        slot="item",
    )


def write_day(folder: Path, number: int, before: int, rows: Mapping[str, np.ndarray]) -> DaySpec:
    count = len(rows["user"])
    columns = {
        "impression_id": pa.array([f"{number}-{row}" for row in range(count)]),
        "user_id": pa.array([f"u{user}" for user in rows["user"]]),
        "user_bucket": pa.array((rows["user"] % BUCKETS).astype(np.int32)),
        "label_click": pa.array(rows["label"]),
        **{f"row_{name}": pa.array(rows[name].astype(np.int32)) for name in ("user", "item")},
        **{f"owner_{name}": pa.array(rows[name].astype(np.int64)) for name in ("user", "item")},
        "owner_impression": pa.array(before + np.arange(count)),
        **{name: pack(np.full((count, 1), -1, np.int32)) for name in ("history_clicks", "history_skips")},
    }
    date = FIRST_DAY + dt.timedelta(days=number)
    file = folder / f"{date}.parquet"
    pq.write_table(pa.table(columns), file, row_group_size=count)
    return DaySpec(date=date, files=(f"file://{file}",), rows=count, row_groups=1)


def _write_vectors(folder: Path, vectors: npt.NDArray[np.float32]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    present = np.flatnonzero(~np.isnan(vectors).any(axis=1))
    table = {"row": pa.array(present.astype(np.int64)), "vector": pack(vectors[present])}
    pq.write_table(pa.table(table), folder / "part-0.parquet")


def read_logits(folder: Path, rows: int, name_of: Callable[[str], str] = str) -> dict[str, npt.NDArray[np.float32]]:
    """Name -> the logits of all rows of T; arms of one name score the rows of T between them."""
    found = pa.concat_tables([pq.read_table(file) for file in sorted(folder.glob("*.parquet"))])
    place = np.array([int(name.rpartition("-")[2]) for name in found["impression_id"].to_pylist()])
    arms, logits = np.array([name_of(arm) for arm in found["arm"].to_pylist()]), found["logit"].to_numpy()
    scores: dict[str, npt.NDArray[np.float32]] = {}
    for arm in dict.fromkeys(arms.tolist()):
        own = arms == arm
        assert len(np.unique(place[own])) == own.sum() == rows, f"{arm} has not scored every row once"
        scores[arm] = np.empty(rows, np.float32)
        scores[arm][place[own]] = logits[own]
    return scores
