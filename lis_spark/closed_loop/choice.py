"""Which candidates a ranker shows, and what comes of them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from lis_spark.config import ClosedLoopConfig, WorldSource
from lis_spark.world import frames
from lis_spark.world.candidates import Candidates
from lis_spark.world.clicks import LABELS
from lis_spark.world.impressions import shown

_OUTCOMES = (
    "click_probability double, click boolean, read boolean, engage boolean, time_spent_ms int, "
    "advertiser_value_micros bigint, cost_micros bigint"
)


def chosen(rows: DataFrame, loop: ClosedLoopConfig, world: WorldSource) -> DataFrame:
    """The candidates that each request shows, with ``position`` and ``explored``.

    The best by ``logit``, then ``loop.explored`` of the others at random: an item that nobody has seen is never found
    otherwise. The order at random is the same in every arm.

    Args:
        rows: ``request``, ``place``, ``logit``.
        loop: how many are explored.
        world: how many a request shows, and the seed.
    """
    size = world.traffic.impressions_a_request
    by_score = size - loop.explored
    of_request = Window.partitionBy("request")
    ranked = rows.withColumn("rank", F.row_number().over(of_request.orderBy(F.desc("logit"), "place")))
    luck = F.xxhash64(F.lit(world.seed), F.lit("explored"), "request", "place")
    others = Window.partitionBy("request", F.col("rank") > by_score).orderBy(luck, "place")
    drawn = ranked.withColumn("drawn", F.row_number().over(others))
    is_explored = F.col("rank") > by_score
    position = F.when(is_explored, F.lit(by_score) + F.col("drawn")).otherwise(F.col("rank"))
    placed = drawn.withColumns({"position": position, "explored": is_explored})
    return placed.where(F.col("position") <= size).drop("rank", "drawn")


def with_outcomes(rows: DataFrame, world: WorldSource, date: dt.date) -> DataFrame:
    """Shown candidates with what users did, by p* and a number of the candidate's own."""
    kept = [field for field in rows.schema.fields]
    schema = ", ".join(f"`{field.name}` {field.dataType.simpleString()}" for field in kept)
    return rows.mapInArrow(_answered(world, date, [field.name for field in kept]), f"{schema}, {_OUTCOMES}")


def _answered(
    world: WorldSource, date: dt.date, names: Sequence[str]
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def answer(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:

            def column(name: str, of: pa.RecordBatch = batch) -> np.ndarray:
                return of[name].to_numpy(zero_copy_only=False)

            made = shown(
                world,
                Candidates(
                    date=date,
                    requests=column("request"),
                    places=column("place").astype(np.int64),
                    time_ms=column("time_ms"),
                    users=column("user"),
                    items=column("item"),
                    ads=column("bid") > 0,
                    fit=column("fit"),
                    bias=column("bias"),
                    bids=column("bid"),
                ),
                column("position").astype(np.int64),
            )
            truth = frames.truth_columns(world, made)
            labels = {name: pa.array(made.labels[LABELS.index(name)]) for name in ("click", "read", "engage")}
            found = {
                "click_probability": truth["click_probability"],
                **labels,
                **{name: truth[name] for name in ("time_spent_ms", "advertiser_value_micros", "cost_micros")},
            }
            yield pa.RecordBatch.from_arrays(
                [*(batch[name] for name in names), *found.values()], names=[*names, *found]
            )

    return answer


def within_budget(rows: DataFrame, loop: ClosedLoopConfig) -> DataFrame:
    """Leaves out what an advertisement could no longer pay for that day.

    An impression is shown while what has been paid before it is below the budget: in any arm where budgets are shared;
    where they are split, in its own arm, which has its share of the money.
    """
    if loop.daily_budget is None:
        return rows
    purse, budget = ["item"], loop.daily_budget
    if loop.budgets == "split":
        purse, budget = ["item", "arm"], budget / len(loop.arms)
    before = Window.partitionBy(*purse).orderBy("time_ms", "request", "place")
    spent = F.sum("cost_micros").over(before.rowsBetween(Window.unboundedPreceding, -1))
    affordable = F.coalesce(spent, F.lit(0)) < F.lit(round(budget * 1e6))
    return rows.withColumn("affordable", affordable).where("affordable").drop("affordable")
