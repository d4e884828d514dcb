"""How much of what users like an encoder of titles and images can tell, and how much no alignment is needed for.

A linear probe on f(content), which is all that the true latents say of a factor, bounds what any encoder can reach;
principal components of simple content features say what an unaligned representation of the same width reaches (method
sections 5, 8).
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from lis_spark.config import WorldSource
from lis_spark.world import catalogue, rendering

SAMPLE_ITEMS = 2_000
FOLDS = 5
# Side of the grid of mean colours that stands for an image.
GRID = 8


@dataclass(frozen=True)
class ContentProbe:
    """Shares of the variance of item factors (R^2, cross-validated over items, the mean of the dimensions).

    ``signal``: linear in f(content), what any encoder can reach; ``latents``: linear in the latents themselves;
    ``features``: linear in words and mean colours, with the factors known; ``components``: linear in as many principal
    components of these as a factor has dimensions, found without knowing the factors.
    """

    items: int
    signal: float
    latents: float
    features: float | None
    components: float | None

    def line(self) -> str:
        """For a reader."""
        told = f"what the true latents say is {self.signal:.2f} of the variance of the items' factors"
        if self.features is None or self.components is None:
            return f"content: {told}; nothing is rendered"
        return (
            f"content: {told} (any encoder's bound); linear in the latents themselves {self.latents:.2f}, in words "
            f"and colours {self.features:.2f}, in their first principal components, without alignment, "
            f"{self.components:.2f}"
        )


def probe_content(world: WorldSource) -> ContentProbe:
    """Looks at up to 2,000 items spread over the world."""
    total = catalogue.item_count(world)
    items = np.unique(np.linspace(0, total - 1, min(total, SAMPLE_ITEMS)).astype(np.int64))
    factors = catalogue.factors(world, items)[0].T
    folds = catalogue.content_sources(world, items) % FOLDS  # a copy is predicted from neither itself nor its original
    signal = explained(catalogue.content_signal(world, items)[:-1].T, factors, folds)
    latents = explained(catalogue.content_latents(world, items).T, factors, folds)
    if world.content.rendered == "none":
        return ContentProbe(len(items), signal, latents, None, None)
    features = simple_features(world, items)
    centred = features - features.mean(axis=0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    width = world.clicks.latent_dimensions
    components = (left * values)[:, :width]
    return ContentProbe(
        len(items),
        signal,
        latents,
        explained(features, factors, folds, ridge=0.1),
        explained(components, factors, folds),
    )


def simple_features(world: WorldSource, items: np.ndarray) -> np.ndarray:
    """float64 [items, features], standardised: counts of words, and mean colours on a grid where there are images."""
    words = {word: place for place, word in enumerate(rendering.vocabulary(world.content.vocabulary))}
    counts = np.zeros((len(items), len(words)))
    for row, title in enumerate(rendering.titles(world, items)):
        for word in title.split():
            counts[row, words[word]] += 1
    parts = [counts]
    if world.content.rendered == "titles_and_images":
        small = [
            Image.open(io.BytesIO(data)).resize((GRID, GRID), Image.Resampling.BOX)
            for data in rendering.images(world, items)
        ]
        parts.append(np.stack([np.asarray(image, np.float64).reshape(-1) for image in small]))
    features = np.concatenate(parts, axis=1)
    deviation = features.std(axis=0)
    return (features - features.mean(axis=0)) / np.where(deviation > 0, deviation, 1.0)


def explained(inputs: np.ndarray, targets: np.ndarray, folds: np.ndarray, ridge: float = 0.0) -> float:
    """R^2 of a linear regression on items that it has not seen; the mean over the columns of ``targets``.

    Args:
        inputs: [items, features].
        targets: [items, dimensions].
        folds: [items], 0 .. FOLDS - 1; a fold is predicted from the others.
        ridge: penalty for each item of the training part.
    """
    predicted = np.empty_like(targets)
    for fold in range(FOLDS):
        known, unknown = folds != fold, folds == fold
        centre, level = inputs[known].mean(axis=0), targets[known].mean(axis=0)
        left, values, right = np.linalg.svd(inputs[known] - centre, full_matrices=False)
        kept = values > 1e-9 * values.max()
        shrunk = np.where(kept, values, 0.0) / np.where(kept, values**2 + ridge * known.sum(), 1.0)
        weights = right.T @ (shrunk[:, None] * (left.T @ (targets[known] - level)))
        predicted[unknown] = (inputs[unknown] - centre) @ weights + level
    residual = ((targets - predicted) ** 2).sum(axis=0)
    return float(np.mean(1.0 - residual / ((targets - targets.mean(axis=0)) ** 2).sum(axis=0)))
