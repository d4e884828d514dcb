"""Requests by number -> the items that each may show, as columns: the same whatever is made beside it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lis_spark.config import WorldSource
from lis_spark.keyed_random import salt, uniforms
from lis_spark.world.calendar import Calendar, sessions_of, times_of
from lis_spark.world.catalogue import Shelf, bids, shelf, shelves
from lis_spark.world.clicks import affinity
from lis_spark.world.people import tastes, users_of

# An item that stands twice in a request is drawn again; after so many rounds the request is filled one by one.
ROUNDS = 8


@dataclass(frozen=True)
class Candidates:
    """Rows of some requests of one day, each request's together; arrays of one length, but for ``date``.

    ``places``: 1 .. of the request. ``fit``: see :func:`clicks.affinity`. ``bias``: of user and item, logits. ``bids``:
    of advertisements, else 0.
    """

    date: dt.date
    requests: np.ndarray
    places: np.ndarray
    time_ms: np.ndarray
    users: np.ndarray
    items: np.ndarray
    ads: np.ndarray
    fit: np.ndarray
    bias: np.ndarray
    bids: np.ndarray

    def __len__(self) -> int:
        return len(self.items)


def candidates_of(world: WorldSource, calendar: Calendar, first: int, end: int, size: int) -> Iterator[Candidates]:
    """``size`` items for each of requests ``first`` .. ``end - 1``, a piece for each day and shelf, in order."""
    start = first
    while start < end:
        day = int(calendar.day_of(np.array([start]))[0])
        opens, closes = calendar.first_request[day], calendar.first_request[day + 1]
        stretch = -(-(closes - opens) // shelves(world))  # requests that look at one shelf
        number = int((start - opens) // stretch)
        stop = int(min(end, closes, opens + (number + 1) * stretch))
        yield _of_shelf(world, calendar, day, number, np.arange(start, stop), size)
        start = stop


def _of_shelf(
    world: WorldSource, calendar: Calendar, day: int, number: int, requests: np.ndarray, size: int
) -> Candidates:
    sessions, places = sessions_of(world, day, int(calendar.first_request[day]), requests)
    times = times_of(world, calendar, day, sessions, places)
    users = users_of(world, day, sessions)
    ads = uniforms(salt(world.seed, "ad request"), requests, 1)[0] < world.traffic.ads_share
    taste, user_bias = tastes(world, users, day)
    parts = []
    for scenario in (False, True) if world.traffic.ads_share else (False,):
        chosen = np.flatnonzero(ads == scenario)
        if len(chosen):
            shown = shelf(world, day, number, scenario)
            parts.append((chosen, shown, _drawn_places(world, shown, requests[chosen], size)))
    rows = len(requests) * size
    items, bias, fit = np.empty(rows, np.int64), np.empty(rows), np.empty(rows)
    for chosen, shown, drawn in parts:
        index = (chosen[:, None] * size + np.arange(size)).reshape(-1)
        flat = drawn.reshape(-1)
        items[index] = shown.items[flat]
        bias[index] = shown.biases[flat]
        fit[index] = affinity(np.repeat(taste[:, chosen], size, axis=1), shown.factors[:, flat])
    bias += np.repeat(user_bias, size)
    return Candidates(
        date=world.first_date + dt.timedelta(days=day),
        requests=np.repeat(requests, size),
        places=np.tile(np.arange(1, size + 1), len(requests)),
        time_ms=np.repeat(times, size),
        users=np.repeat(users, size),
        items=items,
        ads=np.repeat(ads, size),
        fit=fit,
        bias=bias,
        bids=bids(world, items) if world.traffic.ads_share else np.zeros(rows),
    )


def _drawn_places(world: WorldSource, shown: Shelf, requests: np.ndarray, size: int) -> np.ndarray:
    """Places on the shelf [requests, size], each request's different from each other."""
    stream = salt(world.seed, "shown")
    places = shown.places(uniforms(stream, requests, size).T.copy())
    for again in range(1, ROUNDS + 1):
        doubled = _doubled(places)
        rows = np.flatnonzero(doubled.any(axis=1))
        if not len(rows):
            break
        fresh = shown.places(uniforms(stream, requests[rows], size, first=again * size).T.copy())
        places[rows] = np.where(doubled[rows], fresh, places[rows])
    for row in np.flatnonzero(_doubled(places).any(axis=1)):
        # numbers of their own: those that fell on an item twice are no longer uniform
        fresh = uniforms(stream, requests[row : row + 1], size, first=(ROUNDS + 1) * size)
        places[row] = _without_replacement(shown, places[row], fresh)
    return places


def _doubled(places: np.ndarray) -> np.ndarray:
    """Which places hold an item that stands before them in their request."""
    doubled = np.zeros(places.shape, bool)
    for later in range(1, places.shape[1]):
        doubled[:, later] = (places[:, :later] == places[:, later : later + 1]).any(axis=1)
    return doubled


def _without_replacement(shown: Shelf, places: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Fills doubled places of one request from the weights of the items that it does not show yet."""
    weights = np.diff(shown.cumulated, prepend=0.0)
    filled: list[int] = []
    for place, drawn in zip(places.tolist(), uniform[:, 0], strict=True):
        if place in filled:
            left = weights.copy()
            left[filled] = 0.0
            cumulated = np.cumsum(left)
            place = int(np.searchsorted(cumulated, drawn * cumulated[-1], side="right"))
        filled.append(place)
    return np.array(filled)
