"""A worker's memory while it encodes: what a batch was reckoned to need, measured in a process of its own."""

from __future__ import annotations

import io
import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lis_spark.alignment.embedded_model import save_embedded
from lis_spark.alignment.encoder import EncoderNote, InternVLEncoder, item_bytes, save_encoder
from lis_spark.alignment.inference import ItemEncoder
from lis_spark.alignment.represent import MOST_AT_ONCE, SavedEncoder, items_at_once
from lis_spark.config.encoder import EmbeddedModelConfig
from lis_spark.images import PIXELS_AT_ONCE, decoded_in_groups

MEGABYTE = 2**20


def picture(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((height, width, 3), 90, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def saved(folder: Path, image_pixels: int) -> SavedEncoder:
    model = EmbeddedModelConfig(image_pixels=image_pixels, width=64, vocabulary=400)
    save_embedded(folder / "start", ["bado kemi"], model, 5)
    note = EncoderNote("internvl", 8, True, 12, True)
    save_encoder(InternVLEncoder(str(folder / "start"), 8), note, str(folder / "start"), folder / "model")
    return SavedEncoder("one", str(folder / "model"), "", 8)


def growth(path: str, items: int, width: int, height: int) -> int:
    """By how many bytes the largest memory of this process rises with a batch of items with images of this size."""
    encoder = ItemEncoder(Path(path))
    encoder.encode(["bado"], [picture(40, 40)])
    images = [picture(width, height)] * items
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the mark starts from what is held now
    before = memory("VmRSS")
    encoder.encode(["bado"] * items, images)
    return memory("VmHWM") - before


def memory(name: str) -> int:
    """Bytes of this program, held now (VmRSS) or at most (VmHWM); getrusage tells those of who started it, too."""
    (line,) = [one for one in Path("/proc/self/status").read_text(encoding="utf-8").splitlines() if name in one]
    return 1024 * int(line.split()[1])


def measured(path: str, items: int, width: int, height: int) -> int:
    """:func:`growth` in a process of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "OMP_NUM_THREADS", "1")  # as the workers of Spark have it
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            return pool.apply_async(growth, (path, items, width, height)).get(timeout=120)


def test_a_batch_takes_about_the_memory_that_it_was_reckoned_to(tmp_path: Path) -> None:
    for image_pixels in (64, 128):
        encoder = saved(tmp_path / str(image_pixels), image_pixels)
        an_item = item_bytes(Path(encoder.path))
        found = measured(encoder.path, 256, 40, 40)
        # no more, or a worker dies; less where attention does not hold all of its matrix at once, which varies
        assert 0.3 < found / (256 * an_item) < 1.25, (image_pixels, found / MEGABYTE, an_item / MEGABYTE)
        assert items_at_once(encoder, 100) == min(MOST_AT_ONCE, 100 * MEGABYTE // an_item)
        assert items_at_once(encoder, 1_000_000) == MOST_AT_ONCE
    assert items_at_once(encoder, 1) == 1, "an item alone, however large"


def test_photographs_are_not_all_decoded_at_once(tmp_path: Path) -> None:
    """All that is taken is less than twenty of six megapixels would be, and the processor holds copies besides."""
    encoder = saved(tmp_path, 64)
    found = measured(encoder.path, 20, 3000, 2000)
    assert found < 20 * 3 * 3000 * 2000, found / MEGABYTE


def test_images_are_decoded_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = [(10, 4), (5, 5), (30, 2), (20, 20), (3, 3)]
    monkeypatch.setattr("lis_spark.images.PIXELS_AT_ONCE", 100)
    groups = [[one.size for one in group] for group in decoded_in_groups(picture(*size) for size in sizes)]
    assert groups == [[(10, 4), (5, 5)], [(30, 2)], [(20, 20)], [(3, 3)]]
    assert not list(decoded_in_groups([])) and PIXELS_AT_ONCE >= 2**20
