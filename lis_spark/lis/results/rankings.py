"""Scores -> influence: which arm is ranked among whom, with n = 0 compared bit for bit (method 1.1, 2.2)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from functools import reduce

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.storagelevel import StorageLevel

from lis_spark.config import RunConfig
from lis_spark.errors import StepFailed
from lis_spark.folds import NO_FOLD
from lis_spark.lake import Lake
from lis_spark.lis.append import step as append
from lis_spark.lis.plan.arms import CONTROL, TRUTH, is_by_fold
from lis_spark.lis.plan.chains import OTHER_FOLDS, base_name
from lis_spark.lis.plan.comparisons import Measurement, is_stratified, ranked_within
from lis_spark.lis.plan.evaluation import EvaluationPlan
from lis_spark.lis.plan.strata import ALL, SEVERAL_ROWS, item_strata, memberships
from lis_spark.lis.results.score_checks import check_scores
from lis_spark.lis.swap import score
from lis_spark.lis.swap.features import snapshot_tables
from lis_spark.metrics import influence, split_scores
from lis_spark.partitions import PartitionKey
from lis_spark.progress import described

BOTH_WAYS = (CONTROL, TRUTH)
# Items and evaluated days below which their strata are sent to every task; above it the scores are shuffled by item.
BROADCAST_ROWS = 2_000_000
GROUPS = ("seed", "date", "arm", "fold", "stratum")


def write_influence(
    lake: Lake, plan: EvaluationPlan, measurements: Sequence[Measurement], todo: Mapping[PartitionKey, str]
) -> tuple[int, int]:
    """Writes the influence of some (seed, T); returns scores in and scores accounted for.

    Scores of arms that this plan does not ask for, which another configuration left in the lake, are not read.

    Raises:
        StepFailed: n = 0 is not the control bit for bit, or scores were lost or doubled; nothing is written then.
        InputError: an arm of the plan has not scored every impression that it is for, or a score is NaN.
    """
    spark = lake.spark
    keys = sorted((int(seed), dt.date.fromisoformat(date)) for seed, date in todo)
    conditions = [(F.col("seed") == seed) & (F.col("date") == F.lit(date)) for seed, date in keys]
    wanted = reduce(lambda left, right: left | right, conditions)
    stored = lake.read("scores").where(wanted & F.col("step").isin(scored_steps(lake.config)))
    arms = _ranked_arms(spark, plan, keys)
    scores = stored.join(F.broadcast(arms.select("seed", "date", "arm")), ["seed", "date", "arm"], "left_semi")
    with described(spark, f"n = 0 against the control on {len(todo)} evaluated days"):
        rows_in = check_scores(lake, plan, scores, keys)
    with described(spark, f"influence of every user on every AUC of {len(todo)} evaluated days"):
        dates = {date for _, date in keys}
        strata = strata_of_days(lake, plan, dates)
        strata = strata.localCheckpoint()
        if strata.count() < BROADCAST_ROWS:
            strata = F.broadcast(strata)
        of_days = [one for one in measurements if (one.seed, one.evaluated_date) in keys]
        split = split_rankings(scores, of_days, _requests(lake, dates)).persist(StorageLevel.DISK_ONLY)
        grouped = grouped_scores(scores, arms, strata).unionByName(split)
        for folds in lake.config.evaluation.other_folds:
            grouped = grouped.unionByName(ranked_within_folds(scores, arms, folds))
        per_user = influence(grouped, GROUPS)
        try:
            _check_counts(per_user, rows_in, todo)
            lake.write_partitions("influence", per_user, todo)
        finally:
            per_user.unpersist()
            split.unpersist()
    return rows_in, rows_in


def _check_counts(per_user: DataFrame, rows_in: int, todo: Mapping[PartitionKey, str]) -> None:
    # the control arm stands several times: over all users, and within the folds of each number of folds
    variant = F.split_part("arm", F.lit("|"), F.lit(2))
    again = variant.isin(*BOTH_WAYS) & (F.col("fold") > NO_FOLD)
    once = per_user.where(((F.col("stratum") == ALL) | (variant == OTHER_FOLDS)) & ~again)
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


def split_rankings(
    scores: DataFrame, measurements: Sequence[Measurement], requests: DataFrame | None = None
) -> DataFrame:
    """Scores of the user part and the item part of judged changes of logits, and of both arms, on the same rows.

    Args:
        scores: the table of that name.
        measurements: of which those that are split are taken.
        requests: date, impression_id, request (BIGINT), where the source knows its requests.

    Returns:
        seed, date, arm, fold, stratum, user_id, impression_id, label, logit (double), request (null: not known).
    """
    pairs: dict[tuple[int, dt.date, str, bool, int], set[str]] = {}
    for one in measurements:
        by_fold = is_by_fold(one.protocol, one.variant)
        for arm in one.arms if one.is_split else ():
            for control_name in one.controls:
                key = (one.seed, one.evaluated_date, control_name, by_fold, arm.held_out_fold)
                pairs.setdefault(key, set()).add(arm.name)
    # an arm is ranked once on these rows, with however many others it is compared
    rows, emitted = [], set()
    for key, names in sorted(pairs.items()):
        for place, name in enumerate(sorted(names)):
            rows.append((*key[:3], name, key[3], place == 0, (*key[:2], name) not in emitted))
            emitted.add((*key[:2], name))
    schema = (
        "seed int, date date, control_arm string, leaked_arm string, by_fold boolean, emits_control boolean, "
        "emits_leaked boolean"
    )
    wanted = scores.sparkSession.createDataFrame(rows, schema)
    leaked = scores.withColumnsRenamed({"arm": "leaked_arm", "logit": "leaked"})
    leaked = leaked.join(F.broadcast(wanted), ["seed", "date", "leaked_arm"])
    controls = wanted.select("seed", "date", F.col("control_arm").alias("arm")).distinct()
    control = scores.join(F.broadcast(controls), ["seed", "date", "arm"]).select(
        "seed", "date", F.col("arm").alias("control_arm"), "impression_id", F.col("logit").alias("control")
    )
    if requests is None:
        control = control.withColumn("request", F.lit(None).cast("bigint"))
    else:
        control = control.join(requests, ["date", "impression_id"], "left")
    paired = leaked.join(control, ["seed", "date", "control_arm", "impression_id"])
    ranked = paired.withColumn("fold", F.when(F.col("by_fold"), F.col("fold")).otherwise(F.lit(NO_FOLD)))
    return split_scores(ranked, ("seed", "date", "fold")).withColumn("stratum", F.lit(SEVERAL_ROWS))


def _requests(lake: Lake, dates: set[dt.date]) -> DataFrame | None:
    """date, impression_id, request (a number) of the impressions of some days, where the source knows its requests."""
    if not lake.config.source.knows_requests:
        return None
    shown = lake.read("impressions").where(F.col("date").isin(list(dates)))
    return shown.select("date", "impression_id", F.xxhash64("user_id", "request_id").alias("request"))


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


def _ranked_arms(spark: SparkSession, plan: EvaluationPlan, keys: Sequence[tuple[int, dt.date]]) -> DataFrame:
    """seed, date, arm -> whether it ranks all users, each fold, and strata.

    Scores of different models are never pooled into one ranking: arms of a held-out fold rank within the fold, and the
    control, which is compared with both kinds, does both, and so does the truth. ``other_folds``: the number of folds
    of an arm that is ranked by :func:`ranked_within_folds` instead.
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
            arm.folds if arm.variant == OTHER_FOLDS else None,
        )
        for seed, date in keys
        for arm in plan.all_arms(seed, date)
    ]
    schema = (
        "seed int, date date, arm string, ranks_all boolean, ranks_folds boolean, stratified boolean, other_folds int"
    )
    return spark.createDataFrame(rows, schema)


def grouped_scores(scores: DataFrame, arms: DataFrame, strata: DataFrame) -> DataFrame:
    """Each score once for each ranking that it takes part in: over all users or within its fold, and in its strata.

    Args:
        scores: the table of that name.
        arms: see :func:`_ranked_arms`.
        strata: see :func:`lis_spark.lis.plan.strata.item_strata`.
    """
    of_item = (F.col("date") == F.col("evaluated_date")) & (F.col("slot_row") == F.col("row"))
    arms = arms.where("other_folds IS NULL")
    joined = scores.join(F.broadcast(arms), ["seed", "date", "arm"]).join(strata, of_item, "left")
    everyone = F.lit(NO_FOLD)
    folds = (
        F.when(F.col("ranks_all") & F.col("ranks_folds"), F.array(everyone, "fold"))
        .when(F.col("ranks_all"), F.array(everyone))
        .otherwise(F.array("fold"))
    )
    strata_of_row = F.when(F.col("stratified"), memberships()).otherwise(F.array(F.lit(ALL)))
    ranked = joined.withColumn("fold", F.explode(folds)).withColumn("stratum", F.explode(strata_of_row))
    return ranked.select(*GROUPS, "user_id", "impression_id", "label", *_without_requests())


def ranked_within_folds(scores: DataFrame, arms: DataFrame, folds: int) -> DataFrame:
    """Scores of the arms that hold out one of another number of folds, and of their control, within those folds.

    Args:
        scores: the table of that name.
        arms: see :func:`_ranked_arms`.
        folds: how many there are.
    """
    of_folds = arms.where(F.col("other_folds") == folds)
    control = arms.where(F.split_part("arm", F.lit("|"), F.lit(1)) == "swap").where(
        F.split_part("arm", F.lit("|"), F.lit(2)) == CONTROL
    )
    wanted = of_folds.unionByName(control).select("seed", "date", "arm")
    ranked = scores.join(F.broadcast(wanted), ["seed", "date", "arm"]).withColumns(
        {"fold": F.pmod("bucket", F.lit(folds)), "stratum": F.lit(ranked_within(folds))}
    )
    return ranked.select(*GROUPS, "user_id", "impression_id", "label", *_without_requests())


def _without_requests() -> list[Column]:
    """The order within requests is counted where parts are told apart: a request of one row has no order."""
    return [F.col("logit").cast("double").alias("logit"), F.lit(None).cast("bigint").alias("request")]
