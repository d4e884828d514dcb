"""Folds of users: held out together where a score must not know the evaluated users' later events (method 1.2)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from typing import Literal

from pyspark.sql import Column
from pyspark.sql import functions as F

NO_FOLD = -1
# Whose impressions a snapshot or an arm is for: everybody's, those of the fold that is held out, those of the others.
Served = Literal["all", "own", "others"]
# A constant of the method: the same user is in the same fold whatever is trained, seeded or configured.
_SALT = "lis_spark.user_fold"


def user_fold(folds: int, user: str = "user_id") -> Column:
    """Fold 0 .. folds - 1 of a user, by hash."""
    return F.pmod(F.xxhash64(F.lit(_SALT), user), F.lit(folds)).cast("int")


def serves(served: Served, bucket: int, folds: int, held_out_fold: int) -> bool:
    """Whether what holds out one of so many folds is for the users of a bucket."""
    return served == "all" or (served == "own") == (bucket % folds == held_out_fold)


def fold_held_out_on(day: dt.date, held_out_fold: int, held_out_days: Collection[dt.date]) -> int:
    """The fold that a chain lacks on a day: its own, on every day or on ``held_out_days`` where there are some."""
    return held_out_fold if not held_out_days or day in held_out_days else NO_FOLD


def fold_columns(folds: int, buckets: int) -> dict[str, Column]:
    """The columns of rows that rankers read: the user's fold, and the bucket that folds of any number are made of."""
    return {"user_fold": user_fold(folds), "user_bucket": user_fold(buckets)}
