"""Training rows of evaluated days: those of all users, or of the share that ``evaluation.user_share`` evaluates."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from lis_spark.config import RunConfig
from lis_spark.errors import InputError
from lis_spark.lake import Lake

# A constant of the method: a user of a small share is in each larger one, and shares do not depend on folds.
_SALT = "lis_spark.evaluated_user"
_PARTS = 1_000_000


def is_evaluated(share: float, user: str = "user_id") -> Column:
    """Whether a user is among the evaluated share, by hash.

    Args:
        share: of the users, above 0 and at most 1, in steps of a millionth.
        user: column of the user's id.
    """
    if share >= 1:
        return F.lit(True)
    return F.pmod(F.xxhash64(F.lit(_SALT), user), F.lit(_PARTS)) < round(share * _PARTS)


def rows_of_days(lake: Lake, dates: Sequence[dt.date]) -> DataFrame:
    """Training rows of some days, of all users."""
    return lake.read("training_rows").where(F.col("date").isin(list(dates)))


def evaluated_rows(lake: Lake, dates: Sequence[dt.date]) -> DataFrame:
    """Training rows of evaluated days, of the evaluated users."""
    return rows_of_days(lake, dates).where(is_evaluated(lake.config.evaluation.user_share))


def score_columns(config: RunConfig) -> list[Column]:
    """Columns of ``scores`` that stand in a training row: who and what was shown to, and the label that is ranked."""
    feature = next(feature for feature in config.features if feature.table == config.evaluation.slot)
    return [
        F.col("user_fold").alias("fold"),
        F.col("user_bucket").alias("bucket"),
        F.col("impression_id"),
        F.col("user_id"),
        F.col(f"row_{feature.name}").alias("slot_row"),
        F.col(f"label_{config.label}").alias("label"),
    ]


def count_evaluated_rows(lake: Lake, rows: Mapping[dt.date, int], dates: Sequence[dt.date]) -> dict[dt.date, int]:
    """Evaluated day -> its rows of the evaluated users; nothing is read where all users are evaluated.

    Args:
        lake: with the training rows.
        rows: day -> rows of all users.
        dates: evaluated days.

    Raises:
        InputError: a share of the users leaves a day, or a fold of it, without impressions of both classes.
    """
    config, share = lake.config, lake.config.evaluation.user_share
    if share >= 1:
        return {date: rows[date] for date in dates}
    positives = F.sum(F.col(f"label_{config.label}").cast("bigint")).alias("positives")
    counted = evaluated_rows(lake, dates).groupBy("date", "user_fold").agg(F.count(F.lit(1)).alias("rows"), positives)
    folds = {(row["date"], row["user_fold"]): (int(row["rows"]), int(row["positives"])) for row in counted.collect()}
    for date in dates:
        for fold in range(config.evaluation.folds):
            impressions, of_class = folds.get((date, fold), (0, 0))
            if of_class in (0, impressions):
                raise InputError(
                    "evaluation.user_share leaves a fold of an evaluated day without impressions of both classes",
                    table="training_rows",
                    partition={"date": str(date), "fold": fold},
                    found=f"{of_class:,} positives and {impressions - of_class:,} negatives in a share of {share:g}",
                    expected="impressions of both classes in every fold",
                    remedy="raise evaluation.user_share, or use fewer folds; lis-spark plan says which share suffices",
                )
    return {date: sum(count for (day, _), (count, _) in folds.items() if day == date) for date in dates}
