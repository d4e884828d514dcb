"""Chains that do not see everything learn from counts of what they have seen: labels that are scored stay unknown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from lis_spark.ranker.plans import ChainSpec, state_folder
from tests.ranker_worlds import (
    Arrays,
    World,
    count,
    day,
    make_chain,
    make_train_plan,
    make_world,
    read_state,
    run_ranks,
    write_plan,
)

DAYS, FORK = 4, 2
# Where and when the labels of another world are turned round: what a chain must not know.
Turned = Callable[[int, Arrays], np.ndarray]
WORLDS: dict[str, Turned] = {
    "as it was": lambda number, rows: np.zeros(len(rows["label_click"]), bool),
    "fold 0 from the fork on": lambda number, rows: (rows["user_bucket"] == 0) & (number >= FORK),
    "fold 0 on the day of the fork": lambda number, rows: (rows["user_bucket"] == 0) & (number == FORK),
    "everybody on the day of the fork": lambda number, rows: np.full(len(rows["label_click"]), number == FORK),
}


def chains() -> list[ChainSpec]:
    return [
        make_chain("base", 0, DAYS),
        make_chain("honest", FORK, DAYS, held_out_fold=0),
        make_chain("without_own_day", FORK, DAYS, held_out_fold=0, held_out_days=(day(FORK),)),
        make_chain("without_the_day", FORK, DAYS, skip_days=(day(FORK),)),
    ]


@dataclass
class Trained:
    """Work folder of each world, and of the first one again with chains that were cut short after a day."""

    work: dict[str, Path]
    resumed: Path

    def state(self, world: str, chain: str) -> Arrays:
        return read_state(state_folder(str(self.work[world]), chain, day(DAYS)))


def turned_world(folder: Path, turned: Turned) -> World:
    """The same impressions, with some labels turned round, and what everybody's counts then are."""
    world = make_world(folder, DAYS)
    for number, rows in enumerate(world.rows.values()):
        rows["label_click"] = np.where(turned(number, rows), 1 - rows["label_click"], rows["label_click"]).astype(
            np.int8
        )
    return count(world)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("counted")
    commands, work = [], {}
    for place, (name, turned) in enumerate(WORLDS.items()):
        world, work[name] = turned_world(folder / f"rows{place}", turned), folder / f"work{place}"
        plan = make_train_plan(world, work[name], chains())
        commands.append(f"train:{write_plan(folder / f'{place}.json', plan)}")
        if place == 0:
            first = world
    resumed = folder / "resumed"
    short = [make_chain("base", 0, DAYS), *[_until(chain, FORK + 1) for chain in chains()[1:]]]
    for name, listed in (("short", short), ("rest", chains())):
        plan = make_train_plan(first, resumed, listed)
        commands.append(f"train:{write_plan(folder / f'{name}.json', plan)}")
    run_ranks(commands)
    return Trained(work, resumed)


def _until(chain: ChainSpec, number: int) -> ChainSpec:
    kept = {date: value for date, value in chain.fingerprints.items() if date <= day(number)}
    return chain.model_copy(update={"fingerprints": kept})


def same(first: Arrays, second: Arrays) -> bool:
    return first.keys() == second.keys() and all(first[key].tobytes() == second[key].tobytes() for key in first)


@pytest.mark.parametrize(
    ("chain", "world"),
    [
        ("honest", "fold 0 from the fork on"),
        ("without_own_day", "fold 0 on the day of the fork"),
        ("without_the_day", "everybody on the day of the fork"),
    ],
)
def test_chain_with_withheld_labels_turned_round_has_the_same_bits(trained: Trained, chain: str, world: str) -> None:
    assert same(trained.state("as it was", chain), trained.state(world, chain))
    assert not same(trained.state("as it was", "base"), trained.state(world, "base"))


@pytest.mark.parametrize("chain", ["honest", "without_own_day", "without_the_day"])
def test_chain_that_goes_on_after_a_stop_has_the_same_bits(trained: Trained, chain: str) -> None:
    resumed = read_state(state_folder(str(trained.resumed), chain, day(DAYS)))
    assert same(trained.state("as it was", chain), resumed)
