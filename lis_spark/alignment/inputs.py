"""What an InternVL is fed of an item: its tokens and its pixels, of a fixed size, made where Spark runs.

Pixels stay bytes until the model has them: a quarter of what floats would take on the way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from transformers import AutoProcessor
from transformers.utils import logging as transformers_logging

from lis_spark.images import decoded_in_groups

NO_TOKEN = -1


@dataclass(frozen=True)
class Inputs:
    """Of some items: ``tokens`` int32 [items, length], NO_TOKEN on the left of shorter ones; ``pixels`` uint8
    [items with an image, 3, side, side]; ``has_image`` bool [items]."""

    tokens: npt.NDArray[np.int32]
    pixels: npt.NDArray[np.uint8]
    has_image: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ItemProcessor:
    """Titles and images to inputs, by the processor that is saved beside a model.

    ``with_images``: whether any item has one; where none has, texts need no room for it.
    """

    folder: str
    title_tokens: int
    with_images: bool

    @property
    def length(self) -> int:
        """Tokens of an item: image, what stands around it, title, end."""
        around = _processor(self.folder).image_seq_length + 2 if self.with_images else 0
        return around + self.title_tokens + 1

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Of the pixels of an item."""
        size = _processor(self.folder).image_processor.size
        return (3, size["height"], size["width"])

    def inputs(self, titles: Sequence[str | None], images: Sequence[bytes | None]) -> Inputs:
        """Of items that show a title, an image or both.

        Raises:
            UnusableImage: an image cannot be decoded.
        """
        processor = _processor(self.folder)
        tokenizer = processor.tokenizer
        before = processor.start_image_token + processor.image_token * processor.image_seq_length
        image_tokens = tokenizer(before + processor.end_image_token, add_special_tokens=False)["input_ids"]
        texts = tokenizer(
            [title or "" for title in titles],
            add_special_tokens=False,
            truncation=True,
            max_length=self.title_tokens,
            padding=False,
        )["input_ids"]
        tokens = np.full((len(titles), self.length), NO_TOKEN, np.int32)
        for row, (text, image) in enumerate(zip(texts, images, strict=True)):
            own = [*(image_tokens if image is not None else ()), *text, tokenizer.eos_token_id]
            tokens[row, -len(own) :] = own
        has_image = np.array([image is not None for image in images], bool)
        pixels = np.empty((int(has_image.sum()), *self.image_shape), np.uint8)
        done = 0
        for shown in decoded_in_groups(image for image in images if image is not None):
            resized = processor.image_processor(
                [np.array(one) for one in shown],
                do_rescale=False,
                do_normalize=False,
                crop_to_patches=False,
                max_patches=1,
                return_tensors="np",
                input_data_format="channels_last",
            )
            pixels[done : done + len(shown)] = np.clip(np.rint(resized["pixel_values"]), 0, 255)
            done += len(shown)
        return Inputs(tokens, pixels, has_image)


@lru_cache(maxsize=2)
def _processor(folder: str) -> Any:
    """One a process."""
    transformers_logging.disable_progress_bar()
    return AutoProcessor.from_pretrained(folder, local_files_only=Path(folder).is_dir())
