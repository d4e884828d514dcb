"""Arms of one evaluated day: the identity is exact, a bit moves what uses it and nothing else, nothing stays behind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from lis_spark.ranker.cold_rows import cold_rows
from lis_spark.ranker.plans import ArmSpec, DaySpec, EvaluationSpec, ScorePlan, StateSpec, state_folder
from tests.ranker_worlds import (
    FOLDS,
    GROUP_SIZES,
    INITIAL_SCALE,
    ITEMS,
    WIDTH,
    Arrays,
    World,
    day,
    make_arm,
    make_chain,
    make_launch,
    make_train_plan,
    make_world,
    naive_click_logits,
    read_state,
    results,
    run_ranks,
    write_day,
    write_plan,
    write_vectors,
)

T = 2  # M_T has seen days 0 and 1; day T is scored
SEED = 7
REFIT_STEPS = 40
SCOPES = ("both", "target", "history")


def swap(name: str, folder: str, scope: str = "both", **changes: object) -> ArmSpec:
    target = folder if scope != "history" else None
    return make_arm(name, target_vectors=target, history_vectors=folder if scope != "target" else None, **changes)


@dataclass
class Scored:
    """One evaluated day: its rows, the states, the item that has a flipped bit, and the logits of every arm."""

    world: World
    work: Path
    rows: Arrays
    flipped_item: int
    flipped_table: np.ndarray
    arms: tuple[ArmSpec, ...]
    plan: ScorePlan
    direct: ScorePlan
    fitted: ScorePlan
    written: list[int]

    def logits(self, arm: str, plan: ScorePlan | None = None) -> np.ndarray:
        """float32 logits of an arm that serves every impression, in the order of ``rows``."""
        frame = self.frame(plan or self.plan).query("arm == @arm").set_index("impression_id")
        assert len(frame) == len(self.rows["impression_id"]) and frame.index.is_unique
        return frame.loc[self.rows["impression_id"], "logit"].to_numpy()

    @staticmethod
    def frame(plan: ScorePlan) -> pd.DataFrame:
        folder = Path(plan.output_folder) / str(SEED) / day(T).isoformat()
        return pd.concat([pq.read_table(file).to_pandas() for file in sorted(folder.glob("*.parquet"))])


def state_of(work: Path, number: int) -> StateSpec:
    folder = state_folder(str(work), "base", day(number))
    return StateSpec(folder=str(folder), fingerprint=f"base-{number}-first")


def make_score_plan(
    world: World,
    work: Path,
    output: Path,
    arms: tuple[ArmSpec, ...],
    number: int = T,
    scored_day: DaySpec | None = None,
) -> ScorePlan:
    """Scores day T (or other rows) with M of day ``number`` and the arms."""
    evaluation = EvaluationSpec(
        date=day(T),
        seed=SEED,
        state=state_of(work, number),
        day=scored_day or world.days[day(T)],
        arms=arms,
        refit_days=(world.days[day(T - 2)], world.days[day(T - 1)]),
        refit_steps=REFIT_STEPS,
    )
    return ScorePlan(
        work_folder=str(work),
        output_folder=str(output),
        ranker=world.ranker,
        launch=make_launch(),
        label="click",
        evaluations=(evaluation,),
    )


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Scored:
    folder = tmp_path_factory.mktemp("scores")
    world, work = make_world(folder / "rows", days=T + 1), folder / "work"
    training = make_train_plan(world, work, [make_chain("base", 0, T + 1)])
    assert results(run_ranks([f"train:{write_plan(folder / 'train.json', training)}"])) == [T + 1]

    own = read_state(Path(state_of(work, T).folder))["item.weights"]
    rows = world.rows[day(T)]
    items, times = np.unique(rows["row_item"], return_counts=True)
    chosen = int(items[np.argsort(times)[len(items) // 2]])  # an item that some impressions show and most do not
    flipped = own.copy()
    flipped.view(np.uint32)[chosen, 3] ^= 1 << 22
    every = np.arange(ITEMS)
    same_folder = write_vectors(folder / "same", every, own)
    flipped_folder = write_vectors(folder / "flipped", every, flipped)
    one_folder = write_vectors(folder / "one", every[[chosen]], flipped[[chosen]])
    arms = (
        make_arm("control"),
        *[swap(f"same_{scope}", same_folder, scope) for scope in SCOPES],
        *[swap(f"flipped_{scope}", flipped_folder, scope) for scope in SCOPES],
        swap("row_permuted", same_folder, permute_rows=True),
        *[swap(f"rest_cold_{scope}", one_folder, scope, cold_seed=SEED + 1) for scope in SCOPES],
        swap("one_row", one_folder),  # what the permuted table would leave behind, this arm would show
        make_arm("user_permuted", permute_feature="user"),
        *[
            make_arm(f"{served}_{fold}", served=served, held_out_fold=fold)
            for served in ("own", "others")
            for fold in range(FOLDS)
        ],
        swap("flipped_own_0", flipped_folder, served="own", held_out_fold=0),
        make_arm("whole", model_state=state_of(work, T + 1)),
        make_arm("refit_control", refit=True),
        swap("refit_same", same_folder, refit=True, refit_vectors=same_folder),
        swap("refit_permuted", same_folder, refit=True, refit_vectors=same_folder, permute_rows=True),
        swap("refit_part", one_folder, "target", refit=True, refit_vectors=same_folder),
        swap("refit_flipped", same_folder, "target", refit=True, refit_vectors=flipped_folder),
        make_arm("control_again"),
    )
    plan = make_score_plan(world, work, folder / "logits", arms)
    direct = make_score_plan(world, work, folder / "direct", (make_arm("control"),), number=T + 1)
    both = tuple(arm for arm in arms if arm.name in ("row_permuted", "refit_permuted"))
    fitted = make_score_plan(world, work, folder / "fitted", both, scored_day=world.days[day(T - 1)])
    plans = {"plan": plan, "direct": direct, "fitted": fitted}
    commands = [f"score:{write_plan(folder / f'{name}.json', chosen_plan)}" for name, chosen_plan in plans.items()]
    written = results(run_ranks(commands))
    return Scored(world, work, rows, chosen, flipped, arms, plan, direct, fitted, written)


def same_bits(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return first.view(np.uint32) == second.view(np.uint32)


def test_logits_are_those_of_the_formulas(scored: Scored) -> None:
    """From the saved state, in NumPy: the control, and the flipped table in either scope."""
    state = read_state(Path(state_of(scored.work, T).folder))
    tables = {"both": (True, True), "target": (True, False), "history": (False, True)}
    np.testing.assert_allclose(scored.logits("control"), naive_click_logits(state, scored.rows), rtol=1e-3, atol=1e-4)
    for scope, (target, history) in tables.items():
        swapped = [scored.flipped_table if used else None for used in (target, history)]
        expected = naive_click_logits(state, scored.rows, *swapped)
        np.testing.assert_allclose(scored.logits(f"flipped_{scope}"), expected, rtol=1e-3, atol=1e-4)


def test_the_scores_say_what_they_are_of(scored: Scored) -> None:
    frame = (
        scored.frame(scored.plan).query("arm == 'control'").set_index("impression_id").loc[scored.rows["impression_id"]]
    )
    assert frame["user_id"].tolist() == scored.rows["user_id"].tolist()
    assert frame["slot_row"].tolist() == scored.rows["row_item"].tolist()
    assert frame["label"].tolist() == scored.rows["label_click"].tolist()
    assert frame["bucket"].tolist() == scored.rows["user_bucket"].tolist()
    auc = roc_auc_score(scored.rows["label_click"], scored.logits("control"))
    assert auc > 0.6, "the world can be learned, so a ranker that is not better than this reads other rows"


def test_what_an_earlier_table_had_not_seen_is_cold_in_it(scored: Scored) -> None:
    """One row given, all others as a training of the arm's seed bears them; nothing of it stays for the next arm."""
    state = read_state(Path(state_of(scored.work, T).folder))
    (item,) = [table for table in scored.world.ranker.tables if table.name == "item"]
    earlier = cold_rows(SEED + 1, "item", np.load(item.key_hashes), WIDTH, INITIAL_SCALE)
    earlier[scored.flipped_item] = scored.flipped_table[scored.flipped_item]
    for scope, (target, history) in {"both": (True, True), "target": (True, False), "history": (False, True)}.items():
        swapped = [earlier if used else None for used in (target, history)]
        expected = naive_click_logits(state, scored.rows, *swapped)
        np.testing.assert_allclose(scored.logits(f"rest_cold_{scope}"), expected, rtol=1e-3, atol=1e-4)
        assert np.abs(expected - scored.logits("control")).max() > 0.05
    assert same_bits(scored.logits("control_again"), scored.logits("control")).all()


@pytest.mark.parametrize("scope", SCOPES)
def test_its_own_table_swapped_in_changes_no_bit(scored: Scored, scope: str) -> None:
    assert same_bits(scored.logits(f"same_{scope}"), scored.logits("control")).all()


@pytest.mark.parametrize("scope", SCOPES)
def test_one_flipped_bit_moves_exactly_the_impressions_that_use_the_vector(scored: Scored, scope: str) -> None:
    uses_target = scored.rows["row_item"] == scored.flipped_item
    histories = np.concatenate([scored.rows["history_clicks"], scored.rows["history_skips"]], axis=1)
    uses_history = (histories == scored.flipped_item).any(axis=1)
    uses = {"both": uses_target | uses_history, "target": uses_target, "history": uses_history}[scope]
    assert 3 < uses.sum() < len(uses) / 2
    moved = ~same_bits(scored.logits(f"flipped_{scope}"), scored.logits("control"))
    assert np.array_equal(moved, uses)


def test_keys_that_a_table_lacks_have_the_rankers_own_row_even_after_other_swaps(scored: Scored) -> None:
    assert same_bits(scored.logits("one_row"), scored.logits("flipped_both")).all()


def test_the_control_is_the_same_before_and_after_the_arms(scored: Scored) -> None:
    assert same_bits(scored.logits("control_again"), scored.logits("control")).all()


def test_permuted_rows_and_features_move_logits(scored: Scored) -> None:
    control = scored.logits("control")
    for arm in ("row_permuted", "user_permuted"):
        assert (~same_bits(scored.logits(arm), control)).mean() > 0.9


def test_the_permuted_table_gives_each_item_one_other_vector(scored: Scored) -> None:
    """Where it is shown and where it is remembered, by the formulas in NumPy."""
    state = read_state(Path(state_of(scored.work, T).folder))
    permuted = state["item.weights"][np.random.default_rng([SEED, 1]).permutation(ITEMS)]
    expected = naive_click_logits(state, scored.rows, permuted, permuted)
    np.testing.assert_allclose(scored.logits("row_permuted"), expected, rtol=1e-3, atol=1e-4)


def test_arms_of_one_fold_hold_exactly_its_rows(scored: Scored) -> None:
    frame = scored.frame(scored.plan)
    control = frame.query("arm == 'control'").set_index("impression_id")["logit"]
    for fold in range(FOLDS):
        for served, chosen in (
            ("own", scored.rows["user_bucket"] == fold),
            ("others", scored.rows["user_bucket"] != fold),
        ):
            arm = frame[frame["arm"] == f"{served}_{fold}"]
            expected = scored.rows["impression_id"][chosen]
            assert sorted(arm["impression_id"]) == sorted(expected) and 0 < len(arm) < len(control)
            assert same_bits(arm["logit"].to_numpy(), control.loc[arm["impression_id"]].to_numpy()).all()
    flipped = frame[frame["arm"] == "flipped_own_0"]
    everyone = frame.query("arm == 'flipped_both'").set_index("impression_id")["logit"]
    assert same_bits(flipped["logit"].to_numpy(), everyone.loc[flipped["impression_id"]].to_numpy()).all()


def test_every_arm_has_every_row_that_it_serves(scored: Scored) -> None:
    size, of_fold = len(scored.rows["user_bucket"]), np.bincount(scored.rows["user_bucket"])
    expected = {}
    for arm in scored.arms:
        own = int(of_fold[arm.held_out_fold]) if arm.held_out_fold >= 0 else 0
        expected[arm.name] = {"all": size, "own": own, "others": size - own}[arm.served]
    frame = scored.frame(scored.plan)
    assert frame.groupby("arm").size().to_dict() == expected
    assert scored.written == [sum(expected.values()), size, 2 * size]


def test_another_models_state_is_that_model(scored: Scored) -> None:
    assert same_bits(scored.logits("whole"), scored.logits("control", scored.direct)).all()
    assert (~same_bits(scored.logits("whole"), scored.logits("control"))).mean() > 0.9


def test_refitted_arms_differ_by_their_table_alone(scored: Scored) -> None:
    control = scored.logits("refit_control")
    assert same_bits(scored.logits("refit_same"), control).all()
    assert (~same_bits(control, scored.logits("control"))).mean() > 0.9, "the steps move the dense part"
    assert (~same_bits(scored.logits("refit_permuted"), control)).mean() > 0.9


def test_a_refit_looks_at_the_whole_table_and_not_at_the_items_of_the_day(scored: Scored) -> None:
    """The days before show items that day T does not: they are looked up in the same later table."""
    control, part = scored.logits("refit_control"), scored.logits("refit_part")
    shown = scored.rows["row_item"] == scored.flipped_item
    assert same_bits(part, control)[~shown].all(), "what the table of the day holds does not reach the refit"
    assert not same_bits(part, control)[shown].all()
    assert (~same_bits(scored.logits("refit_flipped"), control)).mean() > 0.5, "what the whole table holds does"


def test_a_refit_fits_the_days_that_it_is_given(scored: Scored) -> None:
    """With a table whose rows are mixed up, the refitted dense part loses less on the refit days than the old one."""
    frame = scored.frame(scored.fitted)
    losses = {
        arm: log_loss(part["label"], 1 / (1 + np.exp(-part["logit"].astype(np.float64))))
        for arm, part in frame.groupby("arm")
    }
    assert losses["refit_permuted"] < losses["row_permuted"] - 0.002, losses


TWO_RANKS = {
    # ranks that have a copy of the tables each, ranks that share them by row
    "copies": (1, GROUP_SIZES),
    "shared": (2, GROUP_SIZES),
    # one row group: the second rank has no rows
    "copies_one_without_rows": (1, (sum(GROUP_SIZES),)),
    "shared_one_without_rows": (2, (sum(GROUP_SIZES),)),
    "copies_again": (1, GROUP_SIZES),
    "shared_again": (2, GROUP_SIZES),
}


@pytest.fixture(scope="module")
def two_ranks(scored: Scored, tmp_path_factory: pytest.TempPathFactory) -> dict[str, ScorePlan]:
    """Day T scored by two ranks in the ways above; in ``refit``, the refit days too are read by one rank only."""
    folder = tmp_path_factory.mktemp("two")
    arms = {arm.name: arm for arm in scored.arms}
    plans = {}
    for name, (ranks, groups) in TWO_RANKS.items():
        spec = write_day(folder / name, day(T), scored.rows, groups)
        chosen = tuple(arms[arm] for arm in ("control", "own_0", "flipped_both", "whole"))
        plan = make_score_plan(scored.world, scored.work, folder / name, chosen, scored_day=spec)
        plans[name] = plan.model_copy(update={"launch": make_launch(ranks)})
    one_group = [sum(GROUP_SIZES)]
    days = tuple(write_day(folder / "refit", date, scored.world.rows[date], one_group) for date in (day(0), day(1)))
    chosen = tuple(arms[arm] for arm in ("control", "refit_control", "refit_same"))
    plan = make_score_plan(scored.world, scored.work, folder / "refit", chosen)
    evaluation = plan.evaluations[0].model_copy(update={"refit_days": days})
    plans["refit"] = plan.model_copy(update={"launch": make_launch(2), "evaluations": (evaluation,)})
    run_ranks([f"score:{write_plan(folder / f'{name}.json', plan)}" for name, plan in plans.items()], ranks=2)
    return plans


@pytest.mark.parametrize("name", list(TWO_RANKS))
def test_two_ranks_score_every_row_once(scored: Scored, two_ranks: dict[str, ScorePlan], name: str) -> None:
    for arm in ("control", "flipped_both", "whole"):
        # another batch, other last bits
        np.testing.assert_allclose(scored.logits(arm, two_ranks[name]), scored.logits(arm), rtol=1e-3, atol=1e-5)
    own = scored.frame(two_ranks[name]).query("arm == 'own_0'")["impression_id"]
    assert sorted(own) == sorted(scored.rows["impression_id"][scored.rows["user_bucket"] == 0])


def test_two_ranks_score_the_same_bits_again(scored: Scored, two_ranks: dict[str, ScorePlan]) -> None:
    for name in ("copies", "shared"):
        for arm in ("control", "flipped_both", "whole"):
            again = scored.logits(arm, two_ranks[f"{name}_again"])
            assert same_bits(scored.logits(arm, two_ranks[name]), again).all(), (name, arm)


def test_refits_on_two_ranks_even_where_one_has_no_rows(scored: Scored, two_ranks: dict[str, ScorePlan]) -> None:
    refitted = {arm: scored.logits(arm, two_ranks["refit"]) for arm in ("control", "refit_control", "refit_same")}
    assert np.isfinite(refitted["refit_control"]).all()
    assert (~same_bits(refitted["refit_control"], refitted["control"])).mean() > 0.9
    assert same_bits(refitted["refit_same"], refitted["refit_control"]).all()


def test_two_ranks_learn_what_one_rank_learns(tmp_path: Path) -> None:
    """The AUC on the next day differs by less than .002 (batches are made of other rows); scores by scikit-learn."""
    groups = tuple(size * 6 for size in GROUP_SIZES)
    world = make_world(tmp_path / "rows", days=3, groups=groups)
    world.ranker = world.ranker.model_copy(update={"batch_size": 200})
    commands = []
    for ranks in (1, 2):
        plan = make_train_plan(world, tmp_path / f"work-{ranks}", [make_chain("base", 0, T)], ranks_per_chain=ranks)
        commands.append(f"train:{write_plan(tmp_path / f'train-{ranks}.json', plan)}")
    run_ranks(commands[1:], ranks=2)
    arms = (make_arm("one"), make_arm("two", model_state=state_of(tmp_path / "work-2", T)))
    score = make_score_plan(world, tmp_path / "work-1", tmp_path / "logits", arms)
    run_ranks([commands[0], f"score:{write_plan(tmp_path / 'score.json', score)}"])
    frame = Scored.frame(score)
    aucs = {arm: roc_auc_score(part["label"], part["logit"]) for arm, part in frame.groupby("arm")}
    assert aucs["one"] > 0.7 and abs(aucs["one"] - aucs["two"]) < 0.002, aucs


def test_a_table_that_is_not_the_items_is_swapped_in_the_features_alone(scored: Scored, tmp_path: Path) -> None:
    """Slot ``category``: histories still look up the item table, and only impressions of the category move."""
    state = read_state(Path(state_of(scored.work, T).folder))
    flipped = state["category.weights"].copy()
    category = int(np.bincount(scored.rows["row_category"][scored.rows["row_category"] >= 0]).argmax())
    flipped.view(np.uint32)[category, 3] ^= 1 << 22
    folder = write_vectors(tmp_path / "flipped", np.arange(len(flipped)), flipped)
    arms = (make_arm("control"), make_arm("flipped", target_vectors=folder))
    plan = make_score_plan(scored.world, scored.work, tmp_path / "logits", arms)
    plan = plan.model_copy(update={"ranker": plan.ranker.model_copy(update={"slot": "category"})})
    results(run_ranks([f"score:{write_plan(tmp_path / 'plan.json', plan)}"]))
    frame = scored.frame(plan)
    logits = {
        arm: members.set_index("impression_id").loc[scored.rows["impression_id"], "logit"].to_numpy()
        for arm, members in frame.groupby("arm")
    }
    assert same_bits(logits["control"], scored.logits("control")).all()
    shown = scored.rows["row_category"] == category
    assert np.array_equal(~same_bits(logits["flipped"], logits["control"]), shown) and 0 < shown.sum() < len(shown)
    expected = naive_click_logits({**state, "category.weights": flipped}, scored.rows)
    np.testing.assert_allclose(logits["flipped"], expected, rtol=1e-3, atol=1e-4)
    of_control = frame[frame["arm"] == "control"].set_index("impression_id").loc[scored.rows["impression_id"]]
    assert of_control["slot_row"].tolist() == scored.rows["row_category"].tolist()
