"""The lake: idempotent partitions, provenance, rules by name, the leak guard, versions that were vacuumed."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from delta.tables import DeltaTable
from pyspark.sql import functions as F

from lis_spark.config import RunConfig
from lis_spark.errors import InputError, LisError, StaleError, StepFailed
from lis_spark.expected_rows import ExpectedRows
from lis_spark.lake import Lake
from lis_spark.table_log import newest_commit


def _snapshots(spark: Any, days: dict[str, int], path: str = "p") -> Any:
    rows = [(f"{path}/{day}", "0" * 8, count, 0.5, "base", day) for day, count in days.items()]
    return spark.createDataFrame(
        rows, "path string, sha256 string, trained_rows bigint, mean_loss double, chain string, date string"
    ).selectExpr("path", "sha256", "trained_rows", "mean_loss", "chain", "cast(date as date) date")


@pytest.fixture
def lake(spark: Any, config: RunConfig) -> Lake:
    lake = Lake(spark, config, run_id="r1", step="test")
    lake.create("model_snapshots")
    return lake


def test_writes_replace_exactly_the_named_partitions(spark: Any, lake: Lake) -> None:
    days = {"2022-05-01": 10, "2022-05-02": 20}
    written = lake.write_partitions(
        "model_snapshots",
        _snapshots(spark, days),
        {("base", day): "f1" for day in days},
        {"training_rows": 3},
    )
    assert written == 2
    lake.write_partitions("model_snapshots", _snapshots(spark, {"2022-05-02": 99}), {("base", "2022-05-02"): "f2"})
    assert lake.fingerprints("model_snapshots") == {
        ("base", "2022-05-01"): "f1",
        ("base", "2022-05-02"): "f2",
    }
    rows = {str(row.date): row.trained_rows for row in lake.read("model_snapshots").collect()}
    assert rows == {"2022-05-01": 10, "2022-05-02": 99}
    history = spark.sql(f"DESCRIBE HISTORY {lake.identifier('model_snapshots')}").collect()
    first = json.loads(next(row.userMetadata for row in history if row.version == 1))
    assert first == {"run_id": "r1", "step": "test", "inputs": {"training_rows": 3}}


def test_a_pinned_version_does_not_see_later_writes(spark: Any, lake: Lake, config: RunConfig) -> None:
    lake.write_partitions("model_snapshots", _snapshots(spark, {"2022-05-01": 1}), {("base", "2022-05-01"): "f"})
    reader = Lake(spark, config)
    version = reader.pin("model_snapshots")
    lake.write_partitions("model_snapshots", _snapshots(spark, {"2022-05-02": 1}), {("base", "2022-05-02"): "f"})
    assert reader.read("model_snapshots").count() == 1
    assert reader.pinned == {"model_snapshots": version}


def test_rows_are_of_the_version_whose_fingerprints_were_asked_for(spark: Any, lake: Lake, config: RunConfig) -> None:
    """Else a partition would be stamped with the state before a write, and hold the rows after it."""
    lake.write_partitions("model_snapshots", _snapshots(spark, {"2022-05-01": 1}), {("base", "2022-05-01"): "f"})
    reader = Lake(spark, config)
    before = reader.fingerprints("model_snapshots")
    lake.write_partitions("model_snapshots", _snapshots(spark, {"2022-05-01": 2}), {("base", "2022-05-01"): "g"})
    assert reader.fingerprints("model_snapshots") == before == {("base", "2022-05-01"): "f"}
    assert [row.trained_rows for row in reader.read("model_snapshots").collect()] == [1]
    written = reader.write_partitions(
        "model_snapshots", _snapshots(spark, {"2022-05-02": 3}), {("base", "2022-05-02"): "h"}
    )
    assert written == 1  # what it wrote itself it reads, and what was written beside it
    assert {row.trained_rows for row in reader.read("model_snapshots").collect()} == {2, 3}
    assert reader.fingerprints("model_snapshots") == {("base", "2022-05-01"): "g", ("base", "2022-05-02"): "h"}


def test_rows_are_merged_by_their_key(spark: Any, lake: Lake) -> None:
    def rows(count: int, *days: str) -> Any:
        frame = _snapshots(spark, dict.fromkeys(days, count))
        return frame.selectExpr("*", "'f' AS lis_fingerprint")

    def found() -> dict[str, int]:
        return {str(row.date): row.trained_rows for row in lake.read("model_snapshots").collect()}

    lake.merge("model_snapshots", rows(1, "2022-05-01", "2022-05-02"), "path")
    lake.merge("model_snapshots", rows(2, "2022-05-02", "2022-05-03"), "path")
    assert found() == {"2022-05-01": 1, "2022-05-02": 1, "2022-05-03": 2}
    lake.merge("model_snapshots", rows(3, "2022-05-03", "2022-05-04"), "path", replaces=True)
    assert found() == {"2022-05-01": 1, "2022-05-02": 1, "2022-05-03": 3, "2022-05-04": 3}


def test_a_rule_is_named_with_the_rows_that_broke_it(spark: Any, lake: Lake) -> None:
    with pytest.raises(InputError) as error:
        lake.write_partitions("model_snapshots", _snapshots(spark, {"2022-05-01": -4}), {("base", "2022-05-01"): "f"})
    message = str(error.value)
    assert "1 rows break the rule 'trained_rows_is_not_negative'" in message
    assert "trained_rows': -4" in message and "base/2022-05-01" in message and "nothing was written" in message
    assert lake.read("model_snapshots").count() == 0


def test_rows_outside_the_named_partitions_are_refused(spark: Any, lake: Lake) -> None:
    with pytest.raises(InputError, match="outside the partitions"):
        lake.write_partitions(
            "model_snapshots",
            _snapshots(spark, {"2022-05-01": 1, "2022-05-02": 1}),
            {("base", "2022-05-01"): "f"},
        )
    assert lake.read("model_snapshots").count() == 0


def _expected(count: int, **named: Any) -> ExpectedRows:
    return ExpectedRows(count, "days: as counted before", "days were lost", "run it again", **named)


def test_write_partitions_with_other_rows_than_expected_leaves_the_table_as_it_was(spark: Any, lake: Lake) -> None:
    key, name = {("base", "2022-05-01"): "f"}, "model_snapshots"
    lake.write_partitions(name, _snapshots(spark, {"2022-05-01": 1}), key, expected=_expected(1))
    days, keys = {"2022-05-01": 7, "2022-05-02": 2}, {("base", f"2022-05-0{day}"): "g" for day in (1, 2)}
    with pytest.raises(StepFailed, match="days were lost; the table is as it was before") as error:
        lake.write_partitions(name, _snapshots(spark, days), keys, expected=_expected(3))
    message = str(error.value)
    assert "2 days" in message and "3 days: as counted before" in message
    assert "base/2022-05-01, base/2022-05-02" in message and "run it again" in message
    assert lake.fingerprints(name) == key
    assert [row.trained_rows for row in lake.read(name).collect()] == [1]
    assert lake.write_partitions(name, _snapshots(spark, days), keys, expected=_expected(3, at_most=True)) == 2
    with pytest.raises(StepFailed, match="at most 1 days"):
        lake.write_partitions(name, _snapshots(spark, days), keys, expected=_expected(1, at_most=True))
    shown = F.sum("trained_rows")
    with pytest.raises(StepFailed, match="9 days"):  # what stands in the rows is counted
        lake.write_partitions(name, _snapshots(spark, days), keys, expected=_expected(2, counted=shown))
    assert lake.write_partitions(name, _snapshots(spark, days), keys, expected=_expected(9, counted=shown)) == 2


def test_write_partitions_that_cannot_be_taken_back_says_what_is_wrong_and_why_it_stays(
    spark: Any, lake: Lake, config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, committed = "model_snapshots", Lake._committed

    def and_another_writes(own: Lake, table: str) -> None:
        committed(own, table)
        if own is lake:
            other = Lake(spark, config, run_id="r2")
            other.write_partitions(name, _snapshots(spark, {"2022-05-09": 9}), {("base", "2022-05-09"): "g"})

    monkeypatch.setattr(Lake, "_committed", and_another_writes)
    with pytest.raises(StepFailed, match="days were lost; the table could not be put back: another run") as error:
        lake.write_partitions(
            name, _snapshots(spark, {"2022-05-01": 1}), {("base", "2022-05-01"): "f"}, expected=_expected(3)
        )
    assert "run it again, with --force" in str(error.value) and "found: 1 days" in str(error.value)
    assert set(Lake(spark, config).fingerprints(name).values()) == {"f", "g"}


def test_take_back_after_another_run_wrote_keeps_its_rows(spark: Any, lake: Lake, config: RunConfig) -> None:
    name = "model_snapshots"
    lake.write_partitions(name, _snapshots(spark, {"2022-05-01": 1}), {("base", "2022-05-01"): "f"})
    other = Lake(spark, config, run_id="r2")
    other.write_partitions(name, _snapshots(spark, {"2022-05-02": 2}), {("base", "2022-05-02"): "g"})
    with pytest.raises(StepFailed, match="another run has written since"):
        lake.take_back(name)
    assert set(lake.fingerprints(name).values()) == {"f", "g"}
    other.take_back(name)
    assert Lake(spark, config).fingerprints(name) == {("base", "2022-05-01"): "f"}


def test_a_vacuumed_version_is_found_before_work_starts(spark: Any, lake: Lake, config: RunConfig) -> None:
    day = {"2022-05-01": 1}
    lake.write_partitions("model_snapshots", _snapshots(spark, day), {("base", "2022-05-01"): "f1"})
    old = lake.version("model_snapshots")
    lake.write_partitions("model_snapshots", _snapshots(spark, {"2022-05-01": 2}), {("base", "2022-05-01"): "f2"})
    spark.conf.set("spark.databricks.delta.retentionDurationCheck.enabled", "false")
    spark.sql(f"VACUUM {lake.identifier('model_snapshots')} RETAIN 0 HOURS")
    with pytest.raises(StaleError) as error:
        Lake(spark, config).pin("model_snapshots", old)
    assert "1 of 1 files of version 1 are gone" in str(error.value) and "--force" in str(error.value)
    assert Lake(spark, config).fingerprints("model_snapshots") == {("base", "2022-05-01"): "f2"}, "the newest is whole"


def test_two_runs_writing_one_partition(spark: Any, lake: Lake, config: RunConfig) -> None:
    """One wins; the other is told, and nothing is mixed."""
    day = ("base", "2022-05-01")
    lake.write_partitions("model_snapshots", _snapshots(spark, {day[1]: 1}), {day: "f0"})
    outcomes: dict[str, Any] = {}
    start = threading.Barrier(2)

    def write(name: str, count: int) -> None:
        mine = Lake(spark, config, run_id=name)
        frame = _snapshots(spark, {day[1]: count}, name)
        start.wait()
        try:
            outcomes[name] = mine.write_partitions("model_snapshots", frame, {day: name})
        except StepFailed as error:
            outcomes[name] = error

    for attempt in range(5):
        threads = [threading.Thread(target=write, args=(f"{name}{attempt}", 2)) for name in ("a", "b")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        failures = [value for value in outcomes.values() if isinstance(value, StepFailed)]
        (stayed,) = lake.read("model_snapshots", lake.version("model_snapshots")).collect()
        written = {name for name, value in outcomes.items() if name.endswith(str(attempt)) and value == 1}
        assert written and stayed["path"] in {f"{name}/{day[1]}" for name in written}, "the row of a run that wrote"
        if failures:
            assert "another run wrote the same partition" in str(failures[0])
            assert "base/2022-05-01" in str(failures[0])
            return
    pytest.fail("five attempts, and never did two transactions meet")


@pytest.mark.parametrize(
    ("table", "vector", "allowed", "refused", "rule"),
    [
        ("leaked_features", "leaked", "2022-05-01", "2022-04-30", "source_is_from_the_future"),
        ("control_features", "control", "2022-04-30", "2022-05-01", "source_is_from_before"),
    ],
)
def test_each_side_of_a_measurement_refuses_what_belongs_to_the_other(
    spark: Any, lake: Lake, table: str, vector: str, allowed: str, refused: str, rule: str
) -> None:
    """An impression of 2022-05-01: what is from that day or later is leaked, what is from before is not."""
    lake.create(table)
    key = {("id_embedding", "2022-05-01", "2022-05-01"): "f"}

    def row(source_date: str) -> Any:
        return spark.sql(
            f"""SELECT 'i' impression_id, 'v' item_id, 1 row, 'naive' variant, 1 horizon_days, 'base' chain, 0 fold,
            -1 held_out_fold, X'00000000' {vector}_vector, CAST(NULL AS BINARY) {vector}_ids, true present,
            DATE '2022-05-02' snapshot_date, DATE '{source_date}' source_date, DATE '{source_date}' last_update_date,
            'id_embedding' leak, DATE '2022-05-01' evaluated_date, DATE '2022-05-01' date"""
        )

    assert lake.write_partitions(table, row(allowed), key) == 1
    with pytest.raises(InputError, match=rule):
        lake.write_partitions(table, row(refused), key)
    assert Lake(spark, lake.config, measurement=True).read(table).count() == 1


def test_leaked_tables_are_refused_by_name_and_by_property(spark: Any, lake: Lake, config: RunConfig) -> None:
    lake.create("leaked_features")
    with pytest.raises(LisError, match="may only be read to measure"):
        lake.read("leaked_features")
    spark.sql(f"ALTER TABLE {lake.identifier('model_snapshots')} SET TBLPROPERTIES ('lis.leaked' = 'true')")
    with pytest.raises(LisError, match="may only be read to measure"):
        Lake(spark, config).read("model_snapshots")
    assert Lake(spark, config, measurement=True).read("leaked_features").count() == 0


def test_a_table_that_is_not_there_names_the_step(spark: Any, config: RunConfig) -> None:
    with pytest.raises(InputError, match="does not exist") as error:
        Lake(spark, config).read("impressions")
    assert "lis-spark run" in str(error.value) and "lake/impressions" in str(error.value)


def test_every_table_definition_is_accepted_by_delta(spark: Any, config: RunConfig) -> None:
    from lis_spark.ddl import resource_folder

    lake = Lake(spark, config)
    fill = {
        "label_columns": "label_click TINYINT COMMENT 'x'",
        "context_columns": "",
        "row_columns": "row_item INT",
        "count_columns": "impressions_before_all BIGINT COMMENT 'x'",
        "attribute_columns": "",
    }
    names = sorted(path.stem for path in Path(resource_folder("schemas")).glob("*.sql"))
    assert len(names) >= 13
    for name in names:
        lake.create(name, fill)
        columns = spark.sql(f"DESCRIBE {lake.identifier(name)}").collect()
        own = [row for row in columns if row.col_name and not row.col_name.startswith(("#", "row_item", "label_"))]
        assert all(row.comment for row in own if row.data_type), name


def test_tables_of_a_catalog_leaked_ones_in_a_schema_of_their_own(
    spark: Any, config_data: dict[str, Any], tmp_path: Path
) -> None:
    for schema in ("lis_tables", "lis_leaked"):
        spark.sql(f"CREATE SCHEMA {schema} LOCATION '{tmp_path / schema}'")
    try:
        places = {"path": None, "schema_name": "lis_tables", "leaked_schema_name": "lis_leaked"}
        config = RunConfig.model_validate({**config_data, "lake": {**config_data["lake"], **places}})
        lake = Lake(spark, config, run_id="r1", step="test")
        assert not lake.exists("model_snapshots") and lake.fingerprints("model_snapshots") == {}
        lake.create("model_snapshots")
        for count in (10, 20):
            keys = {("base", "2022-05-01"): f"f{count}"}
            assert lake.write_partitions("model_snapshots", _snapshots(spark, {"2022-05-01": count}), keys) == 1
        assert lake.fingerprints("model_snapshots") == {("base", "2022-05-01"): "f20"}
        assert [row.trained_rows for row in spark.table("lis_tables.model_snapshots").collect()] == [20]
        old = lake.version("model_snapshots")
        assert old is not None
        assert [row.trained_rows for row in Lake(spark, config).read("model_snapshots", old - 1).collect()] == [10]
        lake.create("leaked_features")
        assert spark.catalog.tableExists("lis_leaked.leaked_features")
        with pytest.raises(LisError, match="may only be read to measure") as error:
            lake.read("leaked_features")
        assert "lis_leaked.leaked_features" in str(error.value)
    finally:
        for schema in ("lis_tables", "lis_leaked"):
            spark.sql(f"DROP SCHEMA {schema} CASCADE")


def test_the_newest_version_is_read_off_the_log(spark: Any, tmp_path: Path) -> None:
    """Also beside checkpoints, and in a folder whose name looks like a pattern."""
    place = f"{tmp_path / 'a [b] {c} %20'}/table"
    spark.sql(f"CREATE TABLE delta.`{place}` (n INT) USING delta TBLPROPERTIES ('delta.checkpointInterval' = '2')")
    for number in range(3):
        spark.sql(f"INSERT INTO delta.`{place}` VALUES ({number})")
    assert list(Path(place, "_delta_log").glob("*.checkpoint*.parquet"))
    newest = DeltaTable.forPath(spark, place).history(1).select("version", F.unix_millis("timestamp")).first()
    assert newest_commit(spark, place) == tuple(newest) and newest[0] == 3


def _keys(spark: Any, rows: list[tuple[str, int]]) -> Any:
    """Rows of the table vocabularies: (slot, row)."""
    frame = spark.createDataFrame(rows, "slot string, row int")
    return frame.selectExpr(
        "concat(slot, row) AS key", "row", "xxhash64(slot, row) AS key_hash", "DATE'2022-05-01' AS first_date", "slot"
    )


def test_what_a_table_holds_after_our_writes_is_known_without_a_query(
    spark: Any, lake: Lake, config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the creation on: partitions that are replaced, that stay, that get no rows; names with odd characters."""
    odd = "a b%20c=d"
    slots = ["item", "user", odd]
    with monkeypatch.context() as patch:
        patch.setattr(Lake, "_frame", lambda *_: pytest.fail("a query is asked"))
        lake.create("vocabularies")
        lake.set_table_property("vocabularies", "lis.of_this_test", "1")
        assert lake.fingerprints("vocabularies") == {}
        lake.write_partitions("vocabularies", _keys(spark, [(s, 1) for s in slots]), {(s,): "f1" for s in slots})
        assert lake.fingerprints("vocabularies") == {("item",): "f1", ("user",): "f1", (odd,): "f1"}
        again = {("user",): "f2", (odd,): "f2"}
        lake.write_partitions("vocabularies", _keys(spark, [(odd, row) for row in (1, 2)]), again)
        assert lake.fingerprints("vocabularies") == {("item",): "f1", (odd,): "f2"}, "user has no rows"
        version = Lake(spark, config).pin("vocabularies")  # looks for the files
    rows = spark.read.format("delta").load(f"{config.lake.path}/vocabularies")
    found = {(row.slot, row.lis_fingerprint, row["row"]) for row in rows.collect()}
    assert found == {("item", "f1", 1), (odd, "f2", 1), (odd, "f2", 2)}
    files = [Path(file.removeprefix("file:")) for file in rows.inputFiles()]
    removed = next(file for file in files if "item" in str(file))
    removed.unlink()
    with pytest.raises(StaleError, match=f"1 of {len(files)} files of version {version} are gone") as error:
        Lake(spark, config).pin("vocabularies")
    assert removed.name in str(error.value)


def test_what_somebody_else_wrote_meanwhile_is_asked_of_the_table(spark: Any, lake: Lake, config: RunConfig) -> None:
    lake.create("vocabularies")
    place = f"{config.lake.path}/vocabularies"

    class Beside(Lake):
        """Somebody commits while we write."""

        def _save(self, *arguments: Any) -> None:
            super()._save(*arguments)
            spark.sql(f"INSERT INTO delta.`{place}` VALUES ('x', 1, 2, DATE'2022-05-01', 'theirs', 'tag')")

    own = Beside(spark, config, run_id="r2", step="test")
    assert own.fingerprints("vocabularies") == {}
    own.write_partitions("vocabularies", _keys(spark, [("item", 1)]), {("item",): "ours"})
    assert own.fingerprints("vocabularies") == {("item",): "ours", ("tag",): "theirs"}
    own.delete("vocabularies", "slot = 'item'")
    assert own.fingerprints("vocabularies") == {("tag",): "theirs"}
