"""Simple baselines beside the ranker on real data, held against pandas and scikit-learn."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score

from lis_spark.config import RunConfig
from lis_spark.lake import Lake
from lis_spark.lis.results.measure import results_of
from lis_spark.pipeline import run_steps

T = dt.date(2022, 4, 30)
CONTROL = "swap|control|0|none|-1"


def log_odds_of_rates(rows: pd.DataFrame, name: str, prior: float = 10.0) -> pd.Series:
    """Of a value's rate, smoothed by so many impressions with the rate of all, beyond that of all (method 0.1)."""
    of_all = (rows["positives_before_all"] + 1) / (rows["impressions_before_all"] + 2)
    rate = (rows[f"positives_before_{name}"] + prior * of_all) / (rows[f"impressions_before_{name}"] + prior)
    return np.log(rate / (1 - rate)) - np.log(of_all / (1 - of_all))


@pytest.mark.slow("scores and measures the main job once more")
def test_baselines_of_the_main_job_are_those_of_counts_before_the_day(spark: Any, copied: RunConfig) -> None:
    evaluation = copied.evaluation.model_copy(update={"baselines": True})
    config = copied.model_copy(update={"evaluation": evaluation})
    run_steps(spark, config, ("score", "measure"))
    results = results_of(Lake(spark, config, measurement=True))
    rows = Lake(spark, config).read("training_rows").where(f"date <= '{T}'").toPandas().set_index("impression_id")
    scores = Lake(spark, config, measurement=True).read("scores").where(f"arm = '{CONTROL}'").toPandas()
    scores = scores.set_index("impression_id")
    features = pd.DataFrame({name: log_odds_of_rates(rows, name) for name in ("user", "item")})
    features = features[["user", "item"]].assign(
        **{f"count_{name}": np.log10(1 + rows[f"impressions_before_{name}"]) for name in ("user", "item")}
    )[["user", "count_user", "item", "count_item"]]
    earlier = rows["date"] < T
    boosting = HistGradientBoostingClassifier(max_iter=100, max_leaf_nodes=15, early_stopping=False, random_state=0)
    boosting.fit(features[earlier].to_numpy(), rows.loc[earlier, "label_click"])
    expected = features.reindex(scores.index)
    expected["item_and_user"] = boosting.decision_function(expected.to_numpy())
    found = {row["variant"]: row for row in results if row["protocol"] == "baseline"}
    assert len(found) == 7
    ranker = roc_auc_score(scores["label"], scores["logit"])
    for variant, column, close in (
        ("item_rate", "item", 1e-6),
        ("user_rate", "user", 1e-6),
        ("item_and_user", "item_and_user", 1e-3),  # sums of gradients in another order can cut a leaf elsewhere
    ):
        auc = roc_auc_score(scores["label"], expected[column].astype(np.float32))
        assert found[variant]["auc_leaked"] == pytest.approx(auc, abs=close)
        assert found[variant]["lis"] == pytest.approx(auc - ranker, abs=close)
        assert found[f"{variant}_over_chance"]["lis"] == pytest.approx(auc - 0.5, abs=close)
        assert found[variant]["verdict"] is None and found[variant]["ci_low"] < found[variant]["lis"]
    assert found["chance"]["lis"] == pytest.approx(0.5 - ranker, abs=1e-12)
    is_below = any(found[variant]["ci_low"] > 0 for variant in ("item_rate", "user_rate", "item_and_user"))
    verdicts = {row["verdict"] for row in results if row["variant"] == "honest" and row["verdict"]}
    assert verdicts and ("ranker below a simple baseline" in verdicts) == is_below
