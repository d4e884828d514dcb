"""The configured source, whichever kind it is; a table of the future is no source."""

from __future__ import annotations

from collections.abc import Mapping

from pyspark.sql import SparkSession

from lis_spark.config import KuaiRandSource, MovieTweetingsSource, RunConfig, WorldSource
from lis_spark.errors import ConfigError
from lis_spark.sources import kuairand, movietweetings, table
from lis_spark.sources.source import SourceData
from lis_spark.table_files import refuse_leaked_columns


def read_source(spark: SparkSession, config: RunConfig, versions: Mapping[str, int] | None = None) -> SourceData:
    """Reads the configured source; see the ``read`` of each kind.

    Args:
        spark: session.
        config: which source.
        versions: Delta table -> version to read, the newest of a table that is not there.

    Raises:
        ConfigError: it is a simulated world.
        LisError: a table of it carries information from after its impressions.
    """
    if isinstance(config.source, WorldSource):
        raise ConfigError("a simulated world is not ingested", remedy="run lis-spark simulate, or lis-spark run")
    if isinstance(config.source, KuaiRandSource):
        source = kuairand.read(spark, config)
    elif isinstance(config.source, MovieTweetingsSource):
        source = movietweetings.read(spark, config)
    else:
        source = table.read(spark, config, versions or {})
    for frame in (source.impressions, source.items):
        if frame is not None:
            refuse_leaked_columns(frame.select("raw.*").columns, source.name)
    return source
