"""Whether the scores that a measurement reads are those that its plan asks for, n = 0 bit for bit (method 1.1)."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Mapping, Sequence, Set

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lis_spark.errors import InputError, StepFailed
from lis_spark.lake import Lake
from lis_spark.lis.plan.arm_rows import ArmKey, rows_by_arm
from lis_spark.lis.plan.arms import control_arm
from lis_spark.lis.plan.evaluation import EvaluationPlan
from lis_spark.sources.days import hash_sums

ScoreGroup = tuple[int, dt.date, str, int]
ScoreSums = tuple[int, int, int]


def check_scores(lake: Lake, plan: EvaluationPlan, scores: DataFrame, keys: Sequence[tuple[int, dt.date]]) -> int:
    """Returns how many scores of the plan's arms there are.

    Args:
        lake: of which the training rows of each day are counted.
        plan: whose arms must have scored every impression that they are for.
        scores: rows of the table of that name, of the plan's arms and the days ``keys`` alone.
        keys: training seed, evaluated day.

    Raises:
        InputError: an arm of the plan has not scored every impression that it is for.
        StepFailed: n = 0 is not the control bit for bit.
    """
    control = control_arm(keys[0][1]).name
    identical = {arm.name for seed, date in keys for arm in plan.arms(seed, date) if arm.is_identity}
    sums = _sums_of_scores(scores, {control, *identical})
    _check_complete(lake, plan, keys, sums)
    _check_identity(scores, control, identical, sums)
    return sum(rows for rows, *_ in sums.values())


def _sums_of_scores(scores: DataFrame, bit_equal: Set[str]) -> dict[ScoreGroup, ScoreSums]:
    """Number of scores, and the two sums of hashes of (impression, logit) of the arms that must be bit-equal."""
    compared = F.when(F.col("arm").isin(*sorted(bit_equal)), F.xxhash64("impression_id", "logit"))
    upper, lower = hash_sums(compared)
    summed = scores.groupBy("seed", "date", "arm", "fold").agg(
        F.count(F.lit(1)).alias("rows"), upper.alias("upper"), lower.alias("lower")
    )
    return {
        (row["seed"], row["date"], row["arm"], row["fold"]): (row["rows"], row["upper"], row["lower"])
        for row in summed.collect()
    }


def _check_complete(
    lake: Lake, plan: EvaluationPlan, keys: Sequence[tuple[int, dt.date]], sums: Mapping[ScoreGroup, ScoreSums]
) -> None:
    """Every arm of the plan has scored each impression that it is for: what a narrower run left is not enough."""
    arms = [(seed, date, arm) for seed, date in keys for arm in plan.all_arms(seed, date)]
    expected, found = rows_by_arm(lake, arms), Counter[ArmKey]()
    for (seed, date, arm, _), (rows, *_) in sums.items():
        found[seed, date, arm] += rows
    wrong = {key: rows for key, rows in expected.items() if found[key] != rows}
    if wrong:
        (seed, date, arm), rows = next(iter(wrong.items()))
        steps = "score and append" if any(key[2].startswith("append|") for key in wrong) else "score"
        is_more = found[seed, date, arm] > rows
        problem = "more scores than impressions" if is_more else "not scored every impression that they are for"
        raise InputError(
            f"{len(wrong)} of {len(expected)} arms have {problem}",
            table="scores",
            partition={"seed": seed, "date": str(date)},
            found=f"{found[seed, date, arm]:,} scores of arm {arm}",
            expected=f"{rows:,} scores",
            remedy="look for doubled impression ids, then run lis-spark score --force"
            if is_more
            else f"run lis-spark run with this configuration, or its steps up to {steps}, before measure",
        )


def _check_identity(scores: DataFrame, control: str, identical: Set[str], sums: Mapping[ScoreGroup, ScoreSums]) -> None:
    """n = 0 must give bit-equal logits through its own table (invariant 4 of method 1.1).

    Sums of hashes are compared fold by fold; the rows are joined only to name one that differs.
    """
    for (seed, date, arm, fold), own_sums in sorted(sums.items()):
        if arm in identical and own_sums != sums.get((seed, date, control, fold)):
            own = scores.where((F.col("seed") == seed) & (F.col("date") == F.lit(date)) & (F.col("fold") == fold))
            raise _not_the_identity(own, arm, control, {"seed": seed, "date": str(date), "fold": fold})


def _not_the_identity(scores: DataFrame, arm: str, control: str, partition: Mapping[str, object]) -> StepFailed:
    logits = [
        scores.where(F.col("arm") == name).select("impression_id", F.col("logit").alias(alias))
        for name, alias in ((arm, "own"), (control, "control"))
    ]
    differs = ~F.col("own").eqNullSafe(F.col("control"))
    first = logits[0].join(logits[1], "impression_id", "full").where(differs).orderBy("impression_id").first()
    return StepFailed(
        "the table of n = 0 does not give the logits of the ranker's own table",
        table="scores",
        partition=partition,
        found=f"arm {arm}, impression {first['impression_id']}: {first['own']!r}" if first else f"arm {arm}",
        expected=f"{first['control'] if first else 'the logits of ' + control!r}, bit for bit",
        remedy="control_features or embedding_snapshots were changed since training: train with --force",
    )
