"""What is compared with what: the rows that name a control arm and a leaked arm, gathered by ranking."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import types as T

from lis_spark.errors import InputError
from lis_spark.metrics.checks import check_columns, group_name

_ROLES = ("comparison_id", "control_arm", "leaked_arm")


@dataclass(frozen=True)
class ArmPair:
    """One comparison within one ranking: a control arm and its leaked arms, replicates whose mean counts.

    ``cell`` holds the group columns of the ranking other than ``arm``.
    """

    comparison_id: str
    cell: Mapping[str, Any]
    control_arm: str
    leaked_arms: tuple[str, ...]

    @property
    def arms(self) -> tuple[str, ...]:
        """The control, then the replicates."""
        return (self.control_arm, *self.leaked_arms)

    @property
    def name(self) -> str:
        """For messages."""
        arms = f"{self.control_arm} against {', '.join(self.leaked_arms)}"
        return f"comparison {self.comparison_id}: {group_name(self.cell, list(self.cell))}, {arms}"


def gather_pairs(pairs: DataFrame | Sequence[Mapping[str, Any]], influences: DataFrame) -> list[ArmPair]:
    """Gathers the rows of one comparison, one ranking and one control arm, in the order of the rows.

    Several control arms of one ranking are units of their own, whose mean counts: draws of a control.

    Args:
        pairs: comparison_id, control_arm, leaked_arm and the group columns of ``influences`` other than ``arm``; a
            small frame or a list of dicts. Dates may be ISO text.
        influences: gives the columns and their types.

    Raises:
        InputError: there are no pairs, columns are missing or differ between rows, or a leaked arm stands twice beside
            one control or is the control.
    """
    rows = [row.asDict() for row in pairs.collect()] if isinstance(pairs, DataFrame) else [dict(row) for row in pairs]
    if not rows:
        raise InputError("there is nothing to compare", table="pairs", remedy="name a control arm and a leaked arm")
    cell_columns = [name for name in rows[0] if name not in _ROLES]
    check_columns(influences, [*cell_columns, "arm"], "influence")
    gathered: dict[tuple[Any, ...], list[str]] = {}
    for row in rows:
        if set(row) != {*_ROLES, *cell_columns}:
            raise InputError(
                "a pair of arms has other columns than the first",
                table="pairs",
                found=row,
                expected=rows[0],
                remedy="give all pairs the same columns",
            )
        cell = [_typed(row[name], influences.schema[name].dataType) for name in cell_columns]
        control = row["control_arm"]
        leaked = gathered.setdefault((row["comparison_id"], control, *cell), [])
        if row["leaked_arm"] in (control, *leaked):
            raise InputError(
                "a comparison names a leaked arm twice beside one control, or the control itself",
                table="pairs",
                partition=row,
                found=f"control {control}, leaked {row['leaked_arm']}",
                expected=f"a leaked arm that is neither {control} nor among {leaked}",
                remedy="name each pair of arms of a ranking once",
            )
        leaked.append(row["leaked_arm"])
    return [
        ArmPair(key[0], dict(zip(cell_columns, key[2:], strict=True)), key[1], tuple(leaked))
        for key, leaked in gathered.items()
    ]


def _typed(value: Any, data_type: T.DataType) -> Any:
    if isinstance(data_type, T.DateType) and isinstance(value, str):
        return dt.date.fromisoformat(value)
    return value
