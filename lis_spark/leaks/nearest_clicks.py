"""The user's nearest clicks after (or before) each impression, with the exclusions of method 1.4, in NumPy.

Without them the label leaks trivially: a click is its impression's own label, the clicks of one request answer one
page, and an item that is clicked again says what the user thinks of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Exclusions:
    """Which clicks are none of an impression's next clicks; each is there to be left out only by tests."""

    gap_milliseconds: int = 30 * 60 * 1000
    own_click: bool = True
    same_request: bool = True
    same_item: bool = True


@dataclass(frozen=True)
class UserEvents:
    """Impressions sorted by (user, time); ``user`` numbers users from 0, ``time`` in milliseconds, ``day`` in days.

    ``request`` is a 64-bit hash of (user, request); ``item`` the row in the vocabulary.
    """

    user: Ints
    time: Ints
    day: Ints
    request: Ints
    item: Ints
    clicked: npt.NDArray[np.bool_]


def nearest_clicks(
    events: UserEvents, wanted: Ints, count: int, days: int, exclusions: Exclusions, *, after: bool
) -> npt.NDArray[np.int32]:
    """[wanted, count] items of the next clicks of the same user, nearest first, -1 where there are fewer.

    A click counts from ``gap_milliseconds`` on (without a gap: strictly later), on the impression's own day and the
    ``days - 1`` after it. ``after=False`` is the mirror: the previous clicks, ``days - 1`` days back.

    Args:
        events: all events of some users.
        wanted: places of the impressions that are asked about.
        count: k.
        days: n: how many days, the impression's own included, clicks may come from.
        exclusions: which clicks do not count.
        after: the next clicks, or the previous ones.
    """
    clicks = np.flatnonzero(events.clicked)
    result = np.full((len(wanted), count), -1, np.int32)
    if not len(clicks) or not len(wanted):
        return result
    sign = 1 if after else -1
    order = clicks if after else clicks[::-1]
    place, end = _bounds(events, order, wanted, days, exclusions, sign)
    filled = np.zeros(len(wanted), np.int64)
    left = np.flatnonzero(place < end)
    while len(left):
        candidate = order[place[left]]
        own = wanted[left]
        counts = np.ones(len(left), bool)
        if exclusions.own_click:
            counts &= candidate != own
        if exclusions.same_request:
            counts &= events.request[candidate] != events.request[own]
        if exclusions.same_item:
            counts &= events.item[candidate] != events.item[own]
        chosen = left[counts]
        result[chosen, filled[chosen]] = events.item[candidate[counts]]
        filled[chosen] += 1
        place[left] += 1
        left = left[(filled[left] < count) & (place[left] < end[left])]
    return result


def _bounds(
    events: UserEvents, order: Ints, wanted: Ints, days: int, exclusions: Exclusions, sign: int
) -> tuple[Ints, Ints]:
    """For each wanted impression the first place in ``order`` that may count, and the place after the last.

    One search in one sorted array: users apart by more than any time, time turned round where clicks before are asked.
    """
    time = sign * events.time
    low = time.min() - exclusions.gap_milliseconds - 1
    span = time.max() - low + exclusions.gap_milliseconds + 2
    user = events.user if sign > 0 else events.user.max() - events.user
    keys = user * span + (time - low)
    # without a gap: strictly later; a click at the very time of the impression is none after it
    earliest = keys[wanted] + (exclusions.gap_milliseconds if exclusions.own_click else 0)
    side = "left" if exclusions.gap_milliseconds or not exclusions.own_click else "right"
    place = np.searchsorted(keys[order], earliest, side=side)  # type: ignore[call-overload]
    day = sign * events.day
    day_span = day.max() - day.min() + days + 1
    day_keys = user * day_span + (day - day.min())
    end = np.searchsorted(day_keys[order], day_keys[wanted] + days - 1, side="right")
    return place.astype(np.int64), end.astype(np.int64)
