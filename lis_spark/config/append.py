"""Sections on protocol ``append``: which leaks, through which port, over which days (method 1.3, 1.4)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from lis_spark.config.section import Section


class IdTableLeak(Section):
    """The item's row in the ID table of M_{T+n}; the control is its row in that of M_T."""

    kind: Literal["id_table"]
    name: str = Field("id_table", pattern=r"^[a-z][a-z0-9_]*$")

    def port_width(self, dimension: int) -> int:
        """Numbers of the vector that the port reads, from the width of the ID table."""
        return dimension


class NextClickLeak(Section):
    """The items of the user's next clicks, looked up in the ID table of M_T; the control are the previous clicks."""

    kind: Literal["next_click"]
    name: str = Field("next_click", pattern=r"^[a-z][a-z0-9_]*$")
    clicks: int = Field(1, ge=1, le=100, description="k: how many next clicks are pooled")
    gap_minutes: int = Field(30, ge=0, description="a next click comes at least so much later")

    def port_width(self, dimension: int) -> int:
        """The mean of the clicked items' vectors, and whether there are next and previous clicks at all."""
        return dimension + 2


class SimilarItemsLeak(Section):
    """The target's neighbours in a graph as of T + n, looked up in the ID table of M_T; the control is that of T."""

    kind: Literal["similar_items"]
    name: str = Field("similar_items", pattern=r"^[a-z][a-z0-9_]*$")
    graph: str = Field("swing", description="name of one of `graphs`")
    neighbours: int = Field(5, ge=1, le=100)

    def port_width(self, dimension: int) -> int:
        """The mean of the neighbours' vectors, then of each place its score and whether it is filled."""
        return dimension + 2 * self.neighbours


Leak = Annotated[IdTableLeak | NextClickLeak | SimilarItemsLeak, Field(discriminator="kind")]


class AppendConfig(Section):
    """Both arms trained on from M_{T-w} with the leak, or its control, as one more feature of every impression."""

    leaks: tuple[Leak, ...] = Field(min_length=1)
    window_days: int = Field(3, ge=1, description="w: trained on D_{T-w} .. D_{T-1}")
    horizons: tuple[int, ...] | None = Field(None, description="n; those of evaluation above 0 where absent")
    port_columns: int = Field(32, ge=1, le=256, description="the vector enters the interaction layers as so many")

    @field_validator("horizons")
    @classmethod
    def _horizons(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if value is not None and any(h < 1 for h in value):
            raise ValueError("a leak of n days needs n of at least 1")
        return None if value is None else tuple(sorted(set(value)))

    @model_validator(mode="after")
    def _names(self) -> AppendConfig:
        names = [leak.name for leak in self.leaks]
        if len(set(names)) < len(names):
            raise ValueError("leaks: two leaks have the same name")
        if "id_embedding" in names:
            raise ValueError("leaks: the name id_embedding is that of the table of protocol swap")
        return self
