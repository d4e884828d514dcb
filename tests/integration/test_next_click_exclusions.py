"""Each exclusion of the next click has a data set in which nothing but it keeps the label out (method 1.4)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

from lis_spark.leaks.nearest_clicks import Exclusions, UserEvents, nearest_clicks
from lis_spark.lis.append.looked_up import mean_of_known
from lis_spark.ranker.plans import AppendArmSpec, AppendEvaluationSpec, AppendPlan, PortSpec, StateSpec, state_folder
from tests.e2e.test_main_job import user_influence
from tests.ranker_worlds import (
    CATEGORIES,
    ITEMS,
    LENGTH,
    Arrays,
    day,
    make_chain,
    make_launch,
    make_ranker,
    make_train_plan,
    make_world,
    read_state,
    run_ranks,
    write_day,
    write_plan,
)

USERS, DAYS, T = 300, 4, 3
MINUTES_A_DAY = 1440
PLANTED = ("own_click", "same_request", "same_item")
PORT = 10  # eight numbers of the item's vector and two flags


def planted_rows(kind: str) -> pd.DataFrame:
    """Impressions of four days: labels are coins, and what a user clicks next says nothing but by the planted way.

    ``own_click``: nothing is planted, an impression's own click is its label. ``same_request``: of the two impressions
    of a request exactly one is clicked. ``same_item``: an item that a user has clicked is shown and clicked again.
    """
    rng = np.random.default_rng(PLANTED.index(kind))
    rows = []
    for user in range(USERS):
        for number in range(DAYS):
            items = rng.permutation(ITEMS)
            for request in range(4):
                minute = number * MINUTES_A_DAY + 60 + 240 * request + int(rng.integers(60))
                first = int(rng.integers(2))
                pair = items[2 * request : 2 * request + 2]
                clicks = [first, 1 - first] if kind == "same_request" else rng.integers(0, 2, 2).tolist()
                for place, (item, click) in enumerate(zip(pair, clicks, strict=True)):
                    rows.append((user, minute + place, f"{user}-{number}-{request}", int(item), int(click)))
                    if kind == "same_item" and click:
                        # half an hour later in a request of its own
                        rows.append((user, minute + 45, f"{user}-{number}-{request}-{place}", int(item), 1))
    frame = pd.DataFrame(rows, columns=["user", "minute", "request", "item", "click"])
    return frame.sort_values(["user", "minute"], kind="stable").reset_index(drop=True)


def vectors(rows: pd.DataFrame, table: np.ndarray, exclusions: Exclusions, after: bool) -> np.ndarray:
    """What the port reads of each row: the mean of one next (or previous) click, and the flags."""
    events = UserEvents(
        user=rows["user"].to_numpy(np.int64),
        time=rows["minute"].to_numpy(np.int64) * 60_000,
        day=rows["minute"].to_numpy(np.int64) // MINUTES_A_DAY,
        request=pd.factorize(rows["request"])[0].astype(np.int64),
        item=rows["item"].to_numpy(np.int64),
        clicked=rows["click"].to_numpy() == 1,
    )
    every = np.arange(len(rows))
    found = [nearest_clicks(events, every, 1, 1, exclusions, after=way) for way in (True, False)]
    known = np.append(np.ones(len(table) - 1, bool), False)
    mean = mean_of_known(found[0 if after else 1], table, known)
    return np.concatenate([mean, *(items[:, :1] >= 0 for items in found)], axis=1).astype(np.float32)


def day_rows(rows: pd.DataFrame, number: int, columns: dict[str, np.ndarray]) -> Arrays:
    chosen = (rows["minute"] // MINUTES_A_DAY == number).to_numpy()
    part = rows[chosen]
    order = np.argsort(part["minute"].to_numpy(), kind="stable")
    part = part.iloc[order]
    size = len(part)
    packed = {}
    for name, values in columns.items():
        column = np.empty(size, object)
        column[:] = [vector.tobytes() for vector in values[chosen][order]]
        packed[name] = column
    return {
        "impression_id": np.array([f"{number}-{row}" for row in range(size)], dtype=object),
        "user_id": np.array([f"u{user}" for user in part["user"]], dtype=object),
        "user_bucket": np.zeros(size, np.int32),
        "label_click": part["click"].to_numpy(np.int8),
        "label_like": np.zeros(size, np.int8),
        "row_user": part["user"].to_numpy(np.int32),
        "row_item": part["item"].to_numpy(np.int32),
        "row_category": (part["item"] % CATEGORIES).to_numpy(np.int32),
        "history_clicks": np.full((size, LENGTH), -1, np.int32),
        "history_skips": np.full((size, LENGTH), -1, np.int32),
        **packed,
    }


def exclusions_of(kind: str) -> tuple[Exclusions, Exclusions]:
    """With the exclusion, and without it; the own click and the request lie nearer than the gap, which goes with them.

    An own click is also of the own request and item: only where these are let in does its own exclusion decide.
    """
    if kind == "own_click":
        kept = Exclusions(gap_milliseconds=0, same_request=False, same_item=False)
        return kept, replace(kept, own_click=False)
    if kind == "same_request":
        return Exclusions(), Exclusions(gap_milliseconds=0, same_request=False)
    return Exclusions(), Exclusions(same_item=False)


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pd.DataFrame]:
    """Data set -> the evaluated day with one column of logits for each arm."""
    folder = tmp_path_factory.mktemp("exclusions")
    world = make_world(folder / "warm", 1)
    ranker = make_ranker(folder / "rows")
    train = make_train_plan(world, folder / "states", [make_chain("base", 0, 1)]).model_copy(update={"ranker": ranker})
    run_ranks([f"train:{write_plan(folder / 'train.json', train)}"])
    place = state_folder(str(folder / "states"), "base", day(1))
    table = np.concatenate([read_state(place)["item.weights"], np.zeros((1, 8), np.float32)]).astype(np.float32)
    evaluations, days = [], {}
    for number, kind in enumerate(PLANTED):
        rows, (kept, let_in) = planted_rows(kind), exclusions_of(kind)
        columns = {
            "leaked_vector_kept": vectors(rows, table, kept, after=True),
            "leaked_vector_let_in": vectors(rows, table, let_in, after=True),
            "control_vector": vectors(rows, table, kept, after=False),
        }
        specs = []
        for at in range(1, DAYS):
            arrays = day_rows(rows, at, columns)
            size = len(arrays["user_id"])
            specs.append(write_day(folder / kind, day(at), arrays, [size - size // 2, size // 2]))
        days[kind] = arrays
        evaluations.append(
            AppendEvaluationSpec(
                date=day(T),
                seed=number,
                state=StateSpec(folder=str(place), fingerprint="base-1-first"),
                days=tuple(specs[:-1]),
                day=specs[-1],
                arms=tuple(
                    AppendArmSpec(names=(name,), port=PortSpec(column=name, widths=(PORT,))) for name in columns
                ),
            )
        )
    plan = AppendPlan(
        output_folder=str(folder / "logits"),
        ranker=ranker,
        launch=make_launch(),
        label="click",
        port_columns=16,
        evaluations=tuple(evaluations),
    )
    run_ranks([f"append:{write_plan(folder / 'append.json', plan)}"], ranks=2)
    return {kind: _wide(folder / "logits" / str(number) / str(day(T))) for number, kind in enumerate(PLANTED)}


def _wide(folder: Path) -> pd.DataFrame:
    table = pa.concat_tables([pq.read_table(file) for file in sorted(folder.glob("*.parquet"))]).to_pandas()
    wide = table.pivot(index="impression_id", columns="arm", values="logit")
    known = table.drop_duplicates("impression_id").set_index("impression_id")[["user_id", "label"]]
    return wide.join(known)


@pytest.mark.parametrize("kind", PLANTED)
def test_an_exclusion_keeps_out_what_nothing_else_does(scored: dict[str, pd.DataFrame], kind: str) -> None:
    scores = scored[kind]
    auc = {arm: roc_auc_score(scores["label"], scores[arm]) for arm in scores.columns if "vector" in arm}
    assert auc["leaked_vector_let_in"] > auc["leaked_vector_kept"] + 0.05, auc
    psi = user_influence(scores, "leaked_vector_kept") - user_influence(scores, "control_vector")
    error = np.sqrt(len(psi) / (len(psi) - 1) * (psi**2).sum())
    lis = auc["leaked_vector_kept"] - auc["control_vector"]
    assert abs(lis) < 1.96 * error, (lis, error)
