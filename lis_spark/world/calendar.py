"""When requests come: how many a day, which session each belongs to, at what time.

Requests are counted from 0 over all days, so that any stretch of numbers can be generated anywhere. A session is one,
two or three requests of one user in a row: six requests are three sessions, in an order of their own.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np

from lis_spark.config import WorldSource
from lis_spark.keyed_random import salt, uniforms
from lis_spark.sources.times import start_of_day

BLOCK = 6
# The orders of sessions of 1, 2 and 3 requests within a block: for each request its session and its place in it.
_ORDERS = ((1, 2, 3), (1, 3, 2), (2, 1, 3), (2, 3, 1), (3, 1, 2), (3, 2, 1))
_SESSION = np.array([[number for number, size in enumerate(order) for _ in range(size)] for order in _ORDERS])
_PLACE = np.array([[place for size in order for place in range(size)] for order in _ORDERS])
LONGEST_GAP_SECONDS = 600.0
MILLISECONDS_A_DAY = 86_400_000
EVENING = 20.0 / 24.0


@dataclass(frozen=True)
class Calendar:
    """``first_request[t]``: number of the first request of day t; one more entry than days. ``start_ms``: midnights."""

    first_request: np.ndarray
    start_ms: np.ndarray
    length_ms: np.ndarray

    @classmethod
    def of(cls, world: WorldSource, time_zone: str) -> Calendar:
        """The calendar of a world in the configured time zone, weekly rhythm and nights of changed clocks included."""
        dates = [world.first_date + dt.timedelta(days=day) for day in range(world.days + 1)]
        mean = world.impressions_a_day / world.traffic.impressions_a_request
        weekly = world.traffic.weekly_amplitude
        # the fuller days are Saturday and Sunday
        shape = [1 + weekly * np.cos(2 * np.pi * (date.weekday() - 5.5) / 7) for date in dates[:-1]]
        counts = [max(1, round(mean * factor)) for factor in shape]
        starts = np.array([int(start_of_day(date, time_zone).timestamp() * 1000) for date in dates])
        return cls(np.concatenate([[0], np.cumsum(counts)]), starts[:-1], np.diff(starts))

    @property
    def requests(self) -> int:
        """How many there are in all."""
        return int(self.first_request[-1])

    def day_of(self, requests: np.ndarray) -> np.ndarray:
        """Day number of each request number."""
        return np.searchsorted(self.first_request, requests, side="right") - 1


def sessions_of(world: WorldSource, day: int, first: int, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(key of the session, place of the request in it) of requests of one day; ``first`` is the day's first request."""
    inside = numbers - first
    block, offset = inside // BLOCK, inside % BLOCK
    blocks = first + block * BLOCK
    order = (uniforms(salt(world.seed, "session order"), blocks, 1)[0] * len(_ORDERS)).astype(np.int64)
    return blocks + _SESSION[order, offset], _PLACE[order, offset]


def times_of(world: WorldSource, calendar: Calendar, day: int, sessions: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Milliseconds since the epoch: sessions start by the daily rhythm, later requests follow within minutes."""
    drawn = uniforms(salt(world.seed, "session time"), sessions, 3)
    amplitude = world.traffic.daily_amplitude / (2 * np.pi)
    # the density of the warped time is largest where the sine falls: in the evening
    start = (drawn[0] - amplitude * np.sin(2 * np.pi * (drawn[0] - EVENING))) % 1.0
    longest = calendar.length_ms[day] - 1 - int(2 * LONGEST_GAP_SECONDS * 1000)
    gaps = (20.0 + drawn[1:] * (LONGEST_GAP_SECONDS - 20.0)) * 1000.0
    later = np.where(places > 0, gaps[0], 0.0) + np.where(places > 1, gaps[1], 0.0)
    return calendar.start_ms[day] + (start * longest + later).astype(np.int64)
