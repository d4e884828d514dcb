"""Feature tables of protocol ``append``: what each impression of T - w .. T is given, leaked and as control (1.3, 1.4).

They are rows of leaked_features and control_features under the leak's own name, one partition for each day of the
window; the trainer gets them through :mod:`lis_spark.lis.append.rows`.
"""

from __future__ import annotations

import datetime as dt
import time
from dataclasses import dataclass
from typing import Any

from lis_spark.config import IdTableLeak, Leak, NextClickLeak, Representation, SimilarItemsLeak, fingerprint
from lis_spark.expected_rows import ExpectedRows
from lis_spark.lake import Lake
from lis_spark.lis.append.own_leak_source import OwnSource
from lis_spark.lis.append.representation_source import RepresentationSource
from lis_spark.lis.append.sources import IdTableSource, LeakSource, NextClickSource, SimilarItemsSource
from lis_spark.lis.plan.chains import ONE_DAY, days_between
from lis_spark.lis.plan.evaluation import EvaluationPlan
from lis_spark.lis.swap.features import VECTOR_COLUMN
from lis_spark.partitions import PartitionKey
from lis_spark.progress import described

FEATURES_VERSION = 2


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
                source = source_of(lake, plan, leak, date)
                if not source.rows_each(table):
                    continue
                keys = wanted_partitions(source)
                if not force and all(stored.get(key) == value for key, value in keys.items()):
                    skipped += len(keys)
                    continue
                begun = time.monotonic()
                with described(lake.spark, f"{table}: {leak.name} of {len(keys)} days for T = {date}"):
                    written = _write(source, table, keys)
                rows, partitions = rows + written, partitions + len(keys)
                _note_cost(source, table, keys, written, time.monotonic() - begun)
    return Written(partitions, rows, skipped)


def source_of(lake: Lake, plan: EvaluationPlan, leak: Leak, date: dt.date) -> LeakSource[Any]:
    """Where the rows of a leak come from on one evaluated day."""
    if isinstance(leak, IdTableLeak):
        return IdTableSource(lake, plan, leak, date)
    if isinstance(leak, NextClickLeak):
        return NextClickSource(lake, plan, leak, date)
    if isinstance(leak, SimilarItemsLeak):
        return SimilarItemsSource(lake, plan, leak, date)
    if isinstance(leak, Representation):
        return RepresentationSource(lake, plan, leak, date)
    return OwnSource(lake, plan, leak, date)


def wanted_partitions(source: LeakSource[Any]) -> dict[PartitionKey, str]:
    """Partition of a feature table -> fingerprint, for one leak and evaluated day."""
    plan, evaluation, date = source.plan, source.lake.config.evaluation, source.date
    value = fingerprint(
        ["append features", FEATURES_VERSION, evaluation.slot, evaluation.folds, source.state()],
        [plan.row_fingerprints.get(day, "no rows") for day in source.days_read],
    )
    shown = [day for day in days_between(source.first, date + ONE_DAY) if day in plan.rows]
    return {(source.leak.name, date.isoformat(), day.isoformat()): value for day in shown}


def _note_cost(source: LeakSource[Any], table: str, keys: dict[PartitionKey, str], rows: int, seconds: float) -> None:
    lake, now = source.lake, dt.datetime.now(dt.UTC)
    lake.create("leak_costs")
    identity = fingerprint(table, sorted(keys.items()), now.isoformat())
    cost = (identity, source.leak.name, source.date, table, rows, lake.written_bytes(table), seconds, now)
    lake.append("leak_costs", lake.spark.createDataFrame([cost], lake.read("leak_costs").schema))


def _write(source: LeakSource[Any], table: str, keys: dict[PartitionKey, str]) -> int:
    days = [dt.date.fromisoformat(key[2]) for key in keys]
    expected = sum(source.plan.rows[day] for day in days) * source.rows_each(table)
    rows = ExpectedRows(
        count=expected,
        unit="rows: impressions x vectors of the leak for each",
        problem="rows of a leak were lost or doubled",
        remedy="look for doubled impression ids or snapshot rows",
    )
    with source.rows(table, days, expected) as frame:
        return source.lake.write_partitions(table, frame, keys, expected=rows)
