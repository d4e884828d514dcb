"""A saved encoder as a Spark worker, or anybody, applies it: titles and images in, vectors out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as nnf

from lis_spark.alignment.encoder import load_encoder, read_note
from lis_spark.alignment.frozen_features import frozen_features
from lis_spark.alignment.inputs import ItemProcessor


class ItemEncoder:
    """Loaded once; on the GPU where there is one."""

    def __init__(self, folder: Path) -> None:
        self.note = read_note(folder)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.encoder = load_encoder(folder).to(self.device)
        self.processor = ItemProcessor(str(folder), self.note.title_tokens, self.note.with_images)

    def encode(self, titles: Sequence[str | None], images: Sequence[bytes | None]) -> npt.NDArray[np.float32]:
        """float32 [items, d], of length 1 where the encoder was aligned by directions.

        Raises:
            UnusableImage: an image cannot be decoded.
        """
        if self.note.kind == "frozen":
            arrays: tuple[np.ndarray, ...] = (frozen_features(titles, images),)
        else:
            made = self.processor.inputs(titles, images)
            arrays = (made.tokens, made.pixels)
        with torch.inference_mode():
            vectors = self.encoder(*(torch.from_numpy(one).to(self.device) for one in arrays)).float()
            if self.note.normalised:
                vectors = nnf.normalize(vectors, dim=1)
        return vectors.cpu().numpy()
