"""Step ``align``: encoders of items are trained on preference items, all of them in one launch (method 5)."""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from lis_spark.alignment.examples import preference_rows, shown_items, write_examples
from lis_spark.alignment.plans import MODEL_FOLDER, AlignPlan, EncoderSpec
from lis_spark.alignment.progress import Progress
from lis_spark.alignment.targets import targets_of, targets_state
from lis_spark.config import EncoderConfig, RunConfig, fingerprint
from lis_spark.errors import ConfigError, InputError
from lis_spark.lake import Lake
from lis_spark.progress import described
from lis_spark.ranker.exchange import launch_plan
from lis_spark.ranker.plans import LaunchSpec
from lis_spark.step import StepResult
from lis_spark.table_files import absolute

STEP_VERSION = 2
NAME = "align"
# What every rank runs.
WORK = "lis_spark.alignment.training:align_rank"
# Titles that the tokenizer of the embedded model is made of.
MOST_TITLES = 50_000
# A representation has fewer than 100 numbers.
WIDEST = 99


def run(spark: SparkSession, config: RunConfig, force: bool = False, *, run_id: str = "") -> StepResult:
    """Trains the encoders whose settings or preference items are new; a training that was cut off goes on.

    Raises:
        ConfigError: no encoder is configured.
        InputError: there are no preference items, or they show nothing.
        StepFailed: a rank failed (its own error is in the message).
    """
    if not config.encoders or config.preference is None:
        raise ConfigError(
            "no encoder is configured",
            expected="preference and encoders: [{name: aligned}] in the configuration",
            remedy="see lis_spark/config/encoder.py for the keys",
        )
    lake = Lake(spark, config, run_id=run_id, step=NAME)
    lake.create("encoders")
    wanted = {one.name: encoder_fingerprint(lake, one) for one in config.encoders}
    stored = lake.fingerprints("encoders")
    stale = [one for one in config.encoders if force or stored.get((one.name,)) != wanted[one.name]]
    if not stale:
        return StepResult(NAME, partitions_skipped=len(wanted), versions=dict(lake.pinned))
    specs = _specs(lake, stale, force)
    plan = AlignPlan(
        launch=LaunchSpec(
            ranks_per_chain=config.launch.processes,
            threads_per_process=config.launch.threads_per_process,
            cache_megabytes=0,
            use_gpu=config.launch.use_gpu,
        ),
        encoders=tuple(specs),
    )
    pieces = sum(one.steps for one in stale if one.objective != "none")
    launch_plan(config, NAME, plan, WORK, f"aligning {', '.join(one.name for one in stale)}", pieces)
    rows, notes = [], []
    for spec in specs:
        found = Progress.result_in(spec.folder)
        rows.append(_row(config, spec, found))
        notes.append(_note(spec, found))
        for name in ("examples", "arrays"):  # the states stay: with more steps it goes on from the last one
            shutil.rmtree(Path(spec.folder) / name, ignore_errors=True)
    kept = [field for field in lake.read("encoders").schema if field.name != "lis_fingerprint"]
    values = [tuple(row[field.name] for field in kept) for row in rows]
    frame = spark.createDataFrame(values, StructType(kept)).coalesce(1)
    lake.write_partitions("encoders", frame, {(one.name,): wanted[one.name] for one in stale})
    read = sum(spec.examples.train_items + spec.examples.validation_items for spec in specs)
    return StepResult(
        NAME,
        rows_read=read,
        rows_written=read,
        partitions_written=len(stale),
        partitions_skipped=len(wanted) - len(stale),
        notes=tuple(notes),
        versions=dict(lake.pinned),
        outputs=dict(lake.written),
    )


def encoder_fingerprint(lake: Lake, encoder: EncoderConfig) -> str:
    """Of what an encoder becomes: its settings, its preference items and what items show.

    Raises:
        InputError: there are no preference items.
    """
    like = next((one for one in lake.config.encoders if one.name == encoder.steps_of), None)
    steps = encoder.steps if like is None else encoder_fingerprint(lake, like)
    return fingerprint(_state_fingerprint(lake, encoder), steps, encoder.patience)


def _state_fingerprint(lake: Lake, encoder: EncoderConfig) -> str:
    """Of a training wherever it ends: more steps go on from the last state."""
    config = lake.config
    assert config.preference is not None
    name = config.preference.name
    items = lake.fingerprints("preference_items").get((name,)) if lake.exists("preference_items") else None
    if items is None:
        raise InputError(
            "there are no preference items",
            table="preference_items",
            partition=name,
            remedy="run lis-spark curate first",
        )
    chosen = encoder.model_dump(mode="json", exclude={"name", "steps", "steps_of", "patience", "keeps"})
    chosen |= {"keeps": "last"} if encoder.keeps == "last" else {}
    launch = (config.launch.processes, config.launch.threads_per_process, config.launch.use_gpu)
    shown, targets = sorted(lake.fingerprints("items").items()), targets_state(lake, encoder)
    # an id stands for what it stands for; what lies in a folder may change
    start = _start_hash(Path(encoder.model)) if encoder.model is not None and Path(encoder.model).is_dir() else None
    return fingerprint(NAME, STEP_VERSION, chosen, start, items, shown, targets, launch)


def _specs(lake: Lake, stale: Sequence[EncoderConfig], force: bool) -> list[EncoderSpec]:
    config = lake.config
    assert config.preference is not None
    with_images = not shown_items(lake).where("image IS NOT NULL").isEmpty()
    specs = []
    for encoder in sorted(stale, key=lambda one: one.steps_of is not None):  # after those that they are as long as
        folder = _folder(config, encoder.name)
        if force and folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        with described(lake.spark, f"{NAME}: items of {encoder.name}"):
            start = _start(lake, encoder, folder)
            name = config.preference.name
            with targets_of(lake, encoder, preference_rows(lake, name)) as targets:
                examples = write_examples(lake, name, targets, encoder, start, with_images, folder / "examples")
        if encoder.objective in ("cosine", "mse") and examples.target_width > WIDEST:
            raise InputError(
                f"encoder {encoder.name} would be too wide for the ranker",
                table="preference_items",
                partition=config.preference.name,
                found=f"targets of {examples.target_width} numbers, which {encoder.objective} takes as they are",
                expected=f"at most {WIDEST}",
                remedy="set objective: contrastive, which maps targets to encoders.dimension",
            )
        specs.append(
            EncoderSpec(
                config=encoder,
                start=start,
                with_images=with_images,
                examples=examples,
                folder=str(folder),
                state_fingerprint=_state_fingerprint(lake, encoder),
                steps_of=None if encoder.steps_of is None else str(_folder(config, encoder.steps_of)),
            )
        )
    return specs


def _folder(config: RunConfig, name: str) -> Path:
    """Where an encoder's states, result and model lie."""
    return Path(absolute(config.lake.work_path)) / "encoders" / name


def _start(lake: Lake, encoder: EncoderConfig, folder: Path) -> str | None:
    """The model that the training starts from; the embedded one is made of the titles at hand."""
    if encoder.kind == "frozen":
        return None
    if encoder.model is not None:
        return encoder.model
    from lis_spark.alignment.embedded_model import save_embedded

    titles = shown_items(lake).where("title IS NOT NULL").select("title", F.xxhash64("item_id").alias("order"))
    chosen = titles.orderBy("order", "title").limit(MOST_TITLES).select("title")
    start = folder / "start"
    save_embedded(start, (row["title"] for row in chosen.toLocalIterator()), encoder.embedded, encoder.seed)
    return str(start)


def _row(config: RunConfig, spec: EncoderSpec, found: Progress) -> Mapping[str, object]:
    assert config.preference is not None
    folder, kept = Path(spec.folder) / MODEL_FOLDER, found.kept
    size = min(spec.config.batch_size, spec.examples.train_items)
    return {
        "path": str(folder),
        "sha256": folder_hash(folder),
        "kind": spec.config.kind,
        "objective": spec.config.objective,
        "targets": spec.config.targets,
        "dimension": json.loads((folder / "encoder.json").read_text(encoding="utf-8"))["dimension"],
        "preference": config.preference.name,
        "train_items": spec.examples.train_items,
        "gallery": kept.gallery,
        "steps": found.step,
        "best_step": kept.step,
        "mean_recall": kept.mean_recall,
        "chance": kept.chance,
        "samples_per_second": size * found.step / found.seconds if found.step else None,
        "curve": json.dumps([asdict(one) for one in found.curve]),
        "created_ts": dt.datetime.now(dt.UTC),
        "name": spec.config.name,
    }


def folder_hash(folder: Path) -> str:
    """SHA-256 of the files of a folder, by name."""
    digest = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        if file.is_file():
            digest.update(file.name.encode())
            with file.open("rb") as content:
                digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()


def _start_hash(folder: Path) -> str:
    """Of weights to start from, read once while sizes and times stay: many encoders ask, and they are gigabytes."""
    states = ((file.name, file.stat()) for file in sorted(folder.iterdir()))
    return _hash_of_state(folder, tuple((name, state.st_size, state.st_mtime_ns) for name, state in states))


@functools.lru_cache(maxsize=100)
def _hash_of_state(folder: Path, state: tuple[tuple[str, int, int], ...]) -> str:
    return folder_hash(folder)


def _note(spec: EncoderSpec, found: Progress) -> str:
    kept, first = found.kept, found.curve[0]
    told = f"{spec.config.name}: mean recall {kept.mean_recall:.3f} among {kept.gallery:,} items"
    told += f" (chance {kept.chance:.3f})"
    if not found.step:
        return f"{told}, not aligned"
    return f"{told} after {kept.step} of {found.step} steps, {first.mean_recall:.3f} before the first"
