"""Preference items with what they show, made ready in Spark: images are decoded there, not beside the training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lis_spark.alignment.plans import ExamplesSpec
from lis_spark.config.encoder import EncoderConfig
from lis_spark.errors import InputError, StepFailed
from lis_spark.images import UnusableImage
from lis_spark.lake import Lake
from lis_spark.vectors import pack

ROWS_AT_ONCE = 64
ROWS_PER_FILE = 5_000
SPLITS = ("train", "validation")


def shown_items(lake: Lake) -> DataFrame:
    """item_id, title (null where it is empty), image, content_hash of items that show anything."""
    title = F.when(F.trim("title") != "", F.col("title"))
    items = lake.read("items").select("item_id", title.alias("title"), "image")
    return items.where("title IS NOT NULL OR image IS NOT NULL").withColumn(
        "content_hash", F.xxhash64("title", "image")
    )


def preference_rows(lake: Lake, preference: str) -> DataFrame:
    """item_id, is_validation, target, update_count of the preference items of both sides."""
    chosen = lake.read("preference_items").where((F.col("name") == preference) & F.col("split").isin(*SPLITS))
    return chosen.select("item_id", (F.col("split") == SPLITS[1]).alias("is_validation"), "target", "update_count")


def write_examples(
    lake: Lake,
    preference: str,
    targets: DataFrame,
    encoder: EncoderConfig,
    start: str | None,
    with_images: bool,
    folder: Path,
) -> ExamplesSpec:
    """Training and validation items of one encoder as Parquet files: item_id, is_validation, target, content_hash, and
    tokens and pixels, or features.

    Args:
        lake: with what items show.
        preference: name of the preference items, for messages.
        targets: item_id, is_validation, target.
        encoder: whose inputs are made.
        start: folder or id of its model.
        with_images: whether room is made for images.
        folder: of the files.

    Raises:
        InputError: an image cannot be decoded, or no item of a side shows anything.
        StepFailed: other rows were written than were counted.
    """
    joined = targets.join(shown_items(lake), "item_id")
    counted = joined.agg(
        F.count_if(~F.col("is_validation")).alias("train"),
        F.count_if("is_validation").alias("validation"),
        F.min(F.octet_length("target")).alias("narrowest"),
        F.max(F.octet_length("target")).alias("widest"),
    ).first()
    assert counted is not None
    if not counted["train"] or not counted["validation"] or counted["narrowest"] != counted["widest"]:
        raise InputError(
            "an encoder needs items of both sides that show a title or an image, with targets of one width",
            table="preference_items",
            partition=preference,
            found=f"{counted['train']:,} to train on, {counted['validation']:,} to validate, that show anything; "
            f"targets of {counted['narrowest']} to {counted['widest']} bytes",
            expected="some of each",
            remedy="give the source items with title or image, or curate again",
        )
    total = counted["train"] + counted["validation"]
    made, names = made_inputs(encoder, start, with_images)
    kept = ("item_id", "is_validation", "target", "content_hash")
    columns = [f"{name} binary" for name in names]
    schema = ", ".join(["item_id string, is_validation boolean, target binary, content_hash bigint", *columns])
    files = joined.select(*kept, "title", "image").repartition(max(2, -(-total // ROWS_PER_FILE)), "item_id")
    files.mapInArrow(_with(made, kept, names), schema).write.mode("overwrite").parquet(str(folder))
    written = lake.spark.read.parquet(str(folder))
    if written.count() != total:
        raise StepFailed(
            "items were lost or doubled on the way to the encoder",
            table="items",
            found=f"{written.count():,} examples",
            expected=f"{total:,} preference items that show anything",
            remedy="look for doubled item ids in items",
        )
    return ExamplesSpec(
        files=tuple(sorted(str(file) for file in folder.glob("*.parquet"))),
        train_items=counted["train"],
        validation_items=counted["validation"],
        target_width=counted["widest"] // 4,
    )


Batches = Iterable[pa.RecordBatch]
Made = Callable[[list[str | None], list[bytes | None]], list[pa.Array]]


def made_inputs(encoder: EncoderConfig, start: str | None, with_images: bool) -> tuple[Made, list[str]]:
    """What makes the inputs of items in a worker, and the names of the packed columns that it makes."""
    if encoder.kind == "frozen":
        return _features, ["features"]
    assert start is not None

    def tokens_and_pixels(titles: list[str | None], images: list[bytes | None]) -> list[pa.Array]:
        from lis_spark.alignment.inputs import ItemProcessor

        inputs = ItemProcessor(start, encoder.title_tokens, with_images).inputs(titles, images)
        shown = iter(inputs.pixels)
        pixels = [next(shown).tobytes() if has_image else None for has_image in inputs.has_image]
        return [pack(inputs.tokens), pa.array(pixels, pa.binary())]

    return tokens_and_pixels, ["tokens", "pixels"]


def _features(titles: list[str | None], images: list[bytes | None]) -> list[pa.Array]:
    from lis_spark.alignment.frozen_features import frozen_features

    return [pack(frozen_features(titles, images))]


def _with(made: Made, kept: tuple[str, ...], names: list[str]) -> Callable[[Batches], Iterator[pa.RecordBatch]]:
    """Batches with the inputs of their items beside some of their columns."""

    def make(batches: Batches) -> Iterator[pa.RecordBatch]:
        for whole in batches:
            for start in range(0, whole.num_rows, ROWS_AT_ONCE):
                batch = whole.slice(start, ROWS_AT_ONCE)
                try:
                    arrays = made(batch["title"].to_pylist(), batch["image"].to_pylist())
                except UnusableImage as error:
                    raise InputError(
                        "an image cannot be decoded",
                        table="items",
                        partition=_first_unusable(batch),
                        found=str(error),
                        remedy="ingest sets such images aside: ingest the items again, or mend this one",
                    ) from error
                yield pa.RecordBatch.from_arrays([*(batch[name] for name in kept), *arrays], names=[*kept, *names])

    return make


def _first_unusable(batch: pa.RecordBatch) -> str:
    from lis_spark.images import decoded

    for item, image in zip(batch["item_id"].to_pylist(), batch["image"].to_pylist(), strict=True):
        try:
            if image is not None:
                decoded(image)
        except UnusableImage:
            return f"item_id {item}"
    return ""
