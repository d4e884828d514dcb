"""Typed configuration of a run: YAML, ``key=value`` overrides, unknown keys refused with the nearest valid name.

Every choice that the paper leaves open is a key here, with the default of the method, and is written beside each
result (method section 0).
"""

from lis_spark.config.append import AppendConfig, ContentConfig
from lis_spark.config.audit import AuditConfig
from lis_spark.config.closed_loop import ClosedLoopConfig
from lis_spark.config.encoder import EncoderConfig
from lis_spark.config.evaluation import EvaluationConfig, LeakChains
from lis_spark.config.experiment import DaysActiveMetric, ExperimentConfig, MeanMetric, RatioMetric, ReadOutConfig
from lis_spark.config.graph import GraphConfig
from lis_spark.config.lake import RunOnLake
from lis_spark.config.leaks import (
    IdTableLeak,
    Leak,
    NextClickLeak,
    OwnLeakKind,
    PlantedLeak,
    Representation,
    SimilarItemsLeak,
    SqlLeak,
    TableLeak,
)
from lis_spark.config.loading import load_config, load_read_out, parse_config
from lis_spark.config.preference import PreferenceConfig
from lis_spark.config.ranker import FeatureConfig, RankerConfig, TableConfig
from lis_spark.config.run import RunConfig
from lis_spark.config.section import fingerprint
from lis_spark.config.sources import KuaiRandSource, MovieTweetingsSource, TableSource
from lis_spark.config.world import WorldSource

__all__ = [
    "AppendConfig",
    "AuditConfig",
    "ClosedLoopConfig",
    "ContentConfig",
    "DaysActiveMetric",
    "EncoderConfig",
    "EvaluationConfig",
    "ExperimentConfig",
    "FeatureConfig",
    "GraphConfig",
    "IdTableLeak",
    "KuaiRandSource",
    "Leak",
    "LeakChains",
    "MeanMetric",
    "MovieTweetingsSource",
    "NextClickLeak",
    "OwnLeakKind",
    "PlantedLeak",
    "PreferenceConfig",
    "RankerConfig",
    "RatioMetric",
    "ReadOutConfig",
    "Representation",
    "RunConfig",
    "RunOnLake",
    "SimilarItemsLeak",
    "SqlLeak",
    "TableConfig",
    "TableLeak",
    "TableSource",
    "WorldSource",
    "fingerprint",
    "load_config",
    "load_read_out",
    "parse_config",
]
