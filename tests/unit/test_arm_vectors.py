"""What arms read of a day: its rows once for all of them, and of each arm only its own vectors, against the arrays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from lis_spark.errors import StepFailed
from lis_spark.ranker import day_reader
from lis_spark.ranker.arm_vectors import VectorReader, numbers_of
from lis_spark.ranker.evaluation_days import EvaluationDays
from lis_spark.ranker.plans import AppendArmSpec, AppendEvaluationSpec, AppendPlan, DaySpec, PortSpec, StateSpec
from lis_spark.ranker.processes import Rank
from tests.ranker_worlds import GROUP_SIZES, day, make_launch, make_world, write_day

DAYS, SCORED, PARTS = 2, 2, (2, 1)
WIDTH = sum(PARTS)
OWNED = PortSpec(column="leaked_vector_owner", table="owners", widths=PARTS)
OWN = PortSpec(column="leaked_vector_own", widths=PARTS)
NEVER = PortSpec(column="control_vector_never", widths=(4,))
PORTS = (None, OWNED, OWN, NEVER, OWN)


def one_rank(place: int = 0, size: int = 1) -> Rank:
    return Rank(place, size, None, 0, 1, place, size, torch.device("cpu"))  # type: ignore[arg-type]


class Vectors:
    """A world with vectors beside its rows: by owner, where every third has none, and by row, where every fifth has."""

    def __init__(self, folder: Path) -> None:
        self.world = make_world(folder / "plain", DAYS + 1)
        self.days: dict[int, DaySpec] = {}
        self.own: dict[int, np.ndarray] = {}
        self.owners: dict[int, np.ndarray] = {}
        generator = np.random.default_rng(3)
        numbers = generator.integers(-(2**60), 2**60, 40)
        self.of_owner = {int(n): generator.normal(size=WIDTH).astype(np.float32) for n in numbers[numbers % 3 > 0]}
        (folder / "owners").mkdir()
        listed = generator.permutation(list(self.of_owner))
        table = {"row": listed, "vector": [self.of_owner[int(n)].tobytes() for n in listed]}
        pq.write_table(pa.table(table), folder / "owners" / "0.parquet")
        for number in range(DAYS + 1):
            rows = self.world.rows[day(number)]
            size = len(rows["user_bucket"])
            self.own[number] = generator.normal(size=(size, WIDTH)).astype(np.float32)
            self.owners[number] = generator.choice(numbers, size)
            packed = np.full(size, None, object)
            packed[::5] = [vector.tobytes() for vector in self.own[number][::5]]
            columns = {"leaked_vector_own": packed, "control_vector_never": np.full(size, None, object)}
            beside = {"leaked_vector_owner": self.owners[number]}
            self.days[number] = write_day(folder / "rows", day(number), rows | columns | beside, GROUP_SIZES)
        self.owned = OWNED.model_copy(update={"table": str(folder / "owners")})

    def placed(self, ports: Sequence[PortSpec | None]) -> list[PortSpec | None]:
        return [self.owned if port is OWNED else port for port in ports]

    def evaluation(self, cache_megabytes: int, rank: Rank) -> EvaluationDays:
        evaluation = AppendEvaluationSpec(
            date=day(SCORED),
            seed=1,
            state=StateSpec(folder="", fingerprint=""),
            days=tuple(self.days[number] for number in range(DAYS)),
            day=self.days[SCORED],
            arms=tuple(AppendArmSpec(names=(str(n),), port=port) for n, port in enumerate(self.placed(PORTS))),
        )
        plan = AppendPlan(
            output_folder="",
            ranker=self.world.ranker,
            launch=make_launch().model_copy(update={"cache_megabytes": cache_megabytes}),
            label="click",
            port_columns=4,
            evaluations=(evaluation,),
        )
        return EvaluationDays(plan, evaluation, rank)


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Vectors:
    return Vectors(tmp_path_factory.mktemp("vectors"))


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The columns of each reading by petastorm, in turn."""
    seen: list[tuple[str, ...]] = []
    real = day_reader.make_batch_reader

    def counted(files: list[str], **settings: Any) -> Any:
        seen.append(tuple(settings["schema_fields"]))
        return real(files, **settings)

    monkeypatch.setattr(day_reader, "make_batch_reader", counted)
    return seen


def test_an_arm_is_given_its_own_vectors(vectors: Vectors) -> None:
    days = vectors.evaluation(50, one_rank())
    reader = days.vectors(vectors.placed(PORTS))
    for number, spec in vectors.days.items():
        bare, owned, own, never, again = reader.read(spec, days.rows(spec))
        assert bare is None and owned is not None and own is not None and never is not None and again is not None
        nothing = np.zeros(WIDTH, np.float32)
        by_owner = [vectors.of_owner.get(int(owner), nothing) for owner in vectors.owners[number]]
        there = [int(owner) in vectors.of_owner for owner in vectors.owners[number]]
        found, mask = owned.of(slice(None))
        assert np.array_equal(found.numpy(), np.stack(by_owner)) and mask.tolist() == there
        fifth = np.arange(len(there)) % 5 == 0
        for one in (own, again):
            found, mask = one.of(np.arange(len(there)))
            assert np.array_equal(found.numpy(), vectors.own[number] * fifth[:, None]) and mask.tolist() == list(fifth)
        found, mask = never.of(slice(10, 30))
        assert found.shape == (20, 4) and not found.any() and not mask.any()


def test_two_ranks_are_given_the_vectors_of_their_rows(vectors: Vectors) -> None:
    spec, width = vectors.days[0], len(vectors.own[0])
    whole = vectors.evaluation(50, one_rank()).readers[True].load(spec)
    place = {name: row for row, name in enumerate(whole.impression_ids)}
    seen: list[int] = []
    for rank in (one_rank(0, 2), one_rank(1, 2)):
        rows = vectors.evaluation(50, rank).readers[True].load(spec)
        order = [place[name] for name in rows.impression_ids]
        (own,) = VectorReader([OWN], (), rank).read(spec, rows)
        assert own is not None
        assert np.array_equal(own.of(slice(None))[0], (vectors.own[0] * (np.arange(width) % 5 == 0)[:, None])[order])
        seen += order
    assert sorted(seen) == list(range(width))


def test_rows_are_read_once_for_all_arms(vectors: Vectors, readings: list[tuple[str, ...]]) -> None:
    days = vectors.evaluation(50, one_rank())
    for port in vectors.placed(PORTS):
        reader = days.vectors([port])
        for spec in vectors.days.values():
            reader.read(spec, days.rows(spec))
    whole = [columns for columns in readings if "row_item" in columns]
    assert len(whole) == len(vectors.days) and all("leaked_vector_owner" in columns for columns in whole)
    assert sum("impression_id" in columns for columns in whole) == 1, "ids of the scored day alone"
    again = [set(columns) for columns in readings if "row_item" not in columns]
    own = sum(port is not None and port.table is None for port in PORTS)
    assert len(again) == own * len(vectors.days)
    assert all(len(columns) == 2 and "user_bucket" in columns for columns in again)


def test_arms_that_are_trained_together_are_one_reading(vectors: Vectors, readings: list[tuple[str, ...]]) -> None:
    days = vectors.evaluation(50, one_rank())
    reader = days.vectors(vectors.placed(PORTS))
    for spec in vectors.days.values():
        reader.read(spec, days.rows(spec))
    assert len(readings) == 2 * len(vectors.days)


def test_a_day_that_does_not_fit_is_read_again(vectors: Vectors, readings: list[tuple[str, ...]]) -> None:
    days = vectors.evaluation(0, one_rank())
    first = [days.rows(spec) for spec in vectors.days.values()]
    days.limit = sum(rows.nbytes() for rows in first[:2])
    readings.clear()
    for _ in range(3):
        for spec, rows in zip(vectors.days.values(), first, strict=True):
            assert np.array_equal(days.rows(spec).rows, rows.rows)
    assert len(readings) == 2 + 3, "two days are kept, the third is read by each"


def test_lost_rows_are_seen_in_every_reading(vectors: Vectors) -> None:
    days = vectors.evaluation(50, one_rank())
    wrong = vectors.days[0].model_copy(update={"rows": vectors.days[0].rows + 1})
    for _ in range(2):  # the second time the day is kept
        with pytest.raises(StepFailed, match="lost or doubled"):
            days.rows(wrong)


def test_vectors_of_other_rows_are_refused(vectors: Vectors) -> None:
    days = vectors.evaluation(50, one_rank())
    reader = days.vectors([OWN])
    with pytest.raises(StepFailed, match="differ in their rows"):
        reader.read(vectors.days[1], days.rows(vectors.days[0]))


def test_numbers_are_read_only_for_arms_that_look_up_by_them(vectors: Vectors) -> None:
    assert numbers_of(vectors.placed(PORTS)) == ("leaked_vector_owner",)
    assert numbers_of([None, OWN]) == ()
