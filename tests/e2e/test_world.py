"""The main job on a small simulated world: p* is scored as an arm, and each LIS stands beside its truth bound."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from lis_spark.config import load_config
from lis_spark.folds import user_fold
from lis_spark.lake import Lake
from lis_spark.lis.results.measure import results_of
from lis_spark.pipeline import run_steps

CONFIG = Path(__file__).resolve().parents[2] / "conf" / "world_reference_small.yaml"
T = "2026-01-05"


@pytest.mark.slow("trains a world of its own")
def test_every_score_stands_beside_its_truth_bound(
    spark: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = load_config(
        CONFIG,
        [
            *(
                f"lake.path={tmp_path / 'lake'}",
                f"lake.work_path={tmp_path / 'work'}",
                f"output_path={tmp_path / 'out'}",
            ),
            *("source.days=8", "source.content.rendered=none", "seeds=[17, 18]", f"evaluation.dates=[{T}]"),
            *(
                "source.catalogue.life_days=3",
                "source.catalogue.new_items_a_day=40",
                "source.traffic.impressions_a_day=3000",
            ),
            *("evaluation.horizons=[0, 1, 3, 4]", "evaluation.folds=2", "evaluation.variants=[naive, honest]"),
            "evaluation.folds_sensitivity=[2, 3, 6]",
            *("evaluation.whole=false", "evaluation.swap_refit=false"),
        ],
    )
    run_steps(spark, config)
    lake = Lake(spark, config, measurement=True)
    day = lake.read("training_rows").where(f"date = DATE'{T}'").select("impression_id", "user_fold", "label_click")
    known = day.join(lake.read("truth"), "impression_id").toPandas()
    assert len(known) == day.count() > 2500
    best = roc_auc_score(known["label_click"], known["click_probability"])
    pairs = total = 0.0
    for _, fold in known.groupby("user_fold"):
        weight = float(fold["label_click"].sum() * (1 - fold["label_click"]).sum())
        total += weight * roc_auc_score(fold["label_click"], fold["click_probability"])
        pairs += weight
    rows = [row for row in results_of(lake) if row["stratum"] == "all"]
    seen = set()
    for row in rows:
        if row["protocol"] == "truth" or row["variant"] == "other_folds":
            continue
        reached = total / pairs if row["variant"] == "honest" else best
        # float32 logits tie a few of the probabilities
        assert row["truth_bound"] == pytest.approx(reached - row["auc_control"], abs=1e-5), row["variant"]
        seen.add((row["variant"], row["horizon_days"], row["seed"]))
        if row["variant"] == "honest":
            assert row["lis"] < row["truth_bound"]
    assert {("naive", 1, "17"), ("honest", 1, "18"), ("honest", 1, "mean")} <= seen
    u2 = {(row["variant"], row["horizon_days"]): row["u2_leaked"] for row in rows if row["seed"] == "17"}
    for variant in ("naive", "honest"):  # items live for three days: what was alive at T learns nothing after T+3
        assert u2[variant, 4] == u2[variant, 3] != u2[variant, 1]
    truths = [row for row in rows if row["protocol"] == "truth"]
    assert {row["variant"] for row in truths} == {"truth", "truth_by_fold"}
    assert all(row["ci_low"] > 0 and row["verdict"] is None for row in truths)
    _check_all_data(lake, rows)
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Truth bound" in page and "no honest score above it" in page
    assert "bound" in capsys.readouterr().out


def _check_all_data(lake: Lake, rows: list[dict[str, Any]]) -> None:
    """The honest score under 2, 3 and 6 folds by scikit-learn, and the line through them by NumPy."""
    scores = lake.read("scores").where("seed = 17").withColumns({f"of {n}": user_fold(n) for n in (2, 3, 6)}).toPandas()
    control = scores[scores["arm"] == "swap|control|0|none|-1"].set_index("impression_id")
    expected = {}
    for folds in (2, 3, 6):
        gained = weights = 0.0
        for fold in range(folds):
            name = f"swap|honest|4|both|{fold}" if folds == 2 else f"swap|other_folds|4|both|{fold} of {folds}"
            leaked = scores[scores["arm"] == name].set_index("impression_id")
            assert set(leaked[f"of {folds}"]) == {fold}
            own = control.loc[leaked.index]
            assert len(own) == (control[f"of {folds}"] == fold).sum() > 200
            weight = float(own["label"].sum() * (1 - own["label"]).sum())
            gain = roc_auc_score(own["label"], leaked["logit"]) - roc_auc_score(own["label"], own["logit"])
            gained, weights = gained + weight * gain, weights + weight
        expected[folds] = gained / weights
    told = {(row["variant"], row["folds"]): row for row in rows if row["horizon_days"] == 4 and row["seed"] == "17"}
    assert told["honest", 2]["lis"] == pytest.approx(expected[2], abs=1e-12)
    for folds in (3, 6):
        row = told["other_folds", folds]
        assert row["lis"] == pytest.approx(expected[folds], abs=1e-12)
        assert row["verdict"] is None and row["truth_bound"] is None
    line = np.polyfit([1 / folds for folds in expected], list(expected.values()), 1)
    honest = told["honest", 2]
    assert honest["lis_all_data"] == pytest.approx(line[1], abs=1e-9)
    assert honest["lis_all_data_ci_low"] < line[1] < honest["lis_all_data_ci_high"]
    of_seeds = [row for row in rows if row["variant"] == "honest" and row["horizon_days"] == 4]
    values = {row["seed"]: row["lis_all_data"] for row in of_seeds}
    assert values["mean"] == pytest.approx((values["17"] + values["18"]) / 2, abs=1e-9)
    assert all(row["lis_all_data"] is None for row in rows if row["horizon_days"] in (0, 1, 3))
