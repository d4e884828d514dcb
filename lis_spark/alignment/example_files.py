"""Examples as a training process reads them: arrays on disk, mapped into memory, so that any batch is a gather."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from lis_spark.alignment.plans import ExamplesSpec
from lis_spark.errors import StepFailed
from lis_spark.vectors import unpack

Rows = npt.NDArray[np.int64]
ROWS_AT_ONCE = 256


def write_arrays(spec: ExamplesSpec, folder: Path) -> None:
    """Parquet files to arrays: training items first, then validation items, by id within; one process does it.

    Raises:
        StepFailed: the files hold other rows than the plan says.
    """
    folder.mkdir(parents=True, exist_ok=True)
    place = _places(spec)
    arrays: dict[str, Any] = {}
    first = next(_batches(spec))
    widths = {name: len(first[name][0].as_py()) // 4 for name in ("tokens", "features") if name in first.schema.names}
    for name, width in {**widths, "target": spec.target_width}.items():
        kind = np.int32 if name == "tokens" else np.float32
        arrays[name] = np.lib.format.open_memmap(folder / f"{name}.npy", "w+", kind, (len(place), width))
    numbers = {name: np.empty(len(place), np.int64) for name in ("content_hash", "image_row")}
    numbers["image_row"][:] = -1
    images = 0
    with (folder / "pixels.raw").open("wb") as pixels:
        for batch in _batches(spec):
            rows = place[batch["item_id"].to_pylist()].to_numpy()
            for name, array in arrays.items():
                array[rows] = unpack(batch[name], array.shape[1], array.dtype.str)
            numbers["content_hash"][rows] = batch["content_hash"].to_numpy()
            if "pixels" in batch.schema.names:
                for row, one in zip(rows, batch["pixels"], strict=True):
                    if one.is_valid:
                        numbers["image_row"][row] = images
                        images += 1
                        pixels.write(one.as_buffer())
    for array in arrays.values():
        array.flush()
    for name, values in numbers.items():
        np.save(folder / f"{name}.npy", values)


class Examples:
    """Items by their number: training items from 0 on, validation items after them."""

    def __init__(self, spec: ExamplesSpec, folder: Path) -> None:
        self.train_items, self.validation_items = spec.train_items, spec.validation_items
        arrays = {file.stem: np.load(file, mmap_mode="r") for file in folder.glob("*.npy")}
        self.targets, self.content = np.array(arrays["target"]), arrays["content_hash"]
        self.features, self.tokens = arrays.get("features"), arrays.get("tokens")
        self._image_row = np.array(arrays["image_row"])
        self._pixels: npt.NDArray[np.uint8] | None = None
        shown = int((self._image_row >= 0).sum())
        if shown:
            raw = np.memmap(folder / "pixels.raw", np.uint8, "r")
            side = round((len(raw) // shown // 3) ** 0.5)
            self._pixels = raw.reshape(shown, 3, side, -1)

    @property
    def some_show_no_image(self) -> bool:
        """Whether the model's vision tower may have nothing to do."""
        return self.tokens is not None and bool((self._image_row < 0).any())

    def shuffle_targets(self, seed: int) -> None:
        """Gives every item the target of another of its side: what is learned then is of content alone."""
        random = np.random.default_rng(seed)
        for start, count in ((0, self.train_items), (self.train_items, self.validation_items)):
            # a cycle through a random order: no item keeps its own
            order = random.permutation(count) + start
            self.targets[order] = self.targets[np.roll(order, 1)]

    def inputs(self, rows: Rows) -> tuple[Tensor, ...]:
        """What the encoder is fed of some items: tokens and pixels, or features."""
        if self.features is not None:
            return (torch.from_numpy(self.features[rows]),)
        assert self.tokens is not None
        shown = self._image_row[rows]
        shown = shown[shown >= 0]
        pixels = self._pixels[shown] if self._pixels is not None else np.empty((0, 3, 1, 1), np.uint8)
        return torch.from_numpy(self.tokens[rows]), torch.from_numpy(pixels)


def _places(spec: ExamplesSpec) -> Any:
    """Item id -> its number."""
    import pandas as pd

    narrow = pa.concat_tables([pq.read_table(file, columns=["item_id", "is_validation"]) for file in spec.files])
    ordered = narrow.sort_by([("is_validation", "ascending"), ("item_id", "ascending")])
    found = (ordered.num_rows, int(np.asarray(ordered["is_validation"]).sum()))
    if found != (spec.train_items + spec.validation_items, spec.validation_items):
        raise StepFailed(
            "examples were lost on the way to the training processes",
            found=f"{found[0]:,} rows, {found[1]:,} of validation",
            expected=f"{spec.train_items:,} and {spec.validation_items:,}",
            remedy="work_path must be a folder that every process reads alike",
        )
    return pd.Series(np.arange(ordered.num_rows), index=ordered["item_id"].to_pylist())


def _batches(spec: ExamplesSpec) -> Iterator[pa.RecordBatch]:
    for file in spec.files:
        yield from pq.ParquetFile(file).iter_batches(ROWS_AT_ONCE)
