"""Vocabularies: rows in order of (first day, key) by a plain sort, append-only, the same under any partitioning."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from pyspark.sql import functions as F

from lis_spark.config import FeatureConfig, RunConfig, parse_config
from lis_spark.errors import StaleError, StepFailed
from lis_spark.lake import Lake
from lis_spark.ranker import vocabulary
from lis_spark.ranker.feature_columns import key_of
from lis_spark.sources import ingest

DAYS = [dt.date(2022, 5, day) for day in (1, 2, 3)]


def _write_days(spark: Any, config: RunConfig, days: int, late: bool = False) -> list[tuple[dt.date, str, str]]:
    """(day, user, item) of every impression; a late row of the first day brings a key that sorts before all others."""
    rows = [
        (f"{day}/{number}", f"u{(number * 7 + place) % (9 + place)}", f"v{(number * 13) % (11 + 6 * place)}", day)
        for place, day in enumerate(DAYS[:days])
        for number in range(40)
    ]
    if late:
        rows.append(("late", "aa", "a-first", DAYS[0]))
    stamped = [
        (*row[:3], dt.datetime.combine(row[3], dt.time(10), dt.UTC), number % 2) for number, row in enumerate(rows)
    ]
    frame = spark.createDataFrame(stamped, "id string, user string, item string, time timestamp, click int")
    frame.repartition(3).write.mode("overwrite").parquet(config.source.path)
    return [(row[3], row[1], row[2]) for row in rows]


def _expected(rows: list[tuple[dt.date, str, str]], column: int) -> dict[str, int]:
    first: dict[str, dt.date] = {}
    for row in rows:
        first[row[column]] = min(first.get(row[column], row[0]), row[0])
    ordered = sorted(first, key=lambda key: (first[key], key))
    return {key: place for place, key in enumerate(ordered)}


def _stored(spark: Any, config: RunConfig, slot: str) -> dict[str, int]:
    rows = Lake(spark, config).read("vocabularies").where(F.col("slot") == slot).collect()
    assert len({row.key for row in rows}) == len(rows)
    return {row.key: row.row for row in rows}


def test_rows_are_appended_in_order_and_never_change(spark: Any, config: RunConfig) -> None:
    before = spark.conf.get("spark.sql.shuffle.partitions")
    spark.conf.set("spark.sql.shuffle.partitions", "7")  # elsewhere the suite has 2
    spark.conf.set("spark.sql.adaptive.coalescePartitions.enabled", "false")
    try:
        rows = _write_days(spark, config, 2)
        ingest.run(spark, config)
        assert vocabulary.run(spark, config).partitions_written == 2
        assert _stored(spark, config, "item") == _expected(rows, 2)
        assert _stored(spark, config, "user") == _expected(rows, 1)
        assert vocabulary.run(spark, config).partitions_written == 0
        old = _stored(spark, config, "item")
        _write_days(spark, config, 3, late=True)
        ingest.run(spark, config)
        vocabulary.run(spark, config)
    finally:
        spark.conf.set("spark.sql.shuffle.partitions", before)
        spark.conf.set("spark.sql.adaptive.coalescePartitions.enabled", "true")
    new = _stored(spark, config, "item")
    assert {key: new[key] for key in old} == old
    # Of the new keys the late one is of the first day; it comes after all that have rows already.
    added = sorted((key for key in new if key not in old), key=lambda key: (key != "a-first", key))
    assert [new[key] for key in added] == list(range(len(old), len(new)))
    hashes = Lake(spark, config).read("vocabularies")
    assert hashes.where("key_hash <> xxhash64(key)").count() == 0


def test_a_row_that_changes_its_meaning_while_new_ones_are_written_fails(
    spark: Any, config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two keys of a slot change places behind the step's back: every snapshot would be another item's."""
    _write_days(spark, config, 1)
    ingest.run(spark, config)
    vocabulary.run(spark, config)
    _write_days(spark, config, 2)
    ingest.run(spark, config)
    write, place = Lake.write_partitions, Lake(spark, config).identifier("vocabularies")

    def and_exchange(lake: Lake, name: str, *arguments: Any, **named: Any) -> int:
        written = write(lake, name, *arguments, **named)
        if name == "vocabularies":
            spark.sql(f"UPDATE {place} SET row = 1 - row WHERE slot = 'item' AND row < 2")
            lake.pinned.pop("vocabularies", None)
        return written

    monkeypatch.setattr(Lake, "write_partitions", and_exchange)
    with pytest.raises(StepFailed, match="a row of a vocabulary changed its meaning") as error:
        vocabulary.run(spark, config)
    assert "'slot': 'item'" in str(error.value) and "restore the version before its commit" in str(error.value)


def test_a_vocabulary_with_a_gap_is_refused(spark: Any, config: RunConfig) -> None:
    _write_days(spark, config, 1)
    ingest.run(spark, config)
    vocabulary.run(spark, config)
    place = Lake(spark, config).identifier("vocabularies")
    spark.sql(f"UPDATE {place} SET row = row + 1 WHERE slot = 'item' AND row = 5")
    with pytest.raises(StaleError, match="gaps or a row twice") as error:
        vocabulary.run(spark, config, force=True)
    assert "'slot': 'item'" in str(error.value)


def test_transforms_of_features(spark: Any, config_data: dict[str, Any]) -> None:
    config = parse_config(config_data | {"time_zone": "Asia/Shanghai"})
    values = ["0", "1", "2", "3", "7", "8", "1023", "1024", "536870911", "536870912", "12.9", "-1", "x", None]
    frame = spark.createDataFrame([(value,) for value in values], "context_d string")
    bucket = key_of(FeatureConfig(name="d", column="d", transform="log2_bucket"), frame.columns, config)
    expected = [str((int(float(value)) + 1).bit_length() - 1) for value in values[:11]] + [None] * 3
    assert [row[0] for row in frame.select(bucket).collect()] == expected
    tags = spark.createDataFrame([("20,43",), ("7",), ("",), (None,), (" a , b",)], "tags string")
    first = key_of(FeatureConfig(name="t", column="tags", transform="first_token"), tags.columns, config)
    assert [row[0] for row in tags.select(first).collect()] == ["20", "7", None, None, "a"]
    times = spark.sql("SELECT timestamp '2022-04-30 16:30:00 UTC' AS request_ts")
    hour = key_of(FeatureConfig(name="h", column="request_ts", transform="hour"), times.columns, config)
    assert times.select(hour).first()[0] == "0"
