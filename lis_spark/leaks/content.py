"""Cheap, frozen features of what an item shows, and a regressor from them to vectors (method 1.8).

Words, tags and other tokens, and the mean colours of an image, are projected at random (each token has a Gaussian row
of its own, so there is no vocabulary); the projections stand beside their cosines, which are random Fourier features of
a Gaussian kernel (Rahimi and Recht 2007). Ridge regression on both is a kernel regression that costs one small matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from scipy import linalg, sparse

from lis_spark.config import ContentConfig
from lis_spark.images import decoded
from lis_spark.keyed_random import normals, salt, uniforms
from lis_spark.vectors import pack

# Side of the grid of mean colours that stands for an image.
GRID = 8
# A row of numbers a token that they have: of a whole batch of long titles these were gigabytes.
ITEMS_AT_ONCE = 1_000
# Penalties that the regressor chooses from, for each item of the training part; and how many times as much a cosine
# costs: where vectors are nearly linear in what is shown, cosines as cheap as projections make the map a worse one.
PENALTIES = tuple((penalty, cosines) for penalty in (1e-2, 1e-1, 1.0, 10.0) for cosines in (1.0, 10.0, 1000.0))
_FEATURES = pa.schema([("item_id", pa.string()), ("features", pa.binary())])


def content_features(items: DataFrame, content: ContentConfig) -> DataFrame:
    """item_id, features (float32, packed: projections, then their cosines) of items that show anything.

    Args:
        items: item_id and columns: tokens of text columns are words or comma-separated; numbers are told apart by
            half powers of two; ``image`` is encoded.
        content: which columns, how many projections.
    """
    named = [name for name in items.columns if name not in ("item_id", "image")]
    tokens = F.flatten(F.array(*[_tokens(name) for name in named])) if named else F.array().cast("array<bigint>")
    image = F.col("image") if "image" in items.columns else F.lit(None).cast("binary")
    shown = items.select("item_id", tokens.alias("tokens"), image.alias("image"))
    return shown.where((F.size("tokens") > 0) | F.col("image").isNotNull()).mapInArrow(
        _projected(content.projections), "item_id string, features binary"
    )


def _tokens(name: str) -> Column:
    """Hashes of the tokens of a column; none where it is null."""
    text = F.lower(F.col(name).cast("string"))
    number = text.try_cast("double")
    half_powers = F.floor(2 * F.log2(1 + F.abs(number))).cast("string")
    split = F.when(number.isNotNull(), F.array(half_powers)).otherwise(F.split(text, r"[,\s]+"))
    hashes = F.transform(split, lambda token: F.xxhash64(F.lit(name), token))
    return F.coalesce(hashes, F.array().cast("array<bigint>"))


def _projected(width: int) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def project(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        stream, bias = salt("content token"), salt("content bias")
        pixels = normals(salt("content pixel"), np.arange(3 * GRID * GRID), width).T / np.sqrt(3 * GRID * GRID)
        phases = 2 * np.pi * uniforms(bias, np.arange(width), 1)[0]
        for batch in (whole.slice(first, ITEMS_AT_ONCE) for whole in batches for first in _starts(whole)):
            lengths = pc.list_value_length(batch["tokens"]).to_numpy(zero_copy_only=False)
            hashes, places = np.unique(pc.list_flatten(batch["tokens"]).to_numpy(), return_inverse=True)
            rows = normals(stream, hashes, width).T if len(hashes) else np.zeros((0, width))
            # tokens of common columns say less of an item the more of them it has
            weights = np.repeat(1 / np.sqrt(np.maximum(lengths, 1)), lengths)
            ends = np.concatenate([[0], np.cumsum(lengths)])
            projected = sparse.csr_matrix((weights, places, ends), (batch.num_rows, len(hashes))) @ rows
            for row, image in enumerate(batch["image"]):
                if image.is_valid:
                    projected[row] += colours(image.as_py()) @ pixels
            features = np.concatenate([projected, np.sqrt(2) * np.cos(projected + phases)], axis=1)
            yield pa.RecordBatch.from_arrays([batch["item_id"], pack(features.astype(np.float32))], schema=_FEATURES)

    return project


def _starts(batch: pa.RecordBatch) -> range:
    return range(0, batch.num_rows, ITEMS_AT_ONCE)


def colours(image: bytes) -> np.ndarray:
    """float64 [3 GRID^2]: mean colours on a grid, about -1 to 1."""
    small = decoded(image).resize((GRID, GRID), Image.Resampling.BOX)
    return (np.asarray(small, np.float64).reshape(-1) - 128) / 64


@dataclass(frozen=True)
class Regressor:
    """Linear maps [folds, features + 1, width]; that of fold k has not seen the items of fold k."""

    maps: np.ndarray

    def predict(self, features: np.ndarray, folds: np.ndarray) -> np.ndarray:
        """float32 [items, width]."""
        found = np.empty((len(features), self.maps.shape[2]), np.float32)
        for fold in np.unique(folds):
            own = folds == fold
            found[own] = features[own] @ self.maps[fold, :-1] + self.maps[fold, -1]
        return found

    def standardised(self, features: np.ndarray, folds: np.ndarray) -> Regressor:
        """The same predictions less their mean over some items and divided by their deviation, column by column.

        Ridge draws predictions of what is hard to tell towards their mean; a port would see hardly any difference
        between items, and it normalises each vector by itself.
        """
        known = self.predict(features, folds).astype(np.float64)
        deviation = known.std(axis=0)
        told_apart = deviation > 1e-5 * np.abs(known).max(axis=0, initial=0.0)  # a constant column has rounding alone
        maps = self.maps.astype(np.float64)
        maps[:, -1] -= known.mean(axis=0)
        return Regressor((maps / np.where(told_apart, deviation, 1.0)).astype(np.float32))


def fit(features: np.ndarray, targets: np.ndarray, folds: np.ndarray, count: int) -> Regressor:
    """Ridge regression, cross-fitted over items; the penalties of each fold are the best on the fold after it.

    Args:
        features: [items, 2 p]: projections, then their cosines.
        targets: [items, width].
        folds: [items], 0 .. count - 1.
        count: folds.
    """
    x = np.concatenate([features, np.ones((len(features), 1))], axis=1).astype(np.float64)
    grams = np.stack([x[folds == fold].T @ x[folds == fold] for fold in range(count)])
    crosses = np.stack([x[folds == fold].T @ targets[folds == fold].astype(np.float64) for fold in range(count)])
    sizes = np.bincount(folds, minlength=count)

    def solved(left_out: set[int], penalties: tuple[float, float]) -> np.ndarray:
        used = [fold for fold in range(count) if fold not in left_out]
        ridge = penalties[0] * max(int(sizes[used].sum()), 1) * np.ones(x.shape[1])
        ridge[features.shape[1] // 2 :] *= penalties[1]
        ridge[-1] = 1e-9  # the level is not shrunk
        return linalg.solve(grams[used].sum(0) + np.diag(ridge), crosses[used].sum(0), assume_a="pos")

    maps = []
    for fold in range(count):
        inner = (fold + 1) % count
        seen, wanted = x[folds == inner], targets[folds == inner]
        errors = [((seen @ solved({fold, inner}, penalties) - wanted) ** 2).sum() for penalties in PENALTIES]
        maps.append(solved({fold}, PENALTIES[int(np.argmin(errors))]))
    return Regressor(np.stack(maps).astype(np.float32))
