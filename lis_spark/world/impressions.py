"""Requests by number -> impressions with their truth, as columns: the same for a request whatever is made beside it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np

from lis_spark.config import WorldSource
from lis_spark.world.calendar import Calendar
from lis_spark.world.candidates import Candidates, candidates_of
from lis_spark.world.clicks import click_probability, intercept_of, labels_of, seconds_spent

KEYS_A_REQUEST = 64


@dataclass(frozen=True)
class Impressions:
    """Columns of some impressions of one day; arrays of one length, but for ``date``.

    ``labels``: bool [3, n], click, read, engage. ``probability``: p*. ``bids``: of advertisements, else 0.
    """

    date: dt.date
    requests: np.ndarray
    places: np.ndarray
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
        """A number of its own for each impression, for keyed random numbers: that of the candidate, wherever shown."""
        return impression_keys(self.requests, self.places)


def impression_keys(requests: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """See :attr:`Impressions.keys`."""
    return requests * KEYS_A_REQUEST + positions


def impressions_of(world: WorldSource, calendar: Calendar, first: int, end: int) -> Iterator[Impressions]:
    """The impressions of requests ``first`` .. ``end - 1``, a piece for each day and shelf, in order.

    All candidates are shown, in the order in which they were drawn.
    """
    for made in candidates_of(world, calendar, first, end, world.traffic.impressions_a_request):
        yield shown(world, made, made.places)


def shown(world: WorldSource, made: Candidates, positions: np.ndarray) -> Impressions:
    """What comes of candidates that are shown at some positions.

    Whether somebody clicks is decided by a number of the candidate's own, wherever and by whomever it is shown.
    """
    keys = impression_keys(made.requests, made.places)
    probability = click_probability(world, intercept_of(world), made.fit, made.bias, positions)
    labels = labels_of(world, keys, probability, made.fit)
    return Impressions(
        date=made.date,
        requests=made.requests,
        places=made.places,
        positions=positions,
        time_ms=made.time_ms,
        users=made.users,
        items=made.items,
        ads=made.ads,
        labels=labels,
        probability=probability,
        seconds=seconds_spent(world, keys, labels[0], made.fit),
        bids=made.bids,
    )


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
