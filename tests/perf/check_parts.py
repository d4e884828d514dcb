"""Whether the parts of a naive score are what they are called, where 100 folds can be trained; exits with 1 if not.

python -m tests.perf.check_parts --worlds 1 2 3      about five minutes a world on one core

The product tells the parts by five folds: evaluated labels = naive - "skip own T" (chains that lack the fold on T
alone), the same users' later events = "skip own T" - honest, everybody else = honest. With 100 folds a chain lacks
hardly anything but what it is named for; here those chains fork at T + 1 from the honest ones. Beside it stands what
the parts would be by skip-T, which takes away what everybody does on T. All chains and scores are the ranker's own.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import stats

from lis_spark.ranker.arm_scoring import score_rank
from lis_spark.ranker.chain_training import train_rank
from lis_spark.ranker.plans import (
    ChainSpec,
    EvaluationSpec,
    LaunchSpec,
    ScorePlan,
    StateSpec,
    TrainPlan,
    TrainTask,
    state_folder,
)
from tests.perf.planted_worlds import (
    BUCKETS,
    FIRST_DAY,
    Sizes,
    World,
    be_alone,
    draw_world,
    ranker_of,
    read_logits,
    write_day,
)
from tests.ranker_worlds import make_arm

BEFORE, HORIZON, SEED = 8, 7, 17
FEW = 5
# Groups of whole folds, of five as of 100, that the jackknife leaves out one at a time.
GROUPS = 20
T = FIRST_DAY + dt.timedelta(days=BEFORE)
# Part of naive that the product may be off by where its interval does not hold the truth.
TOLERANCE = 0.05
Logits = Mapping[str, npt.NDArray[np.float32]]


class Histories:
    """The chains of one world, and the logits of T's rows with the items' table of each at T + n."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world, self.folder = world, folder
        be_alone()
        self.launch = LaunchSpec(ranks_per_chain=1, threads_per_process=1, cache_megabytes=1024, use_gpu=False)
        self.ranker = ranker_of(world, folder)
        starts = np.cumsum([0, *(len(rows["user"]) for rows in world.days)])
        days = [write_day(folder, number, int(starts[number]), rows) for number, rows in enumerate(world.days)]
        self.days = {day.date: day for day in days}
        self.chains: dict[str, ChainSpec] = {}
        self.served: dict[str, tuple[str, int, int]] = {}
        self._plan()

    def _plan(self) -> None:
        self._add("base", None, FIRST_DAY, T)
        for name, skipped in (("naive", ()), ("skip_t", (T,))):
            self._add(name, "base", T, skip_days=skipped)
            self.served[name] = ("all", 1, -1)
        for folds in (FEW, BUCKETS):
            for fold in range(folds):
                name = f"honest {folds} {fold}"
                self._add(name, "base", T, folds=folds, held_out_fold=fold, keep_every_state=folds == BUCKETS)
                self.served[name] = ("own", folds, fold)
        for fold in range(FEW):
            name = f"skip own {FEW} {fold}"
            self._add(name, "base", T, folds=FEW, held_out_fold=fold, held_out_days=(T,))
            self.served[name] = ("own", FEW, fold)
        for fold in range(BUCKETS):
            name = f"without labels {fold}"
            self._add(name, f"honest {BUCKETS} {fold}", T + dt.timedelta(days=1))
            self.served[name] = ("own", BUCKETS, fold)

    def _add(
        self,
        name: str,
        parent: str | None,
        fork: dt.date,
        end: dt.date = T + dt.timedelta(days=HORIZON),
        folds: int = 1,
        held_out_fold: int = -1,
        held_out_days: tuple[dt.date, ...] = (),
        skip_days: tuple[dt.date, ...] = (),
        keep_every_state: bool = False,
    ) -> None:
        dates = [fork + dt.timedelta(days=number) for number in range(1, (end - fork).days + 1)]
        self.chains[name] = ChainSpec(
            name=name,
            seed=SEED,
            fork_date=fork,
            parent=None if parent is None else self._state(parent, fork),
            folds=folds,
            held_out_fold=held_out_fold,
            held_out_days=held_out_days,
            trained_folds=(),
            skip_days=skip_days,
            permute_labels=False,
            fingerprints={date: name for date in dates},
            keep_every_state=keep_every_state,
            full_snapshots=(end,),
        )

    def _state(self, chain: str, date: dt.date) -> StateSpec:
        return StateSpec(folder=str(state_folder(str(self.folder), chain, date)), fingerprint=chain)

    def logits(self) -> dict[str, npt.NDArray[np.float32]]:
        """Arm -> logits of T's rows; of held-out chains each row by the chain that lacks its user."""
        phases = [["base"], [], []]
        for name in self.chains:
            if name != "base":
                phases[2 if name.startswith("without") else 1].append(name)
        plan = TrainPlan(
            work_folder=str(self.folder),
            ranker=self.ranker,
            launch=self.launch,
            days=self.days,
            chains=tuple(self.chains.values()),
            phases=tuple(tuple(self._task(name) for name in names) for names in phases),
        )
        (self.folder / "train.json").write_text(plan.model_dump_json(), encoding="utf-8")
        train_rank(str(self.folder / "train.json"))
        end = T + dt.timedelta(days=HORIZON)
        arms = [make_arm("control", folds=1)]
        for name, (served, folds, fold) in self.served.items():
            vectors = str(state_folder(str(self.folder), name, end))
            arms.append(make_arm(name, served=served, folds=folds, held_out_fold=fold, target_vectors=vectors))
        evaluation = EvaluationSpec(
            date=T,
            seed=SEED,
            state=self._state("base", T),
            day=self.days[T],
            arms=tuple(arms),
            refit_days=(),
            refit_steps=0,
        )
        score_plan = ScorePlan(
            work_folder=str(self.folder),
            output_folder=str(self.folder / "logits"),
            ranker=self.ranker,
            launch=self.launch,
            label="click",
            evaluations=(evaluation,),
        )
        (self.folder / "score.json").write_text(score_plan.model_dump_json(), encoding="utf-8")
        score_rank(str(self.folder / "score.json"))
        rows = len(self.world.days[BEFORE]["user"])
        return read_logits(self.folder / "logits" / str(SEED) / T.isoformat(), rows, _name_of)

    def _task(self, name: str) -> TrainTask:
        chain = self.chains[name]
        return TrainTask(chain=name, after=chain.fork_date, through=chain.snapshot_dates[-1])


def _name_of(arm: str) -> str:
    """Name of an arm without its fold."""
    return arm.rpartition(" ")[0] if arm.startswith(("honest", "skip own", "without")) else arm


def gain(labels: npt.NDArray[np.int8], folds: npt.NDArray[np.int64], control: np.ndarray, leaked: np.ndarray) -> float:
    """AUC of the leaked arm less that of the control, over the pairs within folds."""
    won, pairs = 0.0, 0
    for fold in np.unique(folds):
        own = folds == fold
        positive = labels[own] == 1
        p, n = int(positive.sum()), int((~positive).sum())
        for sign, scores in ((1, leaked[own]), (-1, control[own])):
            won += sign * (stats.rankdata(scores)[positive].sum() - p * (p + 1) / 2)
        pairs += p * n
    return float(won / pairs)


def parts(world: World, logits: Logits, kept: npt.NDArray[np.bool_]) -> dict[str, float]:
    """The three parts as the product tells them, and as 100 folds show them, of some of T's rows."""
    rows = world.days[BEFORE]
    labels, users = rows["label"][kept], rows["user"][kept]
    control = logits["control"][kept]

    def of(arm: str, folds: int) -> float:
        return gain(labels, users % folds, control, logits[arm][kept])

    naive, skipped, honest = of("naive", 1), of(f"skip own {FEW}", FEW), of(f"honest {FEW}", FEW)
    skipped_by_all = of("skip_t", 1)
    apart = {arm: of(arm, BUCKETS) for arm in ("naive", "without labels", f"honest {BUCKETS}")}
    true_naive, unlabelled, true_honest = apart.values()
    return {
        "naive": naive,
        "evaluated labels": naive - skipped,
        "later events": skipped - honest,
        "everybody else": honest,
        "evaluated labels by skip-T": naive - skipped_by_all,
        "later events by skip-T": skipped_by_all - honest,
        "true naive": true_naive,
        "true evaluated labels": true_naive - unlabelled,
        "true later events": unlabelled - true_honest,
        "true everybody else": true_honest,
    }


def checked(number: int, folder: Path) -> dict[str, object]:
    """The parts, the product's less the true ones, and twice the jackknife's error of that."""
    sizes = Sizes(
        users=3_000,
        items_a_day=150,
        impressions_a_day=15_000,
        impressions_of_t=15_000,
        days=BEFORE + HORIZON - 1,
    )
    world = draw_world(3_000 + number, sizes)
    logits = Histories(world, folder).logits()
    users = world.days[BEFORE]["user"]
    found = parts(world, logits, np.ones(len(users), bool))
    left_out = [parts(world, logits, users % GROUPS != group) for group in range(GROUPS)]
    told: dict[str, object] = {"world": number, **{name: round(value, 5) for name, value in found.items()}}
    holds = True
    for name in ("evaluated labels", "later events", "everybody else"):
        errors = [one[name] - one[f"true {name}"] for one in left_out]
        error = found[name] - found[f"true {name}"]
        half = float(stats.t.ppf(0.975, GROUPS - 1) * np.std(errors) * (GROUPS - 1) ** 0.5)
        told[f"error of {name}"] = f"{error:+.5f} ± {half:.5f}"
        holds &= abs(error) <= max(half, TOLERANCE * found["naive"])
    return {**told, "holds": holds}


def main() -> int:
    """Prints a line a world."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, nargs="+", default=[1, 2, 3])
    failed = 0
    for number in parser.parse_args().worlds:
        with tempfile.TemporaryDirectory() as folder:
            found = checked(number, Path(folder))
        print(json.dumps(found, ensure_ascii=False), flush=True)
        failed += not found["holds"]
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
