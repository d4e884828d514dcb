"""One pass over the judged rows: what each day holds, a fingerprint of its content, and the rules over whole days."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from lis_spark.config import RunConfig
from lis_spark.errors import InputError
from lis_spark.sources.times import days_between
from lis_spark.sources.validation import NO_DATE, row_json


@dataclass
class Day:
    """The rows of one day."""

    accepted: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    positives: int = 0
    integer_ids: dict[str, int] = field(default_factory=dict)
    content: list[int] = field(default_factory=list)
    rejected_content: list[int] = field(default_factory=list)


def content_sums(columns: Sequence[str]) -> list[Column]:
    """Two integer sums over 64-bit row hashes: independent of order and partitions, and copies do not cancel out.

    The pattern of nulls is hashed too, because xxhash64 skips a null: (null, 'a') and ('a', null) would be the same.
    """
    nulls = F.concat(*[F.col(column).isNull().cast("int").cast("string") for column in columns])
    return hash_sums(F.xxhash64(*columns, nulls))


def hash_sums(row_hash: Column) -> list[Column]:
    """Sums of the upper and the lower 32 bits: no overflow below 2^31 rows, where a plain sum would fail."""
    return [F.sum(F.shiftrightunsigned(row_hash, 32)), F.sum(row_hash.bitwiseAND(F.lit(0xFFFFFFFF)))]


def profile(rows: DataFrame, config: RunConfig, columns: Sequence[str]) -> dict[dt.date, Day]:
    """Counts and fingerprints by day, in one job; the result is days x reasons.

    Args:
        rows: judged rows with ids.
        columns: the columns that make the content of an accepted row.
    """
    accepted = F.col("reason").isNull()
    nulls = F.concat(*[F.col(column).isNull().cast("int").cast("string") for column in columns])
    row_hash = F.when(accepted, F.xxhash64(*columns, nulls)).otherwise(F.xxhash64("reason", row_json()))
    upper, lower = hash_sums(row_hash)
    aggregated = rows.groupBy("date", "reason").agg(
        F.count(F.lit(1)).alias("rows"),
        F.sum(F.col(f"label_{config.label}")).cast("bigint").alias("positives"),
        F.count_if(_whole("item_id")).alias("item_id"),
        F.count_if(_whole("user_id")).alias("user_id"),
        upper.alias("upper"),
        lower.alias("lower"),
    )
    days: dict[dt.date, Day] = {}
    for row in sorted(aggregated.collect(), key=lambda row: (row["date"], row["reason"] or "")):
        day = days.setdefault(row["date"], Day())
        if row["reason"] is None:
            day.accepted, day.positives = row["rows"], row["positives"]
            day.integer_ids = {"item_id": row["item_id"], "user_id": row["user_id"]}
            day.content = [row["rows"], row["upper"], row["lower"]]
        else:
            day.rejected[row["reason"]] += row["rows"]
            day.rejected_content += [row["rows"], row["upper"], row["lower"]]
    return days


def _whole(column: str) -> Column:
    """Whether an id is made of digits only; a third of a regular expression's time."""
    return F.translate(column, "-0123456789", "") == ""


def check_days(days: dict[dt.date, Day], rows: DataFrame, config: RunConfig, table: str) -> None:
    """The rules over whole days.

    Raises:
        InputError: no rows; too many rejected rows; ids of another kind on some days; a day missing; a day with one
            class only.
    """
    if not days:
        asked = (config.ingest.start_date, config.ingest.end_date)
        raise InputError(
            "the table is empty",
            table=table,
            found="0 rows" if asked == (None, None) else f"0 rows between {asked[0]} and {asked[1]}",
            expected="at least one impression",
            remedy="check `source.path`, and `ingest.start_date` and `ingest.end_date`",
        )
    _check_share(days, rows, config, table)
    _check_id_kinds(days, table)
    _check_missing(days, config, table)
    _check_classes(days, config, table)


def _check_share(days: dict[dt.date, Day], rows: DataFrame, config: RunConfig, table: str) -> None:
    reasons: Counter[str] = sum((day.rejected for day in days.values()), Counter())
    rejected, accepted = reasons.total(), sum(day.accepted for day in days.values())
    if rejected <= config.ingest.quarantine_share_limit * (rejected + accepted):
        return
    sample = rows.where("reason IS NOT NULL").select("date", "reason", row_json().alias("row_json"))
    samples = "; ".join(f"{row['reason']}: {row['row_json'][:300]}" for row in sample.limit(3).collect())
    listed = ", ".join(f"{count:,} {reason}" for reason, count in reasons.most_common())
    worst = max((day for day in days if days[day].rejected), key=lambda day: days[day].rejected.total())
    raise InputError(
        f"{rejected:,} of {rejected + accepted:,} rows are rejected, more than `ingest.quarantine_share_limit`",
        table=table,
        partition=f"most of them on {worst}" + (" (no plausible time)" if worst == NO_DATE else ""),
        found=f"{listed}; for instance {samples}",
        expected=f"at most {config.ingest.quarantine_share_limit:.2%}",
        remedy="nothing was written; correct the source or its column map, or raise the limit",
    )


def _check_id_kinds(days: dict[dt.date, Day], table: str) -> None:
    for column in ("item_id", "user_id"):
        filled = {date: day for date, day in days.items() if day.accepted}
        whole = [str(date) for date, day in filled.items() if day.integer_ids[column] == day.accepted]
        other = [str(date) for date, day in filled.items() if day.integer_ids[column] == 0]
        if whole and other:
            raise InputError(
                f"{column} changes type between days",
                table=table,
                partition=", ".join(min(whole, other, key=len)[:5]),
                found=f"whole numbers on {_listed(whole)}; text on {_listed(other)}",
                expected="ids of one kind: the same item has the same id on every day",
                remedy="nothing was written; map both kinds to one id in the source",
            )


def _check_missing(days: dict[dt.date, Day], config: RunConfig, table: str) -> None:
    present = {date for date, day in days.items() if day.accepted}
    if config.ingest.allow_missing_days or not present:
        return
    first, last = config.ingest.start_date or min(present), config.ingest.end_date or max(present)
    missing = [str(date) for date in days_between(first, last) if date not in present]
    if missing:
        raise InputError(
            f"{len(missing)} days are missing inside {first} .. {last}",
            table=table,
            partition=_listed(missing),
            found="no accepted row",
            expected="impressions on every day",
            remedy="nothing was written; load the missing days, or set ingest.allow_missing_days=true",
        )


def _check_classes(days: dict[dt.date, Day], config: RunConfig, table: str) -> None:
    for date, day in sorted(days.items()):
        if day.accepted and day.positives in (0, day.accepted):
            only = 1 if day.positives else 0
            raise InputError(
                f"a day has one class only: label {config.label!r} is always {only}",
                table=table,
                partition=str(date),
                found=f"{day.positives:,} positives in {day.accepted:,} rows",
                expected="both classes on every day",
                remedy="nothing was written; check the label's column, or leave the day out by ingest.start_date "
                "or ingest.end_date",
            )


def _listed(dates: list[str]) -> str:
    return ", ".join(dates[:5]) + (f" and {len(dates) - 5} more" if len(dates) > 5 else "")
