"""Pairs of impressions of one request: the order that a user sees on one screen (method 2.3)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from lis_spark.arrow_batches import key_codes, whole_keys
from lis_spark.metrics.ranks import IntArray, order_key, pair_counts

# Measures that only rows with a request add to.
REQUEST_MEASURES = ("u2_within_request", "pairs_within_request")
# Rows that a Python worker holds at a time, besides those of one user.
CHUNK_ROWS = 500_000


def request_sums(scores: DataFrame, group_columns: Sequence[str]) -> DataFrame:
    """What each user's requests add to the AUC within requests, one row for each group and user.

    Args:
        scores: the group columns, user_id, label (0 or 1), logit, and request, a BIGINT that is the same for the
            impressions of one request of a user. Rows without a request are left out.
        group_columns: what makes a ranking of its own.

    Returns:
        Group columns, user_id and, both BIGINT: u2_within_request = sum over the positives of 2 x negatives of the same
        request below + ties; pairs_within_request = sum over the requests of positives x negatives.
    """
    known = scores.where("request IS NOT NULL").withColumn("label", F.col("label").cast("tinyint"))
    chosen = known.select(*group_columns, "user_id", "request", "label", "logit")
    by_user = chosen.repartition("user_id").sortWithinPartitions("user_id")
    fields = [T.StructField(name, chosen.schema[name].dataType) for name in (*group_columns, "user_id")]
    measures = [T.StructField(name, T.LongType()) for name in REQUEST_MEASURES]
    return by_user.mapInArrow(_request_sums(tuple(group_columns)), T.StructType([*fields, *measures]))


def _request_sums(group_columns: Sequence[str]) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    names = [*group_columns, "user_id"]

    def sums(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for chunk in whole_keys(batches, "user_id", CHUNK_ROWS):
            owners = key_codes(chunk, names)
            first = np.unique(owners, return_index=True)[1]
            request, label, logit = (chunk.column(name).to_numpy() for name in ("request", "label", "logit"))
            found = sum_requests(owners, request, label, logit)
            kept = chunk.select(names).take(pa.array(first))
            columns = [column.combine_chunks() for column in kept.columns]
            columns += [pa.array(found[name]) for name in REQUEST_MEASURES]
            yield pa.RecordBatch.from_arrays(columns, names=[*names, *REQUEST_MEASURES])

    return sums


def sum_requests(
    owners: IntArray,
    request: npt.NDArray[np.integer],
    label: npt.NDArray[np.integer],
    logit: npt.NDArray[np.floating],
) -> dict[str, IntArray]:
    """Sums the ordered pairs within requests by owner.

    Args:
        owners: shape (rows,), dense integers from 0: the group and user of each row.
        request: shape (rows,), equal for rows of one request of the owner.
        label: 0 or 1.
        logit: float32 or float64.

    Returns:
        The measures of :data:`REQUEST_MEASURES`, one entry an owner.
    """
    keys = order_key(logit)
    order = np.lexsort((keys, request, owners))
    owner, asked, keys, labels = owners[order], request[order], keys[order], label[order].astype(np.int64)
    is_first = np.ones(len(order), bool)
    is_first[1:] = (owner[1:] != owner[:-1]) | (asked[1:] != asked[:-1])
    segments = np.cumsum(is_first)
    counts = pair_counts(segments, keys, labels)
    starts = np.flatnonzero(is_first)
    positives = np.add.reduceat(labels, starts)
    rows = np.diff(np.append(starts, len(order)))
    number = int(owners.max()) + 1
    u2, pairs = np.zeros(number, np.int64), np.zeros(number, np.int64)
    np.add.at(u2, owner, counts * labels)
    np.add.at(pairs, owner[starts], positives * (rows - positives))
    return dict(zip(REQUEST_MEASURES, (u2, pairs), strict=True))
