"""Leaks of one's own on a small lake: what each impression is given, against pandas; what is refused, and how."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lis_spark.config import SqlLeak, TableLeak, parse_config
from lis_spark.errors import InputError
from lis_spark.lake import Lake
from lis_spark.leaks.encoding import binned
from lis_spark.leaks.own_query import dated_rows, query_rows
from lis_spark.leaks.own_values import ValueUse, own_value_rows
from lis_spark.lis.append.sources import numbered_impressions
from lis_spark.lis.append.wrong_order import in_the_wrong_order
from lis_spark.ranker import vocabulary
from lis_spark.sources import ingest

T, FIRST = dt.date(2022, 5, 3), dt.date(2022, 5, 1)
FOLDS, BINS = 2, 4
RATES = (
    "SELECT item_id, avg(label_click) AS click_rate, array(count(*), 1) AS shown FROM impressions "
    "WHERE date < :as_of AND NOT (fold = :excluded_fold AND date >= :held_out_from) GROUP BY item_id"
)
USES = [
    ValueUse("naive", 1, T + dt.timedelta(days=1)),
    *(ValueUse("honest", 1, T + dt.timedelta(days=1), fold, "own") for fold in range(FOLDS)),
]


@pytest.fixture(scope="module")
def lake(spark: Any, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    folder = tmp_path_factory.mktemp("own leaks")
    rng = np.random.default_rng(3)
    rows = pd.DataFrame(
        {
            "user": [f"u{u}" for u in rng.integers(0, 30, 600)],
            "item": [f"v{v}" for v in (20 * rng.random(600) ** 2).astype(int)],
            "time": [dt.datetime.combine(FIRST, dt.time(), dt.UTC) + dt.timedelta(minutes=9 * n) for n in range(600)],
            "click": rng.integers(0, 2, 600),
        }
    )
    spark.createDataFrame(rows).write.parquet(str(folder / "source"))
    columns = {"user_id": "user", "item_id": "item", "time": "time", "labels": {"click": "click"}}
    config = parse_config(
        {
            "run_name": "own_leaks",
            "lake": {"path": str(folder / "lake"), "work_path": str(folder / "work")},
            "source": {"kind": "table", "path": str(folder / "source"), "format": "parquet", "columns": columns},
            "features": [{"name": "user", "column": "user_id"}, {"name": "item", "column": "item_id"}],
            "evaluation": {"dates": [str(T)], "horizons": [0, 1], "folds": FOLDS},
        }
    )
    ingest.run(spark, config)
    vocabulary.run(spark, config)
    return Lake(spark, config, measurement=True)


def sql_leak(query: str, **keys: Any) -> SqlLeak:
    return SqlLeak(kind="sql", name="mine", query=query, **keys)


def rows_of(lake: Lake, leak: SqlLeak | TableLeak, uses: list[ValueUse]) -> pd.DataFrame:
    days = [FIRST + dt.timedelta(days=n) for n in range(3)]

    def values(use: ValueUse) -> Any:
        return query_rows(lake, leak, use, FIRST, False) if isinstance(leak, SqlLeak) else dated_rows(lake, leak, use)

    with own_value_rows(numbered_impressions(lake, days), values, uses, leak.key, BINS, leak.name) as found:
        return found.toPandas()


def test_each_impression_is_given_what_the_query_says_without_its_users_fold(lake: Lake) -> None:
    found = rows_of(lake, sql_leak(RATES), USES)
    shown = numbered_impressions(lake, [FIRST, T]).toPandas()
    days = shown["date"] <= T
    assert len(found) == 2 * days.sum() and set(found["date"]) == {FIRST + dt.timedelta(days=n) for n in range(3)}
    for use in USES:
        known = shown[~((shown["fold"] == use.held_out_fold) & (shown["date"] >= FIRST))]
        rates = known.groupby("item_id")["clicked"].agg(["mean", "count"])
        edges = np.quantile(rates["mean"], np.linspace(0, 1, BINS + 1))
        own = found[(found["variant"] == use.variant) & (found["held_out_fold"] == use.held_out_fold)]
        assert (use.served == "all") or set(own["fold"]) == {use.held_out_fold}
        there = own[own["vector"].notna()]
        assert set(own["item_id"][own["vector"].isna()]).isdisjoint(rates.index)
        vectors = np.stack([np.frombuffer(bytes(v), "<f4") for v in there["vector"]])
        own_rates = rates.loc[there["item_id"]]
        np.testing.assert_allclose(vectors[:, 2 : 3 + BINS], binned(own_rates["mean"].to_numpy(), edges), atol=1e-6)
        assert (vectors[:, -2] == own_rates["count"].to_numpy()).all() and (vectors[:, -1] == 1).all()


def test_users_and_impressions_are_keys_too(lake: Lake) -> None:
    users = rows_of(
        lake, sql_leak("SELECT user_id, array(count(*), 0) AS n FROM impressions WHERE date < :as_of GROUP BY user_id"),
        [ValueUse("naive", 0, T)],
    )  # fmt: skip
    shown = numbered_impressions(lake, [FIRST, T]).toPandas()
    counts = shown[shown["date"] < T].groupby("user_id").size()
    by_id = shown.set_index("impression_id")["user_id"]
    for row in users.itertuples():
        expected = counts.get(by_id[row.impression_id])
        assert (row.vector is None) == (expected is None)
        assert row.vector is None or np.frombuffer(bytes(row.vector), "<f4")[2] == expected
    clock = "SELECT impression_id, array(hour(request_ts), 1) AS h FROM impressions"
    hours = rows_of(lake, sql_leak(clock, horizon_days=1, control="shuffled"), [ValueUse("naive", 1, T)])
    assert hours["vector"].notna().all()


def test_a_dated_table_says_what_it_said_last(spark: Any, lake: Lake, tmp_path: Any) -> None:
    days = [T - dt.timedelta(days=2), T - dt.timedelta(days=1), T]
    said = [("v1", days[0], [1.0, 0.0]), ("v1", days[2], [3.0, 0.0]), ("v2", days[1], [2.0, 0.0])]
    spark.createDataFrame(said, "item string, said_on date, v array<double>").write.format("delta").save(
        str(tmp_path / "mine")
    )
    keys: dict[str, Any] = {"keyed_by": "item", "key_column": "item", "date_column": "said_on", "columns": ("v",)}
    leak = TableLeak(kind="table", name="mine", path=str(tmp_path / "mine"), **keys)
    for as_of, expected in ((T, {"v1": 1.0, "v2": 2.0}), (T + dt.timedelta(days=1), {"v1": 3.0, "v2": 2.0})):
        found = rows_of(lake, leak, [ValueUse("naive", 1, as_of)])
        there = found[found["vector"].notna()]
        assert {
            i: np.frombuffer(bytes(v), "<f4")[2] for i, v in zip(there["item_id"], there["vector"], strict=True)
        } == (expected)
        assert set(found["item_id"][found["vector"].isna()]).isdisjoint(expected)
    with pytest.raises(InputError, match="column 'w' of the leak mine is missing"):
        rows_of(lake, leak.model_copy(update={"columns": ("w",)}), USES[:1])


def test_rows_from_the_future_and_ties_at_the_boundary_are_seen(spark: Any, lake: Lake, tmp_path: Any) -> None:
    """Errors of as-of joins that peers have had: a row of the day itself taken for the past, a tie matched twice."""
    keys: dict[str, Any] = {"keyed_by": "item", "key_column": "item", "date_column": "created", "columns": ("v",)}
    leak = TableLeak(kind="table", name="mine", path=str(tmp_path / "mine"), format="parquet", **keys)
    midnight = dt.datetime.combine(T, dt.time(), dt.UTC)
    said = [("v1", midnight - dt.timedelta(microseconds=1), [1.0]), ("v1", midnight, [2.0])]
    frame = spark.createDataFrame(said, "item string, created timestamp, v array<double>")
    frame.write.parquet(leak.path)
    before = rows_of(lake, leak, [ValueUse("naive", 0, T)])
    assert {np.frombuffer(bytes(v), "<f4")[2] for v in before["vector"].dropna()} == {1.0}, "of the day before T"
    after = rows_of(lake, leak, [ValueUse("naive", 1, T + dt.timedelta(days=1))])
    assert {np.frombuffer(bytes(v), "<f4")[2] for v in after["vector"].dropna()} == {2.0}
    assert len(before) == len(after) == len(set(before["impression_id"])), "each impression once"
    frame.unionAll(frame.where("v[0] = 1")).write.mode("overwrite").parquet(leak.path + "2")
    with pytest.raises(InputError, match="one row for each key") as error:
        rows_of(lake, leak.model_copy(update={"path": leak.path + "2"}), [ValueUse("naive", 0, T)])
    assert "the key v1 more than once" in str(error.value)


@pytest.mark.parametrize(
    ("query", "found", "expected"),
    [
        ("SELECT item_id, label_click AS a FROM impressions", "more than once", "each key once"),
        ("SELECT if(item_id = 'v1', NULL, item_id) AS item_id, 1 AS a FROM impressions GROUP BY ALL", "a null key", ""),
        ("SELECT item_id, 1 AS a FROM impressions WHERE date > '2030-01-01' GROUP BY item_id", "no row", ""),
        ("SELECT item_id, any_value(scenario) AS a FROM impressions GROUP BY item_id", "a string", "then numbers"),
        (
            "SELECT item_id, sequence(1, count(*)) AS a FROM impressions GROUP BY item_id",
            "to 153 numbers",
            "arrays of one length",
        ),
        ("SELECT item_id, max(clicks) AS a FROM impressions GROUP BY item_id", "clicks", "columns of impressions"),
    ],
)
def test_what_gives_no_one_vector_a_key_is_refused(lake: Lake, query: str, found: str, expected: str) -> None:
    with pytest.raises(InputError) as error:
        rows_of(lake, sql_leak(query, horizon_days=1, control="shuffled"), USES[:1])
    assert found in str(error.value) and expected in str(error.value) and "mine" in str(error.value)


def test_a_query_sees_no_view_of_the_callers_session(spark: Any, lake: Lake) -> None:
    spark.range(3).createOrReplaceTempView("impressions")
    try:
        found = rows_of(lake, sql_leak(RATES), USES[:1])
        assert len(found) and spark.table("impressions").count() == 3
    finally:
        spark.catalog.dropTempView("impressions")


def test_the_wrong_order_gives_every_key_the_vector_of_another(spark: Any) -> None:
    rows = [
        (
            *(place, seed, draw, fold, key),
            *(dt.date(2026, 1, 1 + key % 2) if place == 2 else None, f"{place}/{fold}/{key}", made),
        )
        for place, seed, draw, made in (
            *((0, 17, 0, "row_shuffled"), (1, None, 0, "as_is")),
            *((2, 17, 1, "row_shuffled"), (3, 18, 0, "row_shuffled")),
        )
        for fold in (0, 1)
        for key in range(200)
        for _ in range(2)
    ]
    frame = spark.createDataFrame(
        rows,
        "place int, seed int, draw int, held_out_fold int, key bigint, shuffled_within date, vector string, "
        "made string",
    )
    found = in_the_wrong_order(frame).toPandas()
    assert len(found) == len(rows)
    own = found["place"].astype(str) + "/" + found["held_out_fold"].astype(str) + "/" + found["key"].astype(str)
    straight = found["made"] == "as_is"
    assert (found["vector"] == own)[straight].all() and not (found["vector"] == own)[~straight].any()
    exchanged = found[~straight].drop_duplicates(["place", "held_out_fold", "key"])
    assert sorted(exchanged["vector"]) == sorted({row[6] for row in rows if row[7] != "as_is"}), "a permutation"
    within = exchanged[exchanged["place"] == 2]
    partner = within["vector"].str.split("/").str[-1].astype(int)
    assert (partner % 2 == within["key"] % 2).all(), "vectors of impressions change places within their day"
    of_another = exchanged.assign(another=exchanged["vector"].str.split("/").str[-1])
    orders = {
        place: of_another[of_another["place"] == place].set_index(["held_out_fold", "key"])["another"]
        for place in (0, 2, 3)
    }
    for place, said in ((2, "each draw has an order of its own"), (3, "and so has each seed")):
        assert (orders[0] != orders[place].reindex(orders[0].index)).mean() > 0.9, said
