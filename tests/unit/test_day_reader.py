"""The day reader against pyarrow's own reading of the same files: every row once, every column, or an error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lis_spark.errors import LisError, StepFailed
from lis_spark.ranker.day_reader import DayReader, DayRows, check_count
from lis_spark.ranker.plans import DaySpec, FeatureSpec
from lis_spark.table_files import refuse_leaked_columns
from tests.ranker_worlds import GROUP_SIZES, LENGTH, World, day, make_ranker, make_world, write_day

FEATURES = ["row_user", "row_item", "row_category"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("rows"), days=2)


def by_pyarrow(spec: DaySpec) -> pa.Table:
    return pa.concat_tables([pq.read_table(file.removeprefix("file://")) for file in spec.files])


def histories(column: pa.ChunkedArray) -> list[list[int]]:
    return [np.frombuffer(value, "<i4").tolist() for value in column.to_pylist()]


def read(world: World, spec: DaySpec, shard: int = 0, shards: int = 1) -> DayRows:
    return DayReader(world.ranker, shard, shards, cache_megabytes=50, with_ids=True).read(spec)


def test_rows_equal_what_pyarrow_reads(world: World) -> None:
    spec = world.days[day(1)]
    rows, expected = read(world, spec), by_pyarrow(spec)
    assert len(rows) == expected.num_rows == sum(GROUP_SIZES)
    assert rows.impression_ids.tolist() == expected["impression_id"].to_pylist()
    assert rows.user_ids.tolist() == expected["user_id"].to_pylist()
    assert rows.rows.dtype == np.int32 and rows.labels.dtype == np.float32
    assert rows.rows.T.tolist() == [expected[name].to_pylist() for name in FEATURES]
    assert rows.labels.T.tolist() == [expected[name].to_pylist() for name in ("label_click", "label_like")]
    assert rows.buckets.tolist() == expected["user_bucket"].to_pylist()
    assert rows.clicks.tolist() == histories(expected["history_clicks"])
    assert rows.skips.tolist() == histories(expected["history_skips"])
    assert rows.clicks.shape == (len(rows), LENGTH) and rows.clicks.min() == -1 and rows.clicks.max() > 0
    check_count(spec, len(rows))


def test_two_shards_hold_every_row_once(world: World) -> None:
    spec = world.days[day(0)]
    parts = [read(world, spec, shard, 2) for shard in range(2)]
    together = [name for part in parts for name in part.impression_ids]
    assert len(together) == spec.rows and set(together) == set(by_pyarrow(spec)["impression_id"].to_pylist())
    assert min(len(part) for part in parts) > 0
    alone = read(world, spec)
    place = {name: row for row, name in enumerate(alone.impression_ids)}
    for part in parts:
        order = np.array([place[name] for name in part.impression_ids])
        for name in ("rows", "clicks", "skips", "labels", "buckets"):
            assert np.array_equal(getattr(part, name), getattr(alone, name)[order]), name


def test_a_day_with_fewer_row_groups_than_shards_is_read_by_one(world: World, tmp_path: Path) -> None:
    spec = write_day(tmp_path, day(0), world.rows[day(0)], [sum(GROUP_SIZES)])
    assert [len(read(world, spec, shard, 3)) for shard in range(3)] == [spec.rows, 0, 0]


def test_a_day_without_files_is_empty(world: World) -> None:
    rows = read(world, DaySpec(date=day(5), files=(), rows=0, row_groups=0))
    assert len(rows) == 0 and rows.rows.shape == (0, 3) and rows.clicks.shape == (0, LENGTH)
    check_count(DaySpec(date=day(5), files=(), rows=0, row_groups=0), len(rows))


def test_a_column_that_a_file_lacks_is_an_error(world: World, tmp_path: Path) -> None:
    rows = {name: values for name, values in world.rows[day(0)].items() if name != "row_category"}
    spec = write_day(tmp_path, day(0), rows, GROUP_SIZES)
    with pytest.raises(Exception, match="row_category") as error:
        read(world, spec)
    assert isinstance(error.value, StepFailed)


def test_lost_and_doubled_rows_are_errors(world: World) -> None:
    spec = world.days[day(0)]
    for received in (spec.rows - 1, spec.rows + 1):
        with pytest.raises(StepFailed) as error:
            check_count(spec, received)
        text = str(error.value)
        assert f"{received:,} rows read" in text and f"{spec.rows:,} rows in the table" in text
        assert spec.date.isoformat() in text and "training_rows" in text


def test_a_file_that_is_gone_from_the_list_is_seen_in_the_count(world: World) -> None:
    whole = world.days[day(0)]
    shorter = whole.model_copy(update={"files": whole.files[:1], "row_groups": 2})
    with pytest.raises(StepFailed, match="lost or doubled"):
        check_count(shorter, len(read(world, shorter)))


@pytest.mark.parametrize("column", ["leaked_vector", "leaked_ids", "row_leaked_ids", "row_leaked_vector"])
def test_columns_from_the_future_are_refused(world: World, tmp_path: Path, column: str) -> None:
    with pytest.raises(LisError, match=column):
        refuse_leaked_columns(["row_user", column], "training_rows")
    rows = world.rows[day(0)]
    spec = write_day(tmp_path, day(0), rows | {column: rows["row_item"]}, GROUP_SIZES)
    features = (*world.ranker.features, FeatureSpec(name="next", column=column, table="item"))
    with pytest.raises(LisError, match=column):
        DayReader(make_ranker(tmp_path, features=features), 0, 1, 50).read(spec)
    with pytest.raises(LisError, match=column):  # it lies in the file, whether it is asked for or not
        DayReader(world.ranker, 0, 1, 50).read(spec)


def test_days_are_kept_while_they_fit(world: World, tmp_path: Path) -> None:
    specs = [write_day(tmp_path, date, world.rows[date], GROUP_SIZES) for date in (day(0), day(1))]
    roomy = DayReader(world.ranker, 0, 1, cache_megabytes=50)
    cramped = DayReader(world.ranker, 0, 1, cache_megabytes=0)
    for reader in (roomy, cramped):
        for spec in specs:
            reader.read(spec)
    for file in specs[0].files:
        Path(file.removeprefix("file://")).unlink()
    assert roomy.read(specs[0]).rows[:, 0].tolist() == world.rows[day(0)]["row_user"].tolist()
    with pytest.raises(Exception):  # noqa: B017 - the file is read again, and it is gone
        cramped.read(specs[0])
