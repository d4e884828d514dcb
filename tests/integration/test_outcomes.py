"""LIS, LIS_content and AIS of several data sets with their covariance, against the influence of users in NumPy."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from lis_spark.config import parse_config
from lis_spark.lake import Lake
from lis_spark.lis.plan.append_arms import append_features
from lis_spark.lis.plan.comparisons import plan_measurements
from lis_spark.lis.plan.strata import UNSEEN
from lis_spark.lis.results.compare import row_ids
from lis_spark.lis.results.outcomes import aligned_leaks, outcomes_of
from lis_spark.metrics.influence import influence

T = dt.date(2022, 5, 3)
SETS = ("rates", "tastes", "noise")
USERS, EACH = 60, 25  # with fewer than 50 users errors are made by leaving out users
SCHEMA = (
    "date date, seed int, arm string, fold int, stratum string, user_id string, impression_id string, label int, "
    "logit float"
)


@pytest.fixture
def data(config_data: dict[str, Any]) -> dict[str, Any]:
    def query(name: str) -> dict[str, Any]:
        text = f"SELECT item_id, count(*) AS {name} FROM items GROUP BY item_id"
        return {
            **{"kind": "sql", "name": name, "query": text, "is_noise": name == "noise"},
            **{"horizon_days": 1, "control": "shuffled"},
        }

    said = [{"kind": "representation", "name": f"z_{name}", "encoder": f"of_{name}", "draws": 2} for name in SETS]
    return {
        **config_data,
        "seeds": [17, 18],
        "preference": {"min_updates": 1, "tail_share": 0.5, "as_of": "2022-04-30"},
        "encoders": [
            *({"name": f"of_{name}", "leak": name} for name in SETS),
            {"name": "control", "leak": "rates", "targets": "random"},
        ],
        "append": {
            "leaks": [*map(query, SETS), *said, {**said[0], "name": "z_control", "encoder": "control"}],
            "horizons": [1],
            "content": {"shuffles": 2},
        },
    }


def psi(frame: pd.DataFrame, logits: np.ndarray) -> np.ndarray:
    """[users]: the influence of each user on the AUC, from its definition."""
    label = frame["label"].to_numpy()
    positives, negatives = logits[label == 1], logits[label == 0]
    auc = roc_auc_score(label, logits)
    wins = (positives[:, None] > negatives[None]) + 0.5 * (positives[:, None] == negatives[None])
    share = np.empty(len(logits))
    share[label == 1] = (wins.mean(1) - auc) / len(positives)
    share[label == 0] = (wins.mean(0) - auc) / len(negatives)
    return pd.Series(share).groupby(frame["user_id"].to_numpy()).sum().to_numpy()


def auc(frame: pd.DataFrame, logits: np.ndarray) -> float:
    return float(roc_auc_score(frame["label"], logits))


def test_scores_and_covariance_are_those_of_the_users(spark: Any, data: dict[str, Any]) -> None:
    config = parse_config(data)
    assert aligned_leaks(config) == {name: f"z_{name}" for name in SETS}, "a control is no outcome"
    arms = [feature.arm for feature in append_features(config, T)]
    random = np.random.default_rng(11)
    shown = pd.DataFrame({"user_id": np.repeat([f"u{n:02}" for n in range(USERS)], EACH)})
    shown["impression_id"] = [f"i{n}" for n in range(len(shown))]
    taste = np.repeat(random.normal(size=USERS), EACH)
    known = random.normal(size=len(shown)) + taste
    shown["label"] = (random.random(len(shown)) < 1 / (1 + np.exp(-known))).astype(int)
    unseen = random.random(len(shown)) < 0.6
    logits, parts = {}, []
    # the ranker as it is says which strata hold both classes
    scored = [("swap|control|0|both|-1", 0), *((arm.name, 1 + len(arm.variant) % 3 - arm.is_control) for arm in arms)]
    for seed in config.seeds:
        for arm_name, strength in scored:
            logit = (strength * known + 2 * random.normal(size=len(shown)) + taste).round(1).astype(np.float32)
            logits[seed, arm_name] = logit
            for stratum, rows in (("all", unseen | ~unseen), (UNSEEN, unseen)):
                part = shown[rows].assign(date=T, seed=seed, arm=arm_name, fold=-1, stratum=stratum)
                parts.append(part.assign(logit=logit[rows]))
    names = [name.split()[0] for name in SCHEMA.split(", ")]
    scores = spark.createDataFrame(pd.concat(parts)[names], SCHEMA)
    per_user = influence(scores, ["date", "seed", "arm", "fold", "stratum"])
    measurements = [
        one for seed in config.seeds for one in plan_measurements(config.evaluation, seed, T, arms, (UNSEEN,))
    ]
    found = outcomes_of(config, per_user, measurements)
    per_user.unpersist()
    assert found is not None and found.names == SETS
    assert found.is_noise.tolist() == [False, False, True] and list(found.predictions) == [
        "lis",
        "lis_unseen",
        "lis_content",
    ]

    variants = {"ais": "representation", "lis": "honest", "lis_unseen": "honest", "lis_content": "content"}
    values, influences, extra = [], [], []
    for score, variant in variants.items():
        for name in SETS:
            leak = f"z_{name}" if score == "ais" else name
            (arm,) = [arm for arm in arms if (arm.leak, arm.variant) == (leak, variant)]
            rows = unseen if score in ("ais", "lis_unseen") else np.ones(len(shown), bool)
            own, moved = [], []
            for seed in config.seeds:
                frame, leaked = shown[rows], logits[seed, arm.name][rows]
                controls = [logits[seed, control][rows] for control in arm.controls]
                own.append(auc(frame, leaked) - np.mean([auc(frame, control) for control in controls]))
                moved.append(psi(frame, leaked) - np.mean([psi(frame, control) for control in controls], axis=0))
            values.append(np.mean(own))
            influences.append(np.mean(moved, axis=0))
            extra.append(np.var(own, ddof=1) / len(own))  # each seed has draws of its own
            if arm.against_own_order:  # and the leak is one order itself
                orders = next(one for one in arms if (one.leak, one.variant) == (leak, "row_shuffled"))
                checks = [
                    auc(shown, logits[seed, orders.name]) - auc(shown, logits[seed, orders.controls[0]])
                    for seed in config.seeds
                ]
                of_orders = np.mean(np.square(checks)) * (len(own) + 1) / (2 * len(own))
                extra[-1] = max(extra[-1], of_orders) if score == "lis" else extra[-1] * (len(own) + 1)
    observed = np.concatenate([found.ais, *found.predictions.values()])
    np.testing.assert_allclose(observed, values, atol=1e-12)
    moved = np.stack(influences)
    expected = moved @ moved.T * USERS / (USERS - 1) + np.diag(extra)
    np.testing.assert_allclose(found.covariance, expected, rtol=1e-6, atol=1e-12)


def test_row_ids_of_another_threshold_are_other_rows(spark: Any, data: dict[str, Any]) -> None:
    """A comparison tells the verdicts of the threshold that it is asked with."""
    ids = []
    for threshold in (0.001, 0.002):
        config = parse_config({**data, "evaluation": {**data["evaluation"], "decision_threshold": threshold}})
        lake = Lake(spark, config, measurement=True)
        lake.create("influence")
        ids.append(row_ids(lake))
    assert ids[0].keys() == ids[1].keys() and not set(ids[0].values()) & set(ids[1].values())
