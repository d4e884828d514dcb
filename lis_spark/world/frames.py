"""The world's columns as Arrow batches and Spark frames, made in parallel from numbers of requests and items."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame, SparkSession

from lis_spark.config import RunConfig, WorldSource
from lis_spark.keyed_random import salt, uniforms
from lis_spark.vectors import pack
from lis_spark.world import catalogue, rendering
from lis_spark.world.calendar import Calendar
from lis_spark.world.clicks import LABELS
from lis_spark.world.impressions import Impressions, impressions_of

ROWS_PER_FILE = 4_000_000
# Rows of an Arrow batch: a day's shelf is made once for so many.
ROWS_A_BATCH, ITEMS_A_BATCH = 100_000, 500
ITEMS_PER_TASK = 5_000
TAGS, ITEMS_AN_AUTHOR = 16, 20
FEED, ADS = "feed", "ads"
# As in a second-price auction, what is paid lies below the bid: between these shares of it, evenly.
_PAID = (0.6, 0.95)
Stretch = tuple[int, int]


def stretches(calendar: Calendar, days: Sequence[int], requests_a_file: int) -> list[Stretch]:
    """(first, end) of the requests of each file, in the order of days; a file is of one day."""
    found: list[Stretch] = []
    for day in days:
        first, end = int(calendar.first_request[day]), int(calendar.first_request[day + 1])
        pieces = max(1, math.ceil((end - first) / requests_a_file))
        cuts = [first + (end - first) * piece // pieces for piece in range(pieces + 1)]
        found += pairwise(cuts)
    return found


def request_frame(
    spark: SparkSession,
    config: RunConfig,
    days: Sequence[int],
    columns: Callable[[WorldSource, Impressions], dict[str, pa.Array]],
    schema: str,
    requests_a_file: int | None = None,
) -> DataFrame:
    """What ``columns`` makes of the impressions of some days, a task a file and no shuffle.

    Args:
        spark: session.
        config: its source is a world.
        days: numbers of days, from 0.
        columns: impressions -> columns in the order of ``schema``.
        schema: DDL.
        requests_a_file: as many as fit 4 million rows where absent; whatever it is, the rows are the same.
    """
    world = world_of(config)
    calendar = Calendar.of(world, config.time_zone)
    fitting = max(1, ROWS_PER_FILE // world.traffic.impressions_a_request)
    files = stretches(calendar, days, requests_a_file or fitting)
    together = max(1, ROWS_A_BATCH // world.traffic.impressions_a_request)

    def make(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for number in batch["id"].to_pylist():
                first, end = files[number]
                for start in range(first, end, together):
                    for piece in impressions_of(world, calendar, start, min(start + together, end)):
                        yield pa.RecordBatch.from_pydict(columns(world, piece))

    numbers = spark.range(0, len(files), 1, numPartitions=len(files))
    return numbers.mapInArrow(make, schema)  # type: ignore[arg-type]


def world_of(config: RunConfig) -> WorldSource:
    """The world of a configuration."""
    assert isinstance(config.source, WorldSource)
    return config.source


def impression_columns(labels: Sequence[str]) -> Callable[[WorldSource, Impressions], dict[str, pa.Array]]:
    """Columns of ``impressions`` with the given labels."""

    def columns(world: WorldSource, made: Impressions) -> dict[str, pa.Array]:
        request = pa.array(made.requests).cast(pa.string())
        return {
            "impression_id": _impression_ids(made),
            "request_id": request,
            "request_ts": pa.array(made.time_ms * 1000, pa.timestamp("us", tz="UTC")),
            "scenario": _scenario(made),
            "user_id": user_ids(made.users),
            "item_id": item_ids(made.items),
            "position": pa.array(made.positions.astype(np.int32)),
            **{f"label_{name}": pa.array(made.labels[LABELS.index(name)].astype(np.int8)) for name in labels},
            "date": _constant(made.date, pa.date32(), len(made)),
        }

    return columns


def impression_schema(labels: Sequence[str]) -> str:
    """DDL of :func:`impression_columns`."""
    flags = "".join(f"label_{name} tinyint, " for name in labels)
    return (
        "impression_id string, request_id string, request_ts timestamp, scenario string, user_id string, "
        f"item_id string, position int, {flags}date date"
    )


TRUTH_SCHEMA = (
    "impression_id string, user_id string, item_id string, scenario string, click_probability double, "
    "clicked boolean, was_read boolean, engaged boolean, time_spent_ms int, advertiser_value_micros bigint, "
    "cost_micros bigint, date date"
)


def truth_columns(world: WorldSource, made: Impressions) -> dict[str, pa.Array]:
    """Columns of ``truth``."""
    clicked, read, engaged = made.labels
    value = np.rint(np.where(clicked, made.bids, 0.0) * 1e6).astype(np.int64)
    share = _PAID[0] + (_PAID[1] - _PAID[0]) * uniforms(salt(world.seed, "second price"), made.keys, 1)[0]
    return {
        "impression_id": _impression_ids(made),
        "user_id": user_ids(made.users),
        "item_id": item_ids(made.items),
        "scenario": _scenario(made),
        "click_probability": pa.array(made.probability),
        "clicked": pa.array(clicked),
        "was_read": pa.array(read),
        "engaged": pa.array(engaged),
        "time_spent_ms": pa.array(np.rint(made.seconds * 1000).astype(np.int32)),
        "advertiser_value_micros": pa.array(value),
        "cost_micros": pa.array(np.floor(value * share).astype(np.int64)),
        "date": _constant(made.date, pa.date32(), len(made)),
    }


def item_frame(
    spark: SparkSession,
    world: WorldSource,
    columns: Callable[[WorldSource, np.ndarray], dict[str, pa.Array]],
    schema: str,
) -> DataFrame:
    """What ``columns`` makes of all items, in tasks of 5,000."""
    total = catalogue.item_count(world)

    def make(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for task in batch["id"].to_pylist():
                end = min((task + 1) * ITEMS_PER_TASK, total)
                for first in range(task * ITEMS_PER_TASK, end, ITEMS_A_BATCH):
                    items = np.arange(first, min(first + ITEMS_A_BATCH, end))
                    yield pa.RecordBatch.from_pydict(columns(world, items))

    tasks = -(-total // ITEMS_PER_TASK)
    return spark.range(0, tasks, 1, numPartitions=tasks).mapInArrow(make, schema)  # type: ignore[arg-type]


ITEMS_SCHEMA = "item_id string, born_date date, title string, image binary, tags string, author_id string"


def item_columns(world: WorldSource, items: np.ndarray) -> dict[str, pa.Array]:
    """Columns of ``items``: what a recommender sees of them."""
    rendered = world.content.rendered
    nothing = [None] * len(items)
    return {
        "item_id": item_ids(items),
        "born_date": _dates(world, catalogue.birth_days(world, items)),
        "title": pa.array(nothing if rendered == "none" else rendering.titles(world, items), pa.string()),
        "image": pa.array(rendering.images(world, items) if rendered == "titles_and_images" else nothing, pa.binary()),
        "tags": _joined("t", rendering.shown(world, items, "tag", TAGS).argmax(axis=0)),
        "author_id": _joined("a", _authors(world, items)),
    }


TRUTH_ITEMS_SCHEMA = (
    "item_id string, born_date date, last_date date, popularity double, is_ad boolean, bid double, factor binary, "
    "bias double, content binary, nuisance binary, duplicate_of string"
)


def truth_item_columns(world: WorldSource, items: np.ndarray) -> dict[str, pa.Array]:
    """Columns of ``truth_items``."""
    born = catalogue.birth_days(world, items)
    vectors, biases = catalogue.factors(world, items)
    copied = catalogue.duplicate_of(world, items)
    return {
        "item_id": item_ids(items),
        "born_date": _dates(world, born),
        "last_date": _dates(world, born + world.catalogue.life_days - 1),
        "popularity": pa.array(catalogue.popularity(world, items)),
        "is_ad": pa.array(catalogue.is_ad(world, items)),
        "bid": pa.array(catalogue.bids(world, items)),
        "factor": pack(vectors.T),
        "bias": pa.array(biases),
        "content": pack(catalogue.content_latents(world, items).T),
        "nuisance": pack(catalogue.nuisances(world, items).T),
        "duplicate_of": pc.if_else(pa.array(copied >= 0), item_ids(copied), pa.scalar(None, pa.string())),
    }


def user_ids(users: np.ndarray) -> pa.Array:
    """``u17`` for user 17."""
    return _joined("u", users)


def item_ids(items: np.ndarray) -> pa.Array:
    """``i17`` for item 17."""
    return _joined("i", items)


def _authors(world: WorldSource, items: np.ndarray) -> np.ndarray:
    """An author makes about 20 items within some days; about a day's share of authors is at work at a time."""
    days_at_work = max(1, min(world.catalogue.life_days, 10))
    period = catalogue.birth_days(world, items) // days_at_work + world.catalogue.life_days
    count = max(1, world.catalogue.new_items_a_day * days_at_work // ITEMS_AN_AUTHOR)
    return period * count + (uniforms(salt(world.seed, "author"), items, 1)[0] * count).astype(np.int64)


def _joined(prefix: str, numbers: np.ndarray) -> pa.Array:
    return pc.binary_join_element_wise(prefix, pa.array(numbers).cast(pa.string()), "")


def _impression_ids(made: Impressions) -> pa.Array:
    return pc.binary_join_element_wise(
        pa.array(made.requests).cast(pa.string()), pa.array(made.positions).cast(pa.string()), "-"
    )


def _scenario(made: Impressions) -> pa.Array:
    return pc.if_else(pa.array(made.ads), ADS, FEED)


def _constant(value: object, kind: pa.DataType, rows: int) -> pa.Array:
    return pa.repeat(pa.scalar(value, kind), rows)


def _dates(world: WorldSource, days: np.ndarray) -> pa.Array:
    epoch = world.first_date.toordinal() - dt.date(1970, 1, 1).toordinal()
    return pa.array((days + epoch).astype(np.int32)).cast(pa.date32())
