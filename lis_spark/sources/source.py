"""What a source hands on: candidate impressions, candidate items, and what had to be derived."""

from __future__ import annotations

from dataclasses import dataclass, field

from pyspark.sql import DataFrame

from lis_spark.config import KuaiRandSource, MovieTweetingsSource, RunConfig, WorldSource

ITEM_COLUMNS = ("born_date", "title", "image", "tags", "author_id")


@dataclass(frozen=True)
class SourceData:
    """An outside data set in our terms, nothing judged yet.

    Args:
        name: kind and place of the source, as quarantined rows name it.
        impressions: see :func:`lis_spark.sources.columns.candidate_rows`.
        items: ``raw``, ``item_id``, the columns of `items`, ``attribute_*``; None where the source has none.
        has_impression_id: False where the id is derived from (user, item, time).
        notes: what was derived, for the report.
        has_images: whether items may have an image, which is then looked at.
    """

    name: str
    impressions: DataFrame
    items: DataFrame | None
    has_impression_id: bool
    notes: tuple[str, ...] = field(default=())
    has_images: bool = False


def context_names(config: RunConfig) -> tuple[str, ...]:
    """Names of the ``context_*`` columns that the configured source fills."""
    if isinstance(config.source, KuaiRandSource):
        return ("tab", "duration_ms")
    if isinstance(config.source, (MovieTweetingsSource, WorldSource)):
        return ()
    return tuple(config.source.columns.context)


def attribute_names(config: RunConfig) -> tuple[str, ...]:
    """Names of the ``attribute_*`` columns of `items` that the configured source fills."""
    if isinstance(config.source, KuaiRandSource):
        return ("video_type", "upload_type", "music_id", "music_type", "video_duration")
    if isinstance(config.source, MovieTweetingsSource):
        return ("year",)
    if isinstance(config.source, WorldSource):
        return ()
    return tuple(name for name in config.source.items_columns if name not in ("item_id", *ITEM_COLUMNS))
