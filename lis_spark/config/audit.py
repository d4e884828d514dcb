"""The section on an audit: which table is looked at, how it is joined, and what its columns are held against."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from lis_spark.config.query import Key
from lis_spark.config.section import Section


class AuditConfig(Section):
    """A feature table that somebody believes honest, as it is joined to impressions (``lis-spark audit``)."""

    path: str | None = Field(None, description="a path, or catalog.schema.table with format: table; or on the command")
    format: Literal["delta", "parquet", "csv", "json", "table"] = "delta"
    version: int | None = Field(None, ge=0, description="Delta version to read; the newest where absent")
    keyed_by: Key = "impression"
    key_column: str | None = Field(None, description="column with the ids; impression_id, user_id or item_id if absent")
    date_column: str | None = Field(None, description="last day of data that the row holds")
    lag_days: int = Field(1, ge=0, description="an impression is given the last row dated at least so many days before")
    made_column: str | None = Field(None, description="instant at which the row was made, or could first be read")
    columns: tuple[str, ...] | None = Field(None, min_length=1, description="all but key and dates where absent")
    names: dict[str, Literal["item_id", "user_id"]] = Field(
        default_factory=dict, description="column of ids -> what it names; text names items where nothing is said"
    )
    key_share: float = Field(1.0, gt=0, le=1, description="share of the users, and of the items, that are looked at")

    @model_validator(mode="after")
    def _fits(self) -> AuditConfig:
        if self.keyed_by == "impression" and self.lag_days != 1 and self.date_column is None:
            raise ValueError("lag_days: it says which dated row is joined; give date_column")
        if self.columns is not None and (unknown := sorted(set(self.names) - set(self.columns))):
            raise ValueError(f"names: {unknown[0]!r} is not among columns")
        return self

    @property
    def key(self) -> str:
        """The column with the ids."""
        return self.key_column or f"{self.keyed_by}_id"
