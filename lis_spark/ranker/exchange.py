"""Between the lake and the training processes: plans out, files in (architecture, "Scale").

The processes read Parquet files of one pinned version and write files; tables are written here, by Spark, and their
rows are compared with what the processes say they wrote.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lis_spark.config import RunConfig, TableConfig
from lis_spark.errors import StepFailed
from lis_spark.expected_rows import ExpectedRows
from lis_spark.lake import Lake
from lis_spark.partitions import PartitionKey
from lis_spark.progress import described
from lis_spark.ranker.launch import launch
from lis_spark.ranker.plans import (
    ChainSpec,
    CountSpec,
    FeatureSpec,
    LaunchSpec,
    Plain,
    RankerSpec,
    TableSpec,
    TrainPlan,
    file_url,
    state_folder,
)
from lis_spark.ranker.state_files import read_manifest
from lis_spark.table_files import absolute

ROWS_PER_FILE = 4_000_000
_DAYS_DDL = "path string, sha256 string, trained_rows bigint, mean_loss double, chain string, date date"


def ranker_spec(lake: Lake) -> RankerSpec:
    """The ranker of the configuration, its vocabularies' key hashes written where every rank can read them."""
    config, ranker = lake.config, lake.config.ranker
    folder = Path(absolute(config.lake.work_path)) / "vocabularies"
    folder.mkdir(parents=True, exist_ok=True)
    tables = sorted({feature.table for feature in config.features})
    vocabulary = lake.read("vocabularies").where(F.col("slot").isin(tables))
    # Of the size of the tables that a rank holds, as numbers: 13 bytes a key.
    number = F.array_position(F.array(*[F.lit(table) for table in tables]), F.col("slot")).cast("tinyint")
    collected = vocabulary.select(number.alias("number"), "row", "key_hash").toArrow()
    specs = []
    numbers = collected["number"].to_numpy()
    rows, hashes = collected["row"].to_numpy(), collected["key_hash"].to_numpy()
    for place, table in enumerate(tables, start=1):
        chosen = numbers == place
        ordered = np.empty(int(chosen.sum()), np.int64)
        ordered[rows[chosen]] = hashes[chosen]
        file = folder / f"{table}-{len(ordered)}.npy"
        np.save(file, ordered)
        own = ranker.tables.get(table, TableConfig())
        specs.append(
            TableSpec(
                name=table,
                rows=len(ordered),
                key_hashes=str(file),
                learning_rate=own.learning_rate or ranker.table_learning_rate,
                initial_scale=ranker.initial_scale if own.initial_scale is None else own.initial_scale,
                initial_accumulator=ranker.table_accumulator,
            )
        )
    return RankerSpec(
        features=tuple(
            FeatureSpec(name=feature.name, column=f"row_{feature.name}", table=feature.table)
            for feature in config.features
        ),
        tables=tuple(specs),
        labels=config.labels,
        history_length=config.history.length,
        architecture=ranker.architecture,
        dimension=ranker.dimension,
        cross_layers=ranker.cross_layers,
        hidden=ranker.hidden,
        batch_size=ranker.batch_size,
        steps_a_day=ranker.steps_a_day,
        smallest_batch=ranker.smallest_batch,
        dense_learning_rate=ranker.dense_learning_rate,
        slot=config.evaluation.slot,
        counts=_count_spec(config),
    )


def _count_spec(config: RunConfig) -> CountSpec | None:
    names = tuple(feature.name for feature in config.counted_features)
    return CountSpec(features=names, label=config.label, prior=config.counts.prior) if names else None


def launch_spec(config: RunConfig) -> LaunchSpec:
    """The part of the launch that the ranks must know."""
    launch = config.launch
    return LaunchSpec(
        ranks_per_chain=launch.ranks_per_chain,
        threads_per_process=launch.threads_per_process,
        cache_megabytes=launch.cache_megabytes,
        use_gpu=launch.use_gpu,
        arm_megabytes=launch.arm_megabytes,
    )


def import_days(
    lake: Lake, plan: TrainPlan, chains: Mapping[str, ChainSpec], done: Sequence[tuple[str, dt.date]]
) -> int:
    """Writes the snapshots of finished chain days into ``embedding_snapshots`` and ``model_snapshots``.

    The model snapshots come last: a chain day counts as done when it stands there.

    Returns:
        Training rows of these days, as the ranks counted them.

    Raises:
        StepFailed: the table holds other rows than the ranks wrote.
    """
    spark, slot = lake.spark, plan.ranker.slot
    manifests, files, written = {}, [], 0
    for chain, date in done:
        folder = state_folder(plan.work_folder, chain, date)
        manifest = read_manifest(folder)
        if manifest is None or manifest["fingerprint"] != chains[chain].fingerprints[date]:
            raise StepFailed(
                "a chain day was not trained",
                table="model_snapshots",
                partition={"chain": chain, "date": date.isoformat()},
                remedy="run the step again: it goes on from the last finished day",
            )
        manifests[chain, date] = manifest
        files += [file_url(file) for file in sorted(folder.glob("snapshot-*.parquet"))]
        written += int(manifest["snapshot_rows"])  # type: ignore[call-overload]
    fingerprints: dict[PartitionKey, str] = {
        (chain, date.isoformat()): chains[chain].fingerprints[date] for chain, date in done
    }
    with described(spark, f"embedding snapshots of {len(done)} chain days"):
        # a file a chain, or a file a chain day where a chain's rows are too many for one
        clusters = ["chain"] if written <= ROWS_PER_FILE * len(chains) else ["chain", "snapshot_date"]
        rows = _snapshot_rows(lake, slot, files, manifests).repartition(*clusters)
        frame = rows.sortWithinPartitions("chain", "snapshot_date", "row")
        expected = ExpectedRows(
            count=written,
            unit="rows: as the ranks wrote them",
            problem="snapshot rows were lost or doubled on the way into the table",
            remedy="a row without a key in `vocabularies`? run vocabulary again",
        )
        keys = {(slot, *key): value for key, value in fingerprints.items()}
        lake.write_partitions("embedding_snapshots", frame, keys, expected=expected)
    listed = [
        (
            str(state_folder(plan.work_folder, chain, date)),
            ",".join(entry["sha256"] for entry in manifest["files"]),  # type: ignore[attr-defined]
            manifest["trained_rows"],
            manifest["mean_loss"],
            chain,
            date,
        )
        for (chain, date), manifest in manifests.items()
    ]
    states = spark.createDataFrame(listed, _DAYS_DDL).coalesce(1)
    lake.write_partitions("model_snapshots", states, fingerprints)
    return sum(int(manifest["trained_rows"]) for manifest in manifests.values())  # type: ignore[call-overload]


def _snapshot_rows(
    lake: Lake, slot: str, files: Sequence[str], manifests: Mapping[tuple[str, dt.date], Mapping[str, object]]
) -> DataFrame:
    spark = lake.spark
    parts = F.split(F.col("_metadata.file_path"), "/")
    rows = spark.read.parquet(*files).select(
        "*", F.element_at(parts, -3).alias("chain"), F.element_at(parts, -2).cast("date").alias("snapshot_date")
    )
    full = [(chain, date) for (chain, date), manifest in manifests.items() if manifest["is_full"]]
    bases = spark.createDataFrame(full, "chain string, snapshot_date date").withColumn("is_base", F.lit(True))
    keys = lake.read("vocabularies").where(F.col("slot") == slot).select(F.col("key").alias("item_id"), "row")
    return (
        rows.join(F.broadcast(bases), ["chain", "snapshot_date"], "left")
        .join(keys, "row")
        .select(
            "item_id",
            "row",
            "vector",
            "update_count",
            "touch_count",
            "last_update_date",
            F.coalesce("is_base", F.lit(False)).alias("is_base"),
            F.lit(slot).alias("slot"),
            "chain",
            "snapshot_date",
        )
    )


def launch_plan(config: RunConfig, name: str, plan: Plain, work: str, title: str, pieces: int) -> None:
    """Writes a plan where every rank can read it and runs ``work`` on it; see :func:`launch.launch`."""
    folder = Path(absolute(config.lake.work_path)) / "plans"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}-{uuid.uuid4().hex[:12]}.json"  # two runs at a time need not share it
    file.write_text(plan.model_dump_json(), encoding="utf-8")
    launch(
        work,
        file,
        processes=config.launch.processes,
        local_mode=config.launch.local_mode,
        use_gpu=config.launch.use_gpu,
        title=title,
        pieces=pieces,
    )
