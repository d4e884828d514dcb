"""Feature tables of protocol ``append``: what each impression of T - w .. T is given, leaked and as control (1.3, 1.4).

They are rows of leaked_features and control_features under the leak's own name, one partition for each day of the
window; the trainer gets them through :mod:`lis_spark.lis.append_rows`.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from functools import reduce

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lis_spark.config import IdTableLeak, Leak, NextClickLeak, RunConfig, SimilarItemsLeak, fingerprint
from lis_spark.errors import StepFailed
from lis_spark.folds import NO_FOLD, user_fold
from lis_spark.graph.requests import graph_requests_of
from lis_spark.lake import Lake
from lis_spark.leaks.id_embedding import FeatureRequest, feature_rows
from lis_spark.leaks.nearest_clicks import Exclusions
from lis_spark.leaks.next_click import next_click_rows
from lis_spark.leaks.similar_items import GraphUse, similar_item_rows
from lis_spark.lis.append_arms import SHUFFLED_GRAPH, table_requests
from lis_spark.lis.chains import ONE_DAY, days_between
from lis_spark.lis.features import VECTOR_COLUMN, item_rows, tables_of_requests
from lis_spark.lis.plan import EvaluationPlan
from lis_spark.partitions import PartitionKey
from lis_spark.progress import described

FEATURES_VERSION = 1


@dataclass(frozen=True)
class Written:
    """Partitions and rows that were written, and how many partitions were up to date."""

    partitions: int
    rows: int
    skipped: int


def write_append_features(lake: Lake, plan: EvaluationPlan, force: bool) -> Written:
    """Writes what is missing or stale, a leak and an evaluated day at a time.

    Raises:
        StepFailed: rows were lost or doubled.
    """
    config = lake.config
    assert config.append is not None
    partitions = rows = skipped = 0
    for table in VECTOR_COLUMN:
        lake.create(table)
        stored = lake.fingerprints(table)
        for leak in config.append.leaks:
            for date in config.evaluation.dates:
                keys = wanted_partitions(lake, plan, leak, date)
                if not force and all(stored.get(key) == value for key, value in keys.items()):
                    skipped += len(keys)
                    continue
                with described(lake.spark, f"{table}: {leak.name} of {len(keys)} days for T = {date}"):
                    rows += _write(lake, plan, table, leak, date, keys)
                partitions += len(keys)
    return Written(partitions, rows, skipped)


def wanted_partitions(lake: Lake, plan: EvaluationPlan, leak: Leak, date: dt.date) -> dict[PartitionKey, str]:
    """Partition of a feature table -> fingerprint, for one leak and evaluated day."""
    config = lake.config
    assert config.append is not None
    window, longest = config.append.window_days, max(config.append_horizons)
    first = date - ONE_DAY * window
    if isinstance(leak, IdTableLeak):
        snapshots = lake.fingerprints("model_snapshots")
        source: list[object] = [
            (*map(str, vars(request).values()), snapshots.get((request.chain, request.snapshot_date.isoformat())))
            for seed in config.seeds
            for request in table_requests(config, leak, seed, date)
        ]
        days = days_between(first, date + ONE_DAY)
    elif isinstance(leak, SimilarItemsLeak):
        graphs = lake.fingerprints("item_graph")
        source = [
            leak,
            *((str(use), graphs.get((use.graph, use.as_of.isoformat()))) for use in graph_uses(config, leak, date)),
        ]
        days = days_between(first, date + ONE_DAY)
    else:
        source = [leak, config.append_horizons]
        days = days_between(first - ONE_DAY * (longest - 1), date + ONE_DAY * longest)
    value = fingerprint(
        ["append features", FEATURES_VERSION, config.evaluation.slot, config.evaluation.folds, source],
        [plan.row_fingerprints.get(day, "no rows") for day in days],
    )
    shown = [day for day in days_between(first, date + ONE_DAY) if day in plan.rows]
    return {(leak.name, date.isoformat(), day.isoformat()): value for day in shown}


def _write(
    lake: Lake, plan: EvaluationPlan, table: str, leak: Leak, date: dt.date, keys: dict[PartitionKey, str]
) -> int:
    days = [dt.date.fromisoformat(key[2]) for key in keys]
    impressions = sum(plan.rows[day] for day in days)
    if isinstance(leak, IdTableLeak):
        requests = [
            request
            for seed in lake.config.seeds
            for request in table_requests(lake.config, leak, seed, date)
            if request.is_leaked == (table == "leaked_features")
        ]
        # naive once, honest once: each impression by the chain of its own fold
        expected = impressions * sum(request.held_out_fold in (NO_FOLD, 0) for request in requests)
        frame = _table_rows(lake, plan, table, days, requests, expected)
    elif isinstance(leak, SimilarItemsLeak):
        uses = [
            use for use in graph_uses(lake.config, leak, date) if (use.horizon_days > 0) == (table == "leaked_features")
        ]
        expected = impressions * sum(use.held_out_fold in (NO_FOLD, 0) for use in uses)
        frame = _graph_rows(lake, table, leak, date, days, uses)
    else:
        expected = impressions * len(lake.config.append_horizons)
        frame = _click_rows(lake, table, leak, date)
    written = lake.write_partitions(table, frame, keys)
    if written != expected:
        raise StepFailed(
            "rows of a leak were lost or doubled",
            table=table,
            partition=f"{leak.name}, T = {date}",
            found=f"{written:,} rows",
            expected=f"{expected:,} rows",
            remedy="look for doubled impression ids or snapshot rows",
        )
    return written


def _table_rows(
    lake: Lake, plan: EvaluationPlan, table: str, days: list[dt.date], requests: list[FeatureRequest], expected: int
) -> DataFrame:
    return feature_rows(
        lake.spark,
        item_rows(lake, days),
        tables_of_requests(lake, plan, requests),
        requests,
        vector_column=VECTOR_COLUMN[table],
        layout="packed",  # what the ranks read has the vectors in any case
        expected_rows=expected,
    )


def _click_rows(lake: Lake, table: str, leak: NextClickLeak, date: dt.date) -> DataFrame:
    """Ids of the next clicks (leaked) or of the previous ones (control), for each n."""
    config = lake.config
    assert config.append is not None
    first, leaked = date - ONE_DAY * config.append.window_days, table == "leaked_features"
    vector = VECTOR_COLUMN[table]
    frames = []
    for horizon in config.append_horizons:
        impressions = _numbered_impressions(lake, first - ONE_DAY * (horizon - 1), date + ONE_DAY * (horizon - 1))
        exclusions = Exclusions(gap_milliseconds=leak.gap_minutes * 60_000)
        found = next_click_rows(impressions, first, date, leak.clicks, horizon, exclusions)
        last_day = F.date_add("date", horizon - 1) if leaked else F.col("date")
        present = F.col("has_next" if leaked else "has_previous")
        frames.append(
            found.select(
                "impression_id",
                "item_id",
                "row",
                F.lit("honest").alias("variant"),
                F.lit(horizon).alias("horizon_days"),
                F.lit("").alias("chain"),
                "fold",
                F.lit(NO_FOLD).alias("held_out_fold"),
                F.col("flags").alias(vector),
                F.col("next_ids" if leaked else "previous_ids").alias(vector.replace("_vector", "_ids")),
                present.alias("present"),
                F.date_add(last_day, 1).alias("snapshot_date"),
                F.when(present, last_day).alias("source_date"),
                F.lit(None).cast("date").alias("last_update_date"),
                F.lit(leak.name).alias("leak"),
                F.lit(date).alias("evaluated_date"),
                "date",
            )
        )
    rows = reduce(DataFrame.unionByName, frames)
    return rows.repartition("date", "horizon_days").sortWithinPartitions("date", "horizon_days", "impression_id")


def graph_uses(config: RunConfig, leak: SimilarItemsLeak, date: dt.date) -> list[GraphUse]:
    """Which graphs stand for one evaluated day: that of T, those of T + n, each fold's own, and a shuffled one."""
    graph = next(graph for graph in config.graphs if graph.name == leak.graph)
    longest = max(config.append_horizons)
    uses = []
    for request in graph_requests_of(config, graph, date):
        horizon = (request.as_of - date).days
        if horizon and horizon not in config.append_horizons:
            continue
        if request.held_out_fold == NO_FOLD:
            uses.append(GraphUse("naive", horizon, request.name, request.as_of))
            if horizon == longest:
                uses.append(GraphUse(SHUFFLED_GRAPH, horizon, request.name, request.as_of, shuffled=True))
        else:
            uses.append(GraphUse("honest", horizon, request.name, request.as_of, request.held_out_fold, "own"))
    return uses


def _graph_rows(
    lake: Lake, table: str, leak: SimilarItemsLeak, date: dt.date, days: list[dt.date], uses: list[GraphUse]
) -> DataFrame:
    """Neighbours in the graphs of T + n (leaked) or of T (control)."""
    vector = VECTOR_COLUMN[table]
    vocabulary = lake.read("vocabularies").where(F.col("slot") == lake.config.evaluation.slot)
    of_uses = F.col("graph").isin(sorted({use.graph for use in uses}))
    graphs = lake.read("item_graph").where(of_uses & F.col("date").isin(sorted({use.as_of for use in uses})))
    numbers = vocabulary.select(F.col("key").alias("item_id"), "row")
    found = similar_item_rows(item_rows(lake, days), graphs, numbers, uses, leak.neighbours)
    present = F.col("ids").isNotNull()
    rows = found.select(
        "impression_id",
        "item_id",
        "row",
        "variant",
        "horizon_days",
        F.lit("").alias("chain"),
        "fold",
        "held_out_fold",
        F.col("beside").alias(vector),
        F.col("ids").alias(vector.replace("_vector", "_ids")),
        present.alias("present"),
        F.col("as_of").alias("snapshot_date"),
        F.when(present, F.date_sub("as_of", 1)).alias("source_date"),
        F.lit(None).cast("date").alias("last_update_date"),
        F.lit(leak.name).alias("leak"),
        F.lit(date).alias("evaluated_date"),
        "date",
    )
    order = ["date", "variant", "horizon_days"]
    return rows.repartition(*order).sortWithinPartitions(*order, "row", "impression_id")


def _numbered_impressions(lake: Lake, first: dt.date, last: dt.date) -> DataFrame:
    """The impressions of some days with the item's row and the user's fold."""
    config = lake.config
    keys = lake.read("vocabularies").where(F.col("slot") == config.evaluation.slot)
    shown = lake.read("impressions").where(
        (F.col("scenario") == config.scenario) & F.col("date").between(F.lit(first), F.lit(last))
    )
    return shown.join(keys.select(F.col("key").alias("item_id"), "row"), "item_id", "left").select(
        "impression_id",
        "user_id",
        "item_id",
        F.coalesce("row", F.lit(-1)).alias("row"),
        user_fold(config.evaluation.folds).alias("fold"),
        "date",
        "request_id",
        "request_ts",
        (F.col(f"label_{config.label}") == 1).alias("clicked"),
    )
