"""Bad input, case by case: the message says what to do, and accepted + quarantined = read."""

from __future__ import annotations

import datetime as dt
import io
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lis_spark.config import RunConfig, parse_config
from lis_spark.errors import ConfigError, InputError, StaleError, StepFailed
from lis_spark.lake import Lake
from lis_spark.sources import ingest
from lis_spark.sources.configured import read_source
from lis_spark.sources.validation import accepted_rows, judged, rejected_rows

SCHEMA = "id string, user string, item string, time timestamp, click int, place int"
DAYS = ("2022-05-01", "2022-05-02", "2022-05-03")


def _good(number: int, day: str = DAYS[0], **changed: Any) -> dict[str, Any]:
    time = dt.datetime.fromisoformat(f"{day}T10:00:00+00:00") + dt.timedelta(seconds=number)
    row = {"id": f"{day}/{number}", "user": f"u{number % 3}", "item": f"v{number}", "time": time}
    return row | {"click": number % 2, "place": 1} | changed


def _days(days: tuple[str, ...] = DAYS, rows: int = 4) -> list[dict[str, Any]]:
    return [_good(number, day) for day in days for number in range(rows)]


def _config(data: dict[str, Any], limit: float = 1.0, **columns: Any) -> RunConfig:
    mapped = data["source"]["columns"] | {"impression_id": "id", "position": "place"} | columns
    ingest_part = {"quarantine_share_limit": limit, "latest_date": "2022-06-01"} | data.get("ingest", {})
    return parse_config(data | {"source": data["source"] | {"columns": mapped}, "ingest": ingest_part})


def _write(spark: Any, config: RunConfig, rows: list[dict[str, Any]], schema: str = SCHEMA) -> None:
    frame = spark.createDataFrame(rows, schema)
    frame.coalesce(1).write.mode("overwrite").format(config.source.format).save(config.source.path)


def _judge(spark: Any, config: RunConfig) -> Counter:
    """Reasons of all rows; None = accepted."""
    source = read_source(spark, config)
    return Counter(row.reason for row in judged(source.impressions, config, source.has_impression_id).collect())


def _nothing_written(spark: Any, config: RunConfig) -> None:
    lake = Lake(spark, config)
    assert not lake.exists("impressions") or lake.read("impressions").count() == 0


BAD_ROWS: dict[str, dict[str, Any]] = {
    "null_impression_id": {"id": None},
    "null_user_id": {"user": None},
    "null_item_id": {"item": "  "},
    "null_time": {"time": None},
    "time_at_epoch_zero": {"time": dt.datetime(1970, 1, 1, tzinfo=dt.UTC)},
    "time_before_earliest_date": {"time": dt.datetime(1999, 12, 31, 23, 59, tzinfo=dt.UTC)},
    "time_in_the_future": {"time": dt.datetime(2022, 6, 2, tzinfo=dt.UTC)},
    "label_click_not_0_or_1": {"click": 2},
    "position_not_positive": {"place": 0},
}


def test_every_bad_row_is_quarantined_with_its_reason_and_none_is_lost(spark: Any, config_data: dict[str, Any]) -> None:
    config = _config(config_data)
    bad = [_good(50 + number, **change) for number, change in enumerate(BAD_ROWS.values())]
    null_label = _good(70, click=None)
    copy = _good(1)  # the whole row again
    other = _good(2, item="v99")  # the same impression id, another item
    rows = [*_days(), *bad, null_label, copy, other]
    _write(spark, config, rows)
    result = ingest.run(spark, config)
    lake = Lake(spark, config)
    accepted, quarantine = lake.read("impressions").collect(), lake.read("quarantine").collect()
    assert len(accepted) + len(quarantine) == len(rows) == result.rows_read
    assert result.rows_quarantined == len(quarantine)
    assert {row.impression_id for row in accepted} == {row["id"] for row in _days()}
    expected = Counter(dict.fromkeys(BAD_ROWS, 1))
    expected["label_click_not_0_or_1"] += 1
    expected |= Counter(duplicate_row=1, duplicate_impression_id=1)
    assert Counter(row.reason for row in quarantine) == expected
    kept = next(row for row in accepted if row.impression_id == _good(2)["id"])
    assert kept.item_id == "v2"  # the smaller row of the two, whatever their order
    texts = [json.loads(row.row_json) for row in quarantine]
    assert Counter(text["id"] for text in texts) == Counter(row["id"] for row in [*bad, null_label, copy, other])
    timeless = {row.reason for row in quarantine if row.date == dt.date(1970, 1, 1)}
    assert timeless == {
        "null_time",
        "time_at_epoch_zero",
        "time_before_earliest_date",
        "time_in_the_future",
    }
    assert ingest.run(spark, config).partitions_written == 0
    # Corrected: the quarantine empties, and the corrected rows arrive.
    _write(spark, config, [*_days(), *(_good(50 + number) for number in range(len(BAD_ROWS)))])
    ingest.run(spark, config)
    lake = Lake(spark, config)
    assert lake.read("quarantine").count() == 0
    assert lake.read("impressions").count() == len(_days()) + len(BAD_ROWS)


def test_too_many_rejected_rows_stop_the_step_before_it_writes(spark: Any, config_data: dict[str, Any]) -> None:
    config = _config(config_data, limit=0.05)
    _write(spark, config, [*_days(), _good(50, user=None)])
    with pytest.raises(InputError) as error:
        ingest.run(spark, config)
    text = str(error.value)
    assert "1 of 13 rows are rejected" in text and "null_user_id" in text and '"item":"v50"' in text
    assert "5.00%" in text and "2022-05-01" in text
    _nothing_written(spark, config)


def test_a_missing_column_is_named_with_the_nearest(spark: Any, config_data: dict[str, Any]) -> None:
    config = _config(config_data, user_id="usr")
    _write(spark, config, _days())
    with pytest.raises(InputError, match="column 'usr' is missing") as error:
        ingest.run(spark, config)
    assert "did you mean 'user'?" in str(error.value) and config.source.path in str(error.value)
    _nothing_written(spark, config)


@pytest.mark.parametrize(
    ("column", "kind", "found", "expected"),
    [
        ("item", "double", "DOUBLE", "STRING or TINYINT or SMALLINT or INT or BIGINT"),
        ("time", "int", "INT", "TIMESTAMP or TIMESTAMP_NTZ or STRING"),
        ("click", "date", "DATE", "BOOLEAN"),
    ],
)
def test_a_wrong_type_names_column_found_and_expected(
    spark: Any, config_data: dict[str, Any], column: str, kind: str, found: str, expected: str
) -> None:
    config = _config(config_data)
    frame = spark.createDataFrame(_days(), SCHEMA)
    frame = frame.selectExpr(*[f"CAST(NULL AS {kind}) AS {name}" if name == column else name for name in frame.columns])
    frame.write.parquet(config.source.path)
    with pytest.raises(InputError, match=f"column '{column}' has the wrong type") as error:
        ingest.run(spark, config)
    assert f"found: {found}" in str(error.value) and expected in str(error.value)
    _nothing_written(spark, config)


def test_an_empty_table_and_an_empty_range(spark: Any, config_data: dict[str, Any]) -> None:
    config = _config(config_data)
    _write(spark, config, [])
    with pytest.raises(InputError, match="the table is empty") as error:
        ingest.run(spark, config)
    assert config.source.path in str(error.value) and "0 rows" in str(error.value)
    _write(spark, config, _days())
    later = _config(config_data | {"ingest": {"start_date": "2022-05-10"}})
    with pytest.raises(InputError, match="the table is empty") as error:
        ingest.run(spark, later)
    assert "between 2022-05-10" in str(error.value)


def test_a_missing_day_is_named_unless_it_is_allowed(spark: Any, config_data: dict[str, Any]) -> None:
    config = _config(config_data)
    _write(spark, config, _days((DAYS[0], DAYS[2])))
    with pytest.raises(InputError, match=r"1 days are missing inside 2022-05-01 \.\. 2022-05-03") as error:
        ingest.run(spark, config)
    assert "partition: 2022-05-02" in str(error.value) and "allow_missing_days" in str(error.value)
    _nothing_written(spark, config)
    edge = _config(config_data | {"ingest": {"end_date": "2022-05-04", "start_date": DAYS[2]}})
    with pytest.raises(InputError, match="partition: 2022-05-04"):
        ingest.run(spark, edge)
    allowed = _config(config_data | {"ingest": {"allow_missing_days": True}})
    assert ingest.run(spark, allowed).rows_written == 8


def test_a_day_with_one_class_only_is_named(spark: Any, config_data: dict[str, Any]) -> None:
    config = _config(config_data)
    rows = [row | {"click": 1} if row["id"].startswith(DAYS[1]) else row for row in _days()]
    _write(spark, config, rows)
    with pytest.raises(InputError, match="one class only: label 'click' is always 1") as error:
        ingest.run(spark, config)
    assert DAYS[1] in str(error.value) and "4 positives in 4 rows" in str(error.value)
    _nothing_written(spark, config)


def test_an_item_id_that_becomes_text_on_one_day(spark: Any, config_data: dict[str, Any]) -> None:
    """By content, as it arrives in JSON: numbers on two days, text on the third."""
    data = config_data | {"source": config_data["source"] | {"format": "json"}}
    config = _config(data)
    folder = Path(config.source.path)
    folder.mkdir()
    for day in DAYS:
        rows = [_good(number, day) for number in range(4)]
        with (folder / f"{day}.json").open("w") as file:
            for number, row in enumerate(rows):
                item = f"v{number}" if day == DAYS[2] else number
                file.write(json.dumps(row | {"item": item, "time": row["time"].isoformat()}) + "\n")
    with pytest.raises(InputError, match="item_id changes type between days") as error:
        ingest.run(spark, config)
    text = str(error.value)
    assert "whole numbers on 2022-05-01, 2022-05-02; text on 2022-05-03" in text and "partition: 2022-05-03" in text
    _nothing_written(spark, config)


def test_an_item_id_of_another_physical_type_on_one_day(spark: Any, config_data: dict[str, Any]) -> None:
    """By Parquet schema: the partitions are named, not only Spark's merge error."""
    config = _config(config_data)
    for day in DAYS:
        kind = "bigint" if day == DAYS[1] else "string"
        rows = [_good(number, day, item=str(number)) for number in range(4)]
        frame = spark.createDataFrame(rows, SCHEMA).withColumn("item", _cast("item", kind))
        frame.write.parquet(f"{config.source.path}/day={day}")
    with pytest.raises(InputError, match="column 'item' changes type between partitions") as error:
        ingest.run(spark, config)
    text = str(error.value)
    assert "BIGINT in day=2022-05-02" in text and "STRING in day=2022-05-01, day=2022-05-03" in text
    _nothing_written(spark, config)


def test_rows_that_are_there_survive_every_refusal(spark: Any, config_data: dict[str, Any]) -> None:
    config = _config(config_data, limit=0.05)
    _write(spark, config, _days())
    ingest.run(spark, config)
    lake = Lake(spark, config)

    def state() -> list[object]:
        tables = ("impressions", "items", "quarantine")
        return [(lake.version(name), lake.fingerprints(name)) for name in tables if lake.exists(name)]

    before = state()
    no_time = SCHEMA.replace("time timestamp", "time double")
    refused = {
        "column 'item' is missing": ([{**row, "itm": row["item"]} for row in _days()], SCHEMA.replace("item", "itm")),
        "has the wrong type": ([{**row, "time": 1.5} for row in _days()], no_time),
        "are rejected": ([*_days(), *[_good(50 + n, user=None) for n in range(3)]], SCHEMA),
        "the table is empty": ([], SCHEMA),
        "1 days are missing": (_days((DAYS[0], DAYS[2])), SCHEMA),
        "one class only": ([{**row, "click": 1} for row in _days()], SCHEMA),
        "changes type between days": (
            [{**r, "item": "7" if DAYS[2] in r["id"] else r["item"]} for r in _days()],
            SCHEMA,
        ),
    }
    for message, (rows, schema) in refused.items():
        _write(spark, config, rows, schema)
        with pytest.raises(InputError, match=message):
            ingest.run(spark, config)
        assert state() == before, message
    _write(spark, config, _days())
    assert ingest.run(spark, config).partitions_written == 0 and state() == before


def test_a_day_that_has_ceased_and_another_time_zone(spark: Any, config_data: dict[str, Any]) -> None:
    """Rows that moved away do not stay behind as well; days that a rolling source has dropped do."""
    data = config_data | {"ingest": {"allow_missing_days": True}}
    config = _config(data)
    _write(spark, config, _days())
    ingest.run(spark, config)
    _write(spark, config, _days((DAYS[0], DAYS[2])))
    assert ingest.run(spark, config).partitions_written == 1
    lake = Lake(spark, config)
    assert [key[0] for key in sorted(lake.fingerprints("impressions"))] == [DAYS[0], DAYS[2]]
    _write(spark, config, _days((DAYS[2],)))
    ingest.run(spark, config)
    assert len(lake.fingerprints("impressions")) == 2, "the source keeps only its last day"
    before = lake.version("impressions")
    with pytest.raises(InputError, match="cut in another time zone") as error:
        ingest.run(spark, _config(data | {"time_zone": "Asia/Shanghai"}))
    assert "expected: UTC" in str(error.value) and lake.version("impressions") == before


def test_what_was_there_is_put_back_where_the_source_changes_while_it_is_read(
    spark: Any, config_data: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = _config(config_data)
    _write(spark, config, _days())
    ingest.run(spark, config)
    lake = Lake(spark, config)
    before = sorted(map(str, lake.read("impressions").collect()))
    _write(spark, config, _days(rows=6))
    counted = Lake.write_partitions

    def one_row_fewer(self: Lake, name: str, frame: Any, *rest: Any) -> int:
        return counted(self, name, frame.where("impression_id NOT LIKE '%/5'"), *rest)

    monkeypatch.setattr(Lake, "write_partitions", one_row_fewer)
    with pytest.raises(StepFailed, match="the source changed while it was read") as error:
        ingest.run(spark, config)
    assert "found: 15 rows" in str(error.value) and "expected: 18 rows" in str(error.value)
    assert sorted(map(str, Lake(spark, config).read("impressions").collect())) == before


def _cast(column: str, kind: str) -> Any:
    from pyspark.sql import functions as F

    return F.col(column).cast(kind)


def test_a_label_without_column_and_a_path_without_table(spark: Any, config_data: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="a label has no column"):
        ingest.run(spark, _config(config_data | {"labels": ["like"]}))
    config = _config(config_data)
    shutil.rmtree(config.source.path, ignore_errors=True)
    with pytest.raises(InputError, match="cannot be opened") as error:
        ingest.run(spark, config)
    assert config.source.path in str(error.value)


def test_malformed_lines_are_kept_as_they_are(spark: Any, config_data: dict[str, Any]) -> None:
    """CSV of another width and JSON that is none: in quarantine with their text, under any choice of columns."""
    for data_format in ("csv", "json"):
        source = config_data["source"] | {
            "format": data_format,
            "path": f"{config_data['source']['path']}.{data_format}",
        }
        config = _config(config_data | {"source": source})
        rows = _days((DAYS[0],))
        with Path(config.source.path).open("w") as file:
            if data_format == "csv":
                file.write(",".join(rows[0]) + "\n")
            for row in rows:
                plain = row | {"time": row["time"].strftime("%Y-%m-%d %H:%M:%S")}
                file.write((",".join(map(str, plain.values())) if data_format == "csv" else json.dumps(plain)) + "\n")
            file.write("1,2,3,4,5,6,7,8\n" if data_format == "csv" else '{"id": \n')
            file.write(
                "x,u1,v1,not a time,1,1\n" if data_format == "csv" else '{"id": "x", "user": "u", "item": "v"}\n'
            )
        unreadable = "unparsable_time" if data_format == "csv" else "null_time"
        assert _judge(spark, config) == {None: 4, "malformed_row": 1, unreadable: 1}
        source_data = read_source(spark, config)
        frame = judged(source_data.impressions, config, True)
        assert accepted_rows(frame, config, ()).count() == 4
        rejected = {row.reason: row.row_json for row in rejected_rows(frame, "s").collect()}
        assert ("1,2,3,4,5" if data_format == "csv" else '\\"id\\"') in rejected["malformed_row"]


def test_items_that_occur_twice_or_have_no_id(spark: Any, config_data: dict[str, Any]) -> None:
    """One row an item, or the join would double impressions; the others are in quarantine."""
    source = config_data["source"] | {"items_path": config_data["source"]["path"] + "_items"}
    source["items_columns"] = {"item_id": "item", "title": "name"}
    config = _config(config_data | {"source": source})
    _write(spark, config, _days())
    items = [("v0", "b"), ("v0", "a"), ("v1", "c"), ("v1", "c"), (None, "d")]
    spark.createDataFrame(items, "item string, name string").write.parquet(config.source.items_path)
    result = ingest.run(spark, config)
    lake = Lake(spark, config)
    assert {(row.item_id, row.title) for row in lake.read("items").collect()} == {("v0", "a"), ("v1", "c")}
    quarantine = lake.read("quarantine").collect()
    assert Counter(row.reason for row in quarantine) == {
        "duplicate_item_id": 1,
        "duplicate_row": 1,
        "null_item_id": 1,
    }
    assert result.rows_quarantined == 3 and all(row.source.endswith("(items)") for row in quarantine)
    assert ingest.run(spark, config).partitions_written == 0


def test_items_with_an_image_that_cannot_be_used_are_set_aside(spark: Any, config_data: dict[str, Any]) -> None:
    """Cut off, no image at all, and a small file that would fill the memory; the others are as they were."""
    source = config_data["source"] | {"items_path": config_data["source"]["path"] + "_items"}
    source["items_columns"] = {"item_id": "item", "title": "name", "image": "picture"}
    config = _config(config_data | {"source": source, "ingest": {"largest_image_pixels": 20_000}})
    _write(spark, config, _days())
    good, jpeg = _picture((90, 60), "PNG"), _picture((90, 60), "JPEG")
    bomb = _picture((4000, 4000), "PNG")
    assert len(bomb) < 60_000
    pictures = [good, jpeg, None, good[: len(good) // 2], b"not an image", bomb, good]
    items = [(f"v{number}", f"item {number}", picture) for number, picture in enumerate(pictures)]
    spark.createDataFrame(items, "item string, name string, picture binary").write.parquet(config.source.items_path)
    result = ingest.run(spark, config)
    lake = Lake(spark, config)
    kept = {row.item_id: row.image for row in lake.read("items").collect()}
    assert kept == {f"v{number}": pictures[number] for number in (0, 1, 2, 6)}
    quarantine = lake.read("quarantine").collect()
    found = sorted((row.reason, json.loads(row.row_json)["item"]) for row in quarantine)
    assert found == [("broken_image", "v3"), ("broken_image", "v4"), ("image_too_large", "v5")]
    assert result.rows_quarantined == 3
    assert ingest.run(spark, config).partitions_written == 0


def _picture(size: tuple[int, int], kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (200, 80, 10)).save(buffer, kind)
    return buffer.getvalue()


def test_a_source_version_that_was_vacuumed_is_found_before_anything_is_written(
    spark: Any, config_data: dict[str, Any], tmp_path: Path
) -> None:
    config = _config(config_data)
    _write(spark, config, _days(DAYS))
    rows = spark.read.parquet(str(config.source.path))
    table = str(tmp_path / "delta_source")
    for mode in ("error", "overwrite"):
        rows.write.format("delta").mode(mode).save(table)
    data = {**config_data, "source": {**config_data["source"], "path": table, "format": "delta", "version": 0}}
    assert ingest.run(spark, _config(data)).rows_read == rows.count(), "version 0 is there"
    spark.conf.set("spark.databricks.delta.retentionDurationCheck.enabled", "false")
    spark.sql(f"VACUUM delta.`{table}` RETAIN 0 HOURS")
    data["lake"] = {"path": str(tmp_path / "other_lake"), "work_path": str(tmp_path / "work")}
    with pytest.raises(StaleError, match=r"files of the version are gone \(VACUUM\?\)") as error:
        ingest.run(spark, _config(data))
    text = str(error.value)
    assert table in text and "version 0" in text and "give a newer version" in text
    assert not (tmp_path / "other_lake").exists()
