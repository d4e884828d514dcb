"""What follows from taste and item: the click probability p*, the labels, the time spent, what an advertiser pays."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from lis_spark.config import WorldSource
from lis_spark.keyed_random import normals, salt, uniforms

LABELS = ("click", "read", "engage")
# Of clicks, about a half are read and a tenth of these lead to an engagement, more where the item fits.
_READ, _ENGAGE, _FIT = 0.0, -2.4, 0.6
# Seconds, median: of an item that was clicked, and of one that was passed by.
_DWELL_CLICKED, _DWELL_PASSED, _DWELL_SIGMA = 30.0, 1.5, 0.8
_CALIBRATION_SAMPLE = 200_000
# Beyond it a probability would round to 1, and its logit to infinity.
LARGEST_LOGIT = 30.0


def affinity(taste: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """<taste, factor> / sqrt(dimensions), of variance 1: both [dimensions, n]; summed one by one, not by a product."""
    total = taste[0] * factor[0]
    for place in range(1, len(taste)):
        total = total + taste[place] * factor[place]
    return total / np.sqrt(len(taste))


def click_probability(
    world: WorldSource, intercept: float, fit: np.ndarray, bias: np.ndarray, positions: np.ndarray
) -> np.ndarray:
    """p*: the probability of a click given everything that the world knows.

    Args:
        world: scale, noise, position effect.
        intercept: see :func:`intercept_of`.
        fit: see :func:`affinity`.
        bias: of user and item together, logits.
        positions: 1 is the first place of the request.
    """
    clicks = world.clicks
    logit = intercept + clicks.logit_scale * fit + bias - clicks.position_effect * (positions - 1)
    looked = 1.0 / (1.0 + np.exp(-np.clip(logit, -LARGEST_LOGIT, LARGEST_LOGIT)))
    return (1.0 - clicks.noise) * looked + clicks.noise * clicks.click_rate


@lru_cache(maxsize=8)
def intercept_of(world: WorldSource) -> float:
    """The intercept with which the first places of requests have the configured click rate, by bisection."""
    numbers = np.arange(_CALIBRATION_SAMPLE)
    dimensions = world.clicks.latent_dimensions
    drawn = normals(salt(world.seed, "calibration"), numbers, 2 * dimensions + 2)
    fit = affinity(drawn[:dimensions], drawn[dimensions : 2 * dimensions])
    bias = world.people.bias_sigma * drawn[-2] + world.catalogue.bias_sigma * drawn[-1]
    high = 20.0 * (1.0 + world.clicks.logit_scale)
    low = -high
    for _ in range(60):
        middle = (low + high) / 2
        rate = click_probability(world, middle, fit, bias, np.ones(len(fit))).mean()
        low, high = (middle, high) if rate < world.clicks.click_rate else (low, middle)
    return (low + high) / 2


def labels_of(world: WorldSource, keys: np.ndarray, probability: np.ndarray, fit: np.ndarray) -> np.ndarray:
    """bool [3, n]: click, read, engage; each needs the one before.

    Args:
        world: seed.
        keys: number of each impression.
        probability: p*.
        fit: see :func:`affinity`.
    """
    drawn = uniforms(salt(world.seed, "labels"), keys, 3)
    clicked = drawn[0] < probability
    read = clicked & (drawn[1] < 1.0 / (1.0 + np.exp(-(_READ + _FIT * fit))))
    engaged = read & (drawn[2] < 1.0 / (1.0 + np.exp(-(_ENGAGE + _FIT * fit))))
    return np.stack([clicked, read, engaged])


def seconds_spent(world: WorldSource, keys: np.ndarray, clicked: np.ndarray, fit: np.ndarray) -> np.ndarray:
    """Seconds [n] that the user looked at the item, more where it was clicked and fits."""
    spread = _DWELL_SIGMA * normals(salt(world.seed, "dwell"), keys, 1)[0]
    return np.where(clicked, _DWELL_CLICKED * np.exp(0.3 * fit + spread), _DWELL_PASSED * np.exp(spread))
