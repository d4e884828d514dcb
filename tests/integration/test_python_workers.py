"""Spark's Python workers as our sessions start them."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
from pyspark.sql import SparkSession


def what_a_worker_has(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Objects that no garbage collection looks at; whether our functions are loaded; zipped folders on the path."""
    for _ in batches:
        zips = sum("pyspark.zip" in place for place in sys.path_importer_cache)
        columns = [
            [gc.get_freeze_count()],
            ["lis_spark.lis.results.measure" in sys.modules],
            [zips],
            ["torch" in sys.modules],
        ]
        yield pa.RecordBatch.from_arrays([pa.array(one) for one in columns], names=["frozen", "ours", "zips", "torch"])


def test_workers_are_forked_with_our_functions_loaded(spark: SparkSession) -> None:
    """Nothing of it is looked through after a task, no zip's directory is read before one, PyTorch is not there."""
    ddl = "frozen bigint, ours boolean, zips bigint, torch boolean"
    rows: list[Any] = spark.range(4, numPartitions=2).mapInArrow(what_a_worker_has, ddl).collect()
    assert len(rows) >= 2
    for row in rows:
        assert row["frozen"] > 100_000 and row["ours"] and not row["zips"] and not row["torch"]
