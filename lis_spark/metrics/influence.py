"""Influence of every user on every exact AUC, as integers, distributed (method 2.1 and 2.2).

All groups (day x arm x fold x stratum) are ranked in one shuffle: groups that fit a partition lie whole in one, larger
ones are range partitioned by (group, logit); each partition ranks its own rows in NumPy and sums them by user, and what
lies below and above the partition is added to these sums from the partitions' totals. Nothing larger than partitions +
groups reaches the driver.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce
from itertools import groupby
from typing import Any

import pyarrow as pa
from pyspark.sql import Column, DataFrame, Row, Window
from pyspark.sql import functions as F
from pyspark.sql import types as T

from lis_spark.errors import StepFailed
from lis_spark.metrics.checks import counted_groups, group_name, sides_differ
from lis_spark.metrics.products import UNITS
from lis_spark.metrics.ranks import rank_range
from lis_spark.metrics.requests import REQUEST_MEASURES, request_sums

# A logit beyond this says nothing more, and the loss of an infinite one has to be a number.
LARGEST_LOSS = 1000.0
# Fewer rows than this are not worth a task of their own.
SMALLEST_PARTITION = 100_000

# Measures of a range of rows, and those that need the rows of a request together.
RANKED = (
    "positives",
    "negatives",
    "u2_positives",
    "u2_negatives",
    "u2_within_user",
    "log_loss_units",
    "probability_units",
)
MEASURES = (*RANKED, *REQUEST_MEASURES)


def influence(
    scores: DataFrame,
    group_columns: Sequence[str],
    rows_per_partition: int = 1_000_000,
    table: str = "scores",
) -> DataFrame:
    """What each user adds to the AUC of each group, as integers that depend on no partitioning and no row order.

    Args:
        scores: the group columns, user_id, impression_id, label (0 or 1) and logit (float or double: a double keeps
            the order of a double). It is read three times, so it should be a table, or cheap to make again. Where it
            has the column request (BIGINT), rows that are not null there also count for the order within requests.
        group_columns: what makes a ranking of its own, for instance evaluated_date, arm, fold, stratum.
        rows_per_partition: rows that one Python worker holds at a time, about 60 bytes each. Rows with the same
            logit stay together, so a group of constant scores is one partition whatever its size.
        table: name in error messages.

    Returns:
        Group columns, user_id and, all BIGINT: positives; negatives; u2_positives = sum over the user's positives of
        2 x negatives below + ties; u2_negatives = sum over its negatives of 2 x positives above + ties;
        u2_within_user = the first among the user's own rows; log_loss_units (a row's loss is capped at 1000 nats) and
        probability_units, multiples of 2^-32; u2_within_request and pairs_within_request, see
        :func:`lis_spark.metrics.requests.request_sums`, 0 where no request is known. The frame is cached:
        ``unpersist()`` it when it has been written.

    Raises:
        InputError: see :func:`lis_spark.metrics.checks.counted_groups`.
        StepFailed: rows were lost between two readings of ``scores``, which was not the same table twice.
    """
    if rows_per_partition < 1:
        raise ValueError(f"rows_per_partition is at least 1, not {rows_per_partition}")
    groups = counted_groups(scores, group_columns, table)
    spark = scores.sparkSession
    numbered = [(number, *[group[name] for name in group_columns]) for number, group in enumerate(groups)]
    fields = [T.StructField("group_id", T.IntegerType()), *[scores.schema[name] for name in group_columns]]
    group_ids = F.broadcast(spark.createDataFrame(numbered, T.StructType(_nullable(fields))))

    narrow = _narrow(scores, group_ids, group_columns)
    large = [number for number, group in enumerate(groups) if group["rows"] > rows_per_partition]
    parts = []
    for is_large in (False, True):
        rows = sum(group["rows"] for number, group in enumerate(groups) if (number in large) == is_large)
        if not rows:
            continue
        partitions = _partition_count(rows, rows_per_partition, spark.sparkContext.defaultParallelism)
        chosen = narrow.where(F.col("group_id").isin(large) == is_large) if large else narrow
        # twice as many for whole groups: the hash does not fill partitions evenly
        parts.append(
            chosen.repartitionByRange(partitions, "group_id", "logit")
            if is_large
            else chosen.repartition(2 * partitions, "group_id")
        )
    ranged = reduce(DataFrame.unionByName, parts)
    # Cached, so that totals and sums see the same ranges: Spark draws their bounds from a sample each time it plans.
    partials = with_units(ranged).mapInArrow(_rank_partition, _partial_schema(scores)).persist()
    try:
        offsets = _offsets(partials, groups, group_columns, table)
        ranked = _joined_groups(_by_user(partials, offsets), group_ids, group_columns)
        result = _with_requests(ranked, scores, group_columns).persist()
        result.count()
    finally:
        partials.unpersist()
    return result


def with_units(rows: DataFrame) -> DataFrame:
    """Adds log_loss_units and probability_units of each row, BIGINT multiples of 2^-32, to label and logit.

    In the JVM, whose exp and log1p are specified to the last bit on every machine.
    """
    logit = F.col("logit").cast("double")
    tail = F.exp(-F.abs(logit))
    # softplus(z) = max(z, 0) + log(1 + exp(-|z|)) with z = -logit for a positive: never overflows, never log(0)
    against = F.when(F.col("label") == 1, -logit).otherwise(logit)
    loss = F.least(F.greatest(against, F.lit(0.0)) + F.log1p(tail), F.lit(LARGEST_LOSS))
    probability = F.when(logit >= 0, 1 / (1 + tail)).otherwise(tail / (1 + tail))
    return rows.withColumns({"log_loss_units": _fixed(loss), "probability_units": _fixed(probability)})


def totals(influences: DataFrame, group_columns: Sequence[str]) -> dict[tuple[Any, ...], dict[str, int]]:
    """Group -> positives P, negatives N and the exact integer U2, so that AUC = U2 / (2 P N).

    Raises:
        StepFailed: the two sides of a U2 differ, or a sum is beyond decimal(38,0).
    """
    sums = [F.try_sum(F.col(name).cast("decimal(38,0)")).alias(name) for name in MEASURES[:4]]
    found: dict[tuple[Any, ...], dict[str, int]] = {}
    for row in influences.groupBy(*group_columns).agg(*sums).collect():
        name = group_name(row, group_columns)
        if any(row[measure] is None for measure in MEASURES[:4]):
            raise StepFailed(
                "a sum is beyond decimal(38,0)",
                table="influence",
                partition=name,
                remedy="measure days of fewer impressions, or a sample of them",
            )
        values = {measure: int(row[measure]) for measure in MEASURES[:4]}
        if values["u2_positives"] != values["u2_negatives"]:
            raise sides_differ(name, values["u2_positives"], values["u2_negatives"])
        key = tuple(row[column] for column in group_columns)
        found[key] = {
            "positives": values["positives"],
            "negatives": values["negatives"],
            "u2": values["u2_positives"],
        }
    return found


def _nullable(fields: Iterable[T.StructField]) -> list[T.StructField]:
    return [T.StructField(field.name, field.dataType, True) for field in fields]


def _partition_count(rows: int, rows_per_partition: int, parallelism: int) -> int:
    return max(-(-rows // rows_per_partition), min(parallelism, rows // SMALLEST_PARTITION), 1)


def _narrow(scores: DataFrame, group_ids: DataFrame, group_columns: Sequence[str]) -> DataFrame:
    same = [scores[name].eqNullSafe(group_ids[name]) for name in group_columns]
    joined = scores.join(group_ids, reduce(lambda left, right: left & right, same, F.lit(True)))
    logit = scores["logit"]
    # -0.0 is 0.0: for Spark, which ranges by it, as for order_key
    canonical = F.when(logit == 0, F.lit(0).cast(scores.schema["logit"].dataType)).otherwise(logit)
    return joined.select(
        "group_id",
        scores["user_id"],
        scores["label"].cast("tinyint").alias("label"),
        canonical.alias("logit"),
    )


def _fixed(value: Column) -> Column:
    return F.rint(value * F.lit(float(UNITS))).cast("bigint")


def _partial_schema(scores: DataFrame) -> T.StructType:
    long = T.LongType()
    names = ("range_start", *RANKED)
    return T.StructType(
        [
            T.StructField("group_id", T.IntegerType()),
            T.StructField("user_id", scores.schema["user_id"].dataType),
            *[T.StructField(name, long) for name in names],
        ]
    )


def _rank_partition(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
    received = [batch for batch in batches if batch.num_rows]
    if not received:
        return
    rows = pa.Table.from_batches(received).combine_chunks()
    columns = {name: rows.column(name).to_numpy() for name in rows.column_names if name != "user_id"}
    users = rows.column("user_id").chunk(0).dictionary_encode()
    sums = rank_range(user_codes=users.indices.to_numpy(), **columns)
    names = users.dictionary.take(pa.array(sums.pop("user_codes")))
    arrays = {"group_id": sums.pop("group_id"), "user_id": names, **sums}
    yield from pa.Table.from_pydict(arrays).to_batches()


def _offsets(
    partials: DataFrame, groups: Sequence[Row], columns: Sequence[str], table: str
) -> list[tuple[int, int, int, int]]:
    """group_id, range_start, the negatives in the ranges below, the positives in the ranges above.

    Only of groups that several ranges share: at most one is cut at each border of two ranges.
    """
    by_range = (
        partials.groupBy("group_id", "range_start")
        .agg(F.sum("positives").alias("positives"), F.sum("negatives").alias("negatives"))
        .collect()
    )
    by_range.sort(key=lambda row: (row["group_id"], row["range_start"]))
    offsets, ranked = [], {}
    for number, ranges in groupby(by_range, key=lambda row: row["group_id"]):
        members = list(ranges)
        below, above = 0, sum(row["positives"] for row in members)
        ranked[number] = (above, sum(row["negatives"] for row in members))
        for row in members if len(members) > 1 else []:
            above -= row["positives"]
            offsets.append((number, row["range_start"], below, above))
            below += row["negatives"]
    for number, group in enumerate(groups):
        counted = (group["positives"], group["rows"] - group["positives"])
        if ranked.get(number, (0, 0)) != counted:
            raise StepFailed(
                "the scores changed while they were ranked",
                table=table,
                partition=group_name(group, columns),
                found=f"positives and negatives {ranked.get(number, (0, 0))}",
                expected=f"{counted}, as counted before",
                remedy="give a table of a pinned version, or cache the frame of scores",
            )
    return offsets


def _by_user(partials: DataFrame, offsets: Sequence[tuple[int, int, int, int]]) -> DataFrame:
    """One row a user: as they are in a group that lies within one range, added up where ranges cut the group."""
    measured = partials.select("group_id", "user_id", *RANKED)
    if not offsets:
        return measured
    cut = F.col("group_id").isin(sorted({group for group, *_ in offsets}))
    schema = "group_id int, range_start bigint, negatives_below bigint, positives_above bigint"
    known = F.broadcast(partials.sparkSession.createDataFrame(offsets, schema))
    placed = partials.where(cut).join(known, ["group_id", "range_start"], "left")
    # a range without totals can only mean that the two readings saw different ranges: fail rather than miscount
    negatives_below = F.coalesce("negatives_below", F.raise_error(F.lit("ranges changed between the passes")))
    earlier = Window.partitionBy("group_id", "user_id").orderBy("range_start")
    own_negatives_below = F.coalesce(
        F.sum("negatives").over(earlier.rowsBetween(Window.unboundedPreceding, -1)), F.lit(0)
    )
    complete = placed.withColumns(
        {
            "u2_positives": F.col("u2_positives") + 2 * F.col("positives") * negatives_below,
            "u2_negatives": F.col("u2_negatives") + 2 * F.col("negatives") * F.col("positives_above"),
            "u2_within_user": F.col("u2_within_user") + 2 * F.col("positives") * own_negatives_below,
        }
    )
    summed = complete.groupBy("group_id", "user_id").agg(*[F.sum(name).alias(name) for name in RANKED])
    return measured.where(~cut).unionByName(summed)


def _joined_groups(by_user: DataFrame, group_ids: DataFrame, group_columns: Sequence[str]) -> DataFrame:
    return by_user.join(group_ids, "group_id").select(*group_columns, "user_id", *RANKED)


def _with_requests(ranked: DataFrame, scores: DataFrame, group_columns: Sequence[str]) -> DataFrame:
    """With the measures of requests, 0 where no request is known."""
    if "request" not in scores.columns:
        return ranked.withColumns({name: F.lit(0).cast("bigint") for name in REQUEST_MEASURES})
    keys = [*group_columns, "user_id"]
    sums = request_sums(scores, group_columns)
    # group columns may be null (a table of scores without a date), so they are compared null-safe
    same = reduce(lambda left, right: left & right, [ranked[key].eqNullSafe(sums[key]) for key in keys])
    counted = [F.coalesce(sums[name], F.lit(0)).alias(name) for name in REQUEST_MEASURES]
    return ranked.join(sums, same, "left").select(*[ranked[key] for key in (*keys, *RANKED)], *counted)
