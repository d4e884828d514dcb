"""What a refused write means: which table and partition, which rule, which rows, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame

from lis_spark.ddl import TableDefinition
from lis_spark.errors import InputError, LisError, StepFailed
from lis_spark.partitions import PartitionKey

Fingerprints = Mapping[PartitionKey, str]


def refused_write(
    place: str, definition: TableDefinition, frame: DataFrame | None, fingerprints: Fingerprints, error: Exception
) -> LisError:
    """The error to raise for a write that Spark or Delta refused.

    Args:
        place: path or name of the table.
        definition: its rules are looked at one by one for rows that break them.
        frame: what was to be written; None for a deletion.
        fingerprints: its keys are the partitions that were to be replaced.
        error: what was raised.
    """
    text = str(error)
    if "DELTA_CONCURRENT" in text:
        return StepFailed(
            "another run wrote the same partition at the same time; its rows stay, ours were not written",
            table=place,
            partition=_some(fingerprints),
            remedy="let the other run finish, then run this step again: it will skip what is done",
        )
    if "CONSTRAINT" in text or "NOT_NULL" in text or "REPLACE_WHERE" in text:
        return _broken_rule(place, definition, frame, fingerprints, text)
    if isinstance(error, AnalysisException):
        return InputError(
            "the rows do not fit the table's columns",
            table=place,
            partition=_some(fingerprints),
            found=text.splitlines()[0],
            remedy="made by another configuration? use another lake.path, or the same labels and context",
        )
    return StepFailed(
        "Spark could not write the table",
        table=place,
        partition=_some(fingerprints),
        found=text[:2000],
        remedy="mend what Spark says of it, and run the step again: what was there before stays",
    )


def _broken_rule(
    place: str, definition: TableDefinition, frame: DataFrame | None, fingerprints: Fingerprints, text: str
) -> LisError:
    for rule, condition in definition.rules.items():
        if frame is None:
            break
        broken = frame.where(f"NOT coalesce(({condition}), true)")
        sample = broken.limit(3).collect()
        if sample:
            return InputError(
                f"{broken.count()} rows break the rule {rule!r}",
                table=place,
                partition=_some(fingerprints),
                found="; ".join(str(_short(row.asDict())) for row in sample),
                expected=condition,
                remedy="nothing was written; correct the rows or the step that made them",
            )
    return InputError(
        "rows were refused by the table",
        table=place,
        partition=_some(fingerprints),
        found=text.splitlines()[0],
        remedy="nothing was written; a key is null or a row lies outside the partitions that were to be replaced",
    )


def _some(fingerprints: Fingerprints) -> str:
    keys = sorted("/".join(key) for key in fingerprints)
    return ", ".join(keys[:5]) + (f" and {len(keys) - 5} more" if len(keys) > 5 else "")


def _short(row: dict[str, Any]) -> dict[str, Any]:
    return {
        key: (value if not isinstance(value, (bytes, bytearray)) else f"{len(value)} bytes")
        for key, value in row.items()
    }
