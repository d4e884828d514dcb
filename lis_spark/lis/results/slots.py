"""``lis-spark slots``: which embedding table describes the item best, by permutation importance (paper, section 4).

The paper advises to take the most important slot where several describe the item. A feature's importance is the AUC
that the unchanged ranker loses when it reads that feature from another impression of the same day.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pyspark.sql import SparkSession
from rich.console import Console
from rich.table import Table

from lis_spark.config import RunConfig
from lis_spark.lake import Lake
from lis_spark.lis.plan.arms import SLOT_PERMUTED
from lis_spark.lis.results.measure import results_of


@dataclass(frozen=True)
class SlotImportance:
    """AUC drop of a feature over all evaluated days together, with the 95 % interval of the users they share."""

    feature: str
    auc_drop: float
    ci_low: float | None
    ci_high: float | None


def rank_slots(rows: Sequence[dict[str, Any]]) -> list[SlotImportance]:
    """The features by their AUC drop, the largest first, from rows of ``lis_results``."""
    permuted = [row for row in rows if row["variant"] == SLOT_PERMUTED and row["lis"] is not None]
    # the row of all dates and all training seeds
    most = max(((row["evaluated_dates"], row["training_seeds"]) for row in permuted), default=(0, 0))
    ranked = []
    for row in permuted:
        if (row["evaluated_dates"], row["training_seeds"]) == most:
            low, high = (-row[name] if row[name] is not None else None for name in ("ci_high", "ci_low"))
            ranked.append(SlotImportance(row["swap_scope"], -row["lis"], low, high))
    return sorted(ranked, key=lambda slot: -slot.auc_drop)


def run(spark: SparkSession, config: RunConfig) -> int:
    """Prints the ranking of a measured run."""
    ranked = rank_slots(results_of(Lake(spark, config, measurement=True)))
    tables = {feature.name: feature.table for feature in config.features}
    table = Table(title="AUC lost when a feature is read from another impression of the day")
    for heading in ("feature", "table", "AUC drop", "95 % CI"):
        table.add_column(heading)
    for slot in ranked:
        interval = "too few users" if slot.ci_low is None else f"{slot.ci_low:+.4f} .. {slot.ci_high:+.4f}"
        table.add_row(slot.feature, tables.get(slot.feature, "?"), f"{slot.auc_drop:+.4f}", interval)
    Console().print(table)
    return 0
