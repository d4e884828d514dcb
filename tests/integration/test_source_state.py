"""A source that nobody has changed is not read again; every kind of change is noticed, and the version is recorded."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lis_spark.config import RunConfig, parse_config
from lis_spark.errors import InputError
from lis_spark.lake import Lake
from lis_spark.lis.plan.evaluation import resolve
from lis_spark.pipeline import run_steps

UNREAD = "the source is as the last ingest left it"
DAYS = ("2022-05-01", "2022-05-02", "2022-05-04")


def rows(item: str = "a") -> pd.DataFrame:
    """Four impressions a day, of both classes."""
    return pd.DataFrame(
        [
            {"user": f"u{number}", "item": item, "time": f"{day} 10:0{number}:00", "click": number % 2}
            for day in DAYS
            for number in range(4)
        ]
    )


def ingested(spark: Any, config: RunConfig, force: bool = False) -> tuple[bool, int, dict[str, Any]]:
    """Whether the source was read, how many partitions were written, and the inputs on record."""
    result = run_steps(spark, config, ["ingest"], force=force)[0]
    last = Lake(spark, config).read("runs").orderBy("finished_ts", ascending=False).first()
    return not any(UNREAD in note for note in result.notes), result.partitions_written, json.loads(last["inputs"])


@pytest.fixture
def data(config_data: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    config_data["source"] |= {"path": str(tmp_path / "rows.csv"), "format": "csv"}
    config_data["ingest"] = {"allow_missing_days": True, "latest_date": "2022-06-01"}
    rows().to_csv(tmp_path / "rows.csv", index=False)
    return config_data


def test_files_are_told_apart_by_size_and_time(spark: Any, data: dict[str, Any], tmp_path: Path) -> None:
    config = parse_config(data)
    assert ingested(spark, config)[:2] == (True, 3)
    assert ingested(spark, config)[:2] == (False, 0)
    assert ingested(spark, config)[:2] == (False, 0), "a run that read nothing is as good a record"
    assert ingested(spark, config, force=True)[:2] == (True, 3)
    file = tmp_path / "rows.csv"
    written = file.stat()
    rows("b").to_csv(file, index=False)
    assert file.stat().st_size == written.st_size
    os.utime(file, ns=(written.st_atime_ns, written.st_mtime_ns + 1_000_000_000))
    assert ingested(spark, config)[:2] == (True, 3), "another time"
    os.utime(file, ns=(written.st_atime_ns, written.st_mtime_ns))
    assert ingested(spark, config)[:2] == (True, 0), "read, and found to be the same"
    other = parse_config({**data, "ingest": {**data["ingest"], "end_date": "2022-05-02"}})
    assert ingested(spark, other)[:2] == (True, 0), "another question"
    Lake(spark, config).delete("impressions", "user_id = 'u1'")
    assert ingested(spark, other)[0], "somebody wrote to the table"


def test_the_version_of_a_delta_source_is_read_once_and_recorded(
    spark: Any, data: dict[str, Any], tmp_path: Path
) -> None:
    table = str(tmp_path / "table")
    data["source"] |= {"path": table, "format": "delta"}
    spark.createDataFrame(rows()).write.format("delta").save(table)
    config = parse_config(data)
    read, written, inputs = ingested(spark, config)
    assert (read, written, inputs[table]) == (True, 3, 0)
    assert ingested(spark, config)[:2] == (False, 0)
    spark.createDataFrame(rows("b")).write.format("delta").mode("overwrite").save(table)
    read, written, inputs = ingested(spark, config)
    assert (read, written, inputs[table]) == (True, 3, 1)
    metadata = spark.sql(f"DESCRIBE HISTORY {Lake(spark, config).identifier('impressions')} LIMIT 1").first()
    assert json.loads(metadata["userMetadata"])["inputs"] == {table: 1}


def test_an_evaluated_day_without_rows_is_named(spark: Any, data: dict[str, Any]) -> None:
    data["evaluation"]["dates"] = ["2022-05-03"]
    config = parse_config(data)
    run_steps(spark, config, ["ingest", "vocabulary", "training-rows"])
    with pytest.raises(InputError, match="an evaluated day has no impressions") as error:
        resolve(Lake(spark, config))
    assert "2022-05-03" in str(error.value) and "evaluation.dates" in str(error.value)
