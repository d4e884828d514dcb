"""Training rows against a naive SQL self-join, their files, and which days a change makes stale."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from lis_spark.config import RunConfig, parse_config
from lis_spark.errors import ConfigError
from lis_spark.lake import Lake
from lis_spark.ranker import running_counts, training_rows, vocabulary
from lis_spark.ranker.counts import count_columns
from lis_spark.ranker.input_tables import InputTables
from lis_spark.sources import ingest

FIRST = dt.date(2022, 4, 28)
DAYS = 7


def _source_rows(days: int = DAYS, per_day: int = 120) -> list[tuple]:
    """Few users and few instants, so that many rows share user and millisecond."""
    generator = np.random.default_rng(5)
    rows = []
    for day in range(days):
        midnight = dt.datetime.combine(FIRST + dt.timedelta(days=day), dt.time())
        for number in range(per_day):
            seconds = int(generator.integers(0, 86_400 // 600)) * 600
            rows.append(
                (
                    f"i{day}-{number:04d}",
                    f"u{generator.integers(12)}",
                    f"v{generator.integers(1, 40) * (day != 3 or number > 0)}",  # v0 on one day only
                    midnight + dt.timedelta(seconds=seconds),
                    int(generator.integers(2)),
                    str(generator.integers(0, 3)),
                )
            )
    return rows


def _write(spark: Any, rows: list[tuple], path: str) -> None:
    schema = "id string, user string, item string, time timestamp, click int, tab string"
    stamped = [(*row[:3], row[3].replace(tzinfo=dt.UTC), *row[4:]) for row in rows]
    spark.createDataFrame(stamped, schema).coalesce(2).write.mode("overwrite").parquet(path)


def _config(folder: Path) -> RunConfig:
    columns = {"user_id": "user", "item_id": "item", "time": "time", "labels": {"click": "click"}}
    features = [
        {"name": "user", "column": "user_id"},
        {"name": "item", "column": "item_id"},
        {"name": "author", "column": "author_id", "origin": "items"},
        {"name": "tag", "column": "tags", "origin": "items", "transform": "first_token"},
        {"name": "tab", "column": "tab"},
        {"name": "hour", "column": "request_ts", "transform": "hour"},
    ]
    return parse_config(
        {
            "run_name": "test",
            "lake": {"path": str(folder / "lake"), "work_path": str(folder / "work")},
            "source": {
                "kind": "table",
                "path": str(folder / "source"),
                "format": "parquet",
                "columns": columns | {"impression_id": "id", "context": {"tab": "tab"}},
                "items_path": str(folder / "items"),
                "items_columns": {"item_id": "item", "author_id": "author", "tags": "tags"},
            },
            "features": features,
            "history": {"length": 4, "lookback_days": 2},
            "ranker": {"row_groups_per_day": 3},
            "evaluation": {"dates": ["2022-05-03"], "horizons": [0, 1], "folds": 2},
        }
    )


@pytest.fixture
def prepared(spark: Any, tmp_path: Path) -> RunConfig:
    """Ingested, with vocabularies, for one test alone; item v39 has no row in the table of items."""
    return _prepare(spark, tmp_path)


@pytest.fixture(scope="module")
def shared(spark: Any, tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    """The same, for tests that leave it as it is."""
    return _prepare(spark, tmp_path_factory.mktemp("shared"))


def _prepare(spark: Any, folder: Path) -> RunConfig:
    config = _config(folder)
    _write(spark, _source_rows(), config.source.path)
    _write_items(spark, config.source.items_path)
    ingest.run(spark, config)
    vocabulary.run(spark, config)
    return config


def _write_items(spark: Any, path: str, other: str = "") -> None:
    rows = [(f"v{item}", f"a{item % 7}{other if item == 0 else ''}", f"t{item % 5},x") for item in range(39)]
    spark.createDataFrame(rows, "item string, author string, tags string").write.mode("overwrite").parquet(path)


def _by_id(rows: list[Any]) -> dict[str, Any]:
    found = {row.impression_id: row for row in rows}
    assert len(found) == len(rows)
    return found


def _expected_histories(spark: Any, lake: Lake, label: int, length: int, lookback_days: int) -> dict[str, list]:
    """A self-join, as one would write it by hand."""
    lake.read("impressions").createOrReplaceTempView("shown")
    lake.read("vocabularies").where("slot = 'item'").createOrReplaceTempView("item_rows")
    rows = spark.sql(
        f"""
        SELECT target.impression_id,
               collect_list(struct(unix_millis(other.request_ts), other.impression_id, item_rows.row)) AS events
        FROM shown target LEFT JOIN shown other
          ON other.user_id = target.user_id AND other.request_ts < target.request_ts
         AND other.date >= date_sub(target.date, {lookback_days}) AND other.label_click = {label}
        LEFT JOIN item_rows ON item_rows.key = other.item_id
        GROUP BY target.impression_id
        """
    ).collect()
    found = {}
    for row in rows:
        events = sorted((tuple(event) for event in row.events if event[0] is not None), reverse=True)
        items = [event[2] for event in events[:length]]
        found[row.impression_id] = items + [-1] * (length - len(items))
    return found


def test_rows_equal_a_naive_self_join_and_files_are_sorted(spark: Any, shared: RunConfig) -> None:
    result = training_rows.run(spark, shared)
    assert (result.rows_written, result.partitions_written) == (DAYS * 120, DAYS)
    lake = Lake(spark, shared)
    rows = _by_id(lake.read("training_rows").collect())
    assert rows.keys() == _by_id(lake.read("impressions").collect()).keys()
    for column, label in (("history_clicks", 1), ("history_skips", 0)):
        expected = _expected_histories(spark, lake, label, 4, 2)
        found = {key: np.frombuffer(bytes(row[column]), "<i4").tolist() for key, row in rows.items()}
        assert found == expected
        assert any(-1 in items for items in found.values()) and any(-1 not in items for items in found.values())
    _check_feature_rows(lake, rows)
    _check_files(lake)


def _check_feature_rows(lake: Lake, rows: dict[str, Any]) -> None:
    vocabularies = {(row.slot, row.key): row.row for row in lake.read("vocabularies").collect()}
    for row in rows.values():
        item = int(row.item_id[1:])
        assert row.row_user == vocabularies["user", row.user_id]
        assert row.row_item == vocabularies["item", row.item_id]
        assert row.row_author == (-1 if item == 39 else vocabularies["author", f"a{item % 7}"])
        assert row.row_tag == (-1 if item == 39 else vocabularies["tag", f"t{item % 5}"])
        assert row.row_hour == vocabularies["hour", str(row.request_ts.hour)]
    folds = {(row.user_id, row.user_fold) for row in rows.values()}
    assert len(folds) == 12 and {fold for _, fold in folds} == {0, 1}


def _stored_counts(lake: Lake) -> set[tuple[Any, ...]]:
    """What the partitions of running_counts hold, without fingerprints."""
    return {tuple(row) for row in lake.read("running_counts").drop("lis_fingerprint").collect()}


def _expected_counts(spark: Any, lake: Lake, feature: str) -> dict[str, tuple[int, int]]:
    """impression_id -> impressions and positives of its value on earlier days, by a self-join."""
    lake.read("training_rows").createOrReplaceTempView("rows_of_days")
    same = "true" if feature == "all" else f"other.row_{feature} = own.row_{feature} AND own.row_{feature} >= 0"
    rows = spark.sql(
        f"""
        SELECT own.impression_id, count(other.impression_id) AS shown, coalesce(sum(other.label_click), 0) AS positive
        FROM rows_of_days own LEFT JOIN rows_of_days other ON other.date < own.date AND {same}
        GROUP BY own.impression_id
        """
    ).collect()
    return {row.impression_id: (row.shown, row.positive) for row in rows}


def test_counts_equal_a_naive_self_join_over_earlier_days(spark: Any, shared: RunConfig) -> None:
    training_rows.run(spark, shared)
    lake = Lake(spark, shared)
    rows = lake.read("training_rows").collect()
    for feature in ("user", "item", "author", "all"):
        names = (f"impressions_before_{feature}", f"positives_before_{feature}")
        found = {row.impression_id: (row[names[0]], row[names[1]]) for row in rows}
        assert found == _expected_counts(spark, lake, feature)
        assert max(shown for shown, _ in found.values()) > 5
    assert {row.impressions_before_author for row in rows if row.item_id == "v39"} == {0}


def test_counts_of_a_full_copy_hold_values_that_the_day_does_not_show(spark: Any, shared: RunConfig) -> None:
    training_rows.run(spark, shared)
    lake = Lake(spark, shared)
    counts, rows = lake.read("running_counts"), lake.read("training_rows")
    days = [FIRST + dt.timedelta(days=number) for number in range(DAYS)]
    full = running_counts.full_copies(days)
    assert full[0] == FIRST and len(full) == 2
    known = rows.where(f"date <= '{full[1]}'").select("row_item").distinct().count()
    copied = counts.where(f"date = '{full[1]}' AND feature = 'item'")
    assert copied.count() == known > copied.where("impressions > 0").count()


def test_outcomes_of_a_day_are_not_in_the_counts_of_its_rows(spark: Any, prepared: RunConfig) -> None:
    training_rows.run(spark, prepared)

    def counted(day: int) -> dict[str, tuple[int, ...]]:
        rows = Lake(spark, prepared).read("training_rows").where(f"date = '{FIRST + dt.timedelta(days=day)}'")
        chosen = rows.select("impression_id", *count_columns(("user", "item", "author"))).collect()
        return {row.impression_id: tuple(row)[1:] for row in chosen}

    before = {day: counted(day) for day in (3, 4, 5)}
    planted = [(*row[:4], 1 - row[4], row[5]) if row[0].startswith("i4-") else row for row in _source_rows()]
    _write(spark, planted, prepared.source.path)
    ingest.run(spark, prepared)
    vocabulary.run(spark, prepared)
    training_rows.run(spark, prepared)
    assert counted(3) == before[3] and counted(4) == before[4]
    assert counted(5) != before[5]


def _check_files(lake: Lake) -> None:
    """Three files a day, each sorted, one after the other in time, no deeper sort or split by the writer."""
    for day in range(DAYS):
        date = FIRST + dt.timedelta(days=day)
        files = lake.files("training_rows", f"date = '{date}'")
        assert len(files) == 3
        parts = []
        for file in sorted(files, key=lambda name: Path(name).name):
            table = pq.ParquetFile(file.removeprefix("file:").replace("///", "/")).read()
            keys = list(zip(table["request_ts"].to_pylist(), table["impression_id"].to_pylist(), strict=True))
            assert keys == sorted(keys) and 20 <= len(keys) <= 60
            parts += keys
        assert parts == sorted(parts)


def test_only_the_days_that_a_change_reaches_are_written(spark: Any, prepared: RunConfig) -> None:
    training_rows.run(spark, prepared)
    again = training_rows.run(spark, prepared)
    assert (again.partitions_written, again.partitions_skipped) == (0, DAYS)
    rows = _source_rows(DAYS + 1)
    _write(spark, rows, prepared.source.path)
    assert ingest.run(spark, prepared).partitions_written == 1
    vocabulary.run(spark, prepared)
    appended = training_rows.run(spark, prepared)
    assert (appended.partitions_written, appended.partitions_skipped) == (1, DAYS)
    # A late correction of the fifth day reaches its own histories, and the counts of all days after it.
    changed = [(*row[:4], 1 - row[4], row[5]) if row[0] == "i4-0007" else row for row in rows]
    _write(spark, changed, prepared.source.path)
    assert ingest.run(spark, prepared).partitions_written == 1
    vocabulary.run(spark, prepared)
    assert training_rows.run(spark, prepared).partitions_written == 4
    before = _by_id(Lake(spark, prepared).read("training_rows").collect())
    counts_before = _stored_counts(Lake(spark, prepared))
    forced = training_rows.run(spark, prepared, force=True)
    assert forced.partitions_written == DAYS + 1
    after = _by_id(Lake(spark, prepared).read("training_rows").collect())
    assert before == after  # written in pieces or at once: the same rows
    assert counts_before == _stored_counts(Lake(spark, prepared))
    # an item that is shown on the fourth day only: its author's counts on that day and later
    _write_items(spark, prepared.source.items_path, other="-new")
    assert ingest.run(spark, prepared).partitions_written == 1
    vocabulary.run(spark, prepared)
    assert training_rows.run(spark, prepared).partitions_written == DAYS + 1 - 3


def test_an_outcome_is_refused_as_a_feature(spark: Any, shared: RunConfig) -> None:
    data = shared.model_dump(mode="json")
    data["features"].append({"name": "cheat", "column": "label_click"})
    with pytest.raises(ConfigError, match="outcome of the same impression"):
        training_rows.run(spark, parse_config(data))


def test_a_misspelt_feature_column_is_named_with_the_nearest(spark: Any, shared: RunConfig) -> None:
    data = shared.model_dump(mode="json")
    data["features"].append({"name": "request", "column": "request_idd"})
    with pytest.raises(ConfigError, match="did you mean 'request_id'"):
        vocabulary.run(spark, parse_config(data))


def test_the_fold_of_a_user_does_not_depend_on_seed_or_source(spark: Any, shared: RunConfig) -> None:
    data = shared.model_dump(mode="json") | {"seeds": [99]}
    folds = []
    for config in (shared, parse_config(data)):
        lake = Lake(spark, config)
        tables = InputTables(
            impressions=lake.read("impressions"), items=lake.read("items"), vocabularies=lake.read("vocabularies")
        )
        frame = training_rows.training_rows(tables, config, [FIRST])
        folds.append({row.user_id: row.user_fold for row in frame.collect()})
    assert folds[0] == folds[1]
    expected = spark.sql(
        "SELECT user, pmod(xxhash64('lis_spark.user_fold', user), 2) AS fold FROM VALUES ('u0'), ('u5') AS t(user)"
    ).collect()
    assert all(folds[0][row.user] == row.fold for row in expected)
