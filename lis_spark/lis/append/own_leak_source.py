"""What one's own table or query, or the planted truth, gives the impressions of T - w .. T (method 1.2, 1.3, 1.6)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lis_spark.config import SqlLeak, TableLeak
from lis_spark.config.leaks import HONEST, NAIVE, OwnLeakKind
from lis_spark.folds import NO_FOLD
from lis_spark.lake import Lake
from lis_spark.leaks.own_query import dated_rows, planted_rows, query_rows
from lis_spark.leaks.own_values import ValueUse, own_value_rows
from lis_spark.lis.append.sources import LEAKED, LeakSource, numbered_impressions
from lis_spark.lis.plan.chains import ONE_DAY
from lis_spark.sources.state import rows_state, table_state
from lis_spark.sources.table import open_table


@contextmanager
def item_values(lake: Lake, leak: TableLeak | SqlLeak, as_of: dt.date, items: DataFrame) -> Iterator[DataFrame]:
    """item_id, vector: what a leak keyed by item says as of a day, of all users; inside the block only.

    Args:
        lake: with the tables of the leak's query.
        leak: which.
        as_of: nothing of this day and later days.
        items: item_id of those that are asked for.
    """

    def values(use: ValueUse) -> DataFrame:
        return query_rows(lake, leak, use, as_of, False) if isinstance(leak, SqlLeak) else dated_rows(lake, leak, use)

    nothing = F.lit(NO_FOLD)
    asked = items.select(
        *("item_id", F.col("item_id").alias("impression_id"), F.lit("").alias("user_id")),
        *(nothing.alias("row"), nothing.alias("fold"), F.lit(as_of).alias("date")),
    )
    with own_value_rows(asked, values, [ValueUse(NAIVE, 0, as_of)], "item", leak.bins, leak.name) as found:
        yield found.where("vector IS NOT NULL").select("item_id", "vector")


class OwnSource(LeakSource[OwnLeakKind]):
    """Numbers by impression, user or item, as of T + n (leaked) or of T (control)."""

    def state(self) -> list[object]:
        """The settings, and the state of each table that is read."""
        lake, leak = self.lake, self.leak
        if isinstance(leak, TableLeak):
            told = table_state(lake.spark, leak.path, leak.format, leak.version)
            return [leak, told or rows_state(open_table(lake.spark, leak.path, leak.format, leak.version))]
        tables = {"truth"}
        if isinstance(leak, SqlLeak):
            tables = {*leak.parsed.tables, *leak.parsed_control.tables}
        folds = lake.config.evaluation.folds
        return [leak, folds, *((name, sorted(lake.fingerprints(name).items())) for name in sorted(tables))]

    def rows_each(self, table: str) -> int:
        """One for each that all are given, and one by fold."""
        return sum(use.held_out_fold in (NO_FOLD, 0) for use in self.uses(table))

    def uses(self, table: str) -> list[ValueUse]:
        """As of which day, without which fold."""
        leak = self.leak
        if table == LEAKED:
            horizons: tuple[int, ...] = leak.horizons_among(self.horizons)
        else:
            horizons = () if leak.control_is_shuffled else (0,)
        uses = []
        for horizon in horizons:
            as_of = self.date + ONE_DAY * horizon
            for variant in leak.variants:
                if leak.is_by_fold and variant == HONEST:
                    folds = range(self.lake.config.evaluation.folds)
                    uses += [ValueUse(HONEST, horizon, as_of, fold, "own") for fold in folds]
                else:
                    uses.append(ValueUse(variant, horizon, as_of))
        return uses

    @contextmanager
    def rows(self, table: str, days: Sequence[dt.date], expected: int) -> Iterator[DataFrame]:
        """Impressions joined to their numbers."""
        leak = self.leak

        def values(use: ValueUse) -> DataFrame:
            if isinstance(leak, SqlLeak):
                return query_rows(self.lake, leak, use, self.first, is_control=table != LEAKED)
            return dated_rows(self.lake, leak, use) if isinstance(leak, TableLeak) else planted_rows(self.lake)

        impressions = numbered_impressions(self.lake, days)
        with own_value_rows(impressions, values, self.uses(table), leak.key, leak.bins, leak.name) as found:
            columns = {
                "held_out_fold": F.col("held_out_fold"),
                "vector": F.col("vector"),
                "ids": F.lit(None).cast("binary"),
                "present": F.col("vector").isNotNull(),
                "snapshot_date": F.col("as_of"),
                "source_date": F.date_sub("as_of", 1),
            }
            yield self.shaped(found, table, columns, ("date", "variant", "horizon_days"))
