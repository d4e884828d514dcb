"""What a step is and what it reports: ``run(spark, config, force) -> StepResult`` (architecture, "A step")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class StepResult:
    """What one step did.

    ``rows_read`` = rows that went in; ``rows_written`` + ``rows_quarantined`` account for them where a step maps rows
    to rows. ``versions`` maps each table that was read to its version, ``outputs`` each that was written.
    """

    step: str
    rows_read: int = 0
    rows_written: int = 0
    rows_quarantined: int = 0
    partitions_written: int = 0
    partitions_skipped: int = 0
    notes: tuple[str, ...] = ()
    versions: Mapping[str, int | str] = field(default_factory=dict)
    outputs: Mapping[str, int] = field(default_factory=dict)

    def line(self, seconds: float) -> str:
        """The closing line."""
        if self.partitions_written == 0:
            done = f"nothing to do: {self.partitions_skipped} partitions are up to date"
        else:
            done = (
                f"{self.partitions_written} partitions written, {self.partitions_skipped} up to date; "
                f"{self.rows_read:,} rows in, {self.rows_written:,} out"
            )
            if self.rows_quarantined:
                done += f", {self.rows_quarantined:,} in quarantine"
        return f"{self.step}: {done} ({seconds:.1f} s)"
