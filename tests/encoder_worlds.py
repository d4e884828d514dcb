"""Items whose titles and images tell what their targets are, as the files that training processes read."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from safetensors import safe_open

from lis_spark.alignment.embedded_model import save_embedded
from lis_spark.alignment.frozen_features import frozen_features
from lis_spark.alignment.inputs import ItemProcessor
from lis_spark.alignment.plans import AlignPlan, EncoderSpec, ExamplesSpec
from lis_spark.alignment.progress import Progress
from lis_spark.config.encoder import EncoderConfig
from lis_spark.ranker.plans import LaunchSpec
from lis_spark.vectors import pack
from tests.ranker_worlds import run_ranks

LATENTS, TARGET_WIDTH = 4, 6
FEATURES_AT_ONCE = 64
WORDS = [[f"{start}{end}" for end in ("bado", "kemi", "luso", "pira", "vote", "zuna")] for start in "mnrt"]
SMALL = {"width": 32, "heads": 2, "image_pixels": 32, "patch_pixels": 8, "vocabulary": 400}


def shown(latents: np.ndarray) -> tuple[list[str | None], list[bytes | None]]:
    """A word a latent, from low to high; an image of the same two colours. Some have no image, one in ten no title."""
    places = np.clip(np.floor((latents + 2) / 4 * 6), 0, 5).astype(int)
    titles: list[str | None] = [
        " ".join(WORDS[latent][place] for latent, place in enumerate(row)) if number % 10 else None
        for number, row in enumerate(places)
    ]
    images: list[bytes | None] = []
    for number, row in enumerate(latents):
        colours = np.clip(128 + 60 * row, 0, 255).astype(np.uint8)
        pixels = np.zeros((40, 40, 3), np.uint8)
        pixels[:20], pixels[20:] = colours[:3], colours[1:]
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        images.append(buffer.getvalue() if number % 3 or not number % 10 else None)
    return titles, images


def encoder_spec(
    folder: Path,
    train: int = 256,
    validation: int = 100,
    noise: float = 0.1,
    steps_of: Path | None = None,
    **config: Any,
) -> EncoderSpec:
    """An encoder with its files: targets are a linear map of the latents, with noise.

    ``steps_of``: the folder of another one that says how many steps it takes.
    """
    random = np.random.default_rng(7)
    latents = np.clip(random.normal(size=(train + validation, LATENTS)), -1.99, 1.99)
    targets = latents @ random.normal(size=(LATENTS, TARGET_WIDTH)) + noise * random.normal(size=(len(latents), 6))
    titles, images = shown(latents)
    embedded = {"kind": "internvl", "embedded": SMALL, "title_tokens": 12} if config.get("kind") != "frozen" else {}
    encoder = EncoderConfig(**{"dimension": 8, "batch_size": 64, "learning_rate": 2e-3, **embedded, **config})
    folder.mkdir(parents=True, exist_ok=True)
    start = None
    columns: dict[str, pa.Array]
    if encoder.kind == "frozen":
        # all at once would take more memory than everything else here
        parts = [slice(first, first + FEATURES_AT_ONCE) for first in range(0, len(titles), FEATURES_AT_ONCE)]
        columns = {"features": pack(np.concatenate([frozen_features(titles[part], images[part]) for part in parts]))}
    else:
        start = str(folder / "start")
        save_embedded(Path(start), [title for title in titles if title], encoder.embedded, encoder.seed)
        inputs = ItemProcessor(start, encoder.title_tokens, True).inputs(titles, images)
        pixels = iter(inputs.pixels)
        each = [next(pixels).tobytes() if has_image else None for has_image in inputs.has_image]
        columns = {"tokens": pack(inputs.tokens), "pixels": pa.array(each, pa.binary())}
    ids = [f"i{number:04}" for number in range(len(latents))]
    table = pa.table(
        {
            "item_id": ids,
            "is_validation": np.arange(len(latents)) >= train,
            "target": pack(targets.astype(np.float32)),
            "content_hash": np.arange(len(latents)),
            **columns,
        }
    )
    order = random.permutation(len(table))  # files come in any order
    files = []
    for part, rows in enumerate(np.array_split(order, 3)):
        file = folder / f"part-{part}.parquet"
        pq.write_table(table.take(rows), file, row_group_size=50)
        files.append(str(file))
    examples = ExamplesSpec(
        files=tuple(files), train_items=train, validation_items=validation, target_width=TARGET_WIDTH
    )
    return EncoderSpec(
        config=encoder,
        start=start,
        with_images=True,
        examples=examples,
        folder=str(folder / "trained"),
        state_fingerprint=json.dumps(encoder.model_dump(exclude={"steps", "patience"}), sort_keys=True),
        steps_of=None if steps_of is None else str(steps_of / "trained"),
    )


def trained(*specs: EncoderSpec, ranks: int = 1) -> list[Progress]:
    """Trains them in processes of their own, one after the other; returns how far each has come."""
    run_ranks([f"align:{_plan_file(specs, ranks)}"], ranks)
    return [Progress.result_in(spec.folder) for spec in specs]


def killed(spec: EncoderSpec, steps: int) -> tuple[int, Progress]:
    """Kills its training once it has done so many steps; how many it had done then, and its last state on disk."""
    plan = _plan_file([spec], 1)
    reported = plan.with_suffix(".progress-0")

    def done() -> int:
        return len(reported.read_text(encoding="utf-8").splitlines()) if reported.exists() else 0

    run_ranks([f"align:{plan}"], killed_when=lambda: done() >= steps)
    with safe_open(Path(spec.folder) / "last.safetensors", "pt") as stored:
        return done(), Progress.parse(stored.metadata()["progress"])


def _plan_file(specs: Sequence[EncoderSpec], ranks: int) -> Path:
    plan = AlignPlan(
        launch=LaunchSpec(ranks_per_chain=ranks, threads_per_process=1, cache_megabytes=0, use_gpu=False),
        encoders=tuple(specs),
    )
    for spec in specs:
        Path(spec.folder).mkdir(parents=True, exist_ok=True)
    file = Path(specs[0].folder).parent / "plan.json"
    file.write_text(plan.model_dump_json(), encoding="utf-8")
    return file
