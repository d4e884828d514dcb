"""The InternVL that needs no download: stock classes, random weights, a tokenizer of the titles at hand.

It is saved as any InternVL is (``save_pretrained``), so that what reads it does not know the difference.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    GotOcr2ImageProcessor,
    InternVLConfig,
    InternVLModel,
    InternVLProcessor,
    InternVLVideoProcessor,
    InternVLVisionConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
)
from transformers.utils import logging as transformers_logging

from lis_spark.config.encoder import EmbeddedModelConfig

# InternVL's own names of what stands around and for an image in a text.
_SPECIAL = {
    "unk_token": "<unk>",
    "pad_token": "<pad>",
    "bos_token": "<s>",
    "eos_token": "</s>",
}
_EXTRA = {
    "start_image_token": "<img>",
    "end_image_token": "</img>",
    "context_image_token": "<IMG_CONTEXT>",
    "video_token": "<video>",
}
_LONGEST = 4096


def save_embedded(folder: Path, titles: Iterable[str], config: EmbeddedModelConfig, seed: int) -> None:
    """Writes model and processor; the same titles in the same order, settings and seed give the same bytes."""
    tokenizer = _tokenizer(titles, config.vocabulary)
    image_tokens = (config.image_pixels // config.patch_pixels) ** 2 // 4
    processor = InternVLProcessor(
        image_processor=GotOcr2ImageProcessor(
            size={"height": config.image_pixels, "width": config.image_pixels}, crop_to_patches=False, max_patches=1
        ),
        tokenizer=tokenizer,
        video_processor=InternVLVideoProcessor(),
        image_seq_length=image_tokens,
    )
    vision = InternVLVisionConfig(
        hidden_size=config.width,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        intermediate_size=4 * config.width,
        image_size=[config.image_pixels] * 2,
        patch_size=[config.patch_pixels] * 2,
    )
    text = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=config.width,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.heads,
        intermediate_size=4 * config.width,
        max_position_embeddings=_LONGEST + image_tokens,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng(devices=[]):  # nothing else that draws numbers is moved by this
        torch.manual_seed(seed)
        model = InternVLModel(
            InternVLConfig(
                vision_config=vision,
                text_config=text,
                image_token_id=processor.image_token_id,
                image_seq_length=image_tokens,
            )
        )
    folder.mkdir(parents=True, exist_ok=True)
    transformers_logging.disable_progress_bar()
    processor.save_pretrained(folder)
    model.save_pretrained(folder)


def _tokenizer(titles: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE: no title has a letter that it does not know."""
    tokenizer = Tokenizer(models.BPE(unk_token=_SPECIAL["unk_token"]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[*_SPECIAL.values(), *_EXTRA.values()],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(titles, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, padding_side="left", extra_special_tokens=dict(_EXTRA), **_SPECIAL
    )
