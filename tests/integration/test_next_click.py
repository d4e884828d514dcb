"""Next and previous clicks in Spark against a naive SQL self-join."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
from pyspark.sql import functions as F

from lis_spark.leaks.nearest_clicks import Exclusions
from lis_spark.leaks.next_click import next_click_rows

FIRST = dt.date(2022, 5, 1)
SCHEMA = (
    "impression_id string, user_id string, item_id string, row int, fold int, date date, request_id string, "
    "request_ts timestamp, clicked boolean"
)


def impressions(rows: int = 600) -> list[tuple[Any, ...]]:
    """Few users, requests of several impressions, five days; half are clicks."""
    rng = np.random.default_rng(3)
    found = []
    for number in range(rows):
        user, minute, item = int(rng.integers(12)), int(rng.integers(5 * 1440)), int(rng.integers(8))
        time = dt.datetime.combine(FIRST, dt.time(), dt.UTC) + dt.timedelta(minutes=minute)
        request = f"{user}-{minute // 45}"
        click = bool(rng.random() < 0.5)
        found.append((f"i{number:04d}", f"u{user}", f"v{item}", item, user % 2, time.date(), request, time, click))
    return found


def test_clicks_are_those_of_a_self_join(spark: Any) -> None:
    frame = spark.createDataFrame(impressions(), SCHEMA).repartition(3)
    first, last, count, days = FIRST + dt.timedelta(days=1), FIRST + dt.timedelta(days=3), 12, 2
    found = next_click_rows(frame, first, last, count, days, Exclusions(gap_milliseconds=30 * 60_000)).collect()
    frame.createOrReplaceTempView("shown")
    asked = frame.where(F.col("date").between(F.lit(first), F.lit(last)))
    assert sorted(row["impression_id"] for row in found) == sorted(r["impression_id"] for r in asked.collect())
    for name, sign in (("next_ids", 1), ("previous_ids", -1)):
        joined = spark.sql(
            f"""
            SELECT shown.impression_id AS own, {sign} * unix_millis(c.request_ts) AS at,
                   c.impression_id AS id, c.row
            FROM shown JOIN shown c ON c.user_id = shown.user_id AND c.clicked
             AND {sign} * (unix_millis(c.request_ts) - unix_millis(shown.request_ts)) >= 1800000
             AND c.request_id <> shown.request_id AND c.item_id <> shown.item_id
             AND {sign} * datediff(c.date, shown.date) BETWEEN 0 AND {days - 1}
            """
        ).collect()
        expected: dict[str, list[tuple[Any, ...]]] = {}
        for row in joined:
            expected.setdefault(row["own"], []).append((row["at"], row["id"], row["row"]))
        some = 0
        for row in found:
            clicks = expected.get(row["impression_id"], [])
            # of clicks at one time the smaller id comes first, looking back the larger
            clicks.sort(key=lambda click: click[1], reverse=sign < 0)
            clicks.sort(key=lambda click: click[0])
            items = [click[2] for click in clicks[:count]]
            values = np.frombuffer(bytes(row[name]), "<i4").tolist()
            assert values == items + [-1] * (count - len(items))
            assert np.frombuffer(bytes(row["flags"]), "<f4").tolist() == [row["has_next"], row["has_previous"]]
            some += bool(items) and len(items) < count
        assert some > 20
    assert all(row["has_next"] == (np.frombuffer(bytes(row["next_ids"]), "<i4")[0] >= 0) for row in found)
