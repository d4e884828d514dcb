"""A source with several scenarios: all are ingested, one is trained, and a wrong name lists what is there."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from lis_spark.config import parse_config
from lis_spark.errors import InputError
from lis_spark.lake import Lake
from lis_spark.ranker import training_rows, vocabulary
from lis_spark.sources import ingest


def test_one_scenario_is_trained_and_histories_stay_within_it(spark: Any, config_data: dict[str, Any]) -> None:
    rows = [
        (f"u{user}", f"v{number}", dt.datetime(2022, 5, day, 10, number, tzinfo=dt.UTC), (number + user) % 2, scenario)
        for day in (1, 2, 3)
        for user in range(2)
        for number, scenario in enumerate(("feed", "ads", "feed", "ads"))
    ]
    schema = "user string, item string, time timestamp, click int, place string"
    spark.createDataFrame(rows, schema).write.parquet(config_data["source"]["path"])
    config_data["source"]["columns"]["scenario"] = "place"
    feed = parse_config({**config_data, "scenario": "feed"})
    assert ingest.run(spark, feed).rows_written == len(rows)
    vocabulary.run(spark, feed)
    done = training_rows.run(spark, feed)
    assert done.rows_written == len(rows) // 2 and done.partitions_written == 3
    written = Lake(spark, feed).read("training_rows")
    assert {row.item_id for row in written.collect()} == {"v0", "v2"}
    last = written.where("user_id = 'u0' AND item_id = 'v2' AND date = '2022-05-03'").first()
    keys = {row.row: row.key for row in Lake(spark, feed).read("vocabularies").where("slot = 'item'").collect()}
    seen = [int.from_bytes(last.history_skips[4 * n : 4 * n + 4], "little", signed=True) for n in range(10)]
    assert {keys[row] for row in seen if row >= 0} == {"v0", "v2"}, "an ad that was skipped is no part of the feed"
    assert training_rows.run(spark, feed).partitions_written == 0
    with pytest.raises(InputError, match="no impression is of scenario 'default'") as error:
        training_rows.run(spark, parse_config(config_data))
    assert "ads (12 rows), feed (12 rows)" in str(error.value) and "key `scenario`" in str(error.value)
