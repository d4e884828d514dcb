"""How many rows a write must have: what a step has counted before, and what it says where the table got others."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pyspark.sql import Column
from pyspark.sql import functions as F

from lis_spark.errors import StepFailed
from lis_spark.partitions import PartitionKey


@dataclass(frozen=True)
class ExpectedRows:
    """The count that a write is held to, see :meth:`lis_spark.lake.Lake.write_partitions`.

    Attributes:
        count: what there must be, or the most that there may be.
        unit: what is counted, in the plural, and how the count came about.
        problem: what it means where the counts differ.
        remedy: what to do then.
        counted: an aggregate over the written frame where not rows are counted, but what stands in them.
        at_most: fewer are no fault.
    """

    count: int
    unit: str
    problem: str
    remedy: str
    counted: Column | None = None
    at_most: bool = False

    @property
    def aggregate(self) -> Column:
        """What is observed while the frame is written."""
        return F.count(F.lit(1)) if self.counted is None else F.coalesce(self.counted, F.lit(0))

    def agrees_with(self, found: int) -> bool:
        """Whether a written count is as expected."""
        return found <= self.count if self.at_most else found == self.count

    def failure(self, table: str, keys: Iterable[PartitionKey], found: int, is_taken_back: bool) -> StepFailed:
        """The error of a write that has other rows.

        Args:
            table: its name.
            keys: partitions that were written.
            found: the count.
            is_taken_back: whether the table could be put back; it cannot where somebody else has written since.
        """
        named = ["/".join(key) for key in sorted(keys) if key]
        more = f" and {len(named) - 5} more" if len(named) > 5 else ""
        return StepFailed(
            f"{self.problem}; the table "
            + (
                "is as it was before" if is_taken_back else "could not be put back: another run has written to it since"
            ),
            table=table,
            partition=", ".join(named[:5]) + more,
            found=f"{found:,} {self.unit.split(':')[0]}",
            expected=f"{'at most ' if self.at_most else ''}{self.count:,} {self.unit}",
            remedy=self.remedy if is_taken_back else f"{self.remedy}, with --force",
        )
