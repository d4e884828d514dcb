"""Scores of simple baselines on the evaluated days: what a ranker that has learned something is above (method 1.9).

All of them know counts before T alone: the rate of the item, the rate of the user, and a gradient boosting on rates and
counts of both, fitted on rows of the days before T with what was known on each of these days.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from sklearn.ensemble import HistGradientBoostingClassifier

from lis_spark.lake import Lake
from lis_spark.lis.plan.arms import ITEM_AND_USER, ITEM_RATE, USER_RATE, baseline_arms
from lis_spark.lis.plan.chains import ONE_DAY
from lis_spark.lis.plan.evaluated_rows import evaluated_rows, score_columns
from lis_spark.lis.plan.evaluation import EvaluationPlan
from lis_spark.progress import described
from lis_spark.ranker.counts import NUMBERS_A_FEATURE, count_columns, scaled_counts

# What the boosting is fitted on at most: four numbers a row need no more, and they are held on one node.
MOST_ROWS = 200_000
VERSION = 1
_COUNTED = ("user", "item")
_COLUMNS = count_columns(_COUNTED)
# Places among the scaled counts: behind the log odds of all, three numbers of the user, then three of the item.
_USER_RATE, _ITEM_RATE = 1, 1 + NUMBERS_A_FEATURE
_FITTED = (_USER_RATE, _USER_RATE + 1, _ITEM_RATE, _ITEM_RATE + 1)
_SCALE = 1 << 30


def baseline_scores(lake: Lake, plan: EvaluationPlan, keys: Sequence[tuple[int, dt.date]]) -> DataFrame:
    """Rows of ``scores`` of all baselines; no training seed changes them, and each has its own copy.

    Args:
        lake: with the training rows.
        plan: of the measurement.
        keys: training seed, evaluated day.
    """
    frames: DataFrame | None = None
    for date in sorted({date for _, date in keys}):
        with described(lake.spark, f"baselines of {date}"):
            model = fitted(lake, plan, date)
        seeds = sorted(seed for seed, day in keys if day == date)
        frame = _scored(lake, plan, date, seeds, model)
        frames = frame if frames is None else frames.unionByName(frame)
    assert frames is not None
    return frames


def fitted(lake: Lake, plan: EvaluationPlan, date: dt.date) -> HistGradientBoostingClassifier | None:
    """The boosting for one evaluated day; None where the days before it have one class only."""
    config = lake.config
    first = date - ONE_DAY * config.evaluation.baseline_days
    rows = sum(count for day, count in plan.rows.items() if first <= day < date)
    known = lake.read("training_rows").where((F.col("date") >= F.lit(first)) & (F.col("date") < F.lit(date)))
    place = F.pmod(F.xxhash64("impression_id"), F.lit(_SCALE)).alias("place")
    chosen = known.select(place, F.col(f"label_{config.label}").alias("label"), *_COLUMNS)
    chosen = chosen.where(F.col("place") < math.ceil(_SCALE * min(1.0, MOST_ROWS / max(rows, 1))))
    # in an order of their own, so that the same rows give the same bits
    table = chosen.toArrow().sort_by([(name, "ascending") for name in ("place", "label", *_COLUMNS)])
    labels = table["label"].to_numpy()
    if len(np.unique(labels)) < 2:
        return None
    numbers = _numbers(table.combine_chunks().to_batches()[0], config.counts.prior)
    model = HistGradientBoostingClassifier(max_iter=100, max_leaf_nodes=15, early_stopping=False, random_state=0)
    return model.fit(numbers[:, _FITTED], labels)


def _numbers(batch: pa.RecordBatch, prior: float) -> np.ndarray:
    counts = [batch[name].to_numpy(zero_copy_only=False) for name in _COLUMNS]
    return scaled_counts(np.stack(counts, axis=1).astype(np.int64), prior)


def _scored(
    lake: Lake, plan: EvaluationPlan, date: dt.date, seeds: Sequence[int], model: HistGradientBoostingClassifier | None
) -> DataFrame:
    config = lake.config
    narrow = evaluated_rows(lake, [date]).select(*score_columns(config), *_COLUMNS)
    schema = (
        "fold int, bucket int, impression_id string, user_id string, slot_row int, label tinyint, arm string, "
        "logit float"
    )
    scored = narrow.mapInArrow(_score(config.counts.prior, date, model), schema)
    every = F.explode(F.array(*[F.lit(seed) for seed in seeds]))
    return scored.withColumns({"seed": every, "date": F.lit(date)})


def _score(
    prior: float, date: dt.date, model: HistGradientBoostingClassifier | None
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Each batch once for each baseline, with its name and its logits."""

    def logits_of(variant: str, numbers: np.ndarray) -> np.ndarray:
        if variant == ITEM_RATE:
            return numbers[:, _ITEM_RATE]
        if variant == USER_RATE:
            return numbers[:, _USER_RATE]
        if variant == ITEM_AND_USER and model is not None:
            return model.decision_function(numbers[:, _FITTED])
        return np.zeros(len(numbers))

    def score(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            if not batch.num_rows:
                continue
            numbers = _numbers(batch, prior)
            kept = [name for name in batch.schema.names if name not in _COLUMNS]
            for arm in baseline_arms(date):
                logits = pa.array(logits_of(arm.variant, numbers).astype(np.float32))
                names = pa.array([arm.name]).take(pa.array(np.zeros(batch.num_rows, np.int64)))
                columns = [*(batch[name] for name in kept), names, logits]
                yield pa.RecordBatch.from_arrays(columns, names=[*kept, "arm", "logit"])

    return score
