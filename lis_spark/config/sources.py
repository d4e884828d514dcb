"""Sections on outside data: what it is, and what of it is accepted."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Literal

from pydantic import Field

from lis_spark.config.section import Section
from lis_spark.config.world import WorldSource
from lis_spark.images import LARGEST_PIXELS


class KuaiRandSource(Section):
    """KuaiRand-Pure: ``impressions.parquet`` and ``video_features_basic_pure.csv`` in ``path``."""

    kind: Literal["kuairand"]
    path: str

    @property
    def knows_requests(self) -> bool:
        """Whether the source says which impressions were shown together; a derived request is a guess by the minute."""
        return False


class MovieTweetingsSource(Section):
    """MovieTweetings: ``ratings.dat`` and ``movies.dat`` in ``path``; a rating of at least ``positive_rating`` is 1."""

    kind: Literal["movietweetings"]
    path: str
    positive_rating: int = Field(8, ge=0, le=10)

    @property
    def knows_requests(self) -> bool:
        """Whether the source says which impressions were shown together; a derived request is a guess by the minute."""
        return False


class ColumnMap(Section):
    """Which column of an outside table is which field of ``impressions``."""

    user_id: str
    item_id: str
    time: str
    labels: dict[str, str] = Field(description="label name -> column with 0 or 1", min_length=1)
    impression_id: str | None = Field(None, description="derived from (user, item, time) where absent")
    request_id: str | None = Field(None, description="derived from (user, minute) where absent")
    scenario: str | None = None
    position: str | None = None
    context: dict[str, str] = Field(default_factory=dict, description="context name -> column")


class TableSource(Section):
    """Any Delta, Parquet, CSV or JSON table with a column map."""

    kind: Literal["table"]
    path: str = Field(description="a path, or catalog.schema.table with format: table")
    format: Literal["delta", "parquet", "csv", "json", "table"] = "delta"
    version: int | None = Field(None, ge=0, description="Delta version to read; the newest where absent")
    columns: ColumnMap
    time_format: Literal["timestamp", "epoch_seconds", "epoch_milliseconds"] = "timestamp"
    items_path: str | None = Field(None, description="optional table with item_id and item feature columns")
    items_columns: dict[str, str] = Field(default_factory=dict, description="items field -> column")

    @property
    def knows_requests(self) -> bool:
        """Whether the source says which impressions were shown together; a derived request is a guess by the minute."""
        return self.columns.request_id is not None


Source = Annotated[KuaiRandSource | MovieTweetingsSource | TableSource | WorldSource, Field(discriminator="kind")]


class IngestConfig(Section):
    """What is accepted from a source."""

    start_date: dt.date | None = Field(None, description="earlier days of the source are left as the lake has them")
    end_date: dt.date | None = Field(None, description="later days of the source are left as the lake has them")
    allow_missing_days: bool = False
    earliest_date: dt.date = Field(dt.date(2000, 1, 1), description="times before it are taken as broken clocks")
    latest_date: dt.date | None = Field(None, description="times after it are in the future; today where absent")
    quarantine_share_limit: float = Field(0.01, ge=0, le=1)
    largest_image_pixels: int = Field(LARGEST_PIXELS, ge=1, description="items with a larger image go to quarantine")
