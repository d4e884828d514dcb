"""Images of items that cannot be used, found where the items come in: whatever reads them later need not ask."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lis_spark.images import UnusableImage, decoded


def unusable_images(items: DataFrame, largest_pixels: int) -> DataFrame:
    """image_hash, image_reason (``broken_image``, ``image_too_large``) of the images that cannot be used: few rows.

    Every image is decoded once.

    Args:
        items: image, encoded; null where an item has none.
        largest_pixels: an image of more is not decoded.
    """
    shown = items.where("image IS NOT NULL").select(F.xxhash64("image").alias("image_hash"), "image")
    found = shown.mapInArrow(_judged(largest_pixels), "image_hash bigint, image_reason string")
    return found.dropDuplicates(["image_hash"]).localCheckpoint()


def _judged(largest_pixels: int) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def judge(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            hashes, reasons = [], []
            for image_hash, image in zip(batch["image_hash"], batch["image"], strict=True):
                try:
                    decoded(image.as_py(), largest_pixels)
                except UnusableImage as error:
                    hashes.append(image_hash.as_py())
                    reasons.append(str(error))
            columns = [pa.array(hashes, pa.int64()), pa.array(reasons, pa.string())]
            yield pa.RecordBatch.from_arrays(columns, names=["image_hash", "image_reason"])

    return judge
