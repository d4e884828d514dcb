"""Feature tables for the audit, each one SELECT: of a simulated world, six planted leaks among twenty honest columns;
of KuaiRand-Pure, seven among eleven, and a number from the future that says nothing of labels.
"""

from __future__ import annotations

from pathlib import Path

from pyspark.sql import SparkSession

from lis_spark.config import RunConfig
from lis_spark.lake import Lake
from lis_spark.pipeline import run_steps

HONEST = (
    *("user_clicks_before", "user_rate_before", "user_shown_before", "user_clicks_7_days", "user_shown_today"),
    *("seconds_since_click", "last_clicked_item", "user_tag_rate"),
    *("item_shown_before", "item_rate_yesterday", "item_rate_3_days", "item_trend", "item_age_days", "author_rate"),
    *("tag_code", "editor_grade", "hour", "position", "noise", "model_score"),
)
LEAKS = (
    *("user_clicks_with_own", "item_rate_next_7_days", "item_rate_month", "next_clicked_item"),
    *("user_clicks_24_hours_other_zone", "user_clicks_7_days_wrong_day"),
)
_BEFORE = "RANGE BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING"
_HOUR = 3_600_000
# What both queries make in the same way of ``shown``: impression_id, user_id, item_id, click, ms, day.
_USER_DAYS = "user_days AS (SELECT user_id, day, sum(click) AS clicks FROM shown GROUP BY user_id, day)"
_ITEM_DAYS = "item_days AS (SELECT item_id, day, sum(click) AS clicks, count(*) AS n FROM shown GROUP BY item_id, day)"
_OF_USERS = """of_users AS (
  SELECT user_id, day,
         sum(clicks) OVER (PARTITION BY user_id ORDER BY day RANGE BETWEEN 7 PRECEDING AND 1 PRECEDING) AS week,
         sum(clicks) OVER (PARTITION BY user_id ORDER BY day RANGE BETWEEN 6 PRECEDING AND CURRENT ROW) AS wrong_week
  FROM user_days
)"""
_USER_HONEST = f"""sum(click) OVER before AS user_clicks_before,
       avg(click) OVER before AS user_rate_before,
       count(*) OVER before AS user_shown_before,
       u.week AS user_clicks_7_days,
       count(*) OVER (PARTITION BY user_id, day ORDER BY ms {_BEFORE}) AS user_shown_today,
       (ms - max(if(click = 1, ms, NULL)) OVER before) / 1000 AS seconds_since_click,
       max(if(click = 1, struct(ms, item_id), NULL)) OVER before.item_id AS last_clicked_item"""
_USER_LEAKS = f"""sum(click) OVER (PARTITION BY user_id ORDER BY ms) AS user_clicks_with_own,
       max(if(click = 1, struct(-ms AS ms, item_id), NULL)) OVER
         (PARTITION BY user_id ORDER BY -ms {_BEFORE}).item_id AS next_clicked_item,
       sum(click) OVER (PARTITION BY user_id ORDER BY ms
                        RANGE BETWEEN {16 * _HOUR} PRECEDING AND {8 * _HOUR} FOLLOWING)
         AS user_clicks_24_hours_other_zone"""
TABLE = f"""
WITH shown AS (
  SELECT i.impression_id, i.user_id, i.item_id, i.label_click AS click, i.position, i.date,
         unix_millis(i.request_ts) AS ms, unix_date(i.date) AS day, m.author_id, split(m.tags, ',')[0] AS tag,
         t.click_probability AS p, w.bias
  FROM impressions i JOIN items m USING (item_id) JOIN truth t USING (impression_id) JOIN truth_items w
    ON w.item_id = i.item_id
),
{_USER_DAYS},
user_tags AS (SELECT user_id, tag, day, sum(click) AS clicks, count(*) AS n FROM shown GROUP BY user_id, tag, day),
{_ITEM_DAYS},
author_days AS (SELECT author_id, day, sum(click) AS clicks, count(*) AS n FROM shown GROUP BY author_id, day),
{_OF_USERS},
of_tags AS (
  SELECT user_id, tag, day, sum(clicks) OVER w / sum(n) OVER w AS rate FROM user_tags
  WINDOW w AS (PARTITION BY user_id, tag ORDER BY day {_BEFORE})
),
of_authors AS (
  SELECT author_id, day, sum(clicks) OVER w / sum(n) OVER w AS rate FROM author_days
  WINDOW w AS (PARTITION BY author_id ORDER BY day {_BEFORE})
),
of_items AS (
  SELECT item_id, day, min(day) OVER (PARTITION BY item_id) AS born,
         sum(clicks) OVER past / sum(n) OVER past AS rate,
         sum(clicks) OVER three / sum(n) OVER three AS three_days,
         sum(clicks) OVER one / sum(n) OVER one - sum(clicks) OVER two / sum(n) OVER two AS trend,
         sum(clicks) OVER next / sum(n) OVER next AS next_week,
         sum(clicks) OVER (PARTITION BY item_id) / sum(n) OVER (PARTITION BY item_id) AS month
  FROM item_days
  WINDOW past AS (PARTITION BY item_id ORDER BY day {_BEFORE}),
         three AS (PARTITION BY item_id ORDER BY day RANGE BETWEEN 3 PRECEDING AND 1 PRECEDING),
         one AS (PARTITION BY item_id ORDER BY day RANGE BETWEEN 1 PRECEDING AND 1 PRECEDING),
         two AS (PARTITION BY item_id ORDER BY day RANGE BETWEEN 2 PRECEDING AND 2 PRECEDING),
         next AS (PARTITION BY item_id ORDER BY day RANGE BETWEEN CURRENT ROW AND 6 FOLLOWING)
)
SELECT impression_id,
       {_USER_HONEST},
       g.rate AS user_tag_rate,
       count(*) OVER (PARTITION BY item_id ORDER BY ms {_BEFORE}) AS item_shown_before,
       v.rate AS item_rate_yesterday, v.three_days AS item_rate_3_days, v.trend AS item_trend,
       day - v.born AS item_age_days,
       a.rate AS author_rate,
       int(substr(tag, 2)) AS tag_code,
       round(bias + pmod(xxhash64(item_id), 1000) / 500, 1) AS editor_grade,
       pmod(ms DIV {_HOUR}, 24) AS hour, position,
       pmod(xxhash64(impression_id, 1), 1000003) / 1000003 AS noise,
       ln(p / (1 - p)) + pmod(xxhash64(impression_id, 2), 1000) / 250 AS model_score,
       v.next_week AS item_rate_next_7_days, v.month AS item_rate_month,
       {_USER_LEAKS},
       u.wrong_week AS user_clicks_7_days_wrong_day
FROM shown JOIN of_users u USING (user_id, day) JOIN of_tags g USING (user_id, tag, day)
     JOIN of_authors a USING (author_id, day) JOIN of_items v USING (item_id, day)
WINDOW before AS (PARTITION BY user_id ORDER BY ms {_BEFORE})
"""

REAL_HONEST = (
    *("user_clicks_before", "user_rate_before", "user_shown_before", "user_clicks_7_days", "user_shown_today"),
    *("seconds_since_click", "last_clicked_item", "item_rate_yesterday", "item_rate_3_days", "duration", "noise"),
)
REAL_LEAKS = (
    *("user_clicks_with_own", "next_clicked_item", "user_clicks_24_hours_other_zone", "user_clicks_7_days_wrong_day"),
    *("item_rate_3_days_wrong_day", "user_rate_month", "item_rate_month"),
)
REAL_TABLE = f"""
WITH shown AS (
  SELECT i.impression_id, i.user_id, i.item_id, i.label_click AS click, unix_millis(i.request_ts) AS ms,
         unix_date(i.date) AS day, double(m.attribute_video_duration) AS duration
  FROM impressions i JOIN items m USING (item_id)
),
{_USER_DAYS},
{_ITEM_DAYS},
{_OF_USERS},
of_items AS (
  SELECT item_id, day, sum(clicks) OVER past / sum(n) OVER past AS rate,
         sum(clicks) OVER three / sum(n) OVER three AS three_days,
         sum(clicks) OVER wrong / sum(n) OVER wrong AS wrong_days
  FROM item_days
  WINDOW past AS (PARTITION BY item_id ORDER BY day {_BEFORE}),
         three AS (PARTITION BY item_id ORDER BY day RANGE BETWEEN 3 PRECEDING AND 1 PRECEDING),
         wrong AS (PARTITION BY item_id ORDER BY day RANGE BETWEEN 2 PRECEDING AND CURRENT ROW)
)
SELECT impression_id,
       {_USER_HONEST},
       v.rate AS item_rate_yesterday, v.three_days AS item_rate_3_days, duration,
       pmod(xxhash64(impression_id, 1), 1000003) / 1000003 AS noise,
       count(*) OVER (PARTITION BY item_id) AS item_month_shown,
       {_USER_LEAKS},
       u.wrong_week AS user_clicks_7_days_wrong_day, v.wrong_days AS item_rate_3_days_wrong_day,
       avg(click) OVER (PARTITION BY user_id) AS user_rate_month,
       avg(click) OVER (PARTITION BY item_id) AS item_rate_month
FROM shown JOIN of_users u USING (user_id, day) JOIN of_items v USING (item_id, day)
WINDOW before AS (PARTITION BY user_id ORDER BY ms {_BEFORE})
"""


def views(lake: Lake, *names: str) -> None:
    """The lake's tables by their names in SQL."""
    for name in names:
        lake.read(name).createOrReplaceTempView(name)


def written(spark: SparkSession, query: str, place: Path) -> str:
    """The rows of a query as a Delta table; returns its path."""
    spark.sql(query).write.format("delta").save(str(place))
    return str(place)


def simulated_features(spark: SparkSession, config: RunConfig, place: Path) -> str:
    """Simulates the world of the configuration and writes the feature table of its impressions; returns its path."""
    run_steps(spark, config, ("simulate",))
    views(Lake(spark, config, measurement=True), "impressions", "items", "truth", "truth_items")
    return written(spark, TABLE, place)


def real_features(spark: SparkSession, config: RunConfig, place: Path) -> str:
    """Ingests KuaiRand-Pure and writes the feature table of its impressions; returns its path."""
    run_steps(spark, config, ("ingest",))
    views(Lake(spark, config), "impressions", "items")
    return written(spark, REAL_TABLE, place)
