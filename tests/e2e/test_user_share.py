"""A share of the users is evaluated: the same logits as among all users, and figures of those users alone."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from lis_spark.config import AppendConfig, NextClickLeak, RunConfig
from lis_spark.errors import InputError
from lis_spark.lake import Lake
from lis_spark.lis.results.measure import results_of
from lis_spark.pipeline import run_steps

SHARE = 0.4
STEPS = ("features", "score", "append", "measure")
IDENTITY = ["seed", "date", "arm", "impression_id"]


def with_share(config: RunConfig, share: float) -> RunConfig:
    evaluation = config.evaluation.model_copy(update={"user_share": share, "swap_refit": True})
    return config.model_copy(
        update={"evaluation": evaluation, "append": AppendConfig(leaks=(NextClickLeak(kind="next_click"),))}
    )


def scores_of(spark: Any, config: RunConfig) -> pd.DataFrame:
    return Lake(spark, config, measurement=True).read("scores").toPandas().set_index(IDENTITY).sort_index()


@pytest.mark.slow("scores and measures the main job twice")
def test_user_share_of_the_main_job_gives_the_same_logits_of_fewer_users(spark: Any, copied: RunConfig) -> None:
    run_steps(spark, with_share(copied, 1.0), STEPS)
    whole = scores_of(spark, copied)
    config = with_share(copied, SHARE)
    run_steps(spark, config, STEPS)
    found = scores_of(spark, config)
    hashed = "pmod(xxhash64('lis_spark.evaluated_user', user_id), 1000000) < 400000"
    dates = [str(date) for date in config.evaluation.dates]
    rows = Lake(spark, config).read("training_rows").where(f"date IN ('{dates[0]}')")
    chosen = {row["user_id"] for row in rows.where(hashed).select("user_id").distinct().collect()}
    users = rows.select("user_id").distinct().count()
    assert abs(len(chosen) - SHARE * users) < 4 * (SHARE * (1 - SHARE) * users) ** 0.5
    assert rows.where(hashed).select("user_fold").distinct().count() == config.evaluation.folds, "folds are untouched"
    expected = whole[whole["user_id"].isin(chosen)]
    moved = [arm for arm in expected.index.unique("arm") if "permuted" in arm]  # values change places among the rows
    expected, compared = expected.drop(moved, level="arm"), found.drop(moved, level="arm")
    assert expected.index.equals(compared.index) and len(compared) > 1000
    assert (expected["logit"] - compared["logit"]).abs().max() < 1e-5
    assert expected["fold"].equals(compared["fold"])
    results = results_of(Lake(spark, config, measurement=True))
    control = compared.xs("swap|control|0|none|-1", level="arm")
    measured = [row for row in results if row["protocol"] == "swap" and row["variant"] == "naive"]
    auc = roc_auc_score(control["label"], control["logit"])
    everything = [row for row in measured if row["stratum"] == "all"]
    assert [row["auc_control"] for row in everything] == [pytest.approx(auc, abs=1e-12)] * len(everything)
    assert {row["lis"] for row in results if row["horizon_days"] == 0 and row["variant"] in ("naive", "honest")} == {0}
    assert {row["user_share"] for row in results} == {SHARE}
    assert {row["users"] for row in everything} == {len(chosen)}
    with pytest.raises(InputError, match="have not scored every impression"):  # no figure of a share passes for all
        run_steps(spark, with_share(copied, 1.0), ("measure",))
    with pytest.raises(InputError, match=r"leaves a fold of an evaluated day without impressions of both classes"):
        run_steps(spark, with_share(copied, 0.001), ("features",))
