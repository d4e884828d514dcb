"""Swing of a power-law graph: seconds, shuffled bytes, peak memory, beside the layout that sends a list to each item.

    python tests/perf/bench_graph.py --clicks 20000000 --users 2000000 --items 200000
    python tests/perf/bench_graph.py --layout naive        # one block for each item
    python tests/perf/bench_graph.py --overlap 1000        # neighbours of so many items without the cap, compared

Items are clicked in proportion to 1 / rank, users by a Pareto law. One line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from memory import Watch
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from lis_spark.config import GraphConfig
from lis_spark.graph import similar
from lis_spark.graph.blocks import Blocks, plan_blocks
from lis_spark.keyed_random import salt, uniforms
from lis_spark.session import get_session

SOURCE_PAIRS = similar.source_pairs
CLICKS = "request int, user_id string, item_id string, request_ts timestamp"


def power_law_clicks(spark: SparkSession, clicks: int, users: int, items: int, skew: float) -> DataFrame:
    """Clicks whose items have odds 1 / rank and whose users have a Pareto tail of exponent ``skew``."""

    def rows(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            number = batch.column("id").to_numpy()
            item, user = uniforms(salt("bench_graph"), number, 2)
            item = np.minimum(np.exp(item * np.log(items + 1)).astype(np.int64) - 1, items - 1)
            user = np.minimum((users * user**skew).astype(np.int64), users - 1)
            yield pa.RecordBatch.from_pydict(
                {
                    "request": np.zeros(len(number), np.int32),
                    "user_id": np.char.add("u", user.astype(str)),
                    "item_id": np.char.add("v", item.astype(str)),
                    "request_ts": pa.array(number * 1000).cast(pa.timestamp("us", tz="UTC")),
                }
            )

    return spark.range(0, clicks, 1, 64).mapInArrow(rows, CLICKS)


@dataclass(frozen=True)
class OneForEachItem(Blocks):
    """The naive layout: a list goes to each item of the user."""

    def of_item(self) -> Column:
        return F.col("item")


def shuffled(spark: SparkSession, first_stage: int) -> int:
    """Bytes that all stages from ``first_stage`` on have written to shuffles."""
    context = spark.sparkContext
    url = f"{context.uiWebUrl}/api/v1/applications/{context.applicationId}/stages"
    with urllib.request.urlopen(url) as answer:
        stages: list[dict[str, Any]] = json.loads(answer.read())
    return sum(stage["shuffleWriteBytes"] for stage in stages if stage["stageId"] >= first_stage)


def main() -> None:
    """Prints one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clicks", type=int, default=20_000_000)
    parser.add_argument("--users", type=int, default=2_000_000)
    parser.add_argument("--items", type=int, default=200_000)
    parser.add_argument("--skew", type=float, default=1.5)
    parser.add_argument("--cap", type=int, default=1000, help="users of an item")
    parser.add_argument("--minimum", type=int, default=2, help="items of a user")
    parser.add_argument("--layout", choices=["blocks", "naive"], default="blocks")
    parser.add_argument("--blocks", type=int)
    parser.add_argument("--overlap", type=int, default=0, help="items whose neighbours are also found without the cap")
    options = parser.parse_args()
    folder = tempfile.mkdtemp()
    settings = {"spark.sql.shuffle.partitions": "16", "spark.driver.memory": "8g", "spark.local.dir": folder}
    spark = get_session({**settings, "spark.ui.enabled": "true", "spark.ui.retainedStages": "100000"}, "bench_graph")
    try:
        print(json.dumps(measured(spark, options, folder)))
    finally:
        spark.stop()
        shutil.rmtree(folder, ignore_errors=True)


def measured(spark: SparkSession, options: argparse.Namespace, folder: str) -> dict[str, object]:
    """One graph."""
    source = f"{folder}/clicks"
    power_law_clicks(spark, options.clicks, options.users, options.items, options.skew).write.parquet(source)
    clicks = spark.read.parquet(source)
    graph = GraphConfig(max_item_users=options.cap, min_user_items=options.minimum, blocks=options.blocks)
    planned: list[Blocks] = []

    def plan(sources: DataFrame, graph: GraphConfig, slots: int) -> Blocks:
        found = plan_blocks(sources, graph, slots)
        planned.append(found)
        return OneForEachItem((), 1, found.cost, found.entries) if options.layout == "naive" else found

    similar.plan_blocks = plan  # type: ignore[attr-defined]
    before = spark.sparkContext.statusTracker().getJobIdsForGroup(None)
    stage = max((s for job in before for s in _stages(spark, job)), default=-1) + 1
    watch, begun = Watch(os.getpid()), time.monotonic()
    with similar.similar_items(clicks, graph) as found:
        found.write.parquet(f"{folder}/graph")
    seconds = time.monotonic() - begun
    watch.stop()
    result = spark.read.parquet(f"{folder}/graph")
    report: dict[str, object] = {
        "clicks": options.clicks,
        "layout": options.layout,
        "cap": options.cap,
        "blocks": options.items if options.layout == "naive" else planned[0].ordinary + len(planned[0].hot),
        "hot blocks": len(planned[0].hot),
        "steps at most, billions": round(planned[0].cost / 1e9, 2),
        "list entries, millions": round(planned[0].entries / 1e6, 1),
        "seconds": round(seconds, 1),
        "shuffled, GB": round(shuffled(spark, stage) / 1e9, 2),
        "peak memory, GB": round(watch.peak / 1e9, 2),
        "items with neighbours": result.count(),
    }
    if options.overlap:
        report["overlap of the best 5"] = overlap(spark, clicks, graph, result, options.overlap)
        often = (
            clicks.groupBy("item_id")
            .agg(F.countDistinct("user_id").alias("users"))
            .where(F.col("users") > graph.max_item_users)
        )
        capped = result.join(often, "item_id", "left_semi")
        report["the same, of items with more users than the cap"] = overlap(
            spark, clicks, graph, capped, options.overlap
        )
    return report


def overlap(spark: SparkSession, clicks: DataFrame, graph: GraphConfig, capped: DataFrame, items: int) -> float:
    """Mean share of the uncapped neighbours of random items that the capped graph has too."""
    chosen = capped.select("item_id").orderBy(F.xxhash64(F.lit("overlap"), "item_id")).limit(items).localCheckpoint()
    found_items = chosen.count()

    def of_chosen(pairs: DataFrame, graph: GraphConfig) -> DataFrame:
        return SOURCE_PAIRS(pairs.join(F.broadcast(chosen), "item_id"), graph)

    similar.source_pairs = of_chosen  # type: ignore[attr-defined]
    uncapped = graph.model_copy(update={"max_item_users": 2**31 - 1})
    with similar.similar_items(clicks, uncapped) as found:
        ids = F.col("neighbours.item_id")
        own = capped.select("item_id", ids.alias("capped"))
        both = found.select("item_id", ids.alias("whole")).join(own, "item_id")
        share = F.size(F.array_intersect("capped", "whole")) / F.size("whole")
        row = both.agg(F.mean(share), F.count(F.lit(1))).first()
    assert row is not None and row[1] >= 0.99 * found_items
    return round(float(row[0]), 4)


def _stages(spark: SparkSession, job: int) -> list[int]:
    info = spark.sparkContext.statusTracker().getJobInfo(job)
    return list(info.stageIds) if info else []


if __name__ == "__main__":
    main()
