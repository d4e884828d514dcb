"""An audit on a small lake: how the table is joined, against pandas; what its dates say; what is refused, and how."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import functions as F

from lis_spark.audit import step
from lis_spark.audit.joined import AFTER, MATCHED, joined, key_rows
from lis_spark.audit.key_rows import KeyRows
from lis_spark.config import AuditConfig, RunConfig, parse_config
from lis_spark.errors import ConfigError, InputError
from lis_spark.lake import Lake
from lis_spark.sources import ingest

FIRST = dt.datetime(2022, 5, 1, tzinfo=dt.UTC)
ROWS = 900
ZONE = "Asia/Shanghai"


@pytest.fixture(scope="module")
def lake(spark: Any, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    folder = tmp_path_factory.mktemp("audited")
    rng = np.random.default_rng(3)
    rows = pd.DataFrame(
        {
            "id": [f"i{n}" for n in range(ROWS)],
            "user": [f"u{u}" for u in rng.integers(0, 30, ROWS)],
            "item": [f"v{v}" for v in rng.integers(0, 20, ROWS)],
            "time": [FIRST + dt.timedelta(minutes=11 * n) for n in range(ROWS)],
            "click": rng.integers(0, 2, ROWS),
        }
    )
    spark.createDataFrame(rows).write.parquet(str(folder / "source"))
    columns = {
        "impression_id": "id",
        "user_id": "user",
        "item_id": "item",
        "time": "time",
        "labels": {"click": "click"},
    }
    config = parse_config(
        {
            "run_name": "audited",
            "time_zone": ZONE,
            "output_path": str(folder / "out"),
            "lake": {"path": str(folder / "lake"), "work_path": str(folder / "work")},
            "source": {"kind": "table", "path": str(folder / "source"), "format": "parquet", "columns": columns},
            "features": [{"name": "user", "column": "user_id"}, {"name": "item", "column": "item_id"}],
            "evaluation": {"dates": ["2022-05-03"], "horizons": [0, 1], "folds": 2},
        }
    )
    ingest.run(spark, config)
    return Lake(spark, config, measurement=True)


@pytest.fixture
def shown(lake: Lake) -> pd.DataFrame:
    return lake.read("impressions").toPandas()


def written(lake: Lake, rows: pd.DataFrame, folder: Any, schema: str | None = None) -> str:
    path = str(folder / "features")
    lake.spark.createDataFrame(rows, schema).write.format("delta").mode("overwrite").save(path)
    return path


def configured(lake: Lake, audit: dict[str, Any]) -> RunConfig:
    return lake.config.model_copy(update={"audit": AuditConfig(**audit)})


@pytest.mark.parametrize(("lag", "after"), [(0, True), (1, False), (2, False)])
def test_a_dated_row_serves_until_the_next_one(
    lake: Lake, shown: pd.DataFrame, tmp_path: Any, lag: int, after: bool
) -> None:
    rng = np.random.default_rng(5)
    days = sorted(set(shown["date"]))
    # two of three (user, day): the others are served by an older row, or by none
    table = pd.DataFrame([(user, day, rng.random()) for user in sorted(set(shown["user_id"])) for day in days])
    table = table[rng.random(len(table)) < 0.67]
    table.columns = ["user", "day", "rate"]
    path = written(lake, table, tmp_path, "user string, day date, rate double")
    audit = AuditConfig(path=path, keyed_by="user", key_column="user", date_column="day", lag_days=lag)
    found = joined(lake, audit).rows.select("impression_id", "value_0", MATCHED, AFTER).toPandas()
    assert len(found) == ROWS == found["impression_id"].nunique()
    told = found.set_index("impression_id")
    dated_after = 0
    for row in shown.itertuples():
        known = table[(table["user"] == row.user_id) & (table["day"] <= row.date - dt.timedelta(days=lag))]
        value = told.loc[row.impression_id]
        assert value[MATCHED] == (len(known) > 0)
        if len(known):
            newest = known.sort_values("day").iloc[-1]
            assert value["value_0"] == newest["rate"]
            assert value[AFTER] == (newest["day"] >= row.date)
            dated_after += value[AFTER]
        else:
            assert np.isnan(value["value_0"]) and not value[AFTER]
    assert (dated_after > 0) == after


def test_dates_accuse_rows_that_were_made_later(lake: Lake, shown: pd.DataFrame, tmp_path: Any) -> None:
    """Of yesterday by its date, and corrected tomorrow: what a join by event time alone lets through."""
    rng = np.random.default_rng(6)
    made = shown["request_ts"] + pd.to_timedelta(np.where(np.arange(ROWS) % 10 == 0, 5, -5), unit="h")
    table = pd.DataFrame(
        {
            "impression_id": shown["impression_id"],
            "made_at": made,
            "noise": rng.random(ROWS),
            "seen_at": shown["request_ts"] + pd.to_timedelta(np.where(np.arange(ROWS) == 7, 1, -1), unit="s"),
        }
    )
    path = written(lake, table, tmp_path)
    rows = step.run(lake.spark, configured(lake, {"path": path, "made_column": "made_at"}))
    by_name = {row["audited_column"]: row for row in rows}
    assert by_name["noise"]["dated_after"] == pytest.approx(0.1, abs=1e-9)
    assert by_name["noise"]["verdict"] == "leak"
    assert "10.0 % of its impressions" in by_name["noise"]["reasons"][0]
    rows = step.run(lake.spark, configured(lake, {"path": path, "columns": ["noise", "seen_at"]}))
    by_name = {row["audited_column"]: row for row in rows}
    assert (by_name["noise"]["verdict"], by_name["noise"]["dated_after"]) == ("no sign", 0)
    assert by_name["seen_at"]["dated_after"] == pytest.approx(1 / ROWS, abs=1e-9)
    assert by_name["seen_at"]["verdict"] == "leak"
    # asked again, it is told from the table, row for row
    again = step.run(lake.spark, configured(lake, {"path": path, "columns": ["noise", "seen_at"]}))
    assert again == rows
    assert lake.spark.read.format("delta").load(f"{lake.config.lake.path}/audits").count() == 4
    # a file has no version, so what it said once says nothing of it now
    file = str(tmp_path / "file.parquet")
    audit = {"path": file, "format": "parquet", "columns": ["noise"]}
    for change in (0.0, 1.0):
        lake.spark.createDataFrame(table[["impression_id"]].assign(noise=change)).write.mode("overwrite").parquet(file)
        (row,) = step.run(lake.spark, configured(lake, audit))
        assert row["verdict"] == "no sign" and row["audited_version"] is None
    assert lake.spark.read.format("delta").load(f"{lake.config.lake.path}/audits").count() == 6


def test_rows_of_a_key_carry_what_the_impressions_say(lake: Lake, shown: pd.DataFrame, tmp_path: Any) -> None:
    table = shown[["impression_id"]].assign(
        rate=np.arange(ROWS) / 10, named=shown["item_id"].where(shown.index % 2 == 0)
    )
    source = joined(lake, AuditConfig(path=written(lake, table, tmp_path)))
    frame = key_rows(source, "user", (0,), (1,), 1.0).orderBy("key_hash", "time_ms", "tie")
    rows = KeyRows.of(frame.toArrow(), (0,), (1,), 40)
    assert len(rows) == ROWS and len(np.unique(rows.keys)) == shown["user_id"].nunique()
    assert rows.label.sum() == shown["label_click"].sum()
    hours = pd.to_datetime(rows.time, unit="ms", utc=True).tz_convert(ZONE)
    np.testing.assert_array_equal(rows.hour, hours.hour)
    np.testing.assert_array_equal(rows.day, [(day - dt.date(1970, 1, 1)).days for day in hours.date])
    np.testing.assert_allclose(np.sort(rows.values[:, 0]), np.arange(ROWS) / 10)
    np.testing.assert_array_equal(np.isnan(rows.values[:, 1]).sum(), ROWS // 2)
    assert np.nanmin(rows.values[:, 1]) == 1  # every id that is there names what is shown
    share = key_rows(source, "user", (0,), (), 0.5).select("key_hash").distinct().count()
    assert 5 <= share <= 25


def test_what_cannot_be_audited_is_refused_by_name(lake: Lake, shown: pd.DataFrame, tmp_path: Any) -> None:
    table = shown[["impression_id"]].assign(rate=0.5)
    doubled = pd.concat([table, table.iloc[3:4]])
    cases = [
        (table, {"key_column": "impresion_id"}, "column 'impresion_id' of the audited table is missing"),
        (table, {"columns": ["rte"]}, "column 'rte' of the audited table is missing"),
        (doubled, {}, "stands more than once"),
        (table.assign(impression_id="x" + table["impression_id"]), {}, "no impression has its impression"),
        (table.assign(tags=[["a"]] * ROWS), {}, "tags array<string>"),
        (table[["impression_id"]], {}, "no column beside the key"),
    ]
    before = lake.read("impressions").count()
    for rows, audit, words in cases:
        path = str(tmp_path / "features")
        frame = lake.spark.createDataFrame(rows)
        frame.write.format("delta").mode("overwrite").option("overwriteSchema", "true").save(path)
        with pytest.raises(InputError) as refused:
            step.run(lake.spark, configured(lake, {"path": path, **audit}))
        assert words in str(refused.value) and refused.value.table == path and refused.value.exit_code == 2
    assert str(shown["impression_id"][3]) in str(_refusal(lake, doubled, tmp_path))
    with pytest.raises(InputError, match="there is no Delta table"):
        step.run(lake.spark, configured(lake, {"path": str(tmp_path / "nowhere")}))
    with pytest.raises(ConfigError, match="which table"):
        step.run(lake.spark, lake.config)
    assert lake.read("impressions").where(F.col("impression_id").isNotNull()).count() == before == ROWS


def _refusal(lake: Lake, rows: pd.DataFrame, folder: Any) -> InputError:
    path = str(folder / "doubled")
    lake.spark.createDataFrame(rows).write.format("delta").save(path)
    with pytest.raises(InputError) as refused:
        step.run(lake.spark, configured(lake, {"path": path}))
    return refused.value
