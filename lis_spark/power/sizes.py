"""How many users and impressions are evaluated, and what they weigh in the error of a LIS (method 2.5)."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F
from pyspark.storagelevel import StorageLevel

from lis_spark.lis.results.decision import FEWEST_OF_A_CLASS, FEWEST_USERS
from lis_spark.metrics.spread import ErrorWeights

# Of each class: with ten to be expected, a fold without any comes up once in 20,000 times.
IMPRESSIONS_IN_A_FOLD = 10


@dataclass(frozen=True, kw_only=True)
class SampleSize:
    """Of a fold, a day, or several days together.

    ``users_of_both``: users with impressions of both classes on one day. ``lis`` and ``within_user`` are what they
    weigh in the two errors.
    """

    users: int
    users_of_both: int
    positives: int
    negatives: int
    lis: ErrorWeights
    within_user: ErrorWeights

    def scaled(self, factor: float) -> SampleSize:
        """So many times the users and impressions, rounded down; the weights stay those of all."""
        counts = ("users", "users_of_both", "positives", "negatives")
        return replace(self, **{name: math.floor(getattr(self, name) * factor) for name in counts})  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class EvaluatedSizes:
    """All days together, each day, and each fold of each day.

    ``lis_returning`` and ``within_returning`` say how far users of one day are those of another: 0 where nobody
    returns, so that the weight of users falls as days are added, 1 where all return and it stays. None of one day.
    """

    together: SampleSize
    by_date: Mapping[dt.date, SampleSize]
    by_fold: Mapping[tuple[dt.date, int], SampleSize]
    lis_returning: float | None = None
    within_returning: float | None = None

    @property
    def smallest_share(self) -> float:
        """The share of the users that leaves enough for intervals, and some ten impressions of each class in a fold."""
        size = self.together
        of_floor = [FEWEST_USERS / max(size.users, 1)]
        of_floor += [FEWEST_OF_A_CLASS / max(count, 1) for count in (size.positives, size.negatives)]
        fewest = min((min(one.positives, one.negatives) for one in self.by_fold.values()), default=0)
        return min(max(*of_floor, IMPRESSIONS_IN_A_FOLD / max(fewest, 1)), 1.0)

    def of_date(self, date: dt.date) -> EvaluatedSizes:
        """One of the days, with what all of them say of returning users."""
        return replace(
            self,
            together=self.by_date[date],
            by_date={date: self.by_date[date]},
            by_fold={key: size for key, size in self.by_fold.items() if key[0] == date},
        )

    def on_dates(self, dates: int) -> SampleSize:
        """As many dates like those that there are, with the users that there are."""
        now, size = len(self.by_date), self.together

        def weights(own: ErrorWeights, returning: float | None) -> ErrorWeights:
            kept = returning or 0.0
            return ErrorWeights(
                impressions=own.impressions * now / dates,
                user_days=own.user_days * now / dates,
                users=own.users * (kept + (1 - kept) / dates) / (kept + (1 - kept) / now),
            )

        strangers = 1 - (self.lis_returning or 0.0)
        more_users = (1 + (dates - 1) * strangers) / (1 + (now - 1) * strangers)
        return replace(
            size,
            users=round(size.users * more_users),
            users_of_both=round(size.users_of_both * more_users),
            positives=size.positives * dates // now,
            negatives=size.negatives * dates // now,
            lis=weights(size.lis, self.lis_returning),
            within_user=weights(size.within_user, self.within_returning),
        )


def _sums() -> list[Column]:
    """Of the users of a fold; p and n are a user's positives and negatives on a day."""
    p, n = F.col("p"), F.col("n")
    pairs = p.cast("double") * n  # sums of fourth powers of a heavy user's impressions are beyond a BIGINT
    return [
        F.count(F.lit(1)).alias("users"),
        F.count_if((p > 0) & (n > 0)).alias("users_of_both"),
        F.sum(p).alias("positives"),
        F.sum(n).alias("negatives"),
        F.sum(p * p).alias("pp"),
        F.sum(p * n).alias("pn"),
        F.sum(n * n).alias("nn"),
        F.sum(pairs * (p + n)).alias("own"),
        F.sum(pairs * pairs).alias("shared"),
    ]


def evaluated_sizes(rows: DataFrame) -> EvaluatedSizes:
    """The sizes of some days, from two passes over their users; what reaches the driver is of the size of the folds.

    Args:
        rows: date, fold, user_id, label (0 or 1), one row an evaluated impression.
    """
    label = F.col("label").cast("bigint")
    cells = rows.groupBy("date", "fold", "user_id").agg(F.sum(label).alias("p"), F.sum(1 - label).alias("n"))
    cells = cells.persist(StorageLevel.DISK_ONLY)
    try:
        folds = cells.groupBy("date", "fold").agg(*_sums()).orderBy("date", "fold").collect()
        if not folds:
            return EvaluatedSizes(together=_NOTHING, by_date={}, by_fold={})
        shared = _shared_over_days(cells, folds)
    finally:
        cells.unpersist()
    days = sorted({row["date"] for row in folds})
    by_date = {day: _size([row for row in folds if row["date"] == day]) for day in days}
    together = _size(folds, shared) if len(days) > 1 else by_date[days[0]]
    return EvaluatedSizes(
        together=together,
        by_date=by_date,
        by_fold={(row["date"], row["fold"]): _size([row]) for row in folds},
        lis_returning=_returning(together.lis, len(days)),
        within_returning=_returning(together.within_user, len(days)),
    )


def _returning(weights: ErrorWeights, days: int) -> float | None:
    """Where all users return, equally on each day, they weigh as many times what their days do as there are days."""
    if days < 2 or not weights.user_days:
        return None
    return min(max((weights.users / weights.user_days - 1) / (days - 1), 0.0), 1.0)


_WEIGHTLESS = ErrorWeights(impressions=0.0, user_days=0.0, users=0.0)
_NOTHING = SampleSize(users=0, users_of_both=0, positives=0, negatives=0, lis=_WEIGHTLESS, within_user=_WEIGHTLESS)


def _shared_over_days(cells: DataFrame, folds: Sequence[Row]) -> Row:
    """Users, and sums over users of squares of what a user weighs on all days together: a returning user is one."""
    totals = [(row["date"], row["fold"], row["positives"], row["negatives"]) for row in folds]
    known = cells.sparkSession.createDataFrame(totals, "date date, fold int, positives bigint, negatives bigint")
    p, n = F.col("p").cast("double"), F.col("n").cast("double")
    weighed = cells.join(F.broadcast(known), ["date", "fold"]).withColumns(
        {"lis": p * F.col("negatives") + n * F.col("positives"), "within": p * n}
    )
    users = weighed.groupBy("user_id").agg(F.sum("lis").alias("lis"), F.sum("within").alias("within"))
    row = users.agg(
        F.count(F.lit(1)).alias("users"),
        F.count_if(F.col("within") > 0).alias("users_of_both"),
        F.sum(F.col("lis") * F.col("lis")).alias("lis"),
        F.sum(F.col("within") * F.col("within")).alias("within"),
    ).first()
    assert row is not None
    return row


def _size(folds: Iterable[Row], over_days: Row | None = None) -> SampleSize:
    """Of rankings that are weighed together; ``over_days`` where their users are not apart."""
    listed = list(folds)
    pairs = sum(row["positives"] * row["negatives"] for row in listed)
    within = sum(row["pn"] for row in listed)
    own = sum(row["positives"] * row["negatives"] ** 2 + row["negatives"] * row["positives"] ** 2 for row in listed)
    of_days, of_pairs = sum(map(_squares, listed)), sum(row["shared"] for row in listed)
    return SampleSize(
        users=over_days["users"] if over_days else sum(row["users"] for row in listed),
        users_of_both=over_days["users_of_both"] if over_days else sum(row["users_of_both"] for row in listed),
        positives=sum(row["positives"] for row in listed),
        negatives=sum(row["negatives"] for row in listed),
        lis=_weights(own, of_days, over_days["lis"] if over_days else of_days, pairs),
        within_user=_weights(
            sum(row["own"] for row in listed), of_pairs, over_days["within"] if over_days else of_pairs, within
        ),
    )


def _weights(impressions: float, user_days: float, users: float, pairs: int) -> ErrorWeights:
    square = float(pairs) ** 2
    if not square:
        return _WEIGHTLESS
    return ErrorWeights(impressions=impressions / square, user_days=user_days / square, users=users / square)


def _squares(fold: Row) -> int:
    """Sum over users of (p N + n P)^2 in one ranking."""
    positives, negatives = fold["positives"], fold["negatives"]
    return int(fold["pp"] * negatives**2 + 2 * fold["pn"] * positives * negatives + fold["nn"] * positives**2)
