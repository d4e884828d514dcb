"""What one configuration asks for, resolved against the days of data that are there: chains, features, arms."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lis_spark.config import RunConfig, WorldSource
from lis_spark.errors import InputError
from lis_spark.lake import Lake
from lis_spark.leaks.id_embedding import FeatureRequest
from lis_spark.lis.plan.append_arms import append_arms
from lis_spark.lis.plan.arms import Arm, feature_requests, plan_arms
from lis_spark.lis.plan.chains import (
    SKIP_OWN_T,
    Chain,
    Unavailable,
    all_chains,
    backward_horizons,
    can_replay,
    lineage,
)
from lis_spark.ranker.snapshots import SnapshotKey, source_partitions

# A day counts as full when it holds at least this share of the median day's impressions.
FULL_DAY_SHARE = 0.5
# The label of a simulated world whose probability is in the table `truth`.
TRUE_LABEL = "click"
# Why some scores do not exist at n = 1.
NOT_AFTER_ONE_DAY = {
    SKIP_OWN_T: "at n = 1 there is no later day: its table is that of the honest score",
    "skip_t": "at n = 1 the only day after T's morning is T itself, which skip-T skips: its table is E_T",
}


def knows_truth(config: RunConfig) -> bool:
    """Whether the probability of the label is known: of clicks in a simulated world."""
    return isinstance(config.source, WorldSource) and config.label == TRUE_LABEL


@dataclass(frozen=True)
class EvaluationPlan:
    """The resolved plan. ``rows`` maps each day of data to its training rows, ``row_fingerprints`` to their state."""

    config: RunConfig
    rows: Mapping[dt.date, int]
    row_fingerprints: Mapping[dt.date, str]
    chains: tuple[Chain, ...]
    first_full_day: dt.date

    def requests(self, seed: int, date: dt.date) -> list[FeatureRequest]:
        """The feature tables of one evaluated day."""
        known = {chain.name for chain in self.chains}
        requests = feature_requests(self.config.evaluation, seed, date, self.first_full_day)
        return [request for request in requests if request.variant != "replay" or request.chain in known]

    def arms(self, seed: int, date: dt.date) -> list[Arm]:
        """The arms of one evaluated day that step score scores."""
        names = [feature.name for feature in self.config.features] if self.config.evaluation.slots else []
        evaluation, requests = self.config.evaluation, self.requests(seed, date)
        return plan_arms(evaluation, requests, date, names, truth=self.knows_truth, baselines=self.config.has_baselines)

    def append_arms(self, date: dt.date) -> list[Arm]:
        """The arms of one evaluated day in protocol append."""
        return append_arms(self.config, date)

    def all_arms(self, seed: int, date: dt.date) -> list[Arm]:
        """The arms of all protocols."""
        return [*self.arms(seed, date), *self.append_arms(date)]

    @property
    def knows_truth(self) -> bool:
        """See :func:`knows_truth`."""
        return knows_truth(self.config)

    def unavailable(self) -> list[Unavailable]:
        """What the data does not allow to measure, with the reason."""
        evaluation, missing = self.config.evaluation, []
        for date in evaluation.dates:
            missing += backward_horizons(evaluation, date, self.first_full_day)[1]
            missing += [
                Unavailable(variant, date, 1, reason)
                for variant, reason in NOT_AFTER_ONE_DAY.items()
                if variant in evaluation.variants and 1 in evaluation.horizons
            ]
            if "replay" in evaluation.variants and not can_replay(evaluation, date, min(self.rows)):
                longest = max(evaluation.horizons)
                reason = f"it repeats the {longest} days before T, and the data begins at {min(self.rows)}"
                missing.append(Unavailable("replay", date, longest, reason))
        return missing


def resolve(lake: Lake) -> EvaluationPlan:
    """Reads which days of training rows there are and plans everything that follows from them."""
    lake.pin("training_rows")
    counts = lake.known(
        "training_rows",
        "rows by day",
        lambda frame: frame.groupBy("date").agg(F.count(F.lit(1)).alias("rows")).collect(),
    )
    if not counts:
        raise InputError(
            "there are no training rows", table="training_rows", remedy="run ingest and training-rows first"
        )
    rows = {row["date"]: int(row["rows"]) for row in sorted(counts, key=lambda row: row["date"])}
    absent = [str(date) for date in lake.config.evaluation.dates if min(rows) < date <= max(rows) and date not in rows]
    if absent:
        raise InputError(
            "an evaluated day has no impressions",
            table="training_rows",
            partition=", ".join(absent),
            found="0 rows, allowed by ingest.allow_missing_days",
            expected="a day with impressions of both classes",
            remedy="take it out of evaluation.dates, or ingest the day",
        )
    ordered = sorted(rows.values())
    median = ordered[len(ordered) // 2]
    first_full_day = next(date for date, count in rows.items() if count >= FULL_DAY_SHARE * median)
    config = lake.config
    chains = all_chains(config, min(rows), max(rows))
    fingerprints = {dt.date.fromisoformat(key[0]): value for key, value in lake.fingerprints("training_rows").items()}
    return EvaluationPlan(config, rows, fingerprints, tuple(chains), first_full_day)


def table_sources(
    chains: tuple[Chain, ...], snapshots: DataFrame, keys: set[SnapshotKey]
) -> dict[SnapshotKey, list[tuple[str, dt.date]]]:
    """(chain, snapshot_date) -> the partitions of ``embedding_snapshots`` that make up the table."""
    rows = snapshots.where("is_base").select("chain", "snapshot_date").distinct().collect()
    bases: dict[str, list[dt.date]] = {}
    for row in rows:
        bases.setdefault(row["chain"], []).append(row["snapshot_date"])
    return {key: source_partitions(lineage(chains, key[0]), key[1], bases) for key in sorted(keys)}
