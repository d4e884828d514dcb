"""What the requests of an experiment's users on a day may show, as the rankers of the arms read it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from lis_spark.closed_loop.people import NOBODY, People
from lis_spark.config import Representation, RunConfig
from lis_spark.folds import fold_columns
from lis_spark.lake import Lake
from lis_spark.lis.append.representation_source import vectors_of
from lis_spark.world import frames
from lis_spark.world.calendar import Calendar
from lis_spark.world.candidates import Candidates, candidates_of

# As the world makes them; the rest of a row is looked up.
DRAWN = (
    "request bigint, place int, time_ms bigint, user bigint, item bigint, fit double, bias double, bid double, "
    "arm int, user_id string, item_id string"
)
# Requests that a task makes: a day of a small experiment is a few tasks.
REQUESTS_A_TASK = 20_000


def drawn(lake: Lake, people: People, day: int) -> DataFrame:
    """Candidates of the requests of a day (``DRAWN``): of users in an arm who come, of the run's scenario."""
    config = lake.config
    loop, world = config.closed_loop, frames.world_of(config)
    assert loop is not None
    calendar = Calendar.of(world, config.time_zone)
    pieces = frames.stretches(calendar, [day], REQUESTS_A_TASK)
    is_ads, size = config.scenario == frames.ADS, loop.candidates

    def make(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for number in batch["id"].to_pylist():
                first, end = pieces[number]
                for made in candidates_of(world, calendar, first, end, size):
                    arms = people.arms[made.users]
                    kept = (arms != NOBODY) & (made.ads == is_ads) & people.come(world, loop, made.users, day)
                    yield _batch(made, arms, kept)

    numbers = lake.spark.range(0, len(pieces), 1, numPartitions=len(pieces))
    return numbers.mapInArrow(make, DRAWN)  # type: ignore[arg-type]


def _batch(made: Candidates, arms: np.ndarray, kept: np.ndarray) -> pa.RecordBatch:
    columns = {
        "request": made.requests,
        "place": made.places.astype(np.int32),
        "time_ms": made.time_ms,
        "user": made.users,
        "item": made.items,
        "fit": made.fit,
        "bias": made.bias,
        "bid": made.bids,
        "arm": arms.astype(np.int32),
    }
    drawn = {name: pa.array(values[kept]) for name, values in columns.items()}
    ids = {"user_id": frames.user_ids(made.users[kept]), "item_id": frames.item_ids(made.items[kept])}
    return pa.RecordBatch.from_pydict({**drawn, **ids})


def readable(lake: Lake, rows: DataFrame) -> DataFrame:
    """Candidates with everything that a ranker reads: ids, rows of the tables, and the arm's own vector."""
    config = lake.config
    loop = config.closed_loop
    assert loop is not None
    named = rows.withColumn("impression_id", F.concat("request", F.lit("-"), "place"))
    for feature in config.features:
        keys = lake.read("vocabularies").where(F.col("slot") == feature.table)
        keys = keys.select(F.col("key").alias(f"key_{feature.name}"), F.col("row").alias(f"row_{feature.name}"))
        named = named.join(keys, F.col(feature.column) == F.col(f"key_{feature.name}"), "left").drop(
            f"key_{feature.name}"
        )
        named = named.withColumn(f"row_{feature.name}", F.coalesce(f"row_{feature.name}", F.lit(-1)))
    vector = F.lit(None).cast("binary")
    for number, arm in enumerate(loop.arms):
        read = representation_of(config, arm)
        if read is not None:
            own = vectors_of(lake, read).withColumnRenamed("vector", f"vector_{number}")
            named = named.join(own, "item_id", "left")
            vector = F.when(F.col("arm") == number, F.col(f"vector_{number}")).otherwise(vector)
    empty = F.lit(np.full(config.history.length, -1, "<i4").tobytes())
    parts = fold_columns(config.evaluation.folds, config.evaluation.buckets)
    return named.withColumns({"vector": vector, **parts, "history_clicks": empty, "history_skips": empty})


def representation_of(config: RunConfig, arm: str) -> Representation | None:
    """What the ranker of an arm reads beside the features of all, as protocol append reads it."""
    assert config.closed_loop is not None
    own = config.closed_loop.arms[arm]
    if not own.reads:
        return None
    preference = config.preference.name if own.preference and config.preference else None
    return Representation(kind="representation", name="arm", encoder=own.encoder, preference=preference)


def dummy_labels(config: RunConfig) -> dict[str, Column]:
    """Columns that a reader of training rows asks for; nobody looks at the labels of candidates."""
    return {f"label_{label}": F.lit(0).cast("tinyint") for label in config.labels}
