"""Encoders of items: what they are fed becomes a vector."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoProcessor
from transformers.utils import logging as transformers_logging

from lis_spark.alignment.inputs import NO_TOKEN
from lis_spark.config.encoder import EncoderConfig

HEAD_FILE, NOTE_FILE = "head.safetensors", "encoder.json"
# Of the language model alone: the vision tower's attention has a q_proj too.
LORA_TARGETS = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj)"


class InternVLEncoder(nn.Module):
    """An InternVL, pooled at the last token, and a linear projection.

    Left padding puts the last token of every item in the last place.
    """

    pixel_mean: Tensor
    pixel_deviation: Tensor

    def __init__(self, folder: str, dimension: int, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        transformers_logging.disable_progress_bar()
        local = Path(folder).is_dir()
        self.backbone: Any = AutoModel.from_pretrained(folder, local_files_only=local, dtype=dtype)
        config = AutoConfig.from_pretrained(folder, local_files_only=local)
        self.pad_token = int(config.text_config.pad_token_id or 0)
        self.projection = nn.Linear(config.text_config.hidden_size, dimension)
        mean, deviation = _pixel_scale(folder, local)
        self.register_buffer("pixel_mean", mean, persistent=False)
        self.register_buffer("pixel_deviation", deviation, persistent=False)

    def pooled(self, tokens: Tensor, pixels: Tensor) -> Tensor:
        """Hidden state of the last token: [items, width of the language model].

        Args:
            tokens: integer [items, length], NO_TOKEN on the left.
            pixels: uint8 [items with an image, 3, side, side], in the order of their items.
        """
        known = tokens != NO_TOKEN
        images: dict[str, Tensor] = {}
        if len(pixels):
            scaled = (pixels.to(self.pixel_mean.dtype) / 255 - self.pixel_mean) / self.pixel_deviation
            images = {"pixel_values": scaled.to(self.backbone.dtype)}
        states = self.backbone(
            input_ids=torch.where(known, tokens, self.pad_token).long(),
            attention_mask=known.long(),
            use_cache=False,
            **images,
        ).last_hidden_state
        return states[:, -1].float()

    def forward(self, tokens: Tensor, pixels: Tensor) -> Tensor:
        """[items, dimension], of any length."""
        return self.projection(self.pooled(tokens, pixels))


class FrozenHead(nn.Module):
    """A small network on features that stay as they are; without a hidden layer it is a projection."""

    def __init__(self, features: int, width: int | None, dimension: int) -> None:
        super().__init__()
        self.hidden = None if width is None else nn.Linear(features, width)
        self.projection = nn.Linear(features if width is None else width, dimension)

    def pooled(self, features: Tensor) -> Tensor:
        """What is projected: [items, width]."""
        return features if self.hidden is None else nn.functional.gelu(self.hidden(features))

    def forward(self, features: Tensor) -> Tensor:
        """[items, dimension] of [items, features], of any length."""
        return self.projection(self.pooled(features))


Encoder = InternVLEncoder | FrozenHead


def _pixel_scale(folder: str, local: bool) -> tuple[Tensor, Tensor]:
    """Mean and deviation of the image processor beside the model, [3, 1, 1] each."""
    processor = AutoImageProcessor.from_pretrained(folder, local_files_only=local)
    scales = [
        torch.tensor(np.asarray(one, np.float32))[:, None, None] for one in (processor.image_mean, processor.image_std)
    ]
    return scales[0], scales[1]


def prepare_for_tuning(encoder: InternVLEncoder, config: EncoderConfig) -> None:
    """Says which parameters learn: all, or adapters of the language model's attention; the projection always."""
    if config.tuning == "lora":
        from peft import LoraConfig, get_peft_model

        lora = LoraConfig(r=config.lora_rank, lora_alpha=2 * config.lora_rank, target_modules=LORA_TARGETS)
        encoder.backbone = get_peft_model(encoder.backbone, lora)
        if not config.freeze_vision:
            for name, parameter in encoder.backbone.named_parameters():
                if "vision_tower" in name or "multi_modal_projector" in name:
                    parameter.requires_grad_(True)
    elif config.freeze_vision:
        for name, parameter in encoder.backbone.named_parameters():
            if "vision_tower" in name:
                parameter.requires_grad_(False)


@dataclass(frozen=True)
class EncoderNote:
    """What a saved encoder needs to know of itself. ``normalised``: its vectors are of length 1."""

    kind: str
    dimension: int
    normalised: bool
    title_tokens: int
    with_images: bool


def save_encoder(encoder: Encoder, note: EncoderNote, start: str | None, folder: Path) -> None:
    """Writes a folder that :func:`load_encoder` reads; adapters become part of the weights they adapt."""
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(encoder, InternVLEncoder):
        assert start is not None
        adapted = hasattr(encoder.backbone, "merge_and_unload")
        (encoder.backbone.merge_and_unload() if adapted else encoder.backbone).save_pretrained(folder)
        AutoProcessor.from_pretrained(start, local_files_only=Path(start).is_dir()).save_pretrained(folder)
        head = encoder.projection.state_dict()
    else:
        head = encoder.state_dict()
    save_file({name: tensor.contiguous() for name, tensor in head.items()}, folder / HEAD_FILE)
    (folder / NOTE_FILE).write_text(json.dumps(asdict(note)), encoding="utf-8")


def read_note(folder: Path) -> EncoderNote:
    """What :func:`save_encoder` wrote of an encoder."""
    return EncoderNote(**json.loads((folder / NOTE_FILE).read_text(encoding="utf-8")))


def load_encoder(folder: Path) -> Encoder:
    """An encoder as it was saved, for inference."""
    note, head = read_note(folder), load_file(folder / HEAD_FILE)
    if note.kind == "internvl":
        model = InternVLEncoder(str(folder), note.dimension)
        model.projection.load_state_dict(head)
        return model.eval()
    width = len(head["hidden.weight"]) if "hidden.weight" in head else None
    features = head["projection.weight" if width is None else "hidden.weight"].shape[1]
    frozen = FrozenHead(features, width, note.dimension)
    frozen.load_state_dict(head)
    return frozen.eval()


def item_bytes(folder: Path) -> int:
    """About the memory of one item: its pixels as bytes and, twice, as numbers; its states in a layer, with what
    attention and the feed-forward part need."""
    note = read_note(folder)
    if note.kind == "frozen":
        return 16 * 2**20  # EfficientNet-Lite0's first layers at 224 pixels
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    vision, text = config.vision_config, config.text_config
    patches = (vision.image_size[0] // vision.patch_size[0]) ** 2 + 1
    length = config.image_seq_length + note.title_tokens + 3
    parts = ((patches, vision), (length, text))
    pixels = 3 * vision.image_size[0] * vision.image_size[1] * (1 + 4 + 4)
    return pixels + max(
        4 * count * (8 * part.hidden_size + 2 * part.intermediate_size + count * part.num_attention_heads)
        for count, part in parts
    )
