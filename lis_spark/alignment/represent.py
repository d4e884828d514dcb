"""Step ``represent``: what each encoder says of every item that shows anything, in Spark (method 5, 6)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pyspark.ml.functions import predict_batch_udf
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StringType

from lis_spark.alignment.examples import shown_items
from lis_spark.alignment.step import folder_hash
from lis_spark.config import RunConfig, fingerprint
from lis_spark.errors import ConfigError, InputError
from lis_spark.expected_rows import ExpectedRows
from lis_spark.lake import Lake
from lis_spark.partitions import PartitionKey
from lis_spark.progress import described
from lis_spark.step import StepResult

STEP_VERSION = 1
NAME = "represent"
ITEMS_PER_FILE = 500_000
TASKS_A_CORE, FEWEST_A_TASK = 4, 64
# Activations of more no longer fit a core's cache: at 1,024 a small InternVL encodes a fifth fewer items a second than
# at 256 (tests/perf/bench_alignment.py). On graphics processors it was not measured.
MOST_AT_ONCE = 256


@dataclass(frozen=True)
class SavedEncoder:
    """A row of the table ``encoders``."""

    name: str
    path: str
    sha256: str
    dimension: int


def run(spark: SparkSession, config: RunConfig, force: bool = False, *, run_id: str = "") -> StepResult:
    """Encodes the items that are new, or show something else, or were encoded by another state of the encoder.

    Raises:
        ConfigError: no encoder is configured.
        InputError: an encoder is not there, or its files are not those that were written.
        StepFailed: items were lost or doubled.
    """
    if not config.encoders:
        raise ConfigError(
            "no encoder is configured",
            expected="encoders: [{name: aligned}] in the configuration",
            remedy="see lis_spark/config/encoder.py for the keys",
        )
    lake = Lake(spark, config, run_id=run_id, step=NAME)
    encoders = [saved_encoder(lake, one.name) for one in config.encoders]
    lake.create("representations")
    items = sorted(lake.fingerprints("items").items())
    wanted = {one.name: fingerprint(NAME, STEP_VERSION, one.sha256, items) for one in encoders}
    stored = lake.fingerprints("representations")
    stale = [one for one in encoders if force or stored.get((one.name,)) != wanted[one.name]]
    shown = shown_items(lake)
    expected = shown.count() if stale else 0
    notes, written = [], 0
    for encoder in stale:
        with described(spark, f"{NAME}: {encoder.name}"):
            kept, new = _kept_and_new(lake, encoder, shown, force)
            new_items = new.count()
            files = max(1, -(-expected // ITEMS_PER_FILE))
            # items may lie in one file, and a task encodes on one core; a worker that goes on keeps its model
            tasks = max(1, min(TASKS_A_CORE * spark.sparkContext.defaultParallelism, -(-new_items // FEWEST_A_TASK)))
            rows = kept.unionByName(encoded(new.repartition(tasks), encoder, config))
            named = rows.withColumn("encoder", F.lit(encoder.name))
            frame = named.repartition(files, "item_id").sortWithinPartitions("item_id")
            items_expected = ExpectedRows(
                count=expected,
                unit="items: those that show a title or an image",
                problem="items were lost or doubled",
                remedy="look for doubled item ids in items",
            )
            keys: dict[PartitionKey, str] = {(encoder.name,): wanted[encoder.name]}
            written += lake.write_partitions("representations", frame, keys, expected=items_expected)
        notes.append(f"{encoder.name}: {new_items:,} items encoded, {expected - new_items:,} as they were")
        if new_items:
            batch = items_at_once(encoder, config.launch.inference_megabytes)
            notes.append(f"  {batch} items at once, beside {_weights(encoder) / 1e6:,.1f} MB of weights in each worker")
    return StepResult(
        NAME,
        rows_read=written,
        rows_written=written,
        partitions_written=len(stale),
        partitions_skipped=len(encoders) - len(stale),
        notes=tuple(notes),
        versions=dict(lake.pinned),
        outputs=dict(lake.written),
    )


def saved_encoder(lake: Lake, name: str) -> SavedEncoder:
    """An encoder by its name.

    Raises:
        InputError: it is not there, or its files are not those that were written.
    """
    row: Row | None = None
    if lake.exists("encoders"):
        row = lake.read("encoders").where(F.col("name") == name).select("path", "sha256", "dimension").first()
    if row is None:
        raise InputError(
            "there is no such encoder",
            table="encoders",
            partition=name,
            remedy="run lis-spark align with this configuration",
        )
    folder = Path(row["path"])
    found = folder_hash(folder) if folder.is_dir() else "no folder"
    if found != row["sha256"]:
        raise InputError(
            "the encoder's files are not those that were written",
            table="encoders",
            partition=name,
            found=f"{found} in {folder}",
            expected=row["sha256"],
            remedy="run lis-spark align --force, or put the files back",
        )
    return SavedEncoder(name, row["path"], row["sha256"], row["dimension"])


def _kept_and_new(lake: Lake, encoder: SavedEncoder, shown: DataFrame, force: bool) -> tuple[DataFrame, DataFrame]:
    """Rows that stand as they are, and the items that have to be encoded."""
    columns = ("item_id", "vector", "content_hash", "encoder_sha256")
    before = lake.read("representations").where(
        (F.col("encoder") == encoder.name) & (F.col("encoder_sha256") == encoder.sha256) & F.lit(not force)
    )
    key = ["item_id", "content_hash"]
    kept = before.select(*columns).join(shown.select(*key), key, "left_semi")
    return kept.select(*columns), shown.join(before.select(*key), key, "left_anti")


def encoded(items: DataFrame, encoder: SavedEncoder, config: RunConfig) -> DataFrame:
    """item_id, vector, content_hash, encoder_sha256; one model a worker, batches that fit its memory."""
    batch = items_at_once(encoder, config.launch.inference_megabytes)
    encode = predict_batch_udf(_encode_function(encoder.path), return_type=StringType(), batch_size=batch)
    vector = F.unhex(encode(F.col("title"), F.col("image")))
    packed = items.select("item_id", vector.alias("vector"), "content_hash")
    return packed.withColumn("encoder_sha256", F.lit(encoder.sha256))


def items_at_once(encoder: SavedEncoder, megabytes: int) -> int:
    """How many items' states fit into so much memory: those of one layer at a time, for nothing goes backward."""
    from lis_spark.alignment.encoder import item_bytes

    return max(1, min(MOST_AT_ONCE, megabytes * 2**20 // item_bytes(Path(encoder.path))))


def _weights(encoder: SavedEncoder) -> int:
    """Bytes of an encoder's weights, as they lie on disk."""
    return sum(file.stat().st_size for file in Path(encoder.path).rglob("*.safetensors"))


def _encode_function(path: str) -> Callable[[], Callable[..., np.ndarray]]:
    """What a worker runs once: it loads the encoder and returns what encodes a batch.

    Vectors are float32, little endian, as hexadecimal text: the library knows no binary values, and arrays of numbers
    would want a second Python worker to pack them.
    """

    def make() -> Callable[..., np.ndarray]:
        from lis_spark.alignment.inference import ItemEncoder

        encoder = ItemEncoder(Path(path))

        def encode(titles: np.ndarray[Any, Any], images: np.ndarray[Any, Any]) -> np.ndarray:
            vectors = encoder.encode(titles.tolist(), images.tolist()).astype("<f4", copy=False)
            return np.array([vector.tobytes().hex() for vector in vectors], dtype=object)

        return encode

    return make
