"""Items: who is alive on a day, how often each is shown, its factor, its content and its nuisance.

Every item is a function of (seed, its number): nothing is stored to generate impressions, and any day can be made
anywhere. Items are numbered by birth; those of a large world lie on shelves, and a request looks at one shelf, so that
memory depends on a shelf and not on the world.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from lis_spark.config import WorldSource
from lis_spark.errors import ConfigError
from lis_spark.keyed_random import normals, salt, uniforms

ITEMS_A_SHELF = 50_000
# Width of the fixed random net that turns content latents into factors, and its gain before the tanh.
NET_WIDTH, NET_GAIN = 64, 1.5
_NET_SAMPLE = 100_000
# Of the covariance of the net's outputs: beyond it a whitened output is the noise of a few extreme items.
LARGEST_CONDITION = 1e4


def alive_range(world: WorldSource, day: int) -> tuple[int, int]:
    """Numbers of the items that are shown on a day: ``first`` .. ``end - 1``; item 0 was born before day 0.

    Items are born each day from ``life_days - 1`` days before day 0 on, so day 0 is as full as every other.
    """
    new, life = world.catalogue.new_items_a_day, world.catalogue.life_days
    return day * new, (day + life) * new


def birth_days(world: WorldSource, items: np.ndarray) -> np.ndarray:
    """Day on which each item is born, negative before day 0."""
    return items // world.catalogue.new_items_a_day - (world.catalogue.life_days - 1)


def item_count(world: WorldSource) -> int:
    """How many items there are in all days."""
    return alive_range(world, world.days - 1)[1]


def shelves(world: WorldSource) -> int:
    """How many shelves the items of a day lie on."""
    first, end = alive_range(world, 0)
    return max(1, -(-(end - first) // ITEMS_A_SHELF))


def popularity(world: WorldSource, items: np.ndarray) -> np.ndarray:
    """How often an item is shown against others of its age."""
    catalogue = world.catalogue
    stream = salt(world.seed, "popularity")
    if catalogue.popularity == "lognormal":
        return np.exp(catalogue.popularity_sigma * normals(stream, items, 1)[0])
    return uniforms(stream, items, 1)[0] ** (-1.0 / catalogue.popularity_exponent)


def age_weights(world: WorldSource, ages: np.ndarray) -> np.ndarray:
    """How often an item of an age in days is shown against a new one."""
    catalogue = world.catalogue
    if catalogue.age_weight == "hyperbolic":
        return 1.0 / (1.0 + ages / catalogue.age_scale_days)
    if catalogue.age_weight == "exponential":
        return np.exp(-ages / catalogue.age_scale_days)
    return np.ones(len(ages))


def is_ad(world: WorldSource, items: np.ndarray) -> np.ndarray:
    """Whether an item is an advertisement; they are shown in scenario ``ads`` and nothing else is.

    Evenly spread over the numbers of items, so that no day and no shelf runs out of them. Shelves take every k-th item,
    therefore rounds of shelves are counted, not items.
    """
    rounds = items // shelves(world)
    share = world.traffic.ads_share
    return np.floor((rounds + 1) * share) > np.floor(rounds * share)


def bids(world: WorldSource, items: np.ndarray) -> np.ndarray:
    """What an advertiser pays for a click, in currency units; 0 for items that are no advertisements."""
    drawn = np.exp(world.traffic.bid_sigma * normals(salt(world.seed, "bid"), items, 1)[0])
    return np.where(is_ad(world, items), drawn, 0.0)


def duplicate_of(world: WorldSource, items: np.ndarray) -> np.ndarray:
    """For each item the earlier one whose content it copies, -1 for originals; at most a life older, never a copy."""
    share = world.catalogue.near_duplicate_share
    # a candidate that is a copy itself is none: t (1 - t) of the items are copies where t want to be
    wanting = (1.0 - np.sqrt(1.0 - 4.0 * share)) / 2.0
    drawn = uniforms(salt(world.seed, "duplicate"), items, 2)
    back = world.catalogue.new_items_a_day * min(world.catalogue.life_days, 7)
    candidate = items - 1 - (drawn[1] * back).astype(np.int64)
    original = uniforms(salt(world.seed, "duplicate"), np.maximum(candidate, 0), 1)[0] >= wanting
    return np.where((drawn[0] < wanting) & (candidate >= 0) & original, candidate, -1)


def content_sources(world: WorldSource, items: np.ndarray) -> np.ndarray:
    """The item whose content each item has: itself, or the one that it copies."""
    if world.catalogue.near_duplicate_share == 0:
        return items
    copied = duplicate_of(world, items)
    return np.where(copied >= 0, copied, items)


def content_latents(world: WorldSource, items: np.ndarray) -> np.ndarray:
    """float64 [latents, items], standard normal: what the content means."""
    return normals(salt(world.seed, "content"), content_sources(world, items), world.content.latents)


def nuisances(world: WorldSource, items: np.ndarray) -> np.ndarray:
    """float64 [nuisances, items], standard normal: what the content shows and does not mean."""
    return normals(salt(world.seed, "nuisance"), content_sources(world, items), world.content.nuisances)


def factors(world: WorldSource, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(factor [latent_dimensions, items], click bias [items]): sqrt(rho) f(content) + sqrt(1 - rho) of its own."""
    dimensions, rho = world.clicks.latent_dimensions, world.catalogue.content_share
    own = normals(salt(world.seed, "factor"), items, dimensions + 1)
    told = content_signal(world, items)
    mixed = np.sqrt(rho) * told + np.sqrt(1.0 - rho) * own
    return mixed[:-1], world.catalogue.bias_sigma * mixed[-1]


def content_signal(world: WorldSource, items: np.ndarray) -> np.ndarray:
    """f(content) [latent_dimensions + 1, items]: a fixed random tanh net, mean 0, variance 1; the last is bias.

    Its outputs are uncorrelated: content tells as much of each direction of a factor.
    """
    mean, whitening = _net_moments(world)
    centred = _net(world, content_latents(world, items)) - mean[:, None]
    return np.stack([_weighted_sum(row, centred) for row in whitening])


def _net(world: WorldSource, latents: np.ndarray) -> np.ndarray:
    """Sums are written out row by row: a matrix product's last bits depend on the columns beside."""
    inner, outer = _weights(world)
    hidden = [np.tanh(_weighted_sum(row, latents)) for row in inner]
    return np.stack([_weighted_sum(row, hidden) for row in outer])


def _weighted_sum(weights: np.ndarray, columns: np.ndarray | list[np.ndarray]) -> np.ndarray:
    total = weights[0] * columns[0]
    for weight, column in zip(weights[1:], columns[1:], strict=True):
        total = total + weight * column
    return total


def _weights(world: WorldSource) -> tuple[np.ndarray, np.ndarray]:
    latents, outputs = world.content.latents, world.clicks.latent_dimensions + 1
    inner = normals(salt(world.seed, "net", "inner"), np.arange(NET_WIDTH), latents).T * NET_GAIN / np.sqrt(latents)
    outer = normals(salt(world.seed, "net", "outer"), np.arange(outputs), NET_WIDTH).T / np.sqrt(NET_WIDTH)
    return inner, outer


@lru_cache(maxsize=8)
def _net_moments(world: WorldSource) -> tuple[np.ndarray, np.ndarray]:
    sample = normals(salt(world.seed, "net", "sample"), np.arange(_NET_SAMPLE), world.content.latents)
    values = _net(world, sample)
    covariance = np.cov(values)
    if np.linalg.cond(covariance) > LARGEST_CONDITION:
        raise ConfigError(
            "content of so few latents cannot tell so many different dimensions of taste",
            found=f"content.latents: {world.content.latents}, "
            f"clicks.latent_dimensions: {world.clicks.latent_dimensions}",
            expected="outputs of the net that are not multiples of each other",
            remedy="more source.content.latents, or fewer source.clicks.latent_dimensions",
        )
    # the inverse of the Cholesky factor of the covariance: uncorrelated outputs of variance 1
    return values.mean(axis=1), np.linalg.inv(np.linalg.cholesky(covariance))


@dataclass(frozen=True)
class Shelf:
    """The items of one shelf on one day that a scenario shows: numbers, factors, biases, and cumulated weights."""

    items: np.ndarray
    factors: np.ndarray
    biases: np.ndarray
    cumulated: np.ndarray

    def places(self, uniform: np.ndarray) -> np.ndarray:
        """Places of the items that uniform numbers fall on, with odds proportional to weights."""
        found = np.searchsorted(self.cumulated, uniform * self.cumulated[-1], side="right")
        return np.minimum(found, len(self.items) - 1)


@lru_cache(maxsize=4)
def shelf(world: WorldSource, day: int, number: int, ads: bool) -> Shelf:
    """The given shelf; kept for the batches that follow, which are of the same day and shelf."""
    first, end = alive_range(world, day)
    count = shelves(world)
    items = np.arange(first + (number - first) % count, end, count)
    if world.traffic.ads_share:
        items = items[is_ad(world, items) == ads]
    weights = popularity(world, items) * age_weights(world, day - birth_days(world, items))
    cumulated = np.cumsum(weights)
    able = np.count_nonzero(np.diff(cumulated, prepend=0.0) > 0)
    size = world.traffic.impressions_a_request
    if able < 2 * size:
        raise ConfigError(
            "too few items can be shown to fill requests with different ones",
            partition=f"day {day}, shelf {number}, scenario {'ads' if ads else 'feed'}",
            found=f"{able} items that are shown at all, of {len(items)} alive",
            expected=f"at least {2 * size}, twice source.traffic.impressions_a_request",
            remedy="more source.catalogue.new_items_a_day, a larger age_scale_days, or another ads_share",
        )
    vectors, biases = factors(world, items)
    return Shelf(items, vectors, biases, cumulated)
