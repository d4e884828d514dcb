"""What encoders say of items, and preference data, as the impressions of T - w .. T are given it (method 6)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lis_spark.config import Representation
from lis_spark.errors import InputError
from lis_spark.folds import NO_FOLD
from lis_spark.lake import Lake
from lis_spark.lis.append.sources import LEAKED, LeakSource
from lis_spark.lis.plan.arms import REPRESENTATION
from lis_spark.lis.plan.chains import ONE_DAY
from lis_spark.lis.plan.evaluated_rows import rows_of_days
from lis_spark.lis.swap.features import item_rows
from lis_spark.vectors import width_of


class RepresentationSource(LeakSource[Representation]):
    """The vector of the impression's item; nothing where there is none: the port is then masked."""

    def state(self) -> list[object]:
        """The settings and the vectors."""
        table, column, name = _table(self.leak)
        found = {key: value for key, value in self.lake.fingerprints(table).items() if key == (name,)}
        return [self.leak, column, self.lake.config.representation_date(self.leak), sorted(found.items())]

    def rows_each(self, table: str) -> int:
        """One, among controls: it holds nothing of after T."""
        return int(table != LEAKED)

    @contextmanager
    def rows(self, table: str, days: Sequence[dt.date], expected: int) -> Iterator[DataFrame]:
        """Impressions joined to their items' vectors."""
        as_of = self.lake.config.representation_date(self.leak)
        found = item_rows(self.lake.config, rows_of_days(self.lake, days)).join(
            vectors_of(self.lake, self.leak), "item_id", "left"
        )
        columns = {
            "held_out_fold": F.lit(NO_FOLD),
            "vector": F.col("vector"),
            "ids": F.lit(None).cast("binary"),
            "present": F.col("vector").isNotNull(),
            "snapshot_date": F.lit(as_of),
            "source_date": F.lit(as_of - ONE_DAY),
        }
        described = found.withColumns({"variant": F.lit(REPRESENTATION), "horizon_days": F.lit(0)})
        yield self.shaped(described, table, columns, ("date",))


def vectors_of(lake: Lake, leak: Representation) -> DataFrame:
    """item_id, vector.

    Raises:
        InputError: there are none.
    """
    table, column, name = _table(leak)
    if not lake.exists(table) or (name,) not in lake.fingerprints(table):
        raise InputError(
            "there are no vectors",
            table=table,
            partition=name,
            remedy="run lis-spark align and represent" if leak.encoder else "run lis-spark curate",
        )
    key = "encoder" if leak.encoder else "name"
    return lake.read(table).where(F.col(key) == name).select("item_id", F.col(column).alias("vector"))


def vector_width(lake: Lake, leak: Representation) -> int:
    """How many numbers its vectors have; known also where no impression has one."""
    row = vectors_of(lake, leak).agg(F.max(width_of("vector")).alias("width")).first()
    return int(row["width"] or 0) if row is not None else 0


def vectors_table(leak: Representation) -> tuple[str, str]:
    """(table, partition) of its vectors."""
    table, _, name = _table(leak)
    return table, name


def _table(leak: Representation) -> tuple[str, str, str]:
    if leak.encoder is not None:
        return "representations", "vector", leak.encoder
    return "preference_items", "target", str(leak.preference)
