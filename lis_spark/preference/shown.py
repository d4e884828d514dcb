"""What items show: features that clusters are made of, and tokens whose overlap says that two items look the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
from PIL import Image
from pyspark.ml.functions import array_to_vector
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lis_spark.config import ContentConfig
from lis_spark.images import decoded
from lis_spark.leaks.content import content_features
from lis_spark.vectors import unpack

# Letters and digits of every script: \W of Java takes those beyond Latin for gaps.
GAPS = r"[^\p{L}\p{N}]+"
CONTENT = ContentConfig(columns=("title", "image"), projections=64)
# Mean colours of an image on a grid, each told apart in steps of 32 of 255, and once more in steps that are moved by a
# half: a colour that moves a little keeps one of its two tokens at least.
GRID, STEP = 4, 32


def content_points(items: DataFrame) -> DataFrame:
    """item_id, features (a vector of pyspark.ml) of items that show anything.

    Args:
        items: item_id, title, image.
    """
    packed = content_features(items.select("item_id", "title", "image"), CONTENT)
    return packed.mapInArrow(_lists, "item_id string, features array<double>").withColumn(
        "features", array_to_vector(F.col("features"))
    )


def _lists(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    width = 2 * CONTENT.projections
    for batch in batches:
        numbers = unpack(batch["features"], width).astype(np.float64)
        lists = pa.FixedSizeListArray.from_arrays(pa.array(numbers.reshape(-1)), width)
        yield pa.RecordBatch.from_arrays(
            [batch["item_id"], lists.cast(pa.list_(pa.float64()))], ["item_id", "features"]
        )


def looks(items: DataFrame) -> DataFrame:
    """item_id, words (of the title), colours (of the image): sorted, each once; of items that show anything.

    Args:
        items: item_id, title, image.
    """
    words = F.filter(F.split(F.lower(F.coalesce("title", F.lit(""))), GAPS), lambda word: word != "")
    shown = items.select("item_id", F.array_sort(F.array_distinct(words)).alias("words"), "image")
    looked_at = shown.mapInArrow(_coloured, "item_id string, words array<string>, colours array<int>")
    return looked_at.where((F.size("words") > 0) | (F.size("colours") > 0))


def _coloured(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        tokens = [colour_tokens(image.as_py()) if image.is_valid else [] for image in batch["image"]]
        arrays = [batch["item_id"], batch["words"], pa.array(tokens, pa.list_(pa.int32()))]
        yield pa.RecordBatch.from_arrays(arrays, ["item_id", "words", "colours"])


def colour_tokens(image: bytes) -> list[int]:
    """Two tokens for each colour of each place of the grid, sorted; transparent is what lies beneath.

    Numbers: Spark intersects arrays of them much faster than arrays of text.
    """
    small = decoded(image).resize((GRID, GRID), Image.Resampling.BOX)
    values = np.asarray(small, np.int64).reshape(-1)
    steps = np.stack([values // STEP, (values + STEP // 2) // STEP])  # 0 .. 8
    places = np.arange(steps.size).reshape(steps.shape)
    return np.sort((places * 10 + steps).reshape(-1)).tolist()
