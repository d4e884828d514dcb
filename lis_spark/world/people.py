"""Users: who shows up, and what they like on a day."""

from __future__ import annotations

import numpy as np

from lis_spark.config import WorldSource
from lis_spark.keyed_random import normals, salt, uniforms


def users_on(world: WorldSource, day: int) -> int:
    """How many users there are on a day."""
    return world.people.users + day * world.people.new_users_a_day


def users_of(world: WorldSource, day: int, sessions: np.ndarray) -> np.ndarray:
    """The user of each session: the first users are the most active where ``activity_skew`` is above 1."""
    drawn = uniforms(salt(world.seed, "user"), sessions, 1)[0]
    users = users_on(world, day)
    return np.minimum((users * drawn**world.people.activity_skew).astype(np.int64), users - 1)


def tastes(world: WorldSource, users: np.ndarray, day: int) -> tuple[np.ndarray, np.ndarray]:
    """(taste [latent_dimensions, users], click bias [users]) on a day, standard normal whatever the day.

    A taste turns in a plane of its own: two independent vectors, weighted by the cosine and the sine of the angle.
    """
    dimensions = world.clicks.latent_dimensions
    drawn = normals(salt(world.seed, "taste"), users, 2 * dimensions + 1)
    angle = world.people.drift * day
    turned = np.cos(angle) * drawn[:dimensions] + np.sin(angle) * drawn[dimensions:-1]
    return turned, world.people.bias_sigma * drawn[-1]
