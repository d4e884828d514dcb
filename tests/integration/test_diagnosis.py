"""eta and efficiency of seeds and of their mean, against the influence of users in NumPy."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t
from sklearn.metrics import roc_auc_score

from lis_spark.config import parse_config
from lis_spark.lake import Lake
from lis_spark.lis.plan.append_arms import append_features
from lis_spark.lis.plan.comparisons import plan_measurements
from lis_spark.lis.results.diagnosis import diagnoses, diagnoses_of, write_diagnoses
from lis_spark.lis.results.estimates import fill_row
from lis_spark.lis.results.measure import comparisons_of
from lis_spark.lis.results.pools import over_seeds, single
from lis_spark.lis.results.result_row import ResultRow
from lis_spark.metrics import compare
from lis_spark.metrics.influence import influence
from tests.integration.test_outcomes import EACH, SCHEMA, USERS, psi

T = dt.date(2022, 5, 3)
# How much of the truth each arm knows: noise below all, the future above all.
STRENGTHS = {
    "control_noise_0": 0,
    "control_noise_1": 0,
    "rung_unaligned": 0.6,
    "rung_aligned": 1.0,
    "rung_content": 1.4,
}
RATIOS = {
    "eta": ("rung_aligned", "rung_honest", ("control_noise_0", "control_noise_1")),
    "efficiency": ("rung_aligned", "rung_content", ("rung_unaligned",)),
}


def beside_users(values: np.ndarray) -> float:
    """Variance of a mean of seed x draw beside that of users: of seeds, whose draws are their own, or of draws."""
    if len(values) > 1:
        return values.mean(axis=1).var(ddof=1) / len(values)
    return values.var(axis=1, ddof=1).mean() / values.shape[1] if values.shape[1] > 1 else 0.0


def lower_bound(values: np.ndarray, of_users: float) -> float:
    """Of the 95 % t interval of the mean, with Satterthwaite's degrees of freedom."""
    beside, groups = beside_users(values), len(values) if len(values) > 1 else values.shape[1]
    total = of_users + beside
    pooled = of_users**2 / (USERS - 1) + (beside**2 / (groups - 1) if groups > 1 else 0.0)
    return values.mean() - t.ppf(0.975, total**2 / pooled) * np.sqrt(total)


@pytest.mark.parametrize("seeds", [[17], [17, 18, 19]])
def test_ratios_are_those_of_the_users(spark: Any, config_data: dict[str, Any], seeds: list[int]) -> None:
    """Of several seeds, there is a line for each, and one for their mean, which the report shows."""
    said = [{"kind": "representation", "name": name, "encoder": name, "draws": 2} for name in ("aligned", "plain")]
    config = parse_config(
        {
            **config_data,
            "seeds": seeds,
            "preference": {"min_updates": 1, "tail_share": 0.5, "as_of": "2022-04-30"},
            "ranker": {"dimension": 8},
            "encoders": [{"name": "aligned", "dimension": 8}, {"name": "plain", "dimension": 8, "objective": "none"}],
            "append": {
                "leaks": [{"kind": "id_table"}, *said],
                "horizons": [1],
                "content": {"columns": ["title", "image"]},
                "ladder": {"unaligned": "plain", "aligned": "aligned", "noise_draws": 2},
            },
        }
    )
    arms = [feature.arm for feature in append_features(config, T) if feature.arm.leak == "ladder"]
    random = np.random.default_rng(3)
    shown = pd.DataFrame({"user_id": np.repeat([f"u{n:02}" for n in range(USERS)], EACH)})
    shown["impression_id"] = [f"i{n}" for n in range(len(shown))]
    known = random.normal(size=len(shown))
    shown["label"] = (random.random(len(shown)) < 1 / (1 + np.exp(-2 * known))).astype(int)
    logits, parts = {}, []
    for seed in seeds:
        for arm in arms:
            noise = 2 * random.normal(size=len(shown))
            logits[seed, arm.variant] = (STRENGTHS.get(arm.variant, 2) * known + noise).round(1).astype(np.float32)
            part = shown.assign(date=T, seed=seed, arm=arm.name, fold=-1, stratum="all")
            parts.append(part.assign(logit=logits[seed, arm.variant]))
    names = [name.split()[0] for name in SCHEMA.split(", ")]
    scores = spark.createDataFrame(pd.concat(parts)[names], SCHEMA)
    per_user = influence(scores, ["date", "seed", "arm", "fold", "stratum"])
    planned = [one for seed in seeds for one in plan_measurements(config.evaluation, seed, T, arms)]
    measurements = [one for one in planned if one.stratum == "all"]
    pairs: dict[str, list[dict[str, object]]] = {}
    for measurement in measurements:
        for pair in measurement.pairs(config.evaluation.folds):
            pairs.setdefault(str(pair["comparison_id"]), []).append(pair)
    lake = Lake(spark, config, measurement=True)
    comparisons = {c.comparison_id: c for c in compare(per_user, [pair for of in pairs.values() for pair in of])}
    pools = [*map(single, measurements), *over_seeds(measurements, seeds)]
    listed = [p for pool in pools for p in pool.pairs(config.evaluation.folds) if p["stratum"] == "all"]
    estimates = comparisons_of(per_user, listed)
    reported: list[ResultRow] = []
    for number, pool in enumerate(pools):
        row = ResultRow.of(config, pool.members[0], str(number), {})
        row.seed = "mean" if len(pool.seeds) > 1 else row.seed
        fill_row(row, pool, estimates)
        reported.append(row)
    ids = [str(n) for n in range(len(measurements))]
    rows = diagnoses(lake, measurements, ids, per_user, pairs, reported, comparisons)
    # of the measurements that are told, whatever was measured under the same name before and after
    before, after = ([f"{when}{number}" for number in ids] for when in ("before", "after"))
    for identities in (before, ids, after):
        write_diagnoses(lake, diagnoses(lake, measurements, identities, per_user, pairs, reported, comparisons))
    told = diagnoses_of(lake, [row.plain() for row in reported])
    assert {row["row_id"] for row in told} == {row.row_id for row in rows} and len(told) == len(rows)
    assert lake.read("diagnoses").count() == 3 * len(rows)
    per_user.unpersist()
    found = {row.seed: row for row in rows}
    assert set(found) == {*map(str, seeds), *(["mean"] if len(seeds) > 1 else [])}
    assert len({row.row_id for row in rows}) == len(rows)

    aucs = {key: roc_auc_score(shown["label"], logit) for key, logit in logits.items()}
    moved = {key: psi(shown, logit) for key, logit in logits.items()}
    defined = 0
    for name, row in found.items():
        members = seeds if name == "mean" else [int(name)]
        for ratio, (above, below, controls) in RATIOS.items():
            # seed x draw of the control -> gain
            over, under = (
                np.array([[aucs[s, variant] - aucs[s, c] for c in controls] for s in members])
                for variant in (above, below)
            )
            shifts = [
                np.array([moved[s, variant] - np.mean([moved[s, c] for c in controls], axis=0) for s in members])
                for variant in (above, below)
            ]
            of_users = (shifts[1].mean(axis=0) ** 2).sum() * USERS / (USERS - 1)
            if lower_bound(under, of_users) <= 0:
                assert getattr(row, ratio) is None, "undefined where what is below may be 0"
                continue
            value = over.mean() / under.mean()
            defined += 1
            by_user = (shifts[0] - value * shifts[1]).mean(axis=0) / under.mean()
            beside = beside_users((over - value * under) / under.mean())
            users = (by_user**2).sum() * USERS / (USERS - 1)
            groups = len(members) if len(members) > 1 else len(controls)
            inverse = users**2 / (USERS - 1) + (beside**2 / (groups - 1) if groups > 1 else 0.0)
            assert getattr(row, ratio) == pytest.approx(value, abs=1e-9)
            interval = getattr(row, f"{ratio}_ci_low"), getattr(row, f"{ratio}_ci_high")
            half = t.ppf(0.975, (users + beside) ** 2 / inverse) * np.sqrt(users + beside)
            assert interval == pytest.approx((value - half, value + half), abs=1e-6)
    assert defined > len(found)
