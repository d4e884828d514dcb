"""The SparkSession: the caller's own where there is one, else one with Delta and defaults for one machine."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from delta import configure_spark_with_delta_pip
from filelock import FileLock
from pyspark.sql import SparkSession

from lis_spark.ddl import resource_folder

# Each setting with its reason. They hold only for a session that we start on one machine: on a cluster
# `conf/spark-defaults.conf` and the platform decide.
LOCAL_SETTINGS: dict[str, str] = {
    # Delta's log, and nothing else, decides what a table holds.
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    # Delta reads its log with 50 tasks by default: 20 s for 1,000 rows on two cores.
    "spark.databricks.delta.snapshotPartitions": "2",
    # A laptop's data needs no 200 shuffle tasks.
    "spark.sql.shuffle.partitions": "4",
    # A run makes thousands of different stages, and Spark keeps the compiled code of 100: compiling them again and
    # again was a sixth of a small run.
    "spark.sql.codegen.cache.maxEntries": "5000",
    # Times are instants; the configured zone is applied where a day is cut, never by the session.
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    # Our own progress bars speak; Spark's would write over them.
    "spark.ui.showConsoleProgress": "false",
    # The name of a laptop often resolves to an address that is not there.
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.memory": "3g",
    # A batch job waits for no pause: the throughput collector takes a fifth less CPU than G1 on two cores.
    "spark.driver.extraJavaOptions": "-XX:+UseParallelGC",
    # What is kept between two jobs is read once or twice: choosing codes for its columns was a fifth of `measure`.
    "spark.sql.inMemoryColumnarStorage.compressed": "false",
    # A partition's rows are one Arrow exchange: fewer, larger batches.
    "spark.sql.execution.arrow.maxRecordsPerBatch": "100000",
    "spark.sql.sources.parallelPartitionDiscovery.parallelism": "4",
    # Workers are forked with our functions loaded, and do not look through all of it for garbage after each task.
    "spark.python.daemon.module": "lis_spark.python_workers",
}


def get_session(settings: Mapping[str, str] | None = None, app_name: str = "lis_spark") -> SparkSession:
    """The active session, or a new one.

    Under ``spark-submit`` and on Databricks a session or its settings exist already: a set ``spark.master`` is
    respected, and only settings of ours that nobody has given are added.

    Args:
        settings: extra settings of this run (``spark:`` in the configuration).
        app_name: shown in Spark's UI.
    """
    active = SparkSession.getActiveSession()
    if active is not None:
        for key, value in (settings or {}).items():
            active.conf.set(key, value)
        return active
    builder = SparkSession.builder.appName(app_name)
    starts: AbstractContextManager[object] = nullcontext()  # under spark-submit it may wait long for its cluster
    if "SPARK_ENV_LOADED" in os.environ:  # started by spark-submit: jars and master are its business
        needed = ("spark.sql.extensions", "spark.sql.catalog.spark_catalog", "spark.sql.session.timeZone")
        for key in (*needed, "spark.sql.execution.arrow.pyspark.enabled"):
            builder = builder.config(key, LOCAL_SETTINGS[key])
    else:
        # Spark's own default is the first python3 of the PATH, which need not be this environment's.
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        cores = len(os.sched_getaffinity(0))
        builder = builder.master(f"local[{cores}]")
        for key, value in LOCAL_SETTINGS.items():
            builder = builder.config(key, value)
        log = (resource_folder("conf") / "log4j2.properties").as_uri()
        java = LOCAL_SETTINGS["spark.driver.extraJavaOptions"]
        builder = builder.config("spark.driver.extraJavaOptions", f"{java} -Dlog4j2.configurationFile={log}")
        builder = configure_spark_with_delta_pip(builder)
        # One after the other: the first start of all downloads Delta's jars into the folder of Ivy, and others beside
        # it would find half of them and end.
        starts = FileLock(Path(tempfile.gettempdir()) / f"lis_spark-session-{os.getuid()}.lock")
    for key, value in (settings or {}).items():
        builder = builder.config(key, value)
    with starts:
        return builder.getOrCreate()
