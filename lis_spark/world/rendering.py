"""What an item shows: a direction of meaning and of nuisance for each word of a title and each trait of an image.

Content latents and nuisance factors enter alike, the nuisance with a larger amplitude, so that the largest directions
of variance of words and pixels mean nothing (without it PCA equals an aligned encoder and there is nothing to align:
method section 8).
"""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
from PIL import Image

from lis_spark.config import WorldSource
from lis_spark.keyed_random import normals, salt, uniforms
from lis_spark.world.catalogue import content_latents, content_sources, nuisances

_ONSETS = ("b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z", "br", "st")
_VOWELS = ("a", "e", "i", "o", "u")
# Spread of a word's logit over items, and over words.
_WORD_SPREAD, _WORD_BASE = 1.5, 0.5
_TRAITS = (
    "hue", "shade", "hue_2", "shade_2", "angle", "stripes", "contrast", "shape",
    "shape_hue", "shape_shade", "size", "left", "top", "count",
)  # fmt: skip
_DUPLICATE_JITTER = 0.05
_SHAPES = 4


def loadings(world: WorldSource, stream: str, outputs: int) -> tuple[np.ndarray, np.ndarray]:
    """[outputs, latents] and [outputs, nuisances], scaled so that the latents add variance 1, nuisances amplitude^2."""
    content = world.content
    keys = np.arange(outputs)
    meaning = normals(salt(world.seed, stream, "meaning"), keys, content.latents).T / np.sqrt(content.latents)
    if not content.nuisances:
        return meaning, np.zeros((outputs, 0))
    noise = normals(salt(world.seed, stream, "nuisance"), keys, content.nuisances).T / np.sqrt(content.nuisances)
    return meaning, content.nuisance_amplitude * noise


def shown(world: WorldSource, items: np.ndarray, stream: str, outputs: int) -> np.ndarray:
    """float64 [outputs, items], of variance about 1: what is seen of latents and nuisances together."""
    meaning, noise = loadings(world, stream, outputs)
    total = np.zeros((outputs, len(items)))
    for weights, columns in ((meaning, content_latents(world, items)), (noise, nuisances(world, items))):
        for place in range(weights.shape[1]):  # one by one: a product's last bits depend on the columns beside
            total += weights[:, place : place + 1] * columns[place]
    return total / np.sqrt(1.0 + world.content.nuisance_amplitude**2 * bool(world.content.nuisances))


@lru_cache(maxsize=4)
def vocabulary(size: int) -> tuple[str, ...]:
    """Words of two syllables or more, all different."""
    syllables = [onset + vowel for onset in _ONSETS for vowel in _VOWELS]
    words = []
    for number in range(size):
        word, rest = "", number + len(syllables)
        while rest:
            rest, place = divmod(rest, len(syllables))
            word += syllables[place]
        words.append(word)
    return tuple(words)


def titles(world: WorldSource, items: np.ndarray) -> list[str]:
    """A title for each item: words drawn with odds that follow from what is shown; a copy changes one word."""
    content = world.content
    base = _WORD_BASE * normals(salt(world.seed, "word", "base"), np.arange(content.vocabulary), 1)[0]
    odds = np.exp(base[:, None] + _WORD_SPREAD * shown(world, items, "word", content.vocabulary))
    cumulated = np.cumsum(odds, axis=0)
    sources = content_sources(world, items)
    drawn = uniforms(salt(world.seed, "title"), sources, content.words)
    own = uniforms(salt(world.seed, "title", "own"), items, 2)
    changed = (own[0] * content.words).astype(np.int64)
    drawn = np.where((np.arange(content.words)[:, None] == changed) & (sources != items), own[1], drawn)
    words = vocabulary(content.vocabulary)
    result = []
    for item in range(len(items)):
        places = np.searchsorted(cumulated[:, item], drawn[:, item] * cumulated[-1, item], side="right")
        result.append(" ".join(words[min(place, content.vocabulary - 1)] for place in places))
    return result


def traits(world: WorldSource, items: np.ndarray) -> np.ndarray:
    """float64 [traits, items] in (0, 1): colours, shapes and layout of the images; a copy's are moved a little."""
    values = shown(world, items, "trait", len(_TRAITS))
    moved = content_sources(world, items) != items
    jitter = _DUPLICATE_JITTER * normals(salt(world.seed, "trait", "own"), items, len(_TRAITS))
    return 1.0 / (1.0 + np.exp(-1.7 * (values + np.where(moved, jitter, 0.0))))


def images(world: WorldSource, items: np.ndarray) -> list[bytes]:
    """A PNG for each item: two colours across, stripes, and one to four shapes of one kind."""
    return [_png(_pixels(one, world.content.image_pixels)) for one in traits(world, items).T]


def _pixels(trait: np.ndarray, size: int) -> np.ndarray:
    value = dict(zip(_TRAITS, trait, strict=True))
    grid = (np.arange(size) + 0.5) / size
    x, y = grid[None, :], grid[:, None]
    angle = np.pi * value["angle"]
    across = (np.cos(angle) * (x - 0.5) + np.sin(angle) * (y - 0.5)) + 0.5
    first, second = _colour(value["hue"], value["shade"]), _colour(value["hue_2"], value["shade_2"])
    mix = np.clip(across, 0.0, 1.0)[..., None]
    pixels = first * (1.0 - mix) + second * mix
    stripes = np.sin(2 * np.pi * (1.0 + 7.0 * value["stripes"]) * across)
    pixels = pixels * (1.0 + 0.4 * value["contrast"] * stripes[..., None])
    colour = _colour(value["shape_hue"], value["shape_shade"])
    radius = 0.08 + 0.17 * value["size"]
    kind = int(value["shape"] * _SHAPES)
    for number in range(1 + int(value["count"] * _SHAPES)):
        left = (value["left"] + 0.37 * number) % 1.0
        top = (value["top"] + 0.61 * number) % 1.0
        pixels[_inside(kind, x - left, y - top, radius)] = colour
    return (255.0 * np.clip(pixels, 0.0, 1.0)).astype(np.uint8)


def _inside(kind: int, x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    if kind == 0:
        return x * x + y * y < radius * radius
    if kind == 1:
        return np.maximum(abs(x), abs(y)) < radius
    if kind == 2:
        return abs(x) + abs(y) < radius
    return (y < radius) & (y > 2.0 * abs(x) - radius)


def _colour(hue: float, shade: float) -> np.ndarray:
    """RGB [3] of a hue on the circle and a shade from dark to light."""
    angles = 2.0 * np.pi * (hue + np.arange(3) / 3.0)
    return (0.2 + 0.7 * shade) * (0.6 + 0.4 * np.cos(angles))


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=6)
    return buffer.getvalue()
