"""``lis-spark forget`` on the finished small run: nothing of the user is left, and nothing else is gone."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pyspark.sql import functions as F

from lis_spark import cli
from lis_spark.config import RunConfig
from lis_spark.lake import Lake
from lis_spark.pipeline import run_steps
from lis_spark.ranker.plans import local_path
from tests.e2e.test_changes import COMPUTED

TABLES = ("impressions", "training_rows", "leaked_features", "control_features", "scores", "influence", "vocabularies")


def sizes(spark: Any, config: RunConfig) -> dict[str, int]:
    lake = Lake(spark, config, measurement=True)
    return {name: lake.read(name).count() for name in TABLES}


@pytest.mark.slow("copies and changes a whole run")
def test_a_user_is_forgotten_everywhere(
    spark: Any, copied: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake(spark, copied, measurement=True)
    evaluated = F.col("date").isin(list(copied.evaluation.dates))
    counted = lake.read("impressions").where(evaluated).groupBy("user_id").count()
    busiest = counted.orderBy(F.desc("count"), "user_id").first()
    assert busiest is not None
    user, on_the_day = busiest["user_id"], busiest["count"]
    ids = [row[0] for row in lake.read("impressions").where(F.col("user_id") == user).select("impression_id").collect()]
    before = sizes(spark, copied)
    expected = dict.fromkeys(("impressions", "training_rows"), len(ids)) | {
        # n = 1, 3: naive, honest, matched (two folds), shuffled, replay each once, both skips at 3; and then
        # naive, honest, backward
        "leaked_features": on_the_day * (2 * 5 + 2),
        "control_features": on_the_day * 3,
        "scores": lake.read("scores").where(F.col("user_id") == user).count(),
        "influence": lake.read("influence").where(F.col("user_id") == user).count(),
        "vocabularies": 0,
    }
    monkeypatch.setattr("lis_spark.session.get_session", lambda *_, **__: spark)
    places = [f"lake.path={copied.lake.path}", f"lake.work_path={copied.lake.work_path}"]
    command = ["forget", "--config", "conf/kuairand_small.yaml", "--user", user, *places]
    assert cli.main(command) == 0
    after = sizes(spark, copied)
    assert {name: before[name] - after[name] for name in TABLES} == expected
    lake = Lake(spark, copied, measurement=True)
    for name in ("impressions", "training_rows", "scores", "influence"):
        assert lake.read(name).where(F.col("user_id") == user).count() == 0
    for name in ("leaked_features", "control_features", "scores"):
        assert lake.read(name).where(F.col("impression_id").isin(ids)).count() == 0
    assert lake.read("vocabularies").where(F.col("slot") == "user").where(F.col("key") == user).count() == 0
    for date in copied.evaluation.dates:  # files keep the order in which the trainer reads them
        files = sorted(map(local_path, lake.files("training_rows", f"date = DATE'{date}'")))
        assert len(files) >= copied.ranker.row_groups_per_day
        for file in files:
            times = pq.read_table(file, columns=["request_ts"])["request_ts"].to_numpy()
            assert (times[1:] >= times[:-1]).all()
    assert sizes(spark, copied) == after and cli.main(command) == 0 and sizes(spark, copied) == after
    results = run_steps(spark, copied, COMPUTED)
    assert [result.partitions_written for result in results] == [0] * len(COMPUTED), "nothing has to be computed again"
    assert sizes(spark, copied) == after, "and nobody comes back"


@pytest.mark.slow("copies and changes a whole run")
def test_leaked_features_go_by_age(spark: Any, copied: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lis_spark.session.get_session", lambda *_, **__: spark)
    before, day = sizes(spark, copied), copied.evaluation.dates[0]
    for cut, left in ((day, before["leaked_features"]), (day + dt.timedelta(days=1), 0)):
        places = [f"lake.path={copied.lake.path}", f"lake.work_path={copied.lake.work_path}"]
        assert cli.main(["forget", "--config", "conf/kuairand_small.yaml", "--leaked-before", str(cut), *places]) == 0
        assert sizes(spark, copied) == before | {"leaked_features": left}
