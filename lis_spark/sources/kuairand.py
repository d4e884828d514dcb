"""KuaiRand-Pure (Gao et al., CIKM 2022, doi 10.1145/3511808.3557624): short-video impressions with feedback.

Days are cut from ``time_ms``: the source's own ``date`` is ahead by up to an hour near midnight. The feedback columns
are outcomes of the same impression and become labels, never context.
"""

from __future__ import annotations

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lis_spark.config import KuaiRandSource, RunConfig
from lis_spark.errors import ConfigError
from lis_spark.sources.columns import (
    EPOCH,
    ID,
    LABEL,
    TEXT,
    candidate_rows,
    check_columns,
    identifier,
    number,
    text_or_null,
)
from lis_spark.sources.files import read_csv, read_parquet
from lis_spark.sources.source import SourceData, attribute_names, context_names

LABELS = {
    "click": "is_click",
    "long_view": "long_view",
    "like": "is_like",
    "follow": "is_follow",
    "comment": "is_comment",
    "forward": "is_forward",
    "hate": "is_hate",
    "profile_enter": "is_profile_enter",
}


def read(spark: SparkSession, config: RunConfig) -> SourceData:
    """Reads ``impressions.parquet`` and ``video_features_basic_pure.csv``.

    Raises:
        ConfigError: a configured label is none of the feedback columns.
        InputError: a file or column is missing, or a column has another type.
    """
    assert isinstance(config.source, KuaiRandSource)
    unknown = [label for label in config.labels if label not in LABELS]
    if unknown:
        raise ConfigError(
            "the source has no such label",
            found=", ".join(unknown),
            expected=" or ".join(LABELS),
            remedy="correct labels",
        )
    path = f"{config.source.path.rstrip('/')}/impressions.parquet"
    frame = read_parquet(spark, path)
    labels = {name: LABELS[name] for name in config.labels}
    contexts = context_names(config)
    check_columns(
        frame,
        {"user_id": ID, "video_id": ID, "time_ms": EPOCH}
        | dict.fromkeys(labels.values(), LABEL)
        | dict.fromkeys(contexts, TEXT),
        path,
    )
    types = {field.name: field.dataType for field in frame.schema.fields}
    impressions = candidate_rows(
        frame,
        user_id="user_id",
        item_id="video_id",
        time="time_ms",
        time_format="epoch_milliseconds",
        time_zone=config.time_zone,
        labels={name: number(column, types[column]) for name, column in labels.items()},
        scenario=F.lit(config.scenario),
        context={name: text_or_null(name) for name in contexts},
    )
    return SourceData(
        name=f"kuairand:{config.source.path}",
        impressions=impressions,
        items=_items(spark, config),
        has_impression_id=False,
        notes=(
            "impression ids are derived from (user, video, time, ordinal)",
            "request ids are derived from (user, minute)",
        ),
    )


def _items(spark: SparkSession, config: RunConfig) -> DataFrame:
    assert isinstance(config.source, KuaiRandSource)
    path = f"{config.source.path.rstrip('/')}/video_features_basic_pure.csv"
    frame = read_csv(spark, path)
    attributes = attribute_names(config)
    check_columns(frame, dict.fromkeys(("video_id", "author_id", "upload_dt", "tag", *attributes), TEXT), path)
    return frame.select(
        F.struct("*").alias("raw"),
        identifier("video_id").alias("item_id"),
        F.col("upload_dt").try_cast("date").alias("born_date"),
        F.lit(None).cast("string").alias("title"),
        F.lit(None).cast("binary").alias("image"),
        text_or_null("tag").alias("tags"),
        identifier("author_id").alias("author_id"),
        *[text_or_null(name).alias(f"attribute_{name}") for name in attributes],
    )
