"""Section on preference data: which items an encoder is aligned on, and to which vectors (method 4)."""

from __future__ import annotations

import datetime as dt

from pydantic import Field, model_validator

from lis_spark.config.section import Section


class PreferenceConfig(Section):
    """Items whose vectors have been learned well, evenly spread over what they show, split by birth."""

    name: str = Field("ids", pattern=r"^[a-z][a-z0-9_]*$", description="partition of preference_items")
    as_of: dt.date | None = Field(None, description="the table of M_t that targets come from; the first T where absent")
    min_updates: int | None = Field(
        None, ge=0, description="theta: items with fewer training examples are left out; learned where absent"
    )
    reliability: float = Field(
        0.8, gt=0, lt=1, description="theta is the least count from which two halves of the users agree so well"
    )
    entry_columns: tuple[str, ...] = Field(("tags",), description="of items; comma-separated values are entries each")
    title_words: int = Field(0, ge=0, le=3, description="phrases of up to so many words of the title are entries too")
    clusters: int = Field(32, ge=2, le=10_000, description="of frozen content features, for items without an entry")
    tail_share: float | None = Field(
        None, gt=0, le=1, description="t is the count up to which entries hold this share of all mentions"
    )
    max_items: int | None = Field(None, ge=1, description="or t keeps so many items")
    seed: int = Field(0, description="of the items' uniform numbers and of the clusters")
    validation_share: float = Field(0.1, gt=0, lt=1, description="of the kept items: those born last")
    near_duplicate_similarity: float = Field(
        0.5, gt=0, le=1, description="share of words, and of colours, from which two items are one"
    )
    popularity_correlation: float = Field(
        0.5, ge=0, le=1, description="the first component goes when it correlates more with log(1 + updates)"
    )

    @model_validator(mode="after")
    def _one_budget(self) -> PreferenceConfig:
        if (self.tail_share is None) == (self.max_items is None):
            raise ValueError("give either preference.tail_share or preference.max_items")
        return self
