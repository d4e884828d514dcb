"""What a leak in SQL may be: one SELECT over the lake's tables, a function of its inputs, with one key."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from lis_spark.config import Leak, SqlLeak, TableLeak
from lis_spark.config.query import parse_query

RATES = (
    "WITH shown AS (SELECT * FROM impressions WHERE date < :as_of AND fold != :excluded_fold) "
    "SELECT item_id, avg(label_click) AS click_rate, count(*) AS shown FROM shown GROUP BY item_id"
)


def test_a_query_says_what_it_reads_and_asks_for() -> None:
    query = parse_query(RATES)
    assert (query.key, query.columns, query.tables) == ("item", ("click_rate", "shown"), ("impressions",))
    assert query.parameters == {"as_of", "excluded_fold"} and query.reads_labels
    both = parse_query("SELECT i.item_id, 1 AS a FROM items i JOIN truth_items t USING (item_id)")
    assert both.tables == ("items", "truth_items") and both.reads_labels
    assert not parse_query("SELECT item_id, length(title) AS a FROM items").reads_labels


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("INSERT INTO items SELECT * FROM items", "found INSERT"),
        ("DROP TABLE items", "found DROP"),
        ("SELECT item_id, 1 AS a FROM items; SELECT item_id, 1 AS a FROM items", "one SELECT is wanted"),
        ("", "found nothing"),
        ("SELECT item_id, (1 AS a FROM items", "not SQL"),
        ("SELECT item_id, 1 AS a FROM other.items", "other.items is not one of the lake's tables"),
        ("SELECT item_id, 1 AS a FROM delta.`/data/items`", "is not one of the lake's tables"),
        ("SELECT item_id, 1 AS a FROM leaked_features", "leaked_features is not one of the lake's tables"),
        ("SELECT item_id, rand() AS a FROM items", r"rand\(\) gives other values"),
        ("SELECT item_id, datediff(current_date(), born_date) AS a FROM items", r"current_date\(\) gives other values"),
        ("SELECT item_id, 1 AS a FROM items WHERE born_date < :day", ":day is not known"),
        ("SELECT * FROM items", "name each column"),
        ("SELECT item_id, user_id, 1 AS a FROM impressions", "one of the columns"),
        ("SELECT item_id FROM items", "one of the columns"),
        ("SELECT 1 AS a FROM items", "one of the columns"),
    ],
)
def test_what_is_no_leak_is_refused_before_any_work(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_query(text)
    with pytest.raises(ValidationError, match=message):
        SqlLeak(kind="sql", name="leak", query=text, horizon_days=1, control="shuffled")


def leak(**keys: Any) -> Any:
    return TypeAdapter(Leak).validate_python({"name": "leak", **keys})


def test_variants_follow_from_what_a_leak_can_leave_out() -> None:
    assert leak(kind="sql", query=RATES).variants == ("naive", "honest")
    users = "SELECT user_id, avg(label_click) AS a FROM impressions WHERE date < :as_of GROUP BY user_id"
    assert leak(kind="sql", query=users).variants == ("naive",), "it holds the labels that are scored"
    assert leak(kind="sql", query=users, excludes_own_label=True).variants == ("honest",)
    titles = leak(kind="sql", query="SELECT item_id, length(title) AS a FROM items", control="shuffled", horizon_days=3)
    assert titles.variants == ("honest",) and titles.control_is_shuffled, "nobody's labels are in a title"
    assert titles.horizons_among([1, 7]) == (3,)
    table = {"kind": "table", "path": "x", "keyed_by": "item", "key_column": "i", "date_column": "d", "columns": ["a"]}
    assert leak(**table).variants == ("naive",) and not leak(**table).control_is_shuffled
    assert leak(**table, excluded_fold_column="fold").variants == ("naive", "honest")
    planted = leak(kind="planted")
    assert planted.variants == ("honest",) and planted.control_is_shuffled and planted.key == "impression"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"query": RATES, "horizon_days": 3}, "append.horizons say of which days"),
        (
            {"query": "SELECT impression_id, position AS a FROM impressions WHERE date < :as_of"},
            "an impression has no row as of an earlier day",
        ),
        ({"query": "SELECT item_id, 1 AS a FROM items"}, "say how far its data reaches"),
        ({"query": "SELECT item_id, 1 AS a FROM items", "horizon_days": 1}, "say control: shuffled"),
        ({"query": RATES, "control": "as_of", "control_query": RATES}, "either control or control_query"),
        ({"query": RATES, "control_query": "SELECT item_id, 1 AS a FROM items"}, "it has item and a, the query has"),
    ],
)
def test_a_leak_without_horizon_or_control_is_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        leak(kind="sql", **keys)


def test_a_table_of_impressions_has_no_control_of_an_earlier_day() -> None:
    with pytest.raises(ValidationError, match="say control: shuffled"):
        TableLeak(
            kind="table", name="x", path="x", keyed_by="impression", key_column="i", date_column="d", columns=("a",)
        )
