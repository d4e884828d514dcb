"""Training rows of evaluated days: those of all users, or of the share that ``evaluation.user_share`` evaluates."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

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


def count_evaluated_rows(lake: Lake, dates: Sequence[dt.date]) -> dict[dt.date, int]:
    """Evaluated day -> its rows of the evaluated users.

    Raises:
        InputError: a day has none.
    """
    counted = evaluated_rows(lake, dates).groupBy("date").count().collect()
    rows = {row["date"]: int(row["count"]) for row in counted}
    empty = [date for date in dates if date not in rows]
    if empty:
        raise InputError(
            "no user of evaluation.user_share has an impression on an evaluated day",
            table="training_rows",
            partition=", ".join(map(str, empty[:5])),
            found=f"0 rows in a share of {lake.config.evaluation.user_share}",
            expected="impressions of both classes",
            remedy="raise evaluation.user_share; lis-spark plan says which share suffices",
        )
    return rows
