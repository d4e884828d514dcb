"""What an encoder is fed, against processor and model of transformers themselves; images that cannot be used."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModel, AutoProcessor

from lis_spark.alignment.embedded_model import save_embedded
from lis_spark.alignment.encoder import InternVLEncoder
from lis_spark.alignment.frozen_features import IMAGE_WIDTH, TEXT_WIDTH, frozen_features
from lis_spark.alignment.inputs import NO_TOKEN, ItemProcessor
from lis_spark.config.encoder import EmbeddedModelConfig
from lis_spark.images import UnusableImage, decoded
from tests.encoder_worlds import SMALL

TITLES = ["bado kemi luso", "a café, très grand", "mono luso bado kemi pira vote zuna bado", "x"]


def picture(seed: int, size: tuple[int, int] = (50, 40)) -> bytes:
    buffer = io.BytesIO()
    values = np.random.default_rng(seed).integers(0, 255, (*size[::-1], 3), dtype=np.uint8)
    Image.fromarray(values).resize(size).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("embedded")
    save_embedded(place, TITLES, EmbeddedModelConfig(**SMALL), 5)
    return place


def test_states_are_those_of_the_stock_processor_and_model(folder: Path) -> None:
    """Items with title and image, one at a time through transformers, all at once through ours."""
    processor, model = AutoProcessor.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    images = [picture(seed) for seed in range(4)]
    ours = ItemProcessor(str(folder), 20, True).inputs(TITLES, images)
    encoder = InternVLEncoder(str(folder), 8).eval()
    with torch.inference_mode():
        found = encoder.pooled(torch.from_numpy(ours.tokens), torch.from_numpy(ours.pixels)).numpy()
        for row, (title, image) in enumerate(zip(TITLES, images, strict=True)):
            text = processor.image_token + title + processor.tokenizer.eos_token
            given = processor(images=[decoded(image)], text=[text], return_tensors="pt", max_patches=1)
            own = ours.tokens[row][ours.tokens[row] != NO_TOKEN]
            assert own.tolist() == given["input_ids"][0].tolist()
            expected = model(**given, use_cache=False).last_hidden_state[0, -1].numpy()
            # bytes of resized images are rounded on the way
            np.testing.assert_allclose(found[row], expected, atol=0.02)
            assert np.corrcoef(found[row], expected)[0, 1] > 0.9999


def test_an_item_may_lack_a_title_or_an_image(folder: Path) -> None:
    """Its state does not depend on what it is in a batch with."""
    titles, images = ["bado kemi", "bado kemi", None, "luso"], [picture(1), None, picture(1), None]
    processor, encoder = ItemProcessor(str(folder), 6, True), InternVLEncoder(str(folder), 8).eval()
    together = processor.inputs(titles, images)
    assert together.has_image.tolist() == [True, False, True, False] and len(together.pixels) == 2
    assert together.tokens.shape == (4, processor.length) and (together.tokens[:, -1] == together.tokens[0, -1]).all()
    with torch.inference_mode():
        states = encoder.pooled(torch.from_numpy(together.tokens), torch.from_numpy(together.pixels))
        for row, (title, image) in enumerate(zip(titles, images, strict=True)):
            alone = processor.inputs([title], [image])
            state = encoder.pooled(torch.from_numpy(alone.tokens), torch.from_numpy(alone.pixels))
            np.testing.assert_allclose(states[row].numpy(), state[0].numpy(), atol=1e-5)
    assert not torch.allclose(states[0], states[1]) and not torch.allclose(states[0], states[2])
    texts = ItemProcessor(str(folder), 6, False)
    assert texts.length == 7, "no room for images that nobody has"
    long = texts.inputs([TITLES[2] * 5], [None])
    assert (long.tokens != NO_TOKEN).all(), "of a longer title the rest is cut off"


def test_the_same_settings_give_the_same_model(folder: Path, tmp_path: Path) -> None:
    state = torch.get_rng_state()
    save_embedded(tmp_path / "again", TITLES, EmbeddedModelConfig(**SMALL), 5)
    assert torch.equal(state, torch.get_rng_state()), "other draws are not moved"
    save_embedded(tmp_path / "other", TITLES, EmbeddedModelConfig(**SMALL), 6)
    files = [(place / "model.safetensors").read_bytes() for place in (folder, tmp_path / "again", tmp_path / "other")]
    assert files[0] == files[1] != files[2]


def test_frozen_features_know_what_words_mean() -> None:
    titles = ["a red sports car", "a crimson automobile", "soup with fish", None, ""]
    found = frozen_features(titles, [picture(1), picture(1), None, picture(2), None])
    assert found.shape == (5, TEXT_WIDTH + IMAGE_WIDTH)
    texts, pictures = found[:, :TEXT_WIDTH], found[:, TEXT_WIDTH:]
    assert texts[0] @ texts[1] > texts[0] @ texts[2] + 0.3
    assert (texts[3:] == 0).all() and (pictures[[2, 4]] == 0).all()
    np.testing.assert_allclose(np.linalg.norm(pictures[[0, 3]], axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(pictures[0], pictures[1], atol=1e-6)


def test_images_that_cannot_be_used_say_why(folder: Path) -> None:
    good = picture(3)
    for image, limit, reason in (
        (good[: len(good) // 2], 10_000, "broken_image"),
        (b"", 10_000, "broken_image"),
        (good, 1_999, "image_too_large"),
    ):
        with pytest.raises(UnusableImage, match=reason):
            decoded(image, limit)
    assert decoded(good, 2_000).size == (50, 40)
    with pytest.raises(UnusableImage, match="broken_image"):
        ItemProcessor(str(folder), 6, True).inputs(["x"], [good[:60]])
