"""Scores -> influence: which arm is ranked among whom, with n = 0 compared bit for bit (method 1.1, 2.2)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from functools import reduce

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lis_spark.config import RunConfig
from lis_spark.errors import StepFailed
from lis_spark.folds import NO_FOLD
from lis_spark.lake import Lake
from lis_spark.lis.append import step as append
from lis_spark.lis.plan.arms import CONTROL, TRUTH, control_arm
from lis_spark.lis.plan.chains import base_name
from lis_spark.lis.plan.comparisons import is_stratified
from lis_spark.lis.plan.evaluation import EvaluationPlan
from lis_spark.lis.plan.strata import ALL, item_strata, memberships
from lis_spark.lis.swap import score
from lis_spark.lis.swap.features import snapshot_tables
from lis_spark.metrics import influence
from lis_spark.partitions import PartitionKey
from lis_spark.progress import described
from lis_spark.sources.days import hash_sums

BOTH_WAYS = (CONTROL, TRUTH)
# Items and evaluated days below which their strata are sent to every task; above it the scores are shuffled by item.
BROADCAST_ROWS = 2_000_000
GROUPS = ("seed", "date", "arm", "fold", "stratum")


def write_influence(lake: Lake, plan: EvaluationPlan, todo: Mapping[PartitionKey, str]) -> tuple[int, int]:
    """Writes the influence of some (seed, T); returns scores in and scores accounted for.

    Raises:
        StepFailed: n = 0 is not the control bit for bit, or scores were lost or doubled.
        InputError: a score is NaN.
    """
    spark = lake.spark
    keys = sorted((int(seed), dt.date.fromisoformat(date)) for seed, date in todo)
    conditions = [(F.col("seed") == seed) & (F.col("date") == F.lit(date)) for seed, date in keys]
    wanted = reduce(lambda left, right: left | right, conditions)
    scores = lake.read("scores").where(wanted & F.col("step").isin(scored_steps(lake.config)))
    with described(spark, f"n = 0 against the control on {len(todo)} evaluated days"):
        rows_in = _check_identity(scores, plan, keys)
    with described(spark, f"influence of every user on every AUC of {len(todo)} evaluated days"):
        dates = {date for _, date in keys}
        strata = strata_of_days(lake, plan, dates)
        strata = strata.localCheckpoint()
        if strata.count() < BROADCAST_ROWS:
            strata = F.broadcast(strata)
        grouped = grouped_scores(scores, _ranked_arms(spark, plan, keys), strata)
        per_user = influence(grouped, GROUPS)
        lake.write_partitions("influence", per_user, todo)
        per_user.unpersist()
    counted = lake.read("influence").where((F.col("stratum") == ALL) & wanted)
    # the control arm stands twice: over all users, and fold by fold
    once = counted.where(~(F.split_part("arm", F.lit("|"), F.lit(2)).isin(*BOTH_WAYS) & (F.col("fold") > NO_FOLD)))
    rows_out = once.agg(F.sum(F.col("positives") + F.col("negatives")).alias("rows")).first()
    if rows_out is None or rows_out["rows"] != rows_in:
        raise StepFailed(
            "scores were lost or doubled on the way to influence",
            table="influence",
            partition=", ".join("/".join(key) for key in todo),
            found=f"{rows_out['rows'] if rows_out else 0:,} scores",
            expected=f"{rows_in:,} scores",
            remedy="run lis-spark measure --force; if it comes back, look for doubled impression ids",
        )
    return rows_in, rows_in


def scored_steps(config: RunConfig) -> list[str]:
    """Values of ``scores.step`` that belong to a configuration."""
    return [score.STEP, *([append.STEP] if config.append else [])]


def strata_of_days(lake: Lake, plan: EvaluationPlan, dates: set[dt.date]) -> DataFrame:
    """Strata of the items on some days; counters are those of the base chain, the same under every seed."""
    evaluation = lake.config.evaluation
    tables = snapshot_tables(lake, plan, {(base_name(lake.config.seeds[0]), date) for date in dates})
    vocabulary = lake.read("vocabularies").where(F.col("slot") == evaluation.slot)
    aligned_on = None
    if lake.config.represents:
        assert lake.config.preference is not None
        # validation items choose the state that is kept, what is left out looks like an item that is trained on
        known = lake.read("preference_items").where(F.col("name") == lake.config.preference.name)
        aligned_on = known.select(F.col("item_id").alias("key"))
    edges = (evaluation.update_count_edges, evaluation.item_age_edges)
    return item_strata(tables, vocabulary, *edges, aligned_on)


def _check_identity(scores: DataFrame, plan: EvaluationPlan, keys: Sequence[tuple[int, dt.date]]) -> int:
    """n = 0 must give bit-equal logits through its own table (invariant 4 of method 1.1); returns the scores counted.

    Sums of hashes of (impression, logit) are compared fold by fold; the rows are joined only to name one that differs.
    """
    control = control_arm(keys[0][1]).name
    identical = {arm.name for seed, date in keys for arm in plan.arms(seed, date) if arm.is_identity}
    compared = F.when(F.col("arm").isin(control, *identical), F.xxhash64("impression_id", "logit"))
    upper, lower = hash_sums(compared)
    summed = scores.groupBy("seed", "date", "arm", "fold").agg(
        F.count(F.lit(1)).alias("rows"), upper.alias("upper"), lower.alias("lower")
    )
    found = {
        (row["seed"], row["date"], row["arm"], row["fold"]): (row["rows"], row["upper"], row["lower"])
        for row in summed.collect()
    }
    for (seed, date, arm, fold), sums in sorted(found.items()):
        if arm in identical and sums != found.get((seed, date, control, fold)):
            own = scores.where((F.col("seed") == seed) & (F.col("date") == F.lit(date)) & (F.col("fold") == fold))
            raise _not_the_identity(own, arm, control, {"seed": seed, "date": str(date), "fold": fold})
    return sum(rows for rows, *_ in found.values())


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


def _ranked_arms(spark: SparkSession, plan: EvaluationPlan, keys: Sequence[tuple[int, dt.date]]) -> DataFrame:
    """seed, date, arm -> whether it ranks all users, each fold, and strata.

    Scores of different models are never pooled into one ranking: arms of a held-out fold rank within the fold, and the
    control, which is compared with both kinds, does both, and so does the truth.
    """
    longest = max(plan.config.evaluation.horizons)
    rows = [
        (
            seed,
            date,
            arm.name,
            arm.ranks_all,
            arm.ranks_folds,
            is_stratified(arm, longest),
        )
        for seed, date in keys
        for arm in plan.all_arms(seed, date)
    ]
    schema = "seed int, date date, arm string, ranks_all boolean, ranks_folds boolean, stratified boolean"
    return spark.createDataFrame(rows, schema)


def grouped_scores(scores: DataFrame, arms: DataFrame, strata: DataFrame) -> DataFrame:
    """Each score once for each ranking that it takes part in: over all users or within its fold, and in its strata.

    Args:
        scores: the table of that name.
        arms: see :func:`_ranked_arms`.
        strata: see :func:`lis_spark.lis.plan.strata.item_strata`.
    """
    of_item = (F.col("date") == F.col("evaluated_date")) & (F.col("slot_row") == F.col("row"))
    joined = scores.join(F.broadcast(arms), ["seed", "date", "arm"]).join(strata, of_item, "left")
    everyone = F.lit(NO_FOLD)
    folds = (
        F.when(F.col("ranks_all") & F.col("ranks_folds"), F.array(everyone, "fold"))
        .when(F.col("ranks_all"), F.array(everyone))
        .otherwise(F.array("fold"))
    )
    strata_of_row = F.when(F.col("stratified"), memberships()).otherwise(F.array(F.lit(ALL)))
    return joined.withColumn("fold", F.explode(folds)).select(
        "seed",
        "date",
        "arm",
        "fold",
        F.explode(strata_of_row).alias("stratum"),
        "user_id",
        "impression_id",
        "label",
        "logit",
    )
