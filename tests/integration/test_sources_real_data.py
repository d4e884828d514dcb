"""The data sets of this repository: counts that were measured with pandas, and their traps."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lis_spark.config import RunConfig, parse_config
from lis_spark.lake import Lake
from lis_spark.ranker import training_rows, vocabulary
from lis_spark.sources import ingest

DATA = Path(__file__).resolve().parents[2] / "data"
KUAIRAND_DAYS = [141, 14650, 14176, 13818, 13466, 15369, 20600, 20283, 19148, 18563, 17194, 13087, 13582, 13468, 15324]
FEATURES = [
    {"name": "user", "column": "user_id"},
    {"name": "item", "column": "item_id"},
    {"name": "author", "column": "author_id", "origin": "items"},
    {"name": "tag", "column": "tags", "origin": "items", "transform": "first_token"},
    {"name": "tab", "column": "tab"},
    {"name": "hour", "column": "request_ts", "transform": "hour"},
    {"name": "duration", "column": "duration_ms", "transform": "log2_bucket"},
]


def _config(folder: Path, source: dict[str, Any], **changed: Any) -> RunConfig:
    return parse_config(
        {
            "run_name": "real",
            "lake": {"path": str(folder / "lake"), "work_path": str(folder / "work")},
            "source": source,
            "evaluation": {"dates": ["2022-05-01"]},
        }
        | changed
    )


@pytest.fixture(scope="module")
def kuairand(spark: Any, tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    source = {"kind": "kuairand", "path": str(DATA / "kuairand_pure")}
    config = _config(
        tmp_path_factory.mktemp("kuairand"),
        source,
        time_zone="Asia/Shanghai",
        labels=["click", "long_view"],
        features=FEATURES,
    )
    result = ingest.run(spark, config)
    assert (result.rows_read, result.rows_written, result.rows_quarantined) == (222_869, 222_869, 0)
    vocabulary.run(spark, config)
    training_rows.run(spark, config)
    return config


@pytest.fixture(scope="module")
def source_rows() -> pd.DataFrame:
    frame = pd.read_parquet(DATA / "kuairand_pure" / "impressions.parquet")
    local = pd.to_datetime(frame["time_ms"], unit="ms", utc=True).dt.tz_convert("Asia/Shanghai")
    return frame.assign(local_date=local.dt.date)


def test_kuairand_days_are_cut_in_shanghai(spark: Any, kuairand: RunConfig, source_rows: pd.DataFrame) -> None:
    impressions = Lake(spark, kuairand).read("impressions")
    by_day = {row["date"]: row["count"] for row in impressions.groupBy("date").count().collect()}
    first = dt.date(2022, 4, 24)
    assert by_day == {first + dt.timedelta(days=place): rows for place, rows in enumerate(KUAIRAND_DAYS)}
    assert by_day == source_rows["local_date"].value_counts().to_dict()
    # The source's own date is ahead near midnight: taking it would move 2,020 rows into the next day.
    own = pd.to_datetime(source_rows["date"].astype(str)).dt.date
    assert (own != source_rows["local_date"]).sum() == 2_020
    rates = impressions.selectExpr("avg(label_click) click", "avg(label_long_view) long_view").first()
    assert round(rates.click, 3) == 0.449
    assert rates.long_view == pytest.approx(source_rows["long_view"].mean(), abs=1e-12)


def test_kuairand_ids_are_unique_and_the_doubled_key_keeps_both_labels(spark: Any, kuairand: RunConfig) -> None:
    impressions = Lake(spark, kuairand).read("impressions")
    assert impressions.select("impression_id").distinct().count() == 222_869
    assert impressions.where("NOT impression_id LIKE '%-0'").count() == 425
    both = impressions.where("user_id = '5333' AND item_id = '1103' AND unix_millis(request_ts) = 1651312900992")
    assert sorted((row.impression_id, row.label_click) for row in both.collect()) == [
        ("5333-1103-1651312900992-0", 0),
        ("5333-1103-1651312900992-1", 1),
    ]


def test_kuairand_has_no_outcome_among_its_context(spark: Any, kuairand: RunConfig) -> None:
    columns = Lake(spark, kuairand).read("impressions").columns
    context = {column for column in columns if column.startswith("context_")}
    assert context == {"context_tab", "context_duration_ms"}
    assert not {"play_time_ms", "is_like", "long_view"} & {column.removeprefix("context_") for column in columns}


def test_kuairand_items(spark: Any, kuairand: RunConfig) -> None:
    lake = Lake(spark, kuairand)
    items = lake.read("items")
    assert items.count() == 7_583
    born = items.selectExpr("min(born_date) low", "max(born_date) high").first()
    assert (born.low, born.high) == (dt.date(2022, 4, 9), dt.date(2022, 4, 11))
    assert items.where("tags IS NULL").count() == 96
    shown = lake.read("impressions").select("item_id").distinct()
    assert shown.join(items, "item_id", "left_anti").count() == 0


def test_kuairand_vocabularies_and_rows(spark: Any, kuairand: RunConfig, source_rows: pd.DataFrame) -> None:
    lake = Lake(spark, kuairand)
    sizes = {row["slot"]: row["count"] for row in lake.read("vocabularies").groupBy("slot").count().collect()}
    assert sizes["user"] == 25_156 and sizes["item"] == 6_361 and sizes["tab"] == 15 and sizes["hour"] == 24
    rows = lake.read("training_rows")
    assert rows.count() == 222_869
    assert rows.where("row_user < 0 OR row_item < 0 OR row_author < 0 OR row_tab < 0").count() == 0
    folds = {row["user_fold"]: row["count"] for row in rows.groupBy("user_fold").count().collect()}
    assert set(folds) == set(range(5)) and max(folds.values()) < 1.1 * min(folds.values())


def test_kuairand_histories_of_the_heaviest_user(spark: Any, kuairand: RunConfig, source_rows: pd.DataFrame) -> None:
    user = source_rows["user_id"].value_counts().index[0]
    mine = source_rows[source_rows["user_id"] == user]
    lake = Lake(spark, kuairand)
    vocabulary_rows = lake.read("vocabularies").where("slot = 'item'").collect()
    item_row = {row.key: row.row for row in vocabulary_rows}
    rows = lake.read("training_rows").where(f"user_id = '{user}'").collect()
    assert len(rows) == len(mine) > 100
    for row in rows:
        millis = round(row.request_ts.replace(tzinfo=row.request_ts.tzinfo or dt.UTC).timestamp() * 1000)
        for column, label in (("history_clicks", 1), ("history_skips", 0)):
            found = np.frombuffer(bytes(row[column]), "<i4")
            earlier = mine[(mine["time_ms"] < millis) & (mine["is_click"] == label)]
            assert (found >= 0).sum() == min(len(earlier), 10)
            # As sets: pairs of the same millisecond are ordered by id, which is tested elsewhere.
            if len(earlier) <= 10:
                assert sorted(found[found >= 0]) == sorted(item_row[str(item)] for item in earlier["video_id"])


def test_movietweetings(spark: Any, tmp_path: Path) -> None:
    source = {"kind": "movietweetings", "path": str(DATA / "movietweetings_100k")}
    config = _config(tmp_path, source, features=FEATURES[:2])
    result = ingest.run(spark, config)
    assert (result.rows_read, result.rows_written, result.rows_quarantined) == (100_000, 100_000, 0)
    lake = Lake(spark, config)
    impressions = lake.read("impressions")
    found = impressions.selectExpr(
        "sum(label_click) high", "count(DISTINCT user_id) users", "count(DISTINCT date) days", "min(date) first"
    ).first()
    assert (found.high, found.users, found.days, found.first) == (50_542, 16_554, 186, dt.date(2013, 2, 28))
    items = lake.read("items")
    assert items.count() == 10_506
    film = items.where("item_id = '0002844'").first()
    assert film.title == "Fantômas - À l'ombre de la guillotine (1913)"
    assert (film.tags, film.attribute_year) == ("Crime,Drama", "1913")
