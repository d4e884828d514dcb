"""Rows of whole keys (users, or items) in order of time, in NumPy: neighbours, and labels within windows of time.

A chunk holds whole keys, sorted by (key, time, tie). Times are milliseconds; rows of one key and millisecond have no
order, so neither is the other's neighbour and neither lies in the other's windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Numbers = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
NONE = -1
UNITS = ("request", "day")
# A pause of half an hour ends a session, by the custom of web analytics; of ms.
SESSION_GAP = 30 * 60_000


@dataclass(frozen=True)
class KeyRows:
    """Columns of a chunk, one entry a row.

    ``keys``: dense integers, ascending. ``blocks``: the block that a key belongs to. ``time``: ms. ``day``: days since
    1970, of the configured zone. ``values``: [rows, columns], NaN where there is none; of a column of ids, 1 where it
    names the row's own. ``ids``, ``named``: hashes of the ids, and of what the row shows, for columns of ids; 0 where
    there is none.
    """

    keys: Integers
    blocks: Integers
    time: Integers
    day: Integers
    hour: Integers
    label: Numbers
    values: Numbers
    ids: Integers
    named: Integers
    is_id: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, table: pa.Table, numbers: Sequence[int], ids: Sequence[int], blocks: int) -> KeyRows:
        """From the rows of :func:`lis_spark.audit.joined.key_rows`.

        Args:
            table: whole keys, sorted by key, time_ms and tie.
            numbers: places of the columns of numbers among all audited columns.
            ids: places of the columns of ids.
            blocks: number of blocks of keys.
        """
        table = table.combine_chunks()

        def integers(name: str) -> Integers:
            return table.column(name).to_numpy().astype(np.int64)

        hashed = integers("key_hash")
        keys = np.cumsum(np.r_[False, hashed[1:] != hashed[:-1]])
        rows, width = len(keys), len(numbers) + len(ids)
        values, by_id = np.full((rows, width), np.nan), np.zeros((rows, width), np.int64)
        named, is_id = np.zeros((rows, width), np.int64), np.zeros(width, bool)
        for place in numbers:
            values[:, place] = table.column(f"value_{place}").to_numpy()
        for place in ids:
            is_id[place] = True
            by_id[:, place], named[:, place] = integers(f"id_{place}"), integers(f"named_{place}")
            values[:, place] = np.where(by_id[:, place] == 0, np.nan, by_id[:, place] == named[:, place])
        return cls(
            keys=keys,
            blocks=np.mod(hashed, blocks),
            time=integers("time_ms"),
            day=integers("day"),
            hour=integers("hour"),
            label=table.column("label").to_numpy().astype(np.float64),
            values=values,
            ids=by_id,
            named=named,
            is_id=is_id,
        )

    def __len__(self) -> int:
        return len(self.keys)

    def neighbours(self, unit: str) -> tuple[Integers, Integers]:
        """The last row of the key's request (or day) before, and the first of the one after; -1 where there is none."""
        return self._neighbours[UNITS.index(unit)]

    @cached_property
    def _neighbours(self) -> list[tuple[Integers, Integers]]:
        """By unit: every column asks for them."""
        return [self._found(unit) for unit in UNITS]

    def _found(self, unit: str) -> tuple[Integers, Integers]:
        units = self.time if unit == "request" else self.day
        begins = np.r_[True, (self.keys[1:] != self.keys[:-1]) | (units[1:] != units[:-1])]
        first = np.flatnonzero(begins)
        group = np.cumsum(begins) - 1
        last = np.r_[first[1:] - 1, len(units) - 1]
        of_key = self.keys[first]
        same = np.r_[False, of_key[1:] == of_key[:-1], False]  # group g has a group of its key before it
        before = np.where(same[group], last[np.maximum(group - 1, 0)], NONE)
        after = np.where(same[group + 1], first[np.minimum(group + 1, len(first) - 1)], NONE)
        return before, after

    def moved(self, column: int, unit: str) -> tuple[Numbers, Numbers]:
        """By how much the column has changed since the neighbour before, and will until the one after.

        Of a column of ids: whether the neighbour names what this row shows.
        """
        before, after = self.neighbours(unit)
        if self.is_id[column]:
            names, shown = self.ids[:, column], self.named[:, column]
            return (
                np.where((before != NONE) & (names[before] != 0), names[before] == shown, np.nan),
                np.where((after != NONE) & (names[after] != 0), names[after] == shown, np.nan),
            )
        here = self.values[:, column]
        return (
            np.where(before != NONE, here - here[before], np.nan),
            np.where(after != NONE, here[after] - here, np.nan),
        )

    def after(self, milliseconds: int | None) -> tuple[Integers, Integers]:
        """Rows [low, high) of the key after t, for so long or for the rest of the day."""
        composed, span = self._composed(self.time)
        low = np.searchsorted(composed, self.keys * span + self.time - self.time.min(), "right")
        if milliseconds is None:
            days, _ = self._composed(self.day)
            high = np.searchsorted(days, days, "right")
        else:
            high = np.searchsorted(composed, self.keys * span + self._offset(self.time, milliseconds), "right")
        return low, high

    @cached_property
    def sessions(self) -> tuple[Integers, Integers]:
        """Rows [first, end) of the session of each row: what the key has without a pause longer than SESSION_GAP."""
        begins = np.r_[True, (self.keys[1:] != self.keys[:-1]) | (np.diff(self.time) > SESSION_GAP)]
        first = np.flatnonzero(begins)
        session = np.cumsum(begins) - 1
        return first[session], np.r_[first[1:], len(self)][session]

    def earlier(self, milliseconds: int) -> tuple[Numbers, Numbers]:
        """Labels and rows of the key within [t - milliseconds, t)."""
        composed, span = self._composed(self.time)
        low = np.searchsorted(composed, self.keys * span + self._offset(self.time, -milliseconds), "left")
        high = np.searchsorted(composed, self.keys * span + self.time - self.time.min(), "left")
        return sum_between(self.label, low, high), (high - low).astype(np.float64)

    def today(self) -> tuple[Numbers, Numbers]:
        """Labels and rows of the key earlier on the row's own day."""
        times, span = self._composed(self.time)
        days, _ = self._composed(self.day)
        low = np.searchsorted(days, days, "left")
        high = np.searchsorted(times, self.keys * span + self.time - self.time.min(), "left")
        return sum_between(self.label, low, high), (high - low).astype(np.float64)

    def days_before(self, days: int) -> tuple[Numbers, Numbers]:
        """Labels and rows of the key on so many days before the row's own."""
        composed, span = self._composed(self.day)
        low = np.searchsorted(composed, self.keys * span + self._offset(self.day, -days), "left")
        high = np.searchsorted(composed, self.keys * span + self.day - self.day.min(), "left")
        return sum_between(self.label, low, high), (high - low).astype(np.float64)

    def _composed(self, units: Integers) -> tuple[Integers, int]:
        """Ascending numbers of (key, unit), and how far keys lie apart in them."""
        span = int(units.max() - units.min()) + 2
        return self.keys * span + units - units.min(), span

    @staticmethod
    def _offset(units: Integers, by: int) -> Integers:
        """Moved, and kept within the chunk's range, so that no key reaches into the next."""
        return np.clip(units - units.min() + by, 0, units.max() - units.min())


def sum_between(values: Numbers, low: Integers, high: Integers) -> Numbers:
    """Sums over the rows [low, high); exact where the values are whole numbers."""
    cumulated = np.r_[0.0, np.cumsum(values)]
    return cumulated[high] - cumulated[low]
