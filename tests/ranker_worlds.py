"""A small world of training rows with a signal that can be learned, plans for it, and NumPy versions of the ranker."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import multiprocessing
import os
import pkgutil
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.numpy import load_file

from lis_spark.ranker.launch import guarded
from lis_spark.ranker.plans import (
    AppendPlan,
    ArmSpec,
    ChainSpec,
    CountSpec,
    DaySpec,
    FeatureSpec,
    LaunchSpec,
    RankerSpec,
    ScorePlan,
    StateSpec,
    TableSpec,
    TrainPlan,
    TrainTask,
    state_folder,
)

ROOT = Path(__file__).resolve().parent.parent
FIRST_DAY = dt.date(2022, 5, 1)
USERS, ITEMS, CATEGORIES, FOLDS, LENGTH, WIDTH = 300, 100, 10, 2, 5, 8
SHOWN_ITEMS = 90  # the last ten are in the vocabulary and in no row
GROUP_SIZES = (700, 500, 500, 300)  # rows of the row groups of a day: shards of unequal size
Arrays = dict[str, np.ndarray]
TABLE_RATE, INITIAL_SCALE = 0.05, 0.1


def day(number: int) -> dt.date:
    """The ``number``-th day of the world."""
    return FIRST_DAY + dt.timedelta(days=number)


def table_spec(name: str, rows: int, file: Path) -> TableSpec:
    """A table with the settings of this world."""
    return TableSpec(
        name=name,
        rows=rows,
        key_hashes=str(file),
        learning_rate=TABLE_RATE,
        initial_scale=INITIAL_SCALE,
        initial_accumulator=0.0,
    )


@dataclass
class World:
    """Days of rows as arrays, the same rows as files, and the ranker that reads them."""

    folder: Path
    ranker: RankerSpec
    rows: dict[dt.date, Arrays]
    days: dict[dt.date, DaySpec]


def make_world(folder: Path, days: int = 4, groups: Sequence[int] = GROUP_SIZES, seed: int = 1) -> World:
    """Writes ``days`` days of training rows under ``folder``, two files a day."""
    generator = np.random.default_rng(seed)
    taste = generator.normal(size=(USERS, 2))
    trait = generator.normal(size=(ITEMS, 2))
    quality = generator.normal(size=ITEMS)
    category = generator.integers(0, CATEGORIES, ITEMS)
    category[::17] = -1
    popularity = generator.dirichlet(np.full(SHOWN_ITEMS, 0.7))
    folds = generator.integers(0, FOLDS, USERS)
    past: dict[str, list[list[int]]] = {name: [[] for _ in range(USERS)] for name in ("clicks", "skips")}
    world = World(folder, make_ranker(folder), {}, {})
    for number in range(days):
        size = sum(groups)
        users, items = generator.integers(0, USERS, size), generator.choice(SHOWN_ITEMS, size, p=popularity)
        logit = -1 + 1.2 * quality[items] + (taste[users] * trait[items]).sum(1)
        clicks = (generator.random(size) < 1 / (1 + np.exp(-logit))).astype(np.int8)
        likes = (clicks * (generator.random(size) < 0.3)).astype(np.int8)
        histories = {name: np.full((size, LENGTH), -1, np.int32) for name in past}
        for row, (user, item, click) in enumerate(zip(users, items, clicks, strict=True)):
            for name, lists in past.items():
                recent = lists[user][: -LENGTH - 1 : -1]
                histories[name][row, : len(recent)] = recent
            past["clicks" if click else "skips"][user].append(int(item))
        rows: Arrays = {
            "impression_id": np.array([f"{number}-{row}" for row in range(size)], dtype=object),
            "user_id": np.array([f"u{user}" for user in users], dtype=object),
            "user_bucket": folds[users].astype(np.int32),
            "label_click": clicks,
            "label_like": likes,
            "row_user": users.astype(np.int32),
            "row_item": items.astype(np.int32),
            "row_category": category[items].astype(np.int32),
            "history_clicks": histories["clicks"],
            "history_skips": histories["skips"],
        }
        world.rows[day(number)] = rows
        world.days[day(number)] = write_day(folder, day(number), rows, groups)
    return world


def count(world: World, features: Sequence[str] = ("user", "item", "category"), prior: float = 5.0) -> World:
    """The same world with counts of earlier days in its rows and files, and a ranker that reads them."""
    sums: dict[str, dict[int, list[int]]] = {name: {} for name in (*features, "all")}
    days = {}
    for date, rows in world.rows.items():
        for name, known in sums.items():
            keys = [0] * len(rows["label_click"]) if name == "all" else rows[f"row_{name}"].tolist()
            for place, column in enumerate(("impressions", "positives")):
                found = [known.get(key, [0, 0])[place] for key in keys]
                rows[f"{column}_before_{name}"] = np.array(found, np.int64)
        for name, known in sums.items():
            keys = [0] * len(rows["label_click"]) if name == "all" else rows[f"row_{name}"].tolist()
            for key, click in zip(keys, rows["label_click"].tolist(), strict=True):
                if key >= 0:
                    shown, positive = known.get(key, [0, 0])
                    known[key] = [shown + 1, positive + click]
        days[date] = write_day(world.folder, date, rows, GROUP_SIZES)
    counts = CountSpec(features=tuple(features), label="click", prior=prior)
    return World(world.folder, world.ranker.model_copy(update={"counts": counts}), world.rows, days)


def make_ranker(folder: Path, **changes: object) -> RankerSpec:
    """The ranker of the world, with key hashes on disk."""
    folder.mkdir(parents=True, exist_ok=True)
    tables = []
    for number, (name, rows) in enumerate((("category", CATEGORIES), ("item", ITEMS), ("user", USERS))):
        file = folder / f"hashes-{name}.npy"
        bounds = np.iinfo(np.int64)
        np.save(file, np.random.default_rng(number).integers(bounds.min, bounds.max, rows, dtype=np.int64))
        tables.append(table_spec(name, rows, file))
    settings: dict[str, object] = {
        "features": tuple(FeatureSpec(name=n, column=f"row_{n}", table=n) for n in ("user", "item", "category")),
        "tables": tuple(tables),
        "labels": ("click", "like"),
        "history_length": LENGTH,
        "architecture": "history_dcn",
        "dimension": WIDTH,
        "cross_layers": 2,
        "hidden": (32, 16),
        "batch_size": 100,
        "steps_a_day": 1,
        "smallest_batch": 1,
        "dense_learning_rate": 0.002,
        "slot": "item",
    }
    return RankerSpec.model_validate(settings | changes)


def write_day(folder: Path, date: dt.date, rows: Arrays, groups: Sequence[int]) -> DaySpec:
    """Two files (one where there is one row group), a row group for each of ``groups``."""
    columns = {}
    for name, values in rows.items():
        if values.dtype == object and name not in ("impression_id", "user_id"):
            columns[name] = pa.array(values, pa.binary())
        elif values.ndim == 2:
            columns[name] = pa.array([value.astype("<i4").tobytes() for value in values], pa.binary())
        else:
            columns[name] = pa.array(values)
    table = pa.table(columns)
    place = folder / f"date={date.isoformat()}"
    place.mkdir(parents=True, exist_ok=True)
    half = (len(groups) + 1) // 2
    files, start = [], 0
    for number, part in enumerate((groups[:half], groups[half:])):
        if not part:
            continue
        file = place / f"part-{number}.parquet"
        with pq.ParquetWriter(file, table.schema) as writer:
            for size in part:
                writer.write_table(table.slice(start, size), row_group_size=size)
                start += size
        files.append(f"file://{file}")  # as Spark names it: "=" is not escaped
    return DaySpec(date=date, files=tuple(files), rows=table.num_rows, row_groups=len(groups))


# -- plans -----------------------------------------------------------------------------------------------------------


def make_launch(ranks_per_chain: int = 1) -> LaunchSpec:
    """On the CPU, one thread a process."""
    return LaunchSpec(
        ranks_per_chain=ranks_per_chain, threads_per_process=1, cache_megabytes=100, use_gpu=False, arm_megabytes=64
    )


def make_chain(name: str, fork: int, through: int, **changes: object) -> ChainSpec:
    """A chain that forks at day ``fork`` (from ``base``, unless it is that) and ends with M of day ``through``."""
    settings: dict[str, object] = {
        "name": name,
        "seed": 7,
        "fork_date": day(fork),
        "parent": None if name == "base" else StateSpec(folder="base", fingerprint=f"base-{fork}-first"),
        "folds": FOLDS,
        "held_out_fold": -1,
        "trained_folds": (),
        "skip_days": (),
        "permute_labels": False,
        "fingerprints": {day(number): f"{name}-{number}-first" for number in range(fork + 1, through + 1)},
        "keep_every_state": True,
        "full_snapshots": (),
    }
    return ChainSpec.model_validate(settings | changes)


def make_arm(name: str, **changes: object) -> ArmSpec:
    """An arm of everybody with the ranker's own tables, unless a change says otherwise."""
    settings: dict[str, object] = {
        "name": name,
        "served": "all",
        "folds": FOLDS,
        "held_out_fold": -1,
        "target_vectors": None,
        "history_vectors": None,
        "model_state": None,
        "cold_seed": None,
        "permute_rows": False,
        "permute_feature": None,
        "refit": False,
        "refit_vectors": None,
    }
    return ArmSpec.model_validate(settings | changes)


def make_train_plan(world: World, work: Path, chains: Sequence[ChainSpec], ranks_per_chain: int = 1) -> TrainPlan:
    """The base first, then all that fork from it."""

    def whole(chain: ChainSpec) -> TrainTask:
        return TrainTask(chain=chain.name, after=chain.fork_date, through=max(chain.fingerprints))

    def placed(chain: ChainSpec) -> ChainSpec:
        if chain.parent is None:
            return chain
        folder = state_folder(str(work), chain.parent.folder, chain.fork_date)
        return chain.model_copy(update={"parent": chain.parent.model_copy(update={"folder": str(folder)})})

    chains = [placed(chain) for chain in chains]
    phases = [tuple(whole(chain) for chain in chains if (chain.parent is None) == first) for first in (True, False)]
    return TrainPlan(
        work_folder=str(work),
        ranker=world.ranker,
        launch=make_launch(ranks_per_chain),
        days=world.days,
        chains=tuple(chains),
        phases=tuple(phase for phase in phases if phase),
    )


def write_plan(file: Path, plan: TrainPlan | ScorePlan | AppendPlan) -> Path:
    """Where a training process finds it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(plan.model_dump_json(), encoding="utf-8")
    return file


# -- processes -------------------------------------------------------------------------------------------------------


# Ranks are forked from a process that has loaded what they run: loading PyTorch and TorchRec takes 4 s of a core.
_FORKS = multiprocessing.get_context("forkserver")
_LOADED = ("pipeline", "ranker.arm_scoring", "alignment.training")
_FORKS.set_forkserver_preload([f"lis_spark.{name}" for name in _LOADED])


def run_ranks(
    commands: Sequence[str],
    ranks: int = 1,
    timeout_seconds: float = 240,
    killed_when: Callable[[], bool] | None = None,
) -> str:
    """Starts ``ranks`` training processes with the same commands; returns what rank 0 printed.

    They are not started in the test's own process, where torch.distributed must not be initialised.

    Args:
        commands: ``kind:plan``, kind train, score, append or align; ``failing-kind:plan`` where it must fail.
        ranks: how many.
        timeout_seconds: for all of them.
        killed_when: they are killed as soon as this is so, wherever they are; nothing is returned.

    Raises:
        AssertionError: with the end of what each failed process printed.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {"WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        outputs = [Path(folder) / f"{rank}.txt" for rank in range(ranks)]
        processes = [
            _FORKS.Process(
                target=_rank, args=(commands, shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)}, str(output))
            )
            for rank, output in enumerate(outputs)
        ]
        ends = time.monotonic() + timeout_seconds
        try:
            for process in processes:
                process.start()
            while killed_when and not killed_when() and time.monotonic() < ends:
                time.sleep(0.002)
            for process in [] if killed_when else processes:
                process.join(max(0.0, ends - time.monotonic()))
        finally:
            for process in processes:
                if process.is_alive():
                    process.kill()
                    process.join()
        printed = [output.read_text(encoding="utf-8") if output.exists() else "" for output in outputs]
    if killed_when:
        codes = [process.exitcode for process in processes]
        assert codes == [-signal.SIGKILL] * ranks, f"they ended by themselves: {codes}, {printed}"
        return ""
    failed = [text[-3000:] for process, text in zip(processes, printed, strict=True) if process.exitcode]
    assert not failed, "\n".join(failed)
    return printed[0]


def _rank(commands: Sequence[str], environment: Mapping[str, str], output: str) -> None:
    """One rank: what it prints, its libraries' warnings and its traceback go to a file."""
    os.environ |= environment
    with open(output, "w", encoding="utf-8", buffering=1) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        sys.stdout = sys.stderr = file
        try:
            _work(commands)
        except BaseException:
            traceback.print_exc()
            raise


def _work(commands: Sequence[str]) -> None:
    """Runs ``kind:plan`` commands in turn and prints each result as ``result N`` or ``error JSON``."""
    from lis_spark.alignment import step as align
    from lis_spark.lis.append import step as append
    from lis_spark.lis.swap import score, train

    works = {"train": train.WORK, "score": score.WORK, "append": append.WORK, "align": align.WORK}
    for command in commands:
        kind, _, plan = command.partition(":")
        work = works[kind.removeprefix("failing-")]
        if kind.startswith("failing-"):
            try:
                guarded(work, plan)
            except Exception:
                written = Path(plan).with_suffix(f".error-{os.environ['RANK']}.json").read_text(encoding="utf-8")
                print("error", written)
            else:
                raise AssertionError(f"{command} did not fail")
        else:
            print("result", pkgutil.resolve_name(work)(plan))


def results(output: str) -> list[int]:
    """The numbers that :func:`run_ranks` returned."""
    return [int(line.split()[1]) for line in output.splitlines() if line.startswith("result ")]


def first_error(output: str) -> dict[str, str]:
    """The error that :func:`run_ranks` returned."""
    return json.loads(next(line for line in output.splitlines() if line.startswith("error "))[6:])


def raise_while_others_wait(plan_path: str) -> int:
    """A rank's work that fails in rank 1, while the others wait for it, as they do in training."""
    torch.distributed.init_process_group("gloo")
    if os.environ["RANK"] == "1":
        raise ValueError(f"the plan {Path(plan_path).name} is about day 2022-05-03")
    torch.distributed.barrier()
    return 0


def raise_after_others_ended(plan_path: str) -> int:
    """A rank's work that fails in rank 1, after rank 0 has ended well."""
    if os.environ["RANK"] == "1":
        time.sleep(1)
        raise ValueError(f"the plan {Path(plan_path).name} is about day 2022-05-03")
    return 0


def return_in_rank(plan_path: str) -> int:
    """A rank's work that ends well."""
    return len(Path(plan_path).read_text(encoding="utf-8")) + int(os.environ["RANK"])


# -- what was written ------------------------------------------------------------------------------------------------


def sha256_of(folder: Path) -> list[str]:
    """Hashes of the state files of a chain day, taken from the files themselves."""
    files = sorted(folder.glob("state-*.safetensors"))
    assert files, folder
    return [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]


def read_state(folder: Path) -> Arrays:
    """All tensors of a state; the shards of a table one after another, without the row of missing values.

    Keys: ``weights``, ``momentum``, ``updates``, ``touches``, ``last_day`` of a table as ``item.weights``, the row of
    missing values as ``item.missing``, the dense part as in the model.
    """
    shards = [load_file(file) for file in sorted(folder.glob("state-*.safetensors"))]
    state: Arrays = {key[6:]: value for shard in shards for key, value in shard.items() if key.startswith("dense.")}
    for key in shards[0]:
        _, name, *part = key.split(".")
        if key.startswith("table.") and part != ["first"]:
            starts = [int(shard[f"table.{name}.first"][0]) for shard in shards]
            values = np.concatenate([shards[place][key] for place in np.argsort(starts)])
            state[key[6:]] = values[1:]
            if part == ["weights"]:
                state[f"{name}.missing"] = values[0]
    return state


def write_vectors(folder: Path, rows: np.ndarray, vectors: np.ndarray) -> str:
    """An exported table: row, vector."""
    folder.mkdir(parents=True)
    packed = pa.array([vector.astype("<f4").tobytes() for vector in vectors], pa.binary())
    pq.write_table(pa.table({"row": pa.array(rows.astype(np.int32)), "vector": packed}), folder / "part-0.parquet")
    return str(folder)


# -- the ranker in NumPy ---------------------------------------------------------------------------------------------


def naive_attention(
    target: np.ndarray, history: np.ndarray, filled: np.ndarray, query: np.ndarray, key: np.ndarray
) -> np.ndarray:
    """Softmax of (key h)·(query t) / sqrt(d) over the filled places, row by row; zeros where none is filled."""
    out = np.zeros_like(target)
    for row in range(len(target)):
        chosen = history[row][filled[row]]
        if len(chosen):
            scores = (chosen @ key.T) @ (query @ target[row]) / np.sqrt(len(target[row]))
            weights = np.exp(scores - scores.max())
            out[row] = (weights / weights.sum()) @ chosen
    return out


def naive_mean(history: np.ndarray, filled: np.ndarray) -> np.ndarray:
    """Mean of the filled places, zeros where there is none."""
    chosen = [vectors[places] for vectors, places in zip(history, filled, strict=True)]
    return np.stack([vectors.sum(axis=0) / max(len(vectors), 1) for vectors in chosen])


def naive_dense(
    dense: Arrays, features: np.ndarray, clicks: np.ndarray, skips: np.ndarray, masks: Sequence[np.ndarray], target: int
) -> np.ndarray:
    """Logits [rows, labels] of the history_dcn ranker from its weights, in float64."""
    weights = {name: value.astype(np.float64) for name, value in dense.items()}
    parts = [features.reshape(len(features), -1)]
    for name, history, filled in zip(("click", "skip"), (clicks, skips), masks, strict=True):
        query, key = (weights[f"{name}_attention.{part}.weight"] for part in ("query", "key"))
        parts.append(naive_attention(features[:, target], history, filled, query, key))
    parts += [naive_mean(clicks, masks[0]), naive_mean(skips, masks[1])]
    first = np.concatenate(parts, axis=1)
    current = first
    for layer in range(sum(name.startswith("cross.") for name in weights) // 2):
        linear, bias = (weights[f"cross.{layer}.linear.{part}"] for part in ("weight", "bias"))
        current = first * (current @ linear.T + bias) + current
    deep = first
    for layer in range(0, sum(name.startswith("deep.") for name in weights), 2):
        deep = np.maximum(deep @ weights[f"deep.{layer}.weight"].T + weights[f"deep.{layer}.bias"], 0)
    both = np.concatenate([current, deep], axis=1)
    return both @ weights["heads.weight"].T + weights["heads.bias"]


def naive_click_logits(
    state: Arrays, rows: Arrays, target_table: np.ndarray | None = None, history_table: np.ndarray | None = None
) -> np.ndarray:
    """Logits of the primary label from a saved state; the item table may be another for the target or the histories."""
    own = state["item.weights"].astype(np.float64)
    tables = {name: state[f"{name}.weights"].astype(np.float64) for name in ("user", "category")}
    tables["item"] = own if target_table is None else target_table.astype(np.float64)
    of_history = own if history_table is None else history_table.astype(np.float64)
    columns = []
    for name in ("user", "item", "category"):
        index = rows[f"row_{name}"]
        assert name == "category" or (index >= 0).all()
        columns.append(np.where((index >= 0)[:, None], tables[name][index], state.get(f"{name}.missing", 0.0)))
    histories = [rows["history_clicks"], rows["history_skips"]]
    dense = {name: value for name, value in state.items() if name.split(".")[0] not in ("user", "item", "category")}
    vectors = [of_history[history] for history in histories]
    masks = [history >= 0 for history in histories]
    return naive_dense(dense, np.stack(columns, axis=1), vectors[0], vectors[1], masks, target=1)[:, 0]
