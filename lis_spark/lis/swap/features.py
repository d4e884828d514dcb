"""Step ``features``: materialises leaked_features and control_features for every evaluated day (architecture)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lis_spark.config import RunConfig, fingerprint
from lis_spark.expected_rows import ExpectedRows
from lis_spark.lake import Lake
from lis_spark.leaks.id_embedding import LEAK, FeatureRequest, feature_rows
from lis_spark.lis.plan.chains import base_name, seed_of
from lis_spark.lis.plan.evaluated_rows import count_evaluated_rows, evaluated_rows
from lis_spark.lis.plan.evaluation import EvaluationPlan, resolve, table_sources
from lis_spark.partitions import PartitionKey
from lis_spark.progress import described
from lis_spark.ranker.procrustes import TableUse, aligned_tables, tables_in_use
from lis_spark.ranker.snapshots import as_of, check_width
from lis_spark.step import StepResult

STEP_VERSION = 1
VECTOR_COLUMN = {"leaked_features": "leaked_vector", "control_features": "control_vector"}


def run(spark: SparkSession, config: RunConfig, force: bool = False, *, run_id: str = "") -> StepResult:
    """Joins the impressions of each evaluated day to the snapshots that its variants ask for.

    Rows in = impressions x requests that serve them, counted from the plan; rows out must be the same number.

    Raises:
        StepFailed: rows were lost or doubled.
        InputError: a snapshot of another width, or a table that is not there.
    """
    lake = Lake(spark, config, run_id=run_id, step="features", measurement=True)
    plan = resolve(lake)
    snapshot_fingerprints = lake.fingerprints("model_snapshots")
    written = skipped = rows_in = rows_out = 0
    for name in VECTOR_COLUMN:
        lake.create(name)
        stored = lake.fingerprints(name)
        wanted: dict[PartitionKey, str] = {}
        requests: list[FeatureRequest] = []
        for date in config.evaluation.dates:
            asked = [
                request
                for seed in config.seeds
                for request in plan.requests(seed, date)
                if request.is_leaked == (name == "leaked_features")
            ]
            key = (LEAK, date.isoformat(), date.isoformat())
            wanted[key] = _fingerprint(plan, date, asked, snapshot_fingerprints)
            if force or stored.get(key) != wanted[key]:
                requests += asked
            else:
                skipped += 1
        todo = {key: value for key, value in wanted.items() if force or stored.get(key) != value}
        if not todo or not requests:
            continue
        with described(spark, f"{name}: {len(todo)} evaluated days joined to {len(requests)} snapshots"):
            dates = [dt.date.fromisoformat(key[1]) for key in todo]
            count_evaluated_rows(lake, plan.rows, dates)  # a share that is too small is told before hours of work
            impressions = item_rows(config, evaluated_rows(lake, dates))
            tables = tables_of_requests(lake, plan, requests)
            expected = _expected_rows(impressions, requests)
            frame = feature_rows(
                spark,
                impressions,
                tables,
                requests,
                vector_column=VECTOR_COLUMN[name],
                layout=config.evaluation.layout,
                expected_rows=expected,
            )
            rows = ExpectedRows(
                count=expected,
                unit="rows: impressions x snapshots that serve them",
                problem="rows were lost or doubled in the join to the snapshots",
                remedy="look for doubled impression ids or snapshot rows",
            )
            count = lake.write_partitions(name, frame, todo, expected=rows)
        written += len(todo)
        rows_in += expected
        rows_out += count
    counts = (rows_in, rows_out, 0, written, skipped)
    return StepResult("features", *counts, versions=dict(lake.pinned), outputs=dict(lake.written))


def item_rows(config: RunConfig, rows: DataFrame) -> DataFrame:
    """impression_id, item_id, row, fold, bucket, date of training rows."""
    feature = next(feature for feature in config.features if feature.table == config.evaluation.slot)
    return rows.select(
        "impression_id",
        "item_id",
        F.col(f"row_{feature.name}").alias("row"),
        F.col("user_fold").alias("fold"),
        F.col("user_bucket").alias("bucket"),
        "date",
    )


def snapshot_tables(lake: Lake, plan: EvaluationPlan, keys: set[tuple[str, dt.date]]) -> DataFrame:
    """The tables of (chain, snapshot_date) as of their dates, their width checked."""
    config = lake.config
    snapshots = lake.read("embedding_snapshots").where(F.col("slot") == config.evaluation.slot)
    check_width(snapshots, config.ranker.dimension)
    return as_of(lake.spark, snapshots, table_sources(plan.chains, snapshots, keys))


def tables_of_requests(lake: Lake, plan: EvaluationPlan, requests: Iterable[FeatureRequest]) -> DataFrame:
    """The tables that requests ask for, with the day that each is used on, aligned where the configuration says so."""
    uses = {
        TableUse(request.chain, request.snapshot_date, request.evaluated_date, base_name(seed_of(request.chain)))
        for request in requests
    }
    keys = {(use.chain, use.snapshot_date) for use in uses}
    evaluation = plan.config.evaluation
    if evaluation.align == "none":
        return tables_in_use(snapshot_tables(lake, plan, keys), uses)
    keys |= {(use.control_chain, use.evaluated_date) for use in uses}
    tables = snapshot_tables(lake, plan, keys)
    return aligned_tables(tables, uses, plan.config.ranker.dimension, evaluation.align_minimum_updates)


def _expected_rows(impressions: DataFrame, requests: list[FeatureRequest]) -> int:
    rows = impressions.groupBy("date", "bucket").count().collect()
    return sum(
        row["count"]
        for request in requests
        for row in rows
        if row["date"] == request.evaluated_date and request.serves(row["bucket"])
    )


def _fingerprint(
    plan: EvaluationPlan, date: dt.date, requests: list[FeatureRequest], snapshots: dict[PartitionKey, str]
) -> str:
    described_requests = [
        (*map(str, vars(request).values()), snapshots.get((request.chain, request.snapshot_date.isoformat())))
        for request in requests
    ]
    evaluation = plan.config.evaluation
    alignment: list[object] = []
    if evaluation.align != "none":  # then a table depends on the control's too
        controls = [snapshots.get((base_name(seed), date.isoformat())) for seed in plan.config.seeds]
        alignment = [evaluation.align, evaluation.align_minimum_updates, controls]
    return fingerprint(
        ["features", STEP_VERSION, evaluation.slot, evaluation.layout, evaluation.user_share],
        plan.row_fingerprints[date],
        described_requests,
        alignment,
    )
