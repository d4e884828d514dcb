"""Sections on leaks: what an impression is given from after it, and what its control is given (method 1.3 to 1.6)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from lis_spark.config.query import AS_OF, EXCLUDED_FOLD, Key, Query, parse_query
from lis_spark.config.section import Section

_NAME = r"^[a-z][a-z0-9_]*$"
NAIVE, HONEST = "naive", "honest"


class IdTableLeak(Section):
    """The item's row in the ID table of M_{T+n}; the control is its row in that of M_T."""

    kind: Literal["id_table"]
    name: str = Field("id_table", pattern=_NAME)

    @property
    def key(self) -> Key:
        """What a vector belongs to."""
        return "item"


class NextClickLeak(Section):
    """The items of the user's next clicks, looked up in the ID table of M_T; the control are the previous clicks."""

    kind: Literal["next_click"]
    name: str = Field("next_click", pattern=_NAME)
    clicks: int = Field(1, ge=1, le=100, description="k: how many next clicks are pooled")
    gap_minutes: int = Field(30, ge=0, description="a next click comes at least so much later")

    @property
    def key(self) -> Key:
        """What a vector belongs to."""
        return "impression"


class SimilarItemsLeak(Section):
    """The target's neighbours in a graph as of T + n, looked up in the ID table of M_T; the control is that of T."""

    kind: Literal["similar_items"]
    name: str = Field("similar_items", pattern=_NAME)
    graph: str = Field("swing", description="name of one of `graphs`")
    neighbours: int = Field(5, ge=1, le=100)

    @property
    def key(self) -> Key:
        """What a vector belongs to."""
        return "item"


class OwnLeak(Section, ABC):
    """Numbers that are neither rows of the ID table nor items: one's own table, query, or the planted truth."""

    name: str = Field(pattern=_NAME)
    bins: int = Field(16, ge=2, le=256, description="a single number enters as its place in so many quantile bins")
    is_noise: bool = Field(
        False, description="known to say nothing, for reference: agreement is also told without pairs that hold it"
    )
    excludes_own_label: bool = Field(
        False, description="its author's word that no row holds a label of the users that are scored, from T on"
    )

    @property
    @abstractmethod
    def key(self) -> Key:
        """What a row belongs to."""

    @property
    @abstractmethod
    def is_by_fold(self) -> bool:
        """Whether there is one for each fold of users that is left out."""

    @property
    @abstractmethod
    def control_is_shuffled(self) -> bool:
        """Whether the control is its own vectors given to other keys; otherwise it is the same as of T."""

    @property
    def variants(self) -> tuple[str, ...]:
        """Naive and honest where it comes by fold; otherwise honest only if it holds no label of who is scored."""
        if self.is_by_fold:
            return NAIVE, HONEST
        return (HONEST,) if self.excludes_own_label else (NAIVE,)

    def horizons_among(self, horizons: Sequence[int]) -> tuple[int, ...]:
        """Those that it can be had for."""
        return tuple(horizons)


class TableLeak(OwnLeak):
    """A table with a date: what it said on the last day before T + n, and for the control before T.

    Impression-keyed, the date is the day of the impression, and the control is the same in the wrong order.
    """

    kind: Literal["table"]
    path: str = Field(description="a path, or catalog.schema.table with format: table")
    format: Literal["delta", "parquet", "csv", "json", "table"] = "delta"
    version: int | None = Field(None, ge=0, description="Delta version to read; the newest where absent")
    keyed_by: Key
    key_column: str = Field(description="column with the ids of keyed_by")
    date_column: str = Field(description="last day of data that the row holds")
    columns: tuple[str, ...] = Field(min_length=1, description="numbers, or arrays of numbers of one length")
    excluded_fold_column: str | None = Field(None, description="which fold of users the row knows nothing of; -1: none")
    control: Literal["as_of", "shuffled"] = "as_of"

    @property
    def key(self) -> Key:
        """What a row belongs to."""
        return self.keyed_by

    @property
    def is_by_fold(self) -> bool:
        """Whether rows say which fold they know nothing of."""
        return self.excluded_fold_column is not None

    @property
    def control_is_shuffled(self) -> bool:
        """As configured."""
        return self.control == "shuffled"

    @model_validator(mode="after")
    def _impressions_have_no_past(self) -> TableLeak:
        if self.keyed_by == "impression" and self.control == "as_of":
            raise ValueError("control: an impression has no row as of an earlier day; say control: shuffled")
        return self


class SqlLeak(OwnLeak):
    """One SELECT over the lake's tables with one key column (impression_id, user_id, item_id) and named values.

    With ``:as_of`` it is asked as of T + n, and as of T for the control; with ``:excluded_fold`` once for each fold of
    users. In ``impressions`` the column ``fold`` is the user's.
    """

    kind: Literal["sql"]
    query: str
    control: Literal["as_of", "shuffled"] | None = Field(None, description="as_of where the query asks for :as_of")
    control_query: str | None = Field(None, description="another SELECT of the same columns as the control")
    horizon_days: int | None = Field(None, ge=1, description="n, where the query does not ask for :as_of")

    @property
    def parsed(self) -> Query:
        """The query."""
        return parse_query(self.query)

    @property
    def parsed_control(self) -> Query:
        """What the control is asked, where it is not the leak in the wrong order."""
        return self.parsed if self.control_query is None else parse_query(self.control_query)

    @property
    def key(self) -> Key:
        """By the column of the SELECT."""
        return self.parsed.key

    @property
    def is_by_fold(self) -> bool:
        """Whether it can leave a fold of users out."""
        return EXCLUDED_FOLD in self.parsed.parameters

    @property
    def control_is_shuffled(self) -> bool:
        """As configured."""
        return self.control == "shuffled"

    @property
    def variants(self) -> tuple[str, ...]:
        """A query that reads no labels is honest without saying so."""
        if not self.is_by_fold and not self.parsed.reads_labels:
            return (HONEST,)
        return super().variants

    def horizons_among(self, horizons: Sequence[int]) -> tuple[int, ...]:
        """All where the query asks for ``:as_of``; otherwise the one that is stated."""
        return tuple(horizons) if self.horizon_days is None else (self.horizon_days,)

    @model_validator(mode="after")
    def _horizon_and_control(self) -> SqlLeak:
        query = self.parsed  # a query that cannot be read is refused here
        dated = AS_OF in query.parameters
        if dated and query.key == "impression":
            raise ValueError(
                f"query: an impression has no row as of an earlier day, so :{AS_OF} would leave T's own out of the "
                "control; leave it out, and say horizon_days and control: shuffled"
            )
        if dated and self.horizon_days is not None:
            raise ValueError(f"horizon_days: the query asks for :{AS_OF}, append.horizons say of which days")
        if not dated and self.horizon_days is None:
            raise ValueError(f"horizon_days: the query does not ask for :{AS_OF}, so say how far its data reaches")
        if self.control is not None and self.control_query is not None:
            raise ValueError("control: give either control or control_query")
        if self.control_query is not None:
            other = parse_query(self.control_query)
            if (other.key, other.columns) != (query.key, query.columns):
                raise ValueError(
                    f"control_query: it has {other.key} and {', '.join(other.columns)}, the query has {query.key} and "
                    f"{', '.join(query.columns)}"
                )
        elif not dated and self.control != "shuffled":
            raise ValueError(
                f"control: the query does not ask for :{AS_OF}, so it is no control as of T; say control: shuffled, or "
                "give control_query"
            )
        return self


class PlantedLeak(OwnLeak):
    """p* of the simulated world: what no ranker can beat (method 1.6). It holds no label; its control is shuffled."""

    kind: Literal["planted"]
    name: str = Field("planted", pattern=_NAME)

    @property
    def key(self) -> Key:
        """What a row belongs to."""
        return "impression"

    @property
    def is_by_fold(self) -> bool:
        """Nobody's events go into it."""
        return False

    @property
    def control_is_shuffled(self) -> bool:
        """Always."""
        return True

    @property
    def variants(self) -> tuple[str, ...]:
        """The probability, not the label."""
        return (HONEST,)

    def horizons_among(self, horizons: Sequence[int]) -> tuple[int, ...]:
        """It says nothing of later days."""
        return (1,)


class Representation(Section):
    """What an encoder says of the item, or the preference data itself: no leak, measured through the same port (AIS).

    The control of an encoder is the mean of its vectors given to other items; that of preference data, whose items may
    all be gone, is the ranker without a port.
    """

    kind: Literal["representation"]
    name: str = Field(pattern=_NAME)
    encoder: str | None = Field(None, description="name of one of `encoders`")
    preference: str | None = Field(None, description="or preference items, their vectors as they are")
    draws: int = Field(5, ge=2, le=100, description="orders in which its vectors are given to other items")
    above: tuple[str, ...] = Field((), description="other representations that it is also compared with")

    @property
    def key(self) -> Key:
        """What a vector belongs to."""
        return "item"

    @model_validator(mode="after")
    def _of_one(self) -> Representation:
        if (self.encoder is None) == (self.preference is None):
            raise ValueError(f"{self.name}: give either encoder or preference")
        return self


# Leaks of one's own.
OwnLeakKind = TableLeak | SqlLeak | PlantedLeak
Leak = Annotated[
    IdTableLeak | NextClickLeak | SimilarItemsLeak | TableLeak | SqlLeak | PlantedLeak | Representation,
    Field(discriminator="kind"),
]
