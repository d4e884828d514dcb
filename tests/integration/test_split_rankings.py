"""Parts of a change of logits where the mean of several draws is the control."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from pyspark.sql import functions as F

from lis_spark.lis.plan.arms import Arm
from lis_spark.lis.plan.comparisons import Measurement
from lis_spark.lis.results.rankings import GROUPS, split_rankings
from lis_spark.metrics import compare, influence
from tests.naive_metrics import DATES, as_scores, aucs, impressions, pair, rankings_of

DATE = dt.date.fromisoformat(DATES[0])


def arm(variant: str, controls: tuple[str, ...] | None = None) -> Arm:
    return Arm("append", variant, 0, "port", DATE, None, None, leak="z", compared_with=controls)


def test_split_rankings_of_several_controls_ranks_each_row_once(spark: Any) -> None:
    controls = [arm("control_row_shuffled_0"), arm("control_row_shuffled_1")]
    leaked = arm("representation", tuple(control.name for control in controls))
    measured = Measurement(1, DATE, "append", "z", "representation", "port", 0, "all", (leaked,))
    wide = impressions()
    # a retrained arm is one model for all folds
    wide = wide[wide["evaluated_date"] == DATES[0]].assign(fold=0)
    names = dict(zip(("a", "a2", "b"), (*[one.name for one in controls], leaked.name), strict=True))
    scores = as_scores(spark, wide, list(names)).drop("request").replace(names, subset="arm")
    stored = scores.select(F.lit(1).alias("seed"), F.col("evaluated_date").cast("date").alias("date"), "*")
    split = split_rankings(stored.drop("evaluated_date"), [measured])
    assert split.count() == split.select("arm", "impression_id").distinct().count()
    per_user = influence(split, GROUPS)
    found = {one.comparison_id.rsplit("|", 1)[1]: one for one in compare(per_user, list(measured.split_pairs(2)))}
    per_user.unpersist()
    several = wide[wide.groupby("user_id")["label"].transform("size") > 1]
    control, gained = aucs(rankings_of(several, [pair("", "b", control=one) for one in ("a", "a2")]))
    assert found["several_rows"].lis == pytest.approx(gained - control, abs=1e-12)
