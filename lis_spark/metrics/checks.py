"""What scores and influence must be: named columns, labels of 0 or 1, logits that are numbers, sides that agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F
from pyspark.sql import types as T

from lis_spark.errors import InputError, StepFailed

# Rows that an error message names.
SAMPLE_ROWS = 5
SCORE_COLUMNS = ("user_id", "impression_id", "label", "logit")


def check_columns(frame: DataFrame, needed: Sequence[str], table: str) -> None:
    """Refuses a frame that lacks a column.

    Raises:
        InputError: with the missing columns and those that are there.
    """
    missing = [name for name in needed if name not in frame.columns]
    if missing:
        raise InputError(
            f"columns are missing: {', '.join(missing)}",
            table=table,
            found=", ".join(frame.columns),
            expected=", ".join(needed),
            remedy="give the table these columns, or name those that it has",
        )


def counted_groups(scores: DataFrame, group_columns: Sequence[str], table: str) -> list[Row]:
    """One row a group: its columns, ``rows`` and ``positives``, in a stable order. Refuses unusable scores.

    Raises:
        InputError: a column is missing, the logit is neither float nor double, there are no rows, or rows hold a NaN
            or null logit, a label outside {0, 1} or no user; the message names groups, counts and impressions.
    """
    check_columns(scores, [*group_columns, *SCORE_COLUMNS], table)
    logit_type = scores.schema["logit"].dataType
    if not isinstance(logit_type, T.FloatType | T.DoubleType):
        raise InputError(
            "the logit is not a float",
            table=table,
            found=logit_type.simpleString(),
            expected="float or double",
            remedy="cast the logits to double before they are measured",
        )
    faults = _faults()
    rows = (
        scores.groupBy(*group_columns)
        .agg(
            F.count(F.lit(1)).alias("rows"),
            F.count_if(F.col("label") == 1).alias("positives"),
            *[F.count_if(fault).alias(name) for name, fault in faults.items()],
        )
        .collect()
    )
    if not rows:
        raise InputError("there are no scores", table=table, remedy="score an evaluated day first")
    for name, fault in faults.items():
        bad = [row for row in rows if row[name]]
        if bad:
            raise _refused(scores, group_columns, table, name, fault, bad)

    def stable(group: Row) -> list[tuple[bool, str]]:
        return [(group[name] is not None, str(group[name])) for name in group_columns]

    return sorted(rows, key=stable)


def group_name(group: Row | Mapping[str, Any], group_columns: Sequence[str]) -> str:
    """``arm=naive|3, fold=0``: a group as a person reads it."""
    return ", ".join(f"{name}={group[name]}" for name in group_columns)


def sides_differ(group: str, u2_positives: int, u2_negatives: int) -> StepFailed:
    """The error for an influence table in which positives and negatives do not count the same pairs."""
    return StepFailed(
        "the positives and the negatives of a ranking do not count the same pairs",
        table="influence",
        partition=group,
        found=f"U2 {u2_positives:,} over positives, {u2_negatives:,} over negatives",
        expected="the same integer",
        remedy="rows of the influence table were lost or doubled: compute it again with --force",
    )


def _faults() -> dict[str, Column]:
    label, logit = F.col("label"), F.col("logit")
    return {
        "logit is null": logit.isNull(),
        "logit is NaN": F.isnan(logit),
        "label is not 0 or 1": F.coalesce(~label.isin(0, 1), F.lit(True)),
        "user_id is null": F.col("user_id").isNull(),
    }


def _refused(
    scores: DataFrame,
    group_columns: Sequence[str],
    table: str,
    name: str,
    fault: Column,
    groups: Sequence[Row],
) -> InputError:
    count = sum(row[name] for row in groups)
    total = sum(row["rows"] for row in groups)
    named = [f"{group_name(row, group_columns)} ({row[name]:,} rows)" for row in groups[:SAMPLE_ROWS]]
    more = f"; and {len(groups) - SAMPLE_ROWS} more" if len(groups) > SAMPLE_ROWS else ""
    sample = scores.where(fault).select("impression_id", "user_id", "label", "logit").orderBy("impression_id")
    examples = [
        f"impression_id {row['impression_id']} (user {row['user_id']}, label {row['label']}, logit {row['logit']})"
        for row in sample.limit(SAMPLE_ROWS).collect()
    ]
    return InputError(
        f"{name} in {count:,} of {total:,} scores",
        table=table,
        partition="; ".join(named) + more,
        found="; ".join(examples),
        expected="a logit that is a number, a label of 0 or 1 and a user in every row",
        remedy="score these impressions again in every arm, or leave them out of every arm",
    )
