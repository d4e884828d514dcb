"""The leak of the paper's example: the items of the user's next clicks, and of the previous ones (method 1.4).

An impression's clicks come from its own day and the n - 1 days after it, the previous ones from its day and the n - 1
before it: an impression of D_{T-w}, on which the port is trained, looks as far ahead as one of the evaluated day T.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lis_spark.arrow_batches import whole_keys
from lis_spark.leaks.nearest_clicks import Exclusions, UserEvents, nearest_clicks
from lis_spark.vectors import pack

# Rows that a Python worker holds at a time, besides those of one user.
CHUNK_ROWS = 500_000
COLUMNS = (
    "impression_id string, item_id string, row int, fold int, date date, has_next boolean, has_previous boolean, "
    "flags binary, next_ids binary, previous_ids binary"
)
# Stand beside the clicks in both arms: that a user comes back is no knowledge of what he clicks then (method 1.4).
FLAGS = ("has_next", "has_previous")


def next_click_rows(
    impressions: DataFrame, first_date: dt.date, last_date: dt.date, count: int, days: int, exclusions: Exclusions
) -> DataFrame:
    """The k next and the k previous clicks of each impression of some days.

    Ids are packed int32: k item rows, nearest first, -1 where there are fewer; flags are packed float32, 1 or 0.

    Args:
        impressions: impression_id, user_id, item_id, row (of the item), fold, date, request_id, request_ts, clicked
            (boolean), of the days that are asked for and ``days - 1`` on either side.
        first_date: first day whose impressions are wanted.
        last_date: last day.
        count: k.
        days: n.
        exclusions: see :class:`lis_spark.leaks.nearest_clicks.Exclusions`.

    Returns:
        DataFrame: ``COLUMNS``, one row for each impression of the wanted days.
    """
    prepared = impressions.select(
        "impression_id",
        "user_id",
        "item_id",
        "row",
        "fold",
        "date",
        F.unix_millis("request_ts").alias("time"),
        F.unix_date("date").cast("bigint").alias("day"),
        F.xxhash64("user_id", "request_id").alias("request"),
        "clicked",
        F.col("date").between(F.lit(first_date), F.lit(last_date)).alias("wanted"),
    )
    ordered = prepared.repartition("user_id").sortWithinPartitions("user_id", "time", "impression_id")
    return ordered.mapInArrow(_with_clicks(count, days, exclusions), COLUMNS)


def _with_clicks(
    count: int, days: int, exclusions: Exclusions
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def add(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for chunk in whole_keys(batches, "user_id", CHUNK_ROWS):
            numbers = chunk["user_id"].combine_chunks().dictionary_encode().indices.to_numpy()
            events = UserEvents(
                user=numbers.astype(np.int64),
                time=chunk["time"].to_numpy(),
                day=chunk["day"].to_numpy(),
                request=chunk["request"].to_numpy(),
                item=chunk["row"].to_numpy().astype(np.int64),
                clicked=chunk["clicked"].to_numpy().astype(bool),
            )
            wanted = np.flatnonzero(chunk["wanted"].to_numpy())
            chosen = chunk.take(pa.array(wanted)).select(["impression_id", "item_id", "row", "fold", "date"])
            found = [nearest_clicks(events, wanted, count, days, exclusions, after=after) for after in (True, False)]
            flags = np.stack([items[:, 0] >= 0 for items in found], axis=1)
            for place, name in enumerate(FLAGS):
                chosen = chosen.append_column(name, pa.chunked_array([pa.array(flags[:, place])]))
            chosen = chosen.append_column("flags", pa.chunked_array([pack(flags.astype(np.float32))]))
            for name, items in zip(("next_ids", "previous_ids"), found, strict=True):
                chosen = chosen.append_column(name, pa.chunked_array([pack(items)]))
            yield from chosen.to_batches()

    return add
