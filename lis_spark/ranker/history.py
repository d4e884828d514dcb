"""The last K clicks and last K skips of a user strictly before each impression, as packed item rows (method 1.1).

Runs over Arrow batches of rows that are sorted by (user, time, id): a batch at a time and without a loop over rows, so
that a heavy user costs time in proportion to his rows and no memory beyond one batch and 4 K carried events.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lis_spark.vectors import pack

CLICKS, SKIPS = "history_clicks", "history_skips"
# Rows x K that are worked on at once: 16 MB an array, whatever K is.
CELLS_AT_ONCE = 2_000_000
MICROSECONDS_PER_MILLISECOND = 1_000


@dataclass(frozen=True)
class Events:
    """Impressions in the order (user, time, id); ``user`` numbers runs of one user, the rest are columns."""

    user: np.ndarray
    time: np.ndarray
    day: np.ndarray
    label: np.ndarray
    item_row: np.ndarray

    def __len__(self) -> int:
        return len(self.user)

    def taken(self, places: np.ndarray) -> Events:
        """The events at the given places."""
        return Events(*(values[places] for values in self._columns()))

    def before(self, other: Events) -> Events:
        """These events followed by others."""
        pairs = zip(self._columns(), other._columns(), strict=True)
        return Events(*(np.concatenate(pair) for pair in pairs))

    def _columns(self) -> tuple[np.ndarray, ...]:
        return (self.user, self.time, self.day, self.label, self.item_row)


def last_items(events: Events, clicked: bool, length: int, lookback_days: int) -> np.ndarray:
    """[events, length] int32: item rows of the user's last clicks (or skips) strictly before each event, newest first.

    Events of the same user and time never see each other; of equal times the larger id counts as the newer one.
    Fewer than ``length`` are padded with -1; days are compared as integers.

    Args:
        events: sorted by (user, time, id).
        clicked: last clicks (label 1) or last skips (label 0).
        length: K.
        lookback_days: events from earlier days than this many before the event's own day do not count.
    """
    count = len(events)
    if count == 0:
        return np.empty((0, length), dtype=np.int32)
    places = np.arange(count)
    new_user = np.r_[True, events.user[1:] != events.user[:-1]]
    new_time = new_user | np.r_[True, events.time[1:] != events.time[:-1]]
    of_class = events.label == (1 if clicked else 0)
    earlier = np.r_[0, np.cumsum(of_class)]  # earlier[i]: events of the class among the first i
    first_of_user = np.maximum.accumulate(np.where(new_user, places, 0))
    first_of_time = np.maximum.accumulate(np.where(new_time, places, 0))
    members = np.flatnonzero(of_class)
    rank = earlier[first_of_time][:, None] - 1 - np.arange(length)
    inside = rank >= earlier[first_of_user][:, None]
    if not len(members):
        return np.full((count, length), -1, dtype=np.int32)
    chosen = members[np.where(inside, rank, 0)]
    inside &= events.day[chosen] >= events.day[:, None] - lookback_days
    return np.where(inside, events.item_row[chosen], -1).astype(np.int32)


def carried(events: Events, length: int) -> np.ndarray:
    """Places of the events that rows after the last one can still need: at most 4 K, in order.

    Of each class the last K before the last time, and the last K at that time (which rows at the same time must not
    see, and later ones must).
    """
    if len(events) == 0:
        return np.empty(0, dtype=np.int64)
    same_user = events.user == events.user[-1]
    open_time = same_user & (events.time == events.time[-1])
    kept = [
        np.flatnonzero(part & (events.label == label))[-length:]
        for part in (same_user & ~open_time, open_time)
        for label in (0, 1)
    ]
    return np.sort(np.concatenate(kept))


def with_histories(
    batches: Iterable[pa.RecordBatch], output: Sequence[str], label: str, length: int, lookback_days: int
) -> Iterator[pa.RecordBatch]:
    """Adds the two histories to sorted batches and keeps the rows that are wanted.

    Args:
        batches: columns ``user_id``, ``request_ts``, ``day`` (int32), ``row_item``, ``wanted`` (boolean), the label and
            ``output``, sorted by (user_id, request_ts, impression_id).
        output: columns that go on, before the two histories.
        label: column that tells a click from a skip.
        length: K.
        lookback_days: see :func:`last_items`.
    """
    carry: Events | None = None
    last_user: str | None = None
    for batch in _pieces(batches, max(1, CELLS_AT_ONCE // length)):
        users = batch.column("user_id")
        changes = np.zeros(batch.num_rows, dtype=np.int64)
        changes[1:] = pc.not_equal(users[1:], users[:-1]).to_numpy(zero_copy_only=False)
        # Numbers of users count up from the carried one, which is 0.
        numbers = np.cumsum(changes) + (last_user is not None and users[0].as_py() != last_user)
        events = Events(
            user=numbers,
            # rows of one millisecond are simultaneous
            time=batch.column("request_ts").cast(pa.int64()).to_numpy() // MICROSECONDS_PER_MILLISECOND,
            day=batch.column("day").to_numpy(),
            label=batch.column(label).to_numpy(),
            item_row=batch.column("row_item").to_numpy(),
        )
        before = 0 if carry is None else len(carry)
        known = events if carry is None else carry.before(events)
        wanted = batch.column("wanted")
        if pc.any(wanted).as_py():
            chosen = batch.filter(wanted)
            places = np.flatnonzero(wanted.to_numpy(zero_copy_only=False))
            histories = [
                pack(last_items(known, clicked, length, lookback_days)[before:][places]) for clicked in (True, False)
            ]
            columns = [chosen.column(name) for name in output]
            yield pa.RecordBatch.from_arrays([*columns, *histories], [*output, CLICKS, SKIPS])
        kept = known.taken(carried(known, length))
        carry = Events(np.zeros_like(kept.user), kept.time, kept.day, kept.label, kept.item_row)
        last_user = users[batch.num_rows - 1].as_py()


def _pieces(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for start in range(0, batch.num_rows, rows):
            yield batch.slice(start, rows)
