"""What crosses the border to the training processes of an encoder: plain JSON."""

from __future__ import annotations

from lis_spark.config.encoder import EncoderConfig
from lis_spark.ranker.plans import LaunchSpec, Plain

# In an encoder's folder: how far it has come, and the encoder itself.
RESULT_FILE, MODEL_FOLDER = "result.json", "model"


class ExamplesSpec(Plain):
    """Parquet files of one encoder's training and validation items: see :mod:`lis_spark.alignment.examples`."""

    files: tuple[str, ...]
    train_items: int
    validation_items: int
    target_width: int


class EncoderSpec(Plain):
    """One encoder to train: its settings, where it starts, what it reads, and where it writes.

    ``start`` is a folder with a model and its processor (of internvl), ``with_images`` says whether any item has one;
    ``state_fingerprint`` says which training the states in ``folder`` belong to: another one starts anew. ``steps_of``:
    the folder of the encoder whose kept state says how many steps to take, where that is not ``config.steps``.
    """

    config: EncoderConfig
    start: str | None
    with_images: bool
    examples: ExamplesSpec
    folder: str
    state_fingerprint: str
    steps_of: str | None = None


class AlignPlan(Plain):
    """All encoders of a step, one after the other on all ranks."""

    launch: LaunchSpec
    encoders: tuple[EncoderSpec, ...]
