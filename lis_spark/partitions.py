"""Partitions of a table by their keys: the condition that names them, and a value for each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pyspark.sql import Column
from pyspark.sql import functions as F

PartitionKey = tuple[str, ...]


def partition_condition(columns: Sequence[str], keys: Iterable[PartitionKey]) -> str:
    """The SQL condition that holds for exactly the given partitions.

    Values of a column with the same values behind them share one IN, which is a hash lookup: Delta checks the condition
    for every row that is written.
    """
    first, *rest = columns
    behind: dict[str, set[PartitionKey]] = {}
    for key in keys:
        behind.setdefault(key[0], set()).add(key[1:])
    shared: dict[frozenset[PartitionKey], list[str]] = {}
    for value in sorted(behind):
        shared.setdefault(frozenset(behind[value]), []).append(value)
    alternatives = []
    for others, values in shared.items():
        among = f"{first} IN ({', '.join(map(literal, values))})"
        alternatives.append(f"({among} AND {partition_condition(rest, others)})" if rest else among)
    return alternatives[0] if len(alternatives) == 1 else f"({' OR '.join(alternatives)})"


def value_by_key(values: Mapping[PartitionKey, str]) -> Column:
    """first key -> second key -> ... -> value, as a literal of maps in maps."""
    if () in values:
        return F.lit(values[()])
    behind: dict[str, dict[PartitionKey, str]] = {}
    for key, value in sorted(values.items()):
        behind.setdefault(key[0], {})[key[1:]] = value
    return F.create_map(*[part for first, rest in behind.items() for part in (F.lit(first), value_by_key(rest))])


def literal(value: str) -> str:
    """A string literal of Spark SQL."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
