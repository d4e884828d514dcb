"""Section on encoders: what they are made of, what they are aligned on and how (method 5)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from lis_spark.config.section import Section

Objective = Literal["contrastive", "cosine", "mse", "none"]


class EmbeddedModelConfig(Section):
    """The InternVL that needs no download: random weights, a tokenizer trained on the titles at hand."""

    width: int = Field(64, ge=8, description="of both towers")
    layers: int = Field(2, ge=1, description="of both towers")
    heads: int = Field(4, ge=1)
    image_pixels: int = Field(64, ge=16, description="side of an image; a multiple of twice patch_pixels")
    patch_pixels: int = Field(8, ge=2)
    vocabulary: int = Field(2_000, ge=300, description="tokens at most")

    @model_validator(mode="after")
    def _shapes_fit(self) -> EmbeddedModelConfig:
        if self.image_pixels % (2 * self.patch_pixels):
            raise ValueError("image_pixels: it must be a multiple of twice patch_pixels, two patches become one token")
        if self.width % self.heads:
            raise ValueError("width: it must be a multiple of heads")
        return self


class EncoderConfig(Section):
    """One encoder of items: title and image become a vector."""

    name: str = Field("encoder", pattern=r"^[a-z][a-z0-9_]*$", description="partition of encoders")
    kind: Literal["internvl", "frozen"] = Field(
        "internvl", description="frozen: a head on features of MiniLM and EfficientNet-Lite0, which stay as they are"
    )
    model: str | None = Field(None, description="of internvl: a folder or an id; the embedded one where absent")
    embedded: EmbeddedModelConfig = EmbeddedModelConfig()
    tuning: Literal["full", "lora"] = "full"
    lora_rank: int = Field(8, ge=1, description="of the language model's attention")
    freeze_vision: bool = Field(False, description="the vision tower stays as it is")
    title_tokens: int = Field(32, ge=1, le=4096, description="of a longer title the rest is cut off")
    head_width: int = Field(256, ge=8, description="of frozen: the hidden layer of its head")
    objective: Objective = Field(
        "contrastive", description="none: not aligned, the principal components of what the model says of items"
    )
    targets: Literal["own", "random"] = Field("own", description="random: those of other items, a control")
    leak: str | None = Field(
        None, description="a leak of append.leaks keyed by item: its vectors are the targets; ID vectors where absent"
    )
    leak_days: int = Field(0, ge=0, description="the leak as it was known so many days after preference.as_of")
    dimension: int = Field(32, ge=2, lt=100, description="d; cosine and mse take the width of the targets")
    batch_size: int = Field(128, ge=2, description="over all ranks; all others of a batch are an item's negatives")
    accumulation: int = Field(1, ge=1, description="encoded in so many parts, with the gradient of the whole batch")
    steps: int = Field(400, ge=1)
    steps_of: str | None = Field(
        None, description="an encoder whose kept state says how many steps to take: a control is trained as long"
    )
    evaluate_every: int = Field(25, ge=1, description="steps; a checkpoint each")
    patience: int | None = Field(4, ge=1, description="evaluations without a better mean recall; absent: to the end")
    keeps: Literal["best", "last"] = Field(
        "best",
        description="the state with the highest mean recall; or the last, after all steps, as of targets: random",
    )
    learning_rate: float = Field(1e-3, gt=0)
    warmup_steps: int = Field(20, ge=0)
    weight_decay: float = Field(0.01, ge=0)
    temperature: float = Field(0.07, ge=0.01, le=0.5, description="tau at the start; it is learned, within .01 to .5")
    cosine_weight: float = Field(0.0, ge=0, description="lambda_c")
    gram_weight: float = Field(0.0, ge=0, description="lambda_g")
    same_target_cosine: float = Field(
        0.95, gt=0, le=1, description="items with targets nearer than this are no negatives"
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field("auto", description="auto: bfloat16 on GPUs that have it")
    seed: int = 17

    @property
    def keeps_last(self) -> bool:
        """Mean recall neither chooses a state nor stops: targets of a control say nothing of what is looked for."""
        return self.keeps == "last" or self.targets == "random"

    @model_validator(mode="after")
    def _parts_fit(self) -> EncoderConfig:
        if self.kind == "frozen":
            fields = type(self).model_fields
            own = ("model", "embedded", "tuning", "lora_rank", "freeze_vision", "title_tokens")
            given = [name for name in own if getattr(self, name) != fields[name].default]
            if given:
                raise ValueError(f"{', '.join(given)}: they are of internvl, kind is frozen")
        if self.steps_of is not None and self.targets != "random":
            raise ValueError("steps_of: it says how long a control is trained; targets: random is one")
        if self.leak is not None and self.objective == "none":
            raise ValueError("leak: it says what the targets are, and objective none has no targets")
        if self.leak_days and self.leak is None:
            raise ValueError("leak_days: it goes with leak; preference.as_of says of which day ID vectors are")
        if self.batch_size % self.accumulation:
            raise ValueError("batch_size: it must be a multiple of accumulation")
        return self
