"""Requests by number -> impressions with their truth, as columns: the same for a request whatever is made beside it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np

from lis_spark.config import WorldSource
from lis_spark.keyed_random import salt, uniforms
from lis_spark.world.calendar import Calendar, sessions_of, times_of
from lis_spark.world.catalogue import Shelf, bids, shelf, shelves
from lis_spark.world.clicks import affinity, click_probability, intercept_of, labels_of, seconds_spent
from lis_spark.world.people import tastes, users_of

# An item that stands twice in a request is drawn again; after so many rounds the request is filled one by one.
ROUNDS = 8
KEYS_A_REQUEST = 64


@dataclass(frozen=True)
class Impressions:
    """Columns of some impressions of one day; arrays of one length, but for ``date``.

    ``labels``: bool [3, n], click, read, engage. ``probability``: p*. ``bids``: of advertisements, else 0.
    """

    date: dt.date
    requests: np.ndarray
    positions: np.ndarray
    time_ms: np.ndarray
    users: np.ndarray
    items: np.ndarray
    ads: np.ndarray
    labels: np.ndarray
    probability: np.ndarray
    seconds: np.ndarray
    bids: np.ndarray

    def __len__(self) -> int:
        return len(self.items)

    @property
    def keys(self) -> np.ndarray:
        """A number of its own for each impression, for keyed random numbers."""
        return impression_keys(self.requests, self.positions)


def impression_keys(requests: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """See :attr:`Impressions.keys`."""
    return requests * KEYS_A_REQUEST + positions


def impressions_of(world: WorldSource, calendar: Calendar, first: int, end: int) -> Iterator[Impressions]:
    """The impressions of requests ``first`` .. ``end - 1``, a piece for each day and shelf, in order."""
    start = first
    while start < end:
        day = int(calendar.day_of(np.array([start]))[0])
        opens, closes = calendar.first_request[day], calendar.first_request[day + 1]
        stretch = -(-(closes - opens) // shelves(world))  # requests that look at one shelf
        number = int((start - opens) // stretch)
        stop = int(min(end, closes, opens + (number + 1) * stretch))
        yield _of_shelf(world, calendar, day, number, np.arange(start, stop))
        start = stop


def _of_shelf(world: WorldSource, calendar: Calendar, day: int, number: int, requests: np.ndarray) -> Impressions:
    size = world.traffic.impressions_a_request
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
            parts.append((chosen, shown, _drawn_places(world, shown, requests[chosen])))
    rows = len(requests) * size
    items, bias, fit = np.empty(rows, np.int64), np.empty(rows), np.empty(rows)
    for chosen, shown, drawn in parts:
        index = (chosen[:, None] * size + np.arange(size)).reshape(-1)
        flat = drawn.reshape(-1)
        items[index] = shown.items[flat]
        bias[index] = shown.biases[flat]
        fit[index] = affinity(np.repeat(taste[:, chosen], size, axis=1), shown.factors[:, flat])
    positions = np.tile(np.arange(1, size + 1), len(requests))
    keys = impression_keys(np.repeat(requests, size), positions)
    bias += np.repeat(user_bias, size)
    probability = click_probability(world, intercept_of(world), fit, bias, positions)
    labels = labels_of(world, keys, probability, fit)
    return Impressions(
        date=world.first_date + dt.timedelta(days=day),
        requests=np.repeat(requests, size),
        positions=positions,
        time_ms=np.repeat(times, size),
        users=np.repeat(users, size),
        items=items,
        ads=np.repeat(ads, size),
        labels=labels,
        probability=probability,
        seconds=seconds_spent(world, keys, labels[0], fit),
        bids=bids(world, items) if world.traffic.ads_share else np.zeros(rows),
    )


def _drawn_places(world: WorldSource, shown: Shelf, requests: np.ndarray) -> np.ndarray:
    """Places on the shelf [requests, size], each request's different from each other."""
    size = world.traffic.impressions_a_request
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


def concatenated(pieces: list[Impressions]) -> Impressions:
    """Pieces of one day as one."""
    first = pieces[0]
    if len(pieces) == 1:
        return first
    columns = {
        field.name: np.concatenate([getattr(piece, field.name) for piece in pieces], axis=-1)
        for field in fields(Impressions)
        if field.name != "date"
    }
    return Impressions(date=first.date, **columns)
