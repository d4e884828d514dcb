"""Arms that are trained on with a vector of each impression: planted, noise, none at all, and no port."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

from lis_spark.errors import LisError
from lis_spark.ranker.day_reader import DayReader
from lis_spark.ranker.plans import (
    AppendArmSpec,
    AppendEvaluationSpec,
    AppendPlan,
    PortSpec,
    StateSpec,
    state_folder,
)
from tests.ranker_worlds import (
    World,
    day,
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
)

T, WINDOW, WIDTH = 4, 2, 3
ARMS = {
    "bare": None,
    "planted": PortSpec(column="leaked_vector_planted", widths=(WIDTH,)),
    "noise": PortSpec(column="control_vector_noise", widths=(WIDTH,)),
    "nothing": PortSpec(column="control_vector_nothing", widths=(WIDTH,)),
    "planted again": PortSpec(column="leaked_vector_planted", widths=(WIDTH,)),
    "planted, of a table": PortSpec(column="leaked_vector_owner", table="owners", widths=(WIDTH,)),
}


@dataclass
class Appended:
    """The world, the base chain's states, and folders of logits.

    Of one rank, of one rank again, of two ranks, of two that share a model, and of two that share it arm by arm.
    """

    world: World
    states: Path
    logits: dict[str, Path]


def with_vectors(world: World, folder: Path) -> World:
    """The days from T - w on with vectors: one that knows the label, noise, and none; every seventh row has none."""
    days = {}
    for number in range(T - WINDOW, T + 1):
        rows = world.rows[day(number)]
        generator = np.random.default_rng(number)
        noise = generator.normal(size=(len(rows["user_id"]), WIDTH)).astype(np.float32)
        known = noise + 1.5 * (rows["label_click"][:, None] - 0.5) * np.array([1, -1, 0], np.float32)
        columns = {
            "leaked_vector_planted": packed(known),
            "control_vector_noise": packed(noise),
            "control_vector_nothing": np.full(len(noise), None, object),
            "leaked_vector_owner": np.arange(len(noise)) * 1_000_003 + number,
        }
        write_table(folder / "owners", number, columns["leaked_vector_owner"], columns["leaked_vector_planted"])
        groups = (700, 500, 500, 300)
        days[day(number)] = write_day(folder, day(number), rows | columns, groups)
    return World(folder, world.ranker, world.rows, days)


def placed(port: PortSpec | None, folder: Path) -> PortSpec | None:
    """The port with the whole path of its table."""
    return port.model_copy(update={"table": str(folder / port.table)}) if port and port.table else port


def write_table(folder: Path, number: int, rows: np.ndarray, vectors: np.ndarray) -> None:
    """The vectors that are there, in no order, as one more file of a table."""
    folder.mkdir(parents=True, exist_ok=True)
    there = np.random.default_rng(number).permutation(np.flatnonzero([vector is not None for vector in vectors]))
    pq.write_table(pa.table({"row": rows[there], "vector": list(vectors[there])}), folder / f"{number}.parquet")


def packed(vectors: np.ndarray) -> np.ndarray:
    column = np.empty(len(vectors), object)
    column[:] = [vector.astype("<f4").tobytes() for vector in vectors]
    column[::7] = None
    return column


@pytest.fixture(scope="module")
def appended(tmp_path_factory: pytest.TempPathFactory) -> Appended:
    folder = tmp_path_factory.mktemp("append")
    world = make_world(folder / "rows", T + 1)
    train = write_plan(folder / "train.json", make_train_plan(world, folder / "states", [make_chain("base", 0, T)]))
    ported = with_vectors(world, folder / "ported")
    state = StateSpec(
        folder=str(state_folder(str(folder / "states"), "base", day(T - WINDOW))),
        fingerprint=f"base-{T - WINDOW}-first",
    )
    logits, plans = {}, {}
    together = make_launch().arm_megabytes
    runs = {"once": (1, together), "again": (1, together), "two": (1, together), "sharing": (2, together)}
    for name, (sharing, megabytes) in (runs | {"sharing arm by arm": (2, 0)}).items():
        logits[name] = folder / name
        evaluation = AppendEvaluationSpec(
            date=day(T),
            seed=7,
            state=state,
            days=tuple(ported.days[day(number)] for number in range(T - WINDOW, T)),
            day=ported.days[day(T)],
            arms=tuple(AppendArmSpec(names=(arm,), port=placed(port, folder / "ported")) for arm, port in ARMS.items()),
        )
        plan = AppendPlan(
            output_folder=str(logits[name]),
            ranker=world.ranker,
            launch=make_launch(sharing).model_copy(update={"arm_megabytes": megabytes}),
            label="click",
            port_columns=4,
            evaluations=(evaluation,),
        )
        plans[name] = f"append:{write_plan(folder / f'{name}.json', plan)}"
    rows = len(world.rows[day(T)]["user_id"]) * len(ARMS)
    assert results(run_ranks([f"train:{train}", plans["once"], plans["again"]]))[1:] == [rows, rows]
    assert sum(results(run_ranks([plans["two"]], ranks=2))) < rows, "rank 0 takes its share of the arms"
    run_ranks([plans["sharing"], plans["sharing arm by arm"]], ranks=2)
    return Appended(world, folder / "states", logits)


def scored(appended: Appended, run: str) -> dict[str, np.ndarray]:
    """Arm -> logits in the order of the day's rows."""
    files = sorted((appended.logits[run] / "7" / str(day(T))).glob("*.parquet"))
    table = pa.concat_tables([pq.read_table(file) for file in files]).to_pandas()
    ids = appended.world.rows[day(T)]["impression_id"]
    arms = {}
    for arm, rows in table.groupby("arm"):
        assert sorted(rows["impression_id"]) == sorted(ids), "every row once"
        arms[str(arm)] = rows.set_index("impression_id").loc[ids, "logit"].to_numpy()
    return arms


def bits(logits: np.ndarray) -> np.ndarray:
    return logits.astype(np.float32).view(np.int32)


def test_without_a_port_the_arm_is_the_chain_continued(appended: Appended) -> None:
    """From M_{T-w} through D_{T-w} .. D_{T-1} the ranker becomes M_T."""
    state = read_state(state_folder(str(appended.states), "base", day(T)))
    expected = naive_click_logits(state, appended.world.rows[day(T)])
    np.testing.assert_allclose(scored(appended, "once")["bare"], expected, rtol=1e-4, atol=1e-5)


def test_rows_without_a_vector_leave_the_bits_of_the_ranker_without_a_port(appended: Appended) -> None:
    """Method 1.6: vectors of vanished items, filled with zero, trained on and scored."""
    arms = scored(appended, "once")
    assert (bits(arms["nothing"]) == bits(arms["bare"])).all()
    assert (bits(arms["noise"]) != bits(arms["bare"])).any()


def test_what_knows_the_label_raises_the_auc_and_noise_does_not(appended: Appended) -> None:
    labels = appended.world.rows[day(T)]["label_click"]
    auc = {arm: roc_auc_score(labels, logits) for arm, logits in scored(appended, "once").items()}
    assert auc["planted"] > auc["bare"] + 0.1, auc
    assert auc["noise"] < auc["bare"] + 0.005, auc


def test_the_same_bits_in_every_run_and_on_any_number_of_ranks(appended: Appended) -> None:
    once = scored(appended, "once")
    assert (bits(once["planted"]) == bits(once["planted again"])).all(), "arms leave nothing behind"
    for run in ("again", "two"):
        other = scored(appended, run)
        assert all((bits(other[arm]) == bits(once[arm])).all() for arm in ARMS)


def test_vectors_of_a_table_are_as_good_as_those_of_a_column(appended: Appended) -> None:
    for run in appended.logits:
        arms = scored(appended, run)
        assert (bits(arms["planted, of a table"]) == bits(arms["planted"])).all(), run


def test_two_ranks_that_share_a_model_learn_what_one_learns(appended: Appended) -> None:
    labels = appended.world.rows[day(T)]["label_click"]
    once, sharing = scored(appended, "once"), scored(appended, "sharing")
    for arm in ARMS:
        assert abs(roc_auc_score(labels, once[arm]) - roc_auc_score(labels, sharing[arm])) < 0.01, arm
    assert (bits(sharing["nothing"]) == bits(sharing["bare"])).all()
    one_by_one = scored(appended, "sharing arm by arm")
    assert all((bits(sharing[arm]) == bits(one_by_one[arm])).all() for arm in ARMS), "arms know nothing of each other"


def test_rows_with_leaked_vectors_are_refused_where_no_leaked_arm_is_trained(appended: Appended) -> None:
    ported = with_vectors(appended.world, appended.logits["once"].parent / "refused")
    with pytest.raises(LisError, match="cannot be trained on") as error:
        DayReader(appended.world.ranker, 0, 1, 10).read(ported.days[day(T)])
    assert "leaked_vector_planted" in str(error.value)
