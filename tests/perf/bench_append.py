"""Arms a second that protocol ``append`` retrains and scores on one rank, on made-up rows, by how many are stacked.

    python tests/perf/bench_append.py --rows 16000 --days 4 --arms 16 --stacks 1 4 16

A factorisation machine over the small tables of the worlds, and the default ranker over tables as KuaiRand-Pure has
them. Seconds are those of the processor, so that others on the machine count for less; those of a launch without arms
are taken off. Reading, loading the state and scoring are in them. One arm has no port, every fourth reads a column of
its own, the others a table by the items' numbers. Vectors, keys and labels are random: the figures are about time only.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lis_spark.config import RankerConfig
from lis_spark.lis.append.step import WORK as APPEND
from lis_spark.lis.swap.train import WORK as TRAIN
from lis_spark.ranker.plans import (
    AppendArmSpec,
    AppendEvaluationSpec,
    AppendPlan,
    DaySpec,
    LaunchSpec,
    PortSpec,
    RankerSpec,
    StateSpec,
    state_folder,
)
from lis_spark.ranker.stacks import arm_bytes, cut
from lis_spark.session import get_session
from lis_spark.vectors import pack
from tests.perf.bench_ranker import TABLE_ROWS, make_ranker, timed, train_plan, write_day

SETTINGS = {
    "fm": (RankerConfig(architecture="fm", dimension=8), {"item": 300, "user": 120}),
    "history_dcn": (RankerConfig(), TABLE_ROWS),
}
OWNERS, WIDTH = 5_000, 16


def write_rows(folder: Path, number: int, rows: int, table_rows: dict[str, int], columns: int) -> DaySpec:
    """A day with the owners of its items and, for each of some arms, a column of vectors."""
    generator = np.random.default_rng([number, 1])

    def vectors() -> pa.Array:
        return pack(generator.normal(size=(rows, WIDTH)).astype(np.float32))

    beside = {f"leaked_vector_{arm}": vectors() for arm in range(columns)}
    beside["leaked_vector_owner"] = pa.array(generator.integers(0, OWNERS, rows))
    return write_day(folder, number, rows, 4, table_rows, beside)


def write_arms(folder: Path, arms: int) -> tuple[AppendArmSpec, ...]:
    """What each arm reads; the tables are written."""
    specs = []
    for arm in range(arms):
        port: PortSpec | None = None
        if arm and arm % 4 == 0:
            port = PortSpec(column=f"leaked_vector_{arm // 4 - 1}", widths=(WIDTH,))
        elif arm:
            table = folder / "vectors" / str(arm)
            table.mkdir(parents=True)
            packed = pack(np.random.default_rng(arm).normal(size=(OWNERS, WIDTH)).astype(np.float32))
            pq.write_table(pa.table({"row": pa.array(np.arange(OWNERS)), "vector": packed}), table / "0.parquet")
            port = PortSpec(column="leaked_vector_owner", table=str(table), widths=(WIDTH,))
        specs.append(AppendArmSpec(names=(f"arm-{arm}",), port=port))
    return tuple(specs)


def append_plan(
    folder: Path, ranker: RankerSpec, days: list[DaySpec], state: StateSpec, arms: tuple[AppendArmSpec, ...]
) -> AppendPlan:
    """All arms of one evaluation, from a state through all days but the last, scored on that."""
    evaluation = AppendEvaluationSpec(
        date=days[-1].date, seed=0, state=state, days=tuple(days[:-1]), day=days[-1], arms=arms
    )
    return AppendPlan(
        output_folder=str(folder / "logits"),
        ranker=ranker,
        launch=LaunchSpec(ranks_per_chain=1, threads_per_process=1, cache_megabytes=512, use_gpu=False),
        label="click",
        port_columns=16,
        evaluations=(evaluation,),
    )


def stacked(plan: AppendPlan, size: int) -> AppendPlan:
    """The plan with memory for so many arms at a time."""
    (evaluation,) = plan.evaluations
    largest = max(arm_bytes(plan, evaluation, arm.port) for arm in evaluation.arms)
    launch = plan.launch.model_copy(update={"arm_megabytes": -(-size * largest // 1_000_000)})
    return plan.model_copy(update={"launch": launch})


def processor_seconds(work: str, plan: Path, pieces: int) -> float:
    """Of one launch of one process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    timed(work, plan, 1, pieces)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(name: str, options: argparse.Namespace) -> None:
    """Prints one JSON object a stack size."""
    settings, table_rows = SETTINGS[name]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        ranker = make_ranker(folder, settings, table_rows)
        columns = (options.arms - 1) // 4
        days = [write_rows(folder, number, options.rows, dict(table_rows), columns) for number in range(options.days)]
        (folder / "plain").mkdir()
        plain = write_day(folder / "plain", 0, options.rows, 4, table_rows)
        spread = LaunchSpec(ranks_per_chain=1, threads_per_process=1, cache_megabytes=512, use_gpu=False)
        trained = train_plan(folder, ranker, spread, {plain.date: plain}, 1)
        (folder / "train.json").write_text(trained.model_dump_json(), encoding="utf-8")
        timed(TRAIN, folder / "train.json", 1, 1)
        (after,) = trained.chains[0].fingerprints
        state = StateSpec(folder=str(state_folder(trained.work_folder, "chain-0", after)), fingerprint="bench")
        plan = append_plan(folder, ranker, days, state, write_arms(folder, options.arms))
        nothing = plan.model_copy(update={"evaluations": ()})
        (folder / "nothing.json").write_text(nothing.model_dump_json(), encoding="utf-8")
        empty = processor_seconds(APPEND, folder / "nothing.json", 0)
        steps = (options.days - 1) * -(-options.rows // ranker.batch_size)
        for size in options.stacks:
            file = folder / f"append-{size}.json"
            file.write_text(stacked(plan, size).model_dump_json(), encoding="utf-8")
            seconds = max(processor_seconds(APPEND, file, options.arms) - empty, 1e-9)
            figures = {
                "architecture": name,
                "largest_stack": max(len(stack.arms) for stack in cut(plan, [size])),
                "arms": options.arms,
                "seconds_of_a_launch": round(empty, 1),
                "seconds": round(seconds, 1),
                "arms_per_second": round(options.arms / seconds, 3),
                "milliseconds_per_step_of_an_arm": round(1000 * seconds / options.arms / steps, 2),
            }
            print(json.dumps(figures), flush=True)


def main() -> None:
    """Prints one JSON object an architecture and a stack size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architectures", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--rows", type=int, default=16_000, help="a day")
    parser.add_argument("--days", type=int, default=4, help="with the scored one")
    parser.add_argument("--arms", type=int, default=16)
    parser.add_argument("--stacks", type=int, nargs="+", default=[1, 4, 16])
    options = parser.parse_args()
    get_session({"spark.ui.enabled": "false"}, app_name="bench_append")  # TorchDistributor wants one
    for name in options.architectures:
        measure(name, options)


if __name__ == "__main__":
    main()
