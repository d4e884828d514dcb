"""What a whole run would read, write and take, from its plan and what each day holds (``lis-spark analyze``)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table

from lis_spark.config import RunConfig
from lis_spark.graph.cost import GraphCost
from lis_spark.lis.plan.append_arms import append_features
from lis_spark.lis.plan.arms import feature_requests, plan_arms
from lis_spark.lis.plan.chains import ONE_DAY, Chain, all_chains, days_between
from lis_spark.lis.plan.evaluation import FULL_DAY_SHARE, knows_truth
from lis_spark.sources.days import Day

# Bytes a row that the tables were measured to take on disk (zstd/snappy), and rows a second on two cores.
BYTES_PER_IMPRESSION, BYTES_PER_TRAINING_ROW, BYTES_PER_FEATURE_ROW, BYTES_PER_SCORE = 40, 90, 30, 25
TRAINED_ROWS_PER_SECOND_AND_RANK, SCORED_ROWS_PER_SECOND_AND_RANK = 30_000, 90_000
# Of the embedded model; others take as much longer as they are larger.
ALIGNED_ITEMS_PER_SECOND_AND_RANK, REPRESENTED_ITEMS_PER_SECOND = 330, 1_200
SECONDS_PER_ROW = 8e-6  # of the steps that run in Spark
# Of a graph: its clicks on their way to the blocks, and steps of the kernel (tests/perf/bench_graph.py).
SECONDS_PER_CLICK_OF_GRAPHS, GRAPH_STEPS_PER_SECOND = 1.2e-5, 1e9


@dataclass(frozen=True)
class PlannedRows:
    """Rows that the steps will write, from the plan alone."""

    impressions: float
    trained: float
    features: float
    scores: float
    chains: int
    chain_days: int
    arms: int
    retrained: float
    appended: float

    @property
    def bytes_of_tables(self) -> float:
        """On disk, of the largest tables."""
        read = self.impressions * (BYTES_PER_IMPRESSION + BYTES_PER_TRAINING_ROW)
        return read + self.features * BYTES_PER_FEATURE_ROW + self.scores * BYTES_PER_SCORE


def _trained_share(chain: Chain, day: dt.date) -> float:
    """Of a day's rows, those that a chain trains on."""
    if chain.trained_folds:
        return len(chain.trained_folds) / chain.folds
    return 1 - 1 / chain.folds if chain.fold_held_out_on(day) >= 0 else 1.0


def _served_share(served: str, folds: int) -> float:
    """Of a day's rows, those that a snapshot or an arm is for."""
    return {"all": 1.0, "own": 1 / folds, "others": 1 - 1 / folds}[served]


def planned_rows(config: RunConfig, days: dict[dt.date, Day]) -> PlannedRows:
    """From what each day holds."""
    present = {date: day.accepted for date, day in days.items() if day.accepted}
    ordered = sorted(present)
    median = sorted(present.values())[len(present) // 2]
    first_full = next(date for date in ordered if present[date] >= FULL_DAY_SHARE * median)
    evaluation = config.evaluation
    chains = all_chains(config, ordered[0], ordered[-1])
    trained = sum(
        present.get(chain.day_of_data(day), 0) * _trained_share(chain, day)
        for chain in chains
        for day in chain.days
        if day not in chain.skip_days
    )
    names = [feature.name for feature in config.features] if evaluation.slots else []
    truth = knows_truth(config)
    features = scores = 0.0
    for seed in config.seeds:
        for date in evaluation.dates:
            requests = feature_requests(evaluation, seed, date, first_full)
            planned = plan_arms(evaluation, requests, date, names, truth, config.has_baselines)
            evaluated = present[date] * evaluation.user_share
            features += evaluated * sum(_served_share(request.served, request.folds) for request in requests)
            scores += evaluated * sum(_served_share(arm.served, arm.folds) for arm in planned)
    arms, retrained, appended = 0, 0.0, 0.0
    for date in evaluation.dates if config.append else ():
        of_date = len(config.seeds) * len(append_features(config, date))
        first = date - ONE_DAY * config.append.window_days if config.append else date
        arms += of_date
        retrained += of_date * sum(present.get(day, 0) for day in days_between(first, date))
        appended += of_date * present[date] * evaluation.user_share
    chain_days = sum(len(chain.days) for chain in chains)
    total = sum(present.values())
    return PlannedRows(total, trained, features, scores, len(chains), chain_days, arms, retrained, appended)


@dataclass(frozen=True, kw_only=True)
class StepForecast:
    """What one step would read, write and take."""

    step: str
    rows_in: float
    rows_out: float
    bytes_on_disk: float
    seconds: float


def _encoder_steps(config: RunConfig, items: int | None, ranks: int) -> list[StepForecast]:
    """Aligning to the last step, and representing all items; nothing where there is no encoder."""
    if items is None:
        return []
    trained = [one for one in config.encoders if one.objective != "none"]
    samples = float(sum(one.steps * one.batch_size for one in trained))
    represented = float(items * len(config.encoders))
    size = max(4 * one.dimension for one in config.encoders)
    return [
        StepForecast(
            step=f"align ({len(trained)} encoders, at most)",
            rows_in=samples,
            rows_out=0,
            bytes_on_disk=0,
            seconds=samples / ALIGNED_ITEMS_PER_SECOND_AND_RANK / ranks,
        ),
        StepForecast(
            step=f"represent ({len(config.encoders)} encoders)",
            rows_in=represented,
            rows_out=represented,
            bytes_on_disk=represented * size,
            seconds=represented / REPRESENTED_ITEMS_PER_SECOND,
        ),
    ]


def forecast_steps(
    config: RunConfig, days: dict[dt.date, Day], items: int | None, graphs: Sequence[GraphCost] = ()
) -> list[StepForecast]:
    """What each step of a whole run would read, write and take on two cores, start-up aside.

    Args:
        config: what is asked for.
        days: what each day holds.
        items: how many encoders are to say something of.
        graphs: what each costs; those of simulated clicks are told by the step itself.
    """
    rows, ranks = planned_rows(config, days), config.launch.processes

    def in_spark(step: str, count: float, bytes_a_row: float) -> StepForecast:
        disk, seconds = count * bytes_a_row, count * SECONDS_PER_ROW
        return StepForecast(step=step, rows_in=count, rows_out=count, bytes_on_disk=disk, seconds=seconds)

    def in_ranks(step: str, rows_in: float, rows_out: float, bytes_a_row: float, speed: float) -> StepForecast:
        disk, seconds = rows_out * bytes_a_row, rows_in / speed / ranks
        return StepForecast(step=step, rows_in=rows_in, rows_out=rows_out, bytes_on_disk=disk, seconds=seconds)

    trained = f"train ({rows.chains} chains, {rows.chain_days} chain-days)"
    retrained, appended = rows.retrained + rows.appended, rows.appended
    return [
        in_spark("ingest", rows.impressions, BYTES_PER_IMPRESSION),
        in_spark("training-rows", rows.impressions, BYTES_PER_TRAINING_ROW),
        *map(_graph_step, graphs),
        in_ranks(trained, rows.trained, rows.trained, 0, TRAINED_ROWS_PER_SECOND_AND_RANK),
        *_encoder_steps(config, items, ranks),
        in_spark("features", rows.features, BYTES_PER_FEATURE_ROW),
        in_ranks("score", rows.scores, rows.scores, BYTES_PER_SCORE, SCORED_ROWS_PER_SECOND_AND_RANK),
        *(
            [
                in_ranks(
                    f"append ({rows.arms} arms)",
                    retrained,
                    appended,
                    BYTES_PER_SCORE,
                    TRAINED_ROWS_PER_SECOND_AND_RANK,
                )
            ]
            if rows.arms
            else []
        ),
        in_spark("measure", rows.scores + appended, 0),
    ]


def _graph_step(graph: GraphCost) -> StepForecast:
    seconds = graph.clicks * SECONDS_PER_CLICK_OF_GRAPHS + graph.cost / GRAPH_STEPS_PER_SECOND
    name = f"graph {graph.name} ({graph.graphs}, at most)"
    return StepForecast(step=name, rows_in=graph.clicks, rows_out=0, bytes_on_disk=0, seconds=seconds)


def forecast_table(steps: Sequence[StepForecast]) -> Table:
    """A line a step: rows in and out, bytes, seconds."""
    table = Table(title="what a whole run would read, write and take (two cores; start-up of each step aside)")
    for heading in ("step", "rows in", "rows out", "on disk", "time"):
        table.add_column(heading, justify="left" if heading == "step" else "right")
    for one in steps:
        disk = f"{one.bytes_on_disk / 1e6:,.1f} MB" if one.bytes_on_disk else ""
        table.add_row(one.step, f"{one.rows_in:,.0f}", f"{one.rows_out:,.0f}", disk, f"{one.seconds:,.0f} s")
    return table
