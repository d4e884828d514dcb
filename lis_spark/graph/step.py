"""Step ``graph``: clicks -> graphs of similar items as of days, in ``item_graph`` (method 1.5, 3)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lis_spark.config import GraphConfig, RunConfig, fingerprint
from lis_spark.errors import ConfigError, InputError
from lis_spark.folds import user_fold
from lis_spark.graph.requests import ONE_DAY, GraphRequest, graph_requests
from lis_spark.graph.similar import similar_items
from lis_spark.lake import Lake
from lis_spark.step import StepResult

STEP_VERSION = 1
# Clicks of all graphs of one job: small graphs share one, large ones have one each.
CLICKS_A_JOB = 50_000_000


def run(spark: SparkSession, config: RunConfig, force: bool = False, *, run_id: str = "") -> StepResult:
    """Makes the graphs whose clicks or settings are new; a graph reads the days of its own window only.

    Raises:
        ConfigError: no graphs are configured.
        InputError: a graph needs a day beyond the data.
    """
    lake = Lake(spark, config, run_id=run_id, step="graph")
    requests = graph_requests(config)
    if not requests:
        raise ConfigError(
            "no graphs are configured",
            expected="graphs: [{name: swing}] in the configuration, or on the command line",
            remedy="see lis_spark/config/graph.py for the keys",
        )
    lake.pin("impressions")
    lake.create("item_graph")
    days = {dt.date.fromisoformat(key[0]): value for key, value in lake.fingerprints("impressions").items()}
    _check_range(requests, days)
    stored = lake.fingerprints("item_graph")
    wanted = {request.key: _fingerprint(config, request, days) for request in requests}
    stale = [request for request in requests if force or stored.get(request.key) != wanted[request.key]]
    clicks_read = rows = 0
    if stale:
        counts = _clicks_by_day(lake, {day for request in stale for day in request.days})
        for batch in _batches(stale, counts):
            clicks_read += sum(counts.get(day, 0) for request in batch for day in request.days)
            with similar_items(tagged(lake.read("impressions"), config, batch), batch[0].graph) as found:
                frame = _rows(found, batch)
                rows += lake.write_partitions("item_graph", frame, {r.key: wanted[r.key] for r in batch})
    return StepResult(
        "graph",
        rows_read=clicks_read,
        rows_written=rows,
        partitions_written=len(stale),
        partitions_skipped=len(requests) - len(stale),
        notes=(f"items with neighbours: {rows:,}",) if stale else (),
        versions=dict(lake.pinned),
        outputs=dict(lake.written),
    )


def tagged(impressions: DataFrame, config: RunConfig, requests: Sequence[GraphRequest]) -> DataFrame:
    """request (place in ``requests``), user_id, item_id, request_ts of the clicks of each graph."""
    ranges = [
        (number, request.first_date, request.as_of, request.held_out_fold, request.held_out_from)
        for number, request in enumerate(requests)
    ]
    wanted = impressions.sparkSession.createDataFrame(
        ranges, "request int, first_date date, as_of date, held_out_fold int, held_out_from date"
    )
    clicks = _clicks(impressions, config, {day for request in requests for day in request.days})
    inside = (F.col("date") >= F.col("first_date")) & (F.col("date") < F.col("as_of"))
    held_out = (F.col("fold") == F.col("held_out_fold")) & (F.col("date") >= F.col("held_out_from"))
    return (
        clicks.withColumn("fold", user_fold(config.evaluation.folds))
        .join(F.broadcast(wanted), inside & ~F.coalesce(held_out, F.lit(False)))
        .select("request", "user_id", "item_id", "request_ts")
    )


def _clicks(impressions: DataFrame, config: RunConfig, days: set[dt.date]) -> DataFrame:
    return impressions.where(
        F.col("date").isin(sorted(days))
        & (F.col("scenario") == config.scenario)
        & (F.col(f"label_{config.label}") == 1)
    )


def _clicks_by_day(lake: Lake, days: set[dt.date]) -> dict[dt.date, int]:
    clicks = _clicks(lake.read("impressions"), lake.config, days)
    return {row["date"]: row["count"] for row in clicks.groupBy("date").count().collect()}


def _batches(requests: Sequence[GraphRequest], counts: Mapping[dt.date, int]) -> list[list[GraphRequest]]:
    """Graphs that are made in one job: of one configuration, and few clicks together."""
    batches: list[list[GraphRequest]] = []
    graph: GraphConfig | None = None
    clicks = 0
    for request in requests:
        own = sum(counts.get(day, 0) for day in request.days)
        if request.graph != graph or clicks + own > CLICKS_A_JOB:
            batches.append([])
            graph, clicks = request.graph, 0
        batches[-1].append(request)
        clicks += own
    return batches


def _rows(found: DataFrame, requests: Sequence[GraphRequest]) -> DataFrame:
    described = [
        (number, r.name, r.graph.kind, r.first_date, r.as_of - ONE_DAY, r.held_out_fold, r.held_out_from, r.as_of)
        for number, r in enumerate(requests)
    ]
    schema = (
        "request int, graph string, kind string, first_date date, source_date date, held_out_fold int, "
        "held_out_from date, date date"
    )
    of_request = F.broadcast(found.sparkSession.createDataFrame(described, schema))
    return (
        found.join(of_request, "request")
        .select(
            *("item_id", "neighbours", "kind", "first_date", "source_date", "held_out_fold", "held_out_from"),
            *("graph", "date"),
        )
        .repartition("graph", "date")
        .sortWithinPartitions("graph", "date", "item_id")
    )


def _check_range(requests: Sequence[GraphRequest], days: Mapping[dt.date, str]) -> None:
    last = max(days, default=None)
    for request in requests:
        if last is None or request.as_of - ONE_DAY > last:
            raise InputError(
                "a graph needs clicks of days that are not there",
                table="impressions",
                partition={"date": str(request.as_of - ONE_DAY)},
                found=f"the last day of data is {last}" if last else "no rows",
                expected=f"graph {request.graph.name}: days {request.first_date} to {request.as_of - ONE_DAY}",
                remedy="wait for the data, or change evaluation.dates or evaluation.horizons",
            )


def _fingerprint(config: RunConfig, request: GraphRequest, days: Mapping[dt.date, str]) -> str:
    settings = request.graph.model_dump(mode="json", exclude={"blocks"})  # the number of blocks changes no bit
    return fingerprint(
        ["graph", STEP_VERSION, settings, config.label, config.scenario, config.evaluation.folds],
        [request.first_date, request.as_of, request.held_out_fold, request.held_out_from],
        [days.get(day, "no rows") for day in request.days],
    )
