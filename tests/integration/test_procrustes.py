"""Tables of a retrained model mapped onto the control's: a known rotation, the identity's bits, too few rows."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import ortho_group

from lis_spark.errors import InputError
from lis_spark.ranker.procrustes import TableUse, aligned_tables
from lis_spark.vectors import pack, unpack

WIDTH, ROWS = 8, 300
T, LATER, LATEST = (dt.date(2022, 5, day) for day in (1, 4, 8))
IDENTITY = TableUse("base-s1", T, T, "base-s1")
USES = {IDENTITY, TableUse("retrained-s1", LATER, T, "base-s1"), TableUse("retrained-s1", LATEST, T, "base-s1")}


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    return np.random.default_rng(3).normal(size=(ROWS, WIDTH)).astype(np.float32)


def frame_of(spark: Any, vectors: dict[tuple[str, dt.date], np.ndarray], updates: np.ndarray) -> Any:
    """The columns of ``as_of`` that matter, a table after the other."""
    tables = [
        pa.table(
            {
                "chain": pa.array([chain] * len(found)),
                "snapshot_date": pa.array([date] * len(found)),
                "row": pa.array(np.arange(len(found), dtype=np.int32)),
                "vector": pack(found),
                "update_count": pa.array(updates[: len(found)]),
            }
        )
        for (chain, date), found in vectors.items()
    ]
    return spark.createDataFrame(pa.concat_tables(tables).to_pandas())


def vectors_of(frame: Any, date: dt.date) -> np.ndarray:
    found = frame.where(f"snapshot_date = DATE'{date}'").orderBy("row").toArrow()
    return unpack(found["vector"], WIDTH)


def test_rotations_are_taken_out_by_rows_with_many_updates(spark: Any, truth: np.ndarray) -> None:
    """Two tables, each turned by a rotation of its own; the rows with few updates are noise and must not be fitted."""
    updates = np.where(np.arange(ROWS) < 100, 500, 3)
    noise = np.random.default_rng(4).normal(size=truth.shape) * (updates < 100)[:, None] * 5
    turned = {
        date: ((truth + noise) @ ortho_group.rvs(WIDTH, random_state=seed)).astype(np.float32)
        for date, seed in ((LATER, 1), (LATEST, 2))
    }
    vectors = {("base-s1", T): truth, ("retrained-s1", LATER): turned[LATER], ("retrained-s1", LATEST): turned[LATEST]}
    frame = frame_of(spark, vectors, updates)
    aligned = aligned_tables(frame, USES, WIDTH, 100).localCheckpoint()
    assert aligned.count() == 3 * ROWS
    assert vectors_of(aligned, T).tobytes() == truth.tobytes(), "the control's own table keeps its bits"
    for date in (LATER, LATEST):
        assert np.allclose(vectors_of(aligned, date)[:100], truth[:100], atol=1e-5)
        assert np.allclose(vectors_of(aligned, date)[100:], (truth + noise)[100:], atol=1e-4), "all rows are turned"
    again = aligned_tables(frame.repartition(7, "row"), USES, WIDTH, 100)
    for date in (T, LATER, LATEST):
        assert vectors_of(again, date).tobytes() == vectors_of(aligned, date).tobytes(), "whatever the partitions"


def test_a_large_table_does_not_thin_out_a_small_one(
    spark: Any, truth: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The map of a table is the same whatever is aligned beside it: each is thinned by its own size."""
    monkeypatch.setattr("lis_spark.ranker.procrustes.LARGEST_FIT", 50)
    noise = np.random.default_rng(5).normal(size=truth.shape)
    turned = [((truth + noise) @ ortho_group.rvs(WIDTH, random_state=seed)).astype(np.float32) for seed in (1, 2)]
    small = {("base-s1", T): truth, ("retrained-s1", LATER): turned[0][:40]}
    updates = np.full(ROWS, 500)
    both = frame_of(spark, small | {("retrained-s1", LATEST): turned[1]}, updates)
    together = aligned_tables(both, USES, WIDTH, 100)
    few = {use for use in USES if use.snapshot_date != LATEST}
    alone = aligned_tables(frame_of(spark, small, updates), few, WIDTH, 100)
    assert vectors_of(together, LATER).tobytes() == vectors_of(alone, LATER).tobytes()


def test_too_few_shared_rows_are_refused_with_the_number(spark: Any, truth: np.ndarray) -> None:
    updates = np.where(np.arange(ROWS) < WIDTH - 1, 500, 3)
    vectors = {("base-s1", T): truth, ("retrained-s1", LATER): truth, ("retrained-s1", LATEST): truth}
    with pytest.raises(InputError) as error:
        aligned_tables(frame_of(spark, vectors, updates), USES, WIDTH, 100)
    for part in ("7 rows with more than 100 updates", "retrained-s1", "at least 8", "align_minimum_updates"):
        assert part in str(error.value)
