"""Seconds of a launch, training rows a second and scored logits a second of the ranker, on made-up rows.

    python tests/perf/bench_ranker.py --rows 16000 --days 3 --chains 4 --arms 30 --processes 2

A launch that does nothing is timed first; what is left of the other two launches is the work itself. Vectors, keys and
labels are random: the figures are about time only.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lis_spark.config import RankerConfig
from lis_spark.lis.swap.score import WORK as SCORE
from lis_spark.lis.swap.train import WORK as TRAIN
from lis_spark.ranker.launch import launch
from lis_spark.ranker.plans import (
    ArmSpec,
    ChainSpec,
    DaySpec,
    EvaluationSpec,
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
from lis_spark.ranker.processes import join
from lis_spark.session import get_session
from lis_spark.vectors import pack

FIRST_DAY = dt.date(2022, 5, 1)
HISTORY_LENGTH = 10
# Keys of each table, as KuaiRand-Pure has them.
TABLE_ROWS = {
    "author": 5_000,
    "duration": 20,
    "hour": 24,
    "item": 6_400,
    "music": 5_000,
    "tab": 15,
    "tag": 50,
    "user": 25_000,
    "video_type": 3,
}


def join_only(plan_path: str) -> int:
    """A rank's work without work: imports, the plan, the process group."""
    join(TrainPlan.model_validate_json(Path(plan_path).read_text(encoding="utf-8")).launch)
    return 0


def make_ranker(folder: Path, settings: RankerConfig, table_rows: Mapping[str, int] = TABLE_ROWS) -> RankerSpec:
    """The ranker of ``settings`` over tables of so many rows."""
    generator = np.random.default_rng(0)
    tables = []
    for name, rows in table_rows.items():
        file = folder / f"{name}.npy"
        np.save(file, generator.integers(-(2**62), 2**62, rows))
        tables.append(
            TableSpec(
                name=name,
                rows=rows,
                key_hashes=str(file),
                learning_rate=settings.table_learning_rate,
                initial_scale=settings.initial_scale,
                initial_accumulator=settings.table_accumulator,
            )
        )
    taken = ("architecture", "dimension", "cross_layers", "hidden", "batch_size", "steps_a_day", "smallest_batch")
    return RankerSpec(
        features=tuple(FeatureSpec(name=name, column=f"row_{name}", table=name) for name in table_rows),
        tables=tuple(tables),
        labels=("click",),
        history_length=HISTORY_LENGTH,
        dense_learning_rate=settings.dense_learning_rate,
        slot="item",
        **{name: getattr(settings, name) for name in taken},
    )


def write_day(
    folder: Path,
    number: int,
    rows: int,
    row_groups: int,
    table_rows: Mapping[str, int] = TABLE_ROWS,
    beside: Mapping[str, pa.Array] | None = None,
) -> DaySpec:
    """One day of random rows in one file, with columns ``beside`` them."""
    generator = np.random.default_rng(number)

    def histories() -> pa.Array:
        return pack(generator.integers(-1, table_rows["item"], (rows, HISTORY_LENGTH), dtype=np.int32))

    columns = {
        f"row_{name}": pa.array(generator.integers(0, size, rows, np.int32)) for name, size in table_rows.items()
    }
    columns |= {
        "impression_id": pa.array([f"{number}-{row}" for row in range(rows)]),
        "user_id": pa.array([f"u{row % 1000}" for row in range(rows)]),
        "user_bucket": pa.array(generator.integers(0, 5, rows, np.int32)),
        "label_click": pa.array(generator.integers(0, 2, rows, np.int8)),
        "history_clicks": histories(),
        "history_skips": histories(),
    } | dict(beside or {})
    date = FIRST_DAY + dt.timedelta(days=number)
    file = folder / f"{date}.parquet"
    pq.write_table(pa.table(columns), file, row_group_size=-(-rows // row_groups))
    return DaySpec(date=date, files=(f"file://{file}",), rows=rows, row_groups=pq.ParquetFile(file).num_row_groups)


def train_plan(
    folder: Path, ranker: RankerSpec, spread: LaunchSpec, days: dict[dt.date, DaySpec], chains: int
) -> TrainPlan:
    """Independent chains over all days: what a phase of forks costs."""
    last = max(days) + dt.timedelta(days=1)
    specs = [
        ChainSpec(
            name=f"chain-{number}",
            seed=number,
            fork_date=FIRST_DAY,
            parent=None,
            folds=1,
            trained_folds=(),
            held_out_fold=-1,
            skip_days=(),
            permute_labels=False,
            fingerprints={day + dt.timedelta(days=1): "bench" for day in days},
            keep_every_state=True,
            full_snapshots=(),
        )
        for number in range(chains)
    ]
    tasks = tuple(TrainTask(chain=chain.name, after=FIRST_DAY, through=last) for chain in specs)
    return TrainPlan(
        work_folder=str(folder), ranker=ranker, launch=spread, days=days, chains=tuple(specs), phases=(tasks,)
    )


def score_plan(trained: TrainPlan, folder: Path, day: DaySpec, arms: int) -> ScorePlan:
    """``arms`` arms of one day, each with the whole item table swapped for target and histories."""
    vectors = folder / "vectors"
    vectors.mkdir()
    items, width = TABLE_ROWS["item"], trained.ranker.dimension
    table = np.random.default_rng(9).normal(size=(items, width)).astype(np.float32)
    columns = {"row": pa.array(np.arange(items, dtype=np.int32)), "vector": pack(table)}
    pq.write_table(pa.table(columns), vectors / "part-0.parquet")
    specs = [
        ArmSpec(
            name=f"arm-{number}",
            served="all",
            folds=1,
            held_out_fold=-1,
            target_vectors=str(vectors),
            history_vectors=str(vectors),
            model_state=None,
            cold_seed=None,
            permute_rows=False,
            permute_feature=None,
            refit=False,
            refit_vectors=None,
        )
        for number in range(arms)
    ]
    state = state_folder(trained.work_folder, "chain-0", FIRST_DAY + dt.timedelta(days=1))
    evaluation = EvaluationSpec(
        date=day.date,
        seed=0,
        state=StateSpec(
            folder=str(state), fingerprint=trained.chains[0].fingerprints[FIRST_DAY + dt.timedelta(days=1)]
        ),
        day=day,
        arms=tuple(specs),
        refit_days=(),
        refit_steps=0,
    )
    return ScorePlan(
        work_folder=trained.work_folder,
        output_folder=str(folder / "scores"),
        ranker=trained.ranker,
        launch=trained.launch,
        label="click",
        evaluations=(evaluation,),
    )


def timed(work: str, plan: Path, processes: int, pieces: int) -> float:
    """Wall seconds of one launch."""
    start = time.perf_counter()
    title = f"bench {plan.stem}"
    launch(work, plan, processes=processes, local_mode=True, use_gpu=False, title=title, pieces=pieces)
    return time.perf_counter() - start


def main() -> None:
    """Prints one JSON object a batch size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=16_000, help="a day")
    parser.add_argument("--days", type=int, default=3)
    parser.add_argument("--chains", type=int, default=4)
    parser.add_argument("--arms", type=int, default=30)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--ranks-per-chain", type=int, default=1)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[RankerConfig().batch_size])
    options = parser.parse_args()
    get_session({"spark.ui.enabled": "false"}, app_name="bench_ranker")  # TorchDistributor wants one
    spread = LaunchSpec(
        ranks_per_chain=options.ranks_per_chain, threads_per_process=1, cache_megabytes=512, use_gpu=False
    )
    for batch_size in options.batch_sizes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            ranker = make_ranker(folder, RankerConfig(batch_size=batch_size))
            groups = 4 * options.ranks_per_chain
            specs = [write_day(folder, number, options.rows, groups) for number in range(options.days)]
            trained = train_plan(folder, ranker, spread, {spec.date: spec for spec in specs}, options.chains)
            for plan_name, plan in (
                ("train", trained),
                ("score", score_plan(trained, folder, specs[-1], options.arms)),
            ):
                (folder / f"{plan_name}.json").write_text(plan.model_dump_json(), encoding="utf-8")
            chain_days = options.chains * options.days
            empty = timed("tests.perf.bench_ranker:join_only", folder / "train.json", options.processes, 1)
            train = timed(TRAIN, folder / "train.json", options.processes, chain_days)
            score = timed(SCORE, folder / "score.json", options.processes, 1)
            manifests = [json.loads(file.read_text()) for file in folder.glob("chains/*/*/manifest.json")]
            assert len(manifests) == chain_days
            day_seconds = sum(manifest["seconds"] for manifest in manifests)
            figures = {
                "batch_size": batch_size,
                "launch_seconds": round(empty, 1),
                "train_seconds": round(train, 1),
                "training_rows_per_second_of_a_group": round(chain_days * options.rows / day_seconds),
                "score_seconds": round(score, 1),
                "logits_per_second": round(options.arms * options.rows / max(score - empty, 1e-9)),
            }
            print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
