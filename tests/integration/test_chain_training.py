"""Chains of states: the same bits whenever they are trained, counters equal to the data, one rank equal to two."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import load_file, save_file

from lis_spark.errors import StaleError, StepFailed
from lis_spark.ranker.chain_training import ChainTrainer
from lis_spark.ranker.cold_rows import cold_rows
from lis_spark.ranker.day_reader import DayReader, DayRows
from lis_spark.ranker.invariants import check_cold, check_untouched
from lis_spark.ranker.launch import launch
from lis_spark.ranker.model_state import TableShard
from lis_spark.ranker.network import SHIFT
from lis_spark.ranker.plans import ChainSpec, StateSpec, state_folder
from lis_spark.ranker.processes import Rank
from lis_spark.ranker.state_files import verified_files
from tests.ranker_worlds import (
    INITIAL_SCALE,
    ITEMS,
    ROOT,
    SHOWN_ITEMS,
    WIDTH,
    Arrays,
    World,
    day,
    first_error,
    make_chain,
    make_train_plan,
    make_world,
    read_state,
    results,
    run_ranks,
    sha256_of,
    write_plan,
)

DAYS = 4
FORK = 2
SEED = 7


def all_chains() -> list[ChainSpec]:
    return [
        make_chain("base", 0, DAYS),
        make_chain("same", FORK, DAYS),
        make_chain("without_fold_0", FORK, DAYS, held_out_fold=0, full_snapshots=(day(DAYS),)),
        make_chain("without_fold_0_at_first", FORK, DAYS, held_out_fold=0, held_out_days=(day(FORK),)),
        make_chain("skip_first", FORK, DAYS, skip_days=(day(FORK),)),
        make_chain("permuted", FORK, DAYS, permute_labels=True, keep_every_state=False),
    ]


@dataclass
class Trained:
    """Work folders: all chains at once, all chains again, and all chains after a run that ended with day 1."""

    world: World
    once: Path
    again: Path
    interrupted: Path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("chains")
    world = make_world(folder / "rows", DAYS)
    work = {name: folder / name for name in ("once", "again", "interrupted")}
    plans = {
        name: f"train:{write_plan(folder / f'{name}.json', make_train_plan(world, work[name], all_chains()))}"
        for name in work
    }
    short = make_train_plan(world, work["interrupted"], [make_chain("base", 0, 1)])
    # two processes: the second goes on where the first was cut short, and does once more what the first did whole
    first = run_ranks([plans["once"], f"train:{write_plan(folder / 'short.json', short)}"])
    assert results(first) == [DAYS + 5 * (DAYS - FORK), 1]
    second = run_ranks([plans["interrupted"], plans["again"]])
    assert results(second) == [DAYS - 1 + 5 * (DAYS - FORK), DAYS + 5 * (DAYS - FORK)]
    return Trained(world, work["once"], work["again"], work["interrupted"])


def place(work: Path, chain: str, number: int) -> Path:
    return state_folder(str(work), chain, day(number))


def rows_of(world: World, numbers: range, without_fold: int = -1) -> Arrays:
    """The rows that a chain must have trained on."""
    parts = [world.rows[day(number)] for number in numbers]
    parts = [{name: values[rows["user_bucket"] != without_fold] for name, values in rows.items()} for rows in parts]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def rows_of_day(trained: Trained, chain: ChainSpec, number: int) -> list[str]:
    """Impressions behind M of day ``number`` of a chain that come from the last day."""
    return rows_of(trained.world, range(number - 1, number), chain.held_out_fold)["impression_id"].tolist()


def read_manifest(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


def naive_counts(rows: Arrays) -> tuple[list[int], list[int]]:
    """By item, one impression at a time: as a target, and as a target or in a history."""
    updates, touches = [0] * ITEMS, [0] * ITEMS
    for row, item in enumerate(rows["row_item"].tolist()):
        updates[item] += 1
        touches[item] += 1
        for name in ("history_clicks", "history_skips"):
            for other in rows[name][row].tolist():
                if other >= 0:
                    touches[other] += 1
    return updates, touches


def same_states(first: Path, second: Path) -> bool:
    a, b = read_state(first), read_state(second)
    return a.keys() == b.keys() and all(a[key].tobytes() == b[key].tobytes() for key in a)


def test_the_same_plan_gives_the_same_bits(trained: Trained) -> None:
    folders = sorted(file.parent for file in trained.once.rglob("state-*.safetensors"))
    # `permuted` keeps its last state only
    assert len(folders) == DAYS + 4 * (DAYS - FORK) + 1
    for folder in folders:
        chain, date = folder.parts[-2:]
        assert sha256_of(folder) == sha256_of(trained.again / "chains" / chain / date)
        assert [entry["sha256"] for entry in read_manifest(folder)["files"]] == sha256_of(folder)


def test_chains_shared_out_over_two_ranks_have_the_bits_of_one(trained: Trained, tmp_path: Path) -> None:
    """As the demo trains: each rank takes whole chains, and a fork may start from what the other rank has trained."""
    for name in ("work", "again"):
        plan = make_train_plan(trained.world, tmp_path / name, all_chains())
        own = results(run_ranks([f"train:{write_plan(tmp_path / f'{name}.json', plan)}"], ranks=2))
        assert own == [DAYS + 3 * (DAYS - FORK)], "the base and three of the five forks; the other rank the other two"
        for folder in sorted(file.parent for file in trained.once.rglob("state-*.safetensors")):
            chain, date = folder.parts[-2:]
            assert sha256_of(folder) == sha256_of(tmp_path / name / "chains" / chain / date), (chain, date)


def test_an_interrupted_run_ends_with_the_bits_of_an_uninterrupted_one(trained: Trained) -> None:
    for folder in sorted(file.parent for file in trained.once.rglob("state-*.safetensors")):
        chain, date = folder.parts[-2:]
        assert sha256_of(folder) == sha256_of(trained.interrupted / "chains" / chain / date), (chain, date)


def test_a_run_that_is_killed_within_a_day_ends_with_the_bits_of_one_that_is_not(
    trained: Trained, tmp_path: Path
) -> None:
    """Somewhere in the second day; and what is left of a day that was being written is not taken for one."""
    work = tmp_path / "work"
    plan = f"train:{write_plan(tmp_path / 'plan.json', make_train_plan(trained.world, work, all_chains()))}"
    run_ranks([plan], killed_when=place(work, "base", 1).exists)
    left = [number for number in range(1, DAYS + 1) if not place(work, "base", number).exists()]
    assert DAYS in left, "it was killed on its way"
    torn = place(work, "base", left[0]).with_name(
        f"{place(work, 'base', left[0]).name}.tmp-{all_chains()[0].fingerprints[day(left[0])][:8]}"
    )
    torn.mkdir(exist_ok=True)
    (torn / "state-0.safetensors").write_bytes(b"half of")
    (done,) = results(run_ranks([plan]))
    assert done == len(left) + 5 * (DAYS - FORK)
    for folder in sorted(file.parent for file in trained.once.rglob("state-*.safetensors")):
        chain, date = folder.parts[-2:]
        assert sha256_of(folder) == sha256_of(work / "chains" / chain / date), (chain, date)
    assert not list(work.rglob("*.tmp-*"))


def test_training_learns_and_moves_the_tables(trained: Trained) -> None:
    losses = [read_manifest(place(trained.once, "base", number))["mean_loss"] for number in range(1, DAYS + 1)]
    labels = rows_of(trained.world, range(1, DAYS))
    # summed over both labels: the entropy of the label rates is what a constant would reach
    rates = [labels[name].mean() for name in ("label_click", "label_like")]
    constant = -sum(rate * np.log(rate) + (1 - rate) * np.log(1 - rate) for rate in rates)
    assert losses[-1] < constant < losses[0] + 0.1 and losses[-1] < losses[0]


def test_a_fork_that_is_treated_like_its_parent_has_its_bits(trained: Trained) -> None:
    for number in range(FORK + 1, DAYS + 1):
        assert sha256_of(place(trained.once, "same", number)) == sha256_of(place(trained.once, "base", number))


def test_rows_that_are_never_looked_up_are_cold(trained: Trained) -> None:
    state = read_state(place(trained.once, "base", DAYS))
    for table in trained.world.ranker.tables:
        hashes = np.load(table.key_hashes)
        cold = cold_rows(SEED, table.name, hashes, WIDTH, INITIAL_SCALE)
        touched = state[f"{table.name}.touches"] > 0
        same = (state[f"{table.name}.weights"].view(np.uint32) == cold.view(np.uint32)).all(axis=1)
        assert same[~touched].all() and not same[touched].any()
        assert (state[f"{table.name}.momentum"][~touched] == 0).all()
    assert not (state["item.touches"][SHOWN_ITEMS:]).any()


@pytest.mark.parametrize("learned", ["weights", "momentum"])
def test_a_row_that_moves_although_no_gradient_reached_it_stops_the_training(learned: str) -> None:
    """Invariant 1 of method 1.1; a dense optimizer or weight decay would do that."""
    weights, momentum = torch.rand(6, WIDTH), torch.rand(6)
    before = {"item": (weights.clone(), momentum.clone())}
    touched = {"item": torch.tensor([0, 3, 0, 0, 1, 0])}  # the first is the row of empty places
    shard = SimpleNamespace(weights=weights, momentum=momentum, first=0, end=6)
    shards: Any = {"item": shard}
    at = {"chain": "base", "snapshot_date": day(1).isoformat()}
    weights[[0, 1, 4]] += 1.0
    momentum[[1, 4]] += 1.0
    assert check_untouched(before, shards, touched, at) == 3
    getattr(shard, learned)[3] += 1e-7
    with pytest.raises(StepFailed, match="1 rows changed although no gradient reached them") as error:
        check_untouched(before, shards, touched, at)
    assert "for instance row 2" in str(error.value) and "'chain': 'base'" in str(error.value)


def test_a_row_that_was_never_looked_up_and_is_not_cold_stops_the_training(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Invariant 2 of method 1.1, of half a table, as a second rank holds it; in pieces of two rows."""
    monkeypatch.setattr("lis_spark.ranker.invariants.ROWS_AT_ONCE", 2)
    spec = trained.world.ranker
    shards = {}
    for table in spec.tables:
        hashes = np.load(table.key_hashes)
        cold = cold_rows(SEED, table.name, hashes, WIDTH, INITIAL_SCALE)[3:]
        shards[table.name] = TableShard(3 + SHIFT, torch.from_numpy(cold.copy()), torch.zeros(len(cold)))
    at = {"chain": "base", "snapshot_date": day(1).isoformat()}
    rows = sum(len(shard.weights) for shard in shards.values())
    assert check_cold(spec, SEED, shards, at) == rows
    item = shards["item"]
    item.weights[5, 0] += 1e-7
    item.counters.touches[5] = 1
    assert check_cold(spec, SEED, shards, at) == rows - 1
    item.counters.touches[5] = 0
    with pytest.raises(StepFailed, match="1 rows that were never looked up are not cold") as error:
        check_cold(spec, SEED, shards, at)
    assert "for instance row 8" in str(error.value) and "embedding table item" in str(error.value)
    manifest = read_manifest(place(trained.once, "without_fold_0", DAYS))
    assert manifest is not None and manifest["is_full"] and manifest["cold_rows_checked"] >= ITEMS - SHOWN_ITEMS


def test_a_skipped_day_leaves_every_bit(trained: Trained) -> None:
    assert same_states(place(trained.once, "skip_first", FORK + 1), place(trained.once, "base", FORK))
    assert not same_states(place(trained.once, "skip_first", FORK + 2), place(trained.once, "base", FORK + 1))


@pytest.mark.parametrize("number", range(1, DAYS + 1))
def test_counters_of_the_base_are_those_of_the_data(trained: Trained, number: int) -> None:
    state = read_state(place(trained.once, "base", number))
    rows = rows_of(trained.world, range(number))
    updates, touches = naive_counts(rows)
    assert state["item.updates"].tolist() == updates
    assert state["item.touches"].tolist() == touches
    users = [int((rows["row_user"] == user).sum()) for user in range(len(state["user.updates"]))]
    assert state["user.updates"].tolist() == users == state["user.touches"].tolist()


def test_the_held_out_fold_is_not_trained_on(trained: Trained) -> None:
    state = read_state(place(trained.once, "without_fold_0", DAYS))
    parts = [rows_of(trained.world, range(FORK)), rows_of(trained.world, range(FORK, DAYS), without_fold=0)]
    assert 0 < len(parts[1]["row_item"]) < len(rows_of(trained.world, range(FORK, DAYS))["row_item"])
    counts = [naive_counts(part) for part in parts]
    assert state["item.updates"].tolist() == [a + b for a, b in zip(counts[0][0], counts[1][0], strict=True)]
    assert state["item.touches"].tolist() == [a + b for a, b in zip(counts[0][1], counts[1][1], strict=True)]
    folds = rows_of(trained.world, range(DAYS))
    of_fold = np.unique(folds["row_user"][folds["user_bucket"] == 0])
    parent = read_state(place(trained.once, "base", FORK))
    assert len(of_fold) > 100
    assert state["user.weights"][of_fold].tobytes() == parent["user.weights"][of_fold].tobytes()
    manifests = [read_manifest(place(trained.once, "without_fold_0", number)) for number in range(FORK + 1, DAYS + 1)]
    assert sum(manifest["trained_rows"] for manifest in manifests) == len(parts[1]["row_item"])


def test_a_fold_held_out_on_one_day_is_trained_on_the_others(trained: Trained) -> None:
    chain, parts = "without_fold_0_at_first", [rows_of(trained.world, range(FORK))]
    parts += [rows_of(trained.world, range(FORK, FORK + 1), without_fold=0)]
    assert same_states(place(trained.once, chain, FORK + 1), place(trained.once, "without_fold_0", FORK + 1))
    parts += [rows_of(trained.world, range(FORK + 1, DAYS))]
    counts = [naive_counts(part)[0] for part in parts]
    state = read_state(place(trained.once, chain, DAYS))
    assert state["item.updates"].tolist() == [sum(of_item) for of_item in zip(*counts, strict=True)]
    trained_rows = [read_manifest(place(trained.once, chain, FORK + n))["trained_rows"] for n in (1, 2)]
    assert trained_rows == [len(part["row_item"]) for part in parts[1:]]


def test_snapshots_hold_the_rows_touched_that_day_or_ever(trained: Trained) -> None:
    for chain, number, full in (("base", DAYS, False), ("without_fold_0", DAYS, True)):
        folder = place(trained.once, chain, number)
        snapshot = pq.read_table(folder / "snapshot-00000.parquet").to_pydict()
        state = read_state(folder)
        fold = 0 if chain != "base" else -1
        today = np.array(naive_counts(rows_of(trained.world, range(DAYS - 1, DAYS), fold))[1]) > 0
        expected = np.flatnonzero(state["item.touches"] > 0 if full else today)
        assert snapshot["row"] == expected.tolist()
        assert b"".join(snapshot["vector"]) == state["item.weights"][expected].astype("<f4").tobytes()
        assert snapshot["update_count"] == state["item.updates"][expected].tolist()
        assert snapshot["touch_count"] == state["item.touches"][expected].tolist()
        # the last day on which the data touch the item
        last = {}
        for past in range(DAYS):
            without = fold if past >= FORK else -1
            touched = naive_counts(rows_of(trained.world, range(past, past + 1), without))[1]
            last |= {item: day(past) for item in range(ITEMS) if touched[item]}
        assert snapshot["last_update_date"] == [last[item] for item in expected.tolist()]


def test_permuted_labels_are_the_same_labels_in_another_order(trained: Trained) -> None:
    plan = make_train_plan(trained.world, trained.once, all_chains())
    trainer = object.__new__(ChainTrainer)
    trainer.plan = plan
    trainer.rank = Rank(0, 1, None, 0, 1, 0, 1, torch.device("cpu"))  # type: ignore[arg-type]
    trainer.reader = DayReader(plan.ranker, 0, 1, 100)
    chains = {chain.name: chain for chain in plan.chains}

    def rows(name: str) -> DayRows:
        of_day = trainer._rows_of(plan.days[day(FORK)])
        given, labels = trainer._given(chains[name], of_day, day(FORK + 1))
        return replace(of_day, labels=labels)[given]

    plain, permuted = rows("base"), rows("permuted")
    assert permuted.labels.sum(axis=0).tolist() == plain.labels.sum(axis=0).tolist()
    assert (permuted.labels != plain.labels).any(axis=1).mean() > 0.1
    # pairs (click, like) stay together: no impression is liked without a click
    assert not ((permuted.labels[:, 1] == 1) & (permuted.labels[:, 0] == 0)).any()
    for name in ("rows", "clicks", "skips", "buckets"):
        assert np.array_equal(getattr(permuted, name), getattr(plain, name))
    # the counters do not know of labels
    state = read_state(place(trained.once, "permuted", DAYS))
    assert state["item.updates"].tolist() == naive_counts(rows_of(trained.world, range(DAYS)))[0]
    assert not same_states(place(trained.once, "permuted", DAYS), place(trained.once, "base", DAYS))


def test_states_that_nobody_forks_from_are_dropped(trained: Trained) -> None:
    assert not list(place(trained.once, "permuted", FORK + 1).glob("state-*"))
    assert (place(trained.once, "permuted", FORK + 1) / "manifest.json").is_file()
    assert list(place(trained.once, "permuted", DAYS).glob("state-*"))
    assert not [folder for folder in trained.once.rglob("*.tmp-*")]


def test_other_fingerprints_grown_vocabularies_and_changed_files(trained: Trained, tmp_path: Path) -> None:
    """Three plans in one process: each needs what the one before left."""
    work = tmp_path / "work"
    shutil.copytree(trained.once, work)
    base = make_chain("base", 0, DAYS)
    prints = base.fingerprints | {day(DAYS): "another"}
    changed = base.model_copy(update={"fingerprints": prints})
    before = place(work, "base", DAYS - 1).stat().st_mtime_ns, place(work, "base", DAYS).stat().st_mtime_ns
    again = make_train_plan(trained.world, work, [changed])

    # the vocabulary of items has gained ten rows since the fork
    grown_world = make_world(tmp_path / "grown", DAYS)
    hashes = np.concatenate([np.load(tmp_path / "grown" / "hashes-item.npy"), np.arange(10, dtype=np.int64)])
    np.save(tmp_path / "grown" / "hashes-item-grown.npy", hashes)
    tables = [
        table
        if table.name != "item"
        else table.model_copy(
            update={"rows": len(hashes), "key_hashes": str(tmp_path / "grown" / "hashes-item-grown.npy")}
        )
        for table in trained.world.ranker.tables
    ]
    grown_world.ranker = trained.world.ranker.model_copy(update={"tables": tuple(tables)})
    longer = make_chain("longer", FORK, FORK + 1)
    grown = make_train_plan(grown_world, work, [longer])

    # one bit of a state from which a chain wants to fork
    file = place(work, "base", 1) / "state-00000-of-00001.safetensors"
    state = load_file(file)
    state["table.item.weights"].view(np.uint32)[5, 0] ^= 1
    early = make_chain("early", 1, 2)
    save_file(state, file)
    refused = make_train_plan(trained.world, work, [early])
    output = run_ranks(
        [
            f"train:{write_plan(tmp_path / 'again.json', again)}",
            f"train:{write_plan(tmp_path / 'grown.json', grown)}",
            f"failing-train:{write_plan(tmp_path / 'refused.json', refused)}",
        ]
    )
    assert results(output) == [1, 1]
    assert place(work, "base", DAYS - 1).stat().st_mtime_ns == before[0]
    assert place(work, "base", DAYS).stat().st_mtime_ns != before[1]
    assert read_manifest(place(work, "base", DAYS))["fingerprint"] == "another"
    assert sha256_of(place(work, "base", DAYS)) == sha256_of(place(trained.once, "base", DAYS))

    large, small = read_state(place(work, "longer", FORK + 1)), read_state(place(trained.once, "base", FORK + 1))
    assert large["item.weights"][:ITEMS].tobytes() == small["item.weights"].tobytes()
    cold = cold_rows(SEED, "item", hashes[ITEMS:], WIDTH, INITIAL_SCALE)
    assert large["item.weights"][ITEMS:].tobytes() == cold.tobytes()
    assert not large["item.touches"][ITEMS:].any() and not large["item.momentum"][ITEMS:].any()

    error = first_error(output)
    assert error["type"] == "StaleError" and str(file) in error["message"]
    assert sha256_of(file.parent)[0] in error["message"]
    assert sha256_of(place(trained.once, "base", 1))[0] in error["message"]


def test_files_are_those_that_the_table_has(trained: Trained) -> None:
    """Somebody else who trains into the same folder, on other threads say, leaves a manifest that is whole."""
    folder = place(trained.once, "base", DAYS)
    state = StateSpec(folder=str(folder), fingerprint=make_chain("base", 0, DAYS).fingerprints[day(DAYS)])
    told = state.model_copy(update={"sha256": ",".join(sha256_of(folder))})
    assert verified_files(state) == verified_files(told) == sorted(folder.glob("state-*"))
    with pytest.raises(StaleError, match="is not the one that the table has") as error:
        verified_files(told.model_copy(update={"sha256": "0" * 64}))
    assert sha256_of(folder)[0] in str(error.value) and "0" * 64 in str(error.value) and folder.name in str(error.value)


def test_two_ranks_count_what_one_rank_counts(trained: Trained, tmp_path: Path) -> None:
    """Rows of the tables and of the days are shared unevenly (odd tables, row groups of several sizes)."""
    chains = [chain for chain in all_chains() if chain.name in ("base", "without_fold_0")]
    plan = make_train_plan(trained.world, tmp_path / "work", chains, ranks_per_chain=2)
    again = make_train_plan(trained.world, tmp_path / "again", chains, ranks_per_chain=2)
    commands = [f"train:{write_plan(tmp_path / f'{name}.json', one)}" for name, one in (("one", plan), ("two", again))]
    assert results(run_ranks(commands, ranks=2)) == 2 * [2 * DAYS - FORK]
    for chain in chains:
        for date in chain.snapshot_dates:
            number = (date - day(0)).days
            folders = [place(work, chain.name, number) for work in (tmp_path / "work", trained.once)]
            two, one = (read_state(folder) for folder in folders)
            assert sha256_of(folders[0]) == sha256_of(place(tmp_path / "again", chain.name, number)), "the same bits"
            assert two.keys() == one.keys()
            for table in ("item", "user", "category"):
                for counter in ("updates", "touches", "last_day"):
                    assert np.array_equal(two[f"{table}.{counter}"], one[f"{table}.{counter}"]), (table, counter)
                assert two[f"{table}.weights"].shape == one[f"{table}.weights"].shape
            untouched = one["item.touches"] == 0
            assert two["item.weights"][untouched].tobytes() == one["item.weights"][untouched].tobytes()
            manifests = [read_manifest(folder) for folder in folders]
            assert [manifest["trained_rows"] for manifest in manifests] == [
                len(rows_of_day(trained, chain, number))
            ] * 2
            snapshots = [
                pq.ParquetDataset(sorted(folder.glob("snapshot-*"))).read().sort_by("row") for folder in folders
            ]
            for name in ("row", "update_count", "touch_count", "last_update_date"):
                assert snapshots[0][name].to_pylist() == snapshots[1][name].to_pylist(), name
            assert [manifest["snapshot_rows"] for manifest in manifests] == [len(snapshots[0])] * 2
    files = sorted(place(tmp_path / "work", "base", 1).glob("state-*"))
    sizes = [len(load_file(file)["table.item.weights"]) for file in files]
    assert sum(sizes) == ITEMS + 1 and sizes[0] != sizes[1]


@pytest.mark.parametrize("work", ["raise_while_others_wait", "raise_after_others_ended"])
def test_an_error_in_a_rank_reaches_the_driver(
    spark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: str
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # the training processes import the function from the tests
    plan = tmp_path / "plan-1.json"
    plan.write_text("{}", encoding="utf-8")
    with pytest.raises(StepFailed) as error:
        launch(f"tests.ranker_worlds:{work}", plan, processes=2, local_mode=True, use_gpu=False, title="test", pieces=1)
    assert "rank 1 failed: ValueError: the plan plan-1.json is about day 2022-05-03" in str(error.value)
    assert work in str(error.value.found), "the rank's own trace"


def test_an_error_that_an_earlier_run_left_is_none_of_this_one(
    spark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    plan = tmp_path / "plan-1.json"
    plan.write_text("1234567", encoding="utf-8")
    (tmp_path / "plan-1.error-0.json").write_text("left by an earlier run", encoding="utf-8")
    settings = {"processes": 2, "local_mode": True, "use_gpu": False, "title": "test", "pieces": 1}
    launch("tests.ranker_worlds:return_in_rank", plan, **settings)  # type: ignore[arg-type]
    assert not (tmp_path / "plan-1.error-0.json").exists()


def test_tables_learn_at_rates_of_their_own(tmp_path: Path) -> None:
    """A rate of 0 keeps the cold rows; the accumulator starts where it is told, and slows the first steps down."""
    world = make_world(tmp_path / "world", 1)
    states = {}
    for name, accumulator in (("quick", 0.0), ("slow", 1.0)):
        own = {"user": {"learning_rate": 0.0}, "item": {"initial_accumulator": accumulator}}
        tables = tuple(table.model_copy(update=own.get(table.name, {})) for table in world.ranker.tables)
        changed = replace(world, ranker=world.ranker.model_copy(update={"tables": tables, "architecture": "fm"}))
        plan = make_train_plan(changed, tmp_path / name, [make_chain("base", 0, 1)])
        assert results(run_ranks([f"train:{write_plan(tmp_path / f'{name}.json', plan)}"])) == [1]
        states[name] = read_state(place(tmp_path / name, "base", 1))
        hashes = {table.name: np.load(table.key_hashes) for table in tables}
        cold = {table: cold_rows(SEED, table, hashes[table], WIDTH, INITIAL_SCALE) for table in ("user", "item")}
        state = states[name]
        assert state["user.weights"].tobytes() == cold["user"].tobytes()
        moved = (state["item.weights"] != cold["item"]).any(axis=1)
        touched = state["item.touches"] > 0
        assert touched.sum() > 0.8 * SHOWN_ITEMS and (moved == touched).all()
        momentum = state["item.momentum"].reshape(-1)
        assert (momentum[touched] > accumulator).all() and (momentum[~touched] == accumulator).all()
        assert (state["category.weights"] != 0).all()
    steps = {name: np.abs(state["item.weights"] - cold["item"])[:SHOWN_ITEMS].mean() for name, state in states.items()}
    assert steps["slow"] < 0.5 * steps["quick"]


def test_rows_of_a_thin_day_send_gradients_of_the_size_that_others_do(tmp_path: Path) -> None:
    """A day of fewer rows than a batch: how much larger the batch could be changes nothing but the units."""
    world = make_world(tmp_path / "world", 2)
    weights = []
    for size in (2_000, 8_000):
        own = {"initial_accumulator": 0.02 / size**2}
        tables = tuple(table.model_copy(update=own) for table in world.ranker.tables)
        settings = {"tables": tables, "batch_size": size, "steps_a_day": 10, "smallest_batch": 100}
        changed = replace(world, ranker=world.ranker.model_copy(update=settings))
        plan = make_train_plan(changed, tmp_path / str(size), [make_chain("base", 0, 2)])
        assert results(run_ranks([f"train:{write_plan(tmp_path / f'{size}.json', plan)}"])) == [2]  # days
        weights.append(read_state(place(tmp_path / str(size), "base", 2))["item.weights"])
    apart = np.abs(weights[0] - weights[1]).max() / np.abs(weights[0]).max()
    assert apart < 0.002, "what is left is of the terms that keep optimizers from dividing by 0"
