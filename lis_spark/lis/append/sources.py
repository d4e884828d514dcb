"""What each kind of leak gives the impressions of T - w .. T, as rows of the feature tables (method 1.2 to 1.5)."""

from __future__ import annotations

import datetime as dt
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from typing import Generic, TypeVar

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from lis_spark.config import IdTableLeak, Leak, NextClickLeak, SimilarItemsLeak
from lis_spark.config.leaks import HONEST, NAIVE
from lis_spark.folds import NO_FOLD, user_fold
from lis_spark.graph.requests import graph_requests_of
from lis_spark.lake import Lake
from lis_spark.leaks.id_embedding import FeatureRequest, feature_rows
from lis_spark.leaks.nearest_clicks import Exclusions
from lis_spark.leaks.next_click import next_click_rows
from lis_spark.leaks.similar_items import GraphUse, similar_item_rows
from lis_spark.lis.plan.append_arms import SHUFFLED_GRAPH, table_requests
from lis_spark.lis.plan.chains import ONE_DAY, days_between
from lis_spark.lis.plan.evaluated_rows import rows_of_days
from lis_spark.lis.plan.evaluation import EvaluationPlan
from lis_spark.lis.swap.features import VECTOR_COLUMN, item_rows, tables_of_requests

LeakType = TypeVar("LeakType", bound=Leak)
LEAKED = "leaked_features"


@dataclass(frozen=True)
class LeakSource(ABC, Generic[LeakType]):
    """One leak on one evaluated day."""

    lake: Lake
    plan: EvaluationPlan
    leak: LeakType
    date: dt.date

    @property
    def first(self) -> dt.date:
        """T - w."""
        assert self.lake.config.append is not None
        return self.date - ONE_DAY * self.lake.config.append.window_days

    @property
    def horizons(self) -> tuple[int, ...]:
        """n."""
        return self.lake.config.append_horizons

    @property
    def days_read(self) -> list[dt.date]:
        """Days of impressions that decide what the rows are."""
        return days_between(self.first, self.date + ONE_DAY)

    @abstractmethod
    def state(self) -> list[object]:
        """What decides what the rows are, beside the impressions."""

    @abstractmethod
    def rows_each(self, table: str) -> int:
        """Rows of a feature table for each impression."""

    @abstractmethod
    @contextmanager
    def rows(self, table: str, days: Sequence[dt.date], expected: int) -> Iterator[DataFrame]:
        """The rows of a feature table, sorted within files; inside the block only."""

    def shaped(self, found: DataFrame, table: str, columns: dict[str, Column], order: Sequence[str]) -> DataFrame:
        """Rows with all columns of a feature table but its fingerprint.

        Args:
            found: impression_id, item_id, row, fold, date, variant, horizon_days.
            table: which one.
            columns: of ``vector``, ``ids``, ``held_out_fold``, ``present``, ``snapshot_date``, ``source_date``.
            order: files and the order in them.
        """
        vector = VECTOR_COLUMN[table]
        rows = found.select(
            *("impression_id", "item_id", "row", "variant", "horizon_days"),
            F.lit("").alias("chain"),
            "fold",
            columns["held_out_fold"].alias("held_out_fold"),
            columns["vector"].alias(vector),
            columns["ids"].alias(vector.replace("_vector", "_ids")),
            columns["present"].alias("present"),
            columns["snapshot_date"].alias("snapshot_date"),
            F.when(columns["present"], columns["source_date"]).alias("source_date"),
            F.lit(None).cast("date").alias("last_update_date"),
            F.lit(self.leak.name).alias("leak"),
            F.lit(self.date).alias("evaluated_date"),
            "date",
        )
        return rows.repartition(*order).sortWithinPartitions(*order, "row", "impression_id")


class IdTableSource(LeakSource[IdTableLeak]):
    """Rows of the ID tables of T + n and of T."""

    def state(self) -> list[object]:
        """The snapshots."""
        snapshots = self.lake.fingerprints("model_snapshots")
        return [
            (*map(str, vars(request).values()), snapshots.get((request.chain, request.snapshot_date.isoformat())))
            for request in self._requests()
        ]

    def rows_each(self, table: str) -> int:
        """Naive once, honest once: each impression by the chain of its own fold."""
        return sum(request.held_out_fold in (NO_FOLD, 0) for request in self._requests(table))

    @contextmanager
    def rows(self, table: str, days: Sequence[dt.date], expected: int) -> Iterator[DataFrame]:
        """Impressions joined to their items' rows."""
        requests = self._requests(table)
        yield feature_rows(
            self.lake.spark,
            item_rows(self.lake.config, rows_of_days(self.lake, days)),
            tables_of_requests(self.lake, self.plan, requests),
            requests,
            vector_column=VECTOR_COLUMN[table],
            layout="packed",  # what the ranks read has the vectors in any case
            expected_rows=expected,
        )

    def _requests(self, table: str | None = None) -> list[FeatureRequest]:
        return [
            request
            for seed in self.lake.config.seeds
            for request in table_requests(self.lake.config, self.leak, seed, self.date)
            if table is None or request.is_leaked == (table == LEAKED)
        ]


class NextClickSource(LeakSource[NextClickLeak]):
    """Ids of the next clicks (leaked) or of the previous ones (control), for each n."""

    @property
    def days_read(self) -> list[dt.date]:
        """Clicks reach n - 1 days before and after."""
        reach = ONE_DAY * (max(self.horizons) - 1)
        return days_between(self.first - reach, self.date + ONE_DAY + reach)

    def state(self) -> list[object]:
        """The settings."""
        return [self.leak, self.horizons]

    def rows_each(self, table: str) -> int:
        """One for each n."""
        return len(self.horizons)

    @contextmanager
    def rows(self, table: str, days: Sequence[dt.date], expected: int) -> Iterator[DataFrame]:
        """Impressions with the rows of the clicked items, and whether there are next and previous clicks."""
        leaked = table == LEAKED
        frames = []
        for horizon in self.horizons:
            reach = ONE_DAY * (horizon - 1)
            impressions = numbered_impressions(self.lake, days_between(self.first - reach, self.date + ONE_DAY + reach))
            exclusions = Exclusions(gap_milliseconds=self.leak.gap_minutes * 60_000)
            found = next_click_rows(impressions, self.first, self.date, self.leak.clicks, horizon, exclusions)
            last_day = F.date_add("date", horizon - 1) if leaked else F.col("date")
            columns = {
                "held_out_fold": F.lit(NO_FOLD),
                "vector": F.col("flags"),
                "ids": F.col("next_ids" if leaked else "previous_ids"),
                "present": F.col("has_next" if leaked else "has_previous"),
                "snapshot_date": F.date_add(last_day, 1),
                "source_date": last_day,
            }
            described = found.withColumns({"variant": F.lit(HONEST), "horizon_days": F.lit(horizon)})
            frames.append(self.shaped(described, table, columns, ("date", "horizon_days")))
        yield reduce(DataFrame.unionByName, frames)


class SimilarItemsSource(LeakSource[SimilarItemsLeak]):
    """Neighbours in the graphs of T + n (leaked) or of T (control)."""

    def state(self) -> list[object]:
        """The graphs."""
        graphs = self.lake.fingerprints("item_graph")
        return [self.leak, *((str(use), graphs.get((use.graph, use.as_of.isoformat()))) for use in self.uses())]

    def rows_each(self, table: str) -> int:
        """One for each graph that all are given, and one by fold."""
        return sum(use.held_out_fold in (NO_FOLD, 0) for use in self.uses(table))

    def uses(self, table: str | None = None) -> list[GraphUse]:
        """Which graphs stand for the day: that of T, those of T + n, each fold's own, and a shuffled one."""
        config, leak = self.lake.config, self.leak
        graph = next(graph for graph in config.graphs if graph.name == leak.graph)
        uses = []
        for request in graph_requests_of(config, graph, self.date):
            horizon = (request.as_of - self.date).days
            if horizon and horizon not in self.horizons:
                continue
            if request.held_out_fold == NO_FOLD:
                uses.append(GraphUse(NAIVE, horizon, request.name, request.as_of))
                if horizon == max(self.horizons):
                    uses.append(GraphUse(SHUFFLED_GRAPH, horizon, request.name, request.as_of, shuffled=True))
            else:
                uses.append(GraphUse(HONEST, horizon, request.name, request.as_of, request.held_out_fold, "own"))
        return [use for use in uses if table is None or (use.horizon_days > 0) == (table == LEAKED)]

    @contextmanager
    def rows(self, table: str, days: Sequence[dt.date], expected: int) -> Iterator[DataFrame]:
        """Impressions joined to the neighbours of their items."""
        lake, uses = self.lake, self.uses(table)
        vocabulary = lake.read("vocabularies").where(F.col("slot") == lake.config.evaluation.slot)
        of_uses = F.col("graph").isin(sorted({use.graph for use in uses}))
        graphs = lake.read("item_graph").where(of_uses & F.col("date").isin(sorted({use.as_of for use in uses})))
        numbers = vocabulary.select(F.col("key").alias("item_id"), "row")
        shown = item_rows(lake.config, rows_of_days(lake, days))
        found = similar_item_rows(shown, graphs, numbers, uses, self.leak.neighbours)
        columns = {
            "held_out_fold": F.col("held_out_fold"),
            "vector": F.col("beside"),
            "ids": F.col("ids"),
            "present": F.col("ids").isNotNull(),
            "snapshot_date": F.col("as_of"),
            "source_date": F.date_sub("as_of", 1),
        }
        yield self.shaped(found, table, columns, ("date", "variant", "horizon_days"))


def numbered_impressions(lake: Lake, days: Sequence[dt.date]) -> DataFrame:
    """The impressions of some days with the item's row and the user's fold."""
    config = lake.config
    keys = lake.read("vocabularies").where(F.col("slot") == config.evaluation.slot)
    shown = lake.read("impressions").where(
        (F.col("scenario") == config.scenario) & F.col("date").between(F.lit(min(days)), F.lit(max(days)))
    )
    return shown.join(keys.select(F.col("key").alias("item_id"), "row"), "item_id", "left").select(
        "impression_id",
        "user_id",
        "item_id",
        F.coalesce("row", F.lit(-1)).alias("row"),
        user_fold(config.evaluation.folds).alias("fold"),
        "date",
        "request_id",
        "request_ts",
        (F.col(f"label_{config.label}") == 1).alias("clicked"),
    )
