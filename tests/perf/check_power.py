"""Errors that ``lis-spark plan`` expects against those that subsamples of real and simulated data have: the model of a
finished run on five samples of its users, the model of each sample on all users, the model of one date on all dates;
and how many users give a standard error of .00025, by bootstrap. Exits with 1 where a mean ratio is off by more than
15 %.

    python -m tests.perf.check_ranker     # makes the runs
    python -m tests.perf.check_power

Realised errors are computed in NumPy from the logits, as the formulas of method 2.2 have them.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from scipy.stats import rankdata

from lis_spark.config import RunConfig, load_config
from lis_spark.lake import Lake
from lis_spark.lis.plan.evaluation import resolve
from lis_spark.lis.results.measure import comparisons_of, measurements_of, possible_pairs
from lis_spark.lis.results.rankings import GROUPS
from lis_spark.lis.results.rows import pools_of
from lis_spark.metrics import LIS, WITHIN_USER, influence
from lis_spark.metrics.spread import spreads_of
from lis_spark.power.error_model import ErrorModel, ScoreModel
from lis_spark.power.pilot import pilot_scores
from lis_spark.power.sizes import evaluated_sizes
from lis_spark.session import get_session
from tests.perf.check_ranker import CONFIGS, SEEDS

SAMPLES, BOOTSTRAPS, WANTED = 5, 200, 0.00025
SHARES = {"kuairand_demo": 0.3, "movietweetings_rate": 0.5, "world_thin": 0.4, "world_reference_small": 0.5}
CONTROL = "swap|control|0|none|-1"
# Data whose users have some hundred pairs of impressions of their own in all: no model of them holds.
FEW_PAIRS = ("movietweetings_rate",)


def config_of(name: str, folder: Path) -> RunConfig:
    """The configuration that check_ranker has run."""
    place = folder / name
    overrides = [
        *(f"lake.path={place / 'lake'}", f"lake.work_path={place / 'work'}", f"output_path={place / 'out'}"),
        f"seeds={list(SEEDS)}",
        *("evaluation.scopes=[both]", "evaluation.slots=false", "evaluation.baselines=true"),
        *CONFIGS[name],
    ]
    return load_config(f"conf/{name}.yaml", overrides)


def realised(scores: pd.DataFrame) -> tuple[float, float]:
    """Standard errors of the honest LIS and of its part within users: K/(K-1) sum psi^2, a user one cluster."""
    cells = list(scores.groupby(["seed", "date", "fold"]))
    counts = [(int(cell["label"].sum()), int((1 - cell["label"]).sum())) for _, cell in cells]
    pairs = sum(p * n for p, n in counts)
    parts = []
    for (_, cell), (positives, negatives) in zip(cells, counts, strict=True):
        label = cell["label"].to_numpy() == 1
        differences = []
        for arm in ("control", "leaked"):
            logit = cell[arm].to_numpy()
            ranks = rankdata(logit)
            own = np.empty(len(ranks))
            own[label] = (ranks[label] - rankdata(logit[label])) / negatives
            own[~label] = (positives - (ranks[~label] - rankdata(logit[~label]))) / positives
            differences.append(own)
        change = differences[1] - differences[0]
        weighed = np.where(label, negatives, positives) * (change - change[label].mean()) / pairs
        parts.append(pd.Series(weighed, index=cell["user_id"]).groupby(level=0).sum())
    gained, own_pairs = within_sums(scores)
    within = (gained - own_pairs * gained.sum() / own_pairs.sum()) / own_pairs.sum()
    lis, order = (
        float(np.sqrt((values**2).sum() * len(values) / (len(values) - 1)))
        for values in (pd.concat(parts).groupby(level=0).sum(), within)
    )
    return lis, order


def within_sums(scores: pd.DataFrame) -> tuple[Any, Any]:
    """Of each user, gained pairs and pairs among its own impressions of a day."""
    gained: dict[Any, float] = {}
    pairs: dict[Any, float] = {}
    share = scores.groupby(["seed", "date", "user_id"])["label"].transform("mean")
    for (_, _, user), own in scores[(share > 0) & (share < 1)].groupby(["seed", "date", "user_id"]):
        label = own["label"].to_numpy() == 1
        sums = []
        for arm in ("control", "leaked"):
            logit = own[arm].to_numpy()
            above = logit[label][:, None] - logit[~label][None, :]
            sums.append((above > 0).sum() + 0.5 * (above == 0).sum())
        gained[user] = gained.get(user, 0.0) + sums[1] - sums[0]
        pairs[user] = pairs.get(user, 0.0) + label.sum() * (~label).sum()
    return pd.Series(gained), pd.Series(pairs)


def model_of(spark: SparkSession, config: RunConfig, users: list[str], dates: list[Any]) -> ErrorModel:
    """The model that a run of some users on some dates would give: its logits are those of the whole run."""
    lake = Lake(spark, config, step="plan", measurement=True)
    measurements = [
        one
        for one in measurements_of(resolve(lake))
        if one.variant == "honest" and one.is_headline and one.evaluated_date in dates
    ]
    pools = pools_of(measurements, config.seeds)
    widest = max((pool.dates, len(pool.seeds)) for pool in pools)
    pools = [pool for pool in pools if (pool.dates, len(pool.seeds)) == widest]
    wanted = spark.createDataFrame([(user,) for user in users], "user_id string")
    chosen = lake.read("scores").where(F.col("date").isin(dates) & F.col("arm").contains("|honest|7|"))
    control = lake.read("scores").where(F.col("date").isin(dates) & (F.col("arm") == CONTROL))
    rows = chosen.unionByName(control).join(F.broadcast(wanted), "user_id").withColumn("stratum", F.lit("all"))
    per_user = influence(rows.select(*GROUPS, "user_id", "impression_id", "label", "logit"), GROUPS)
    pairs = possible_pairs(per_user, pools, config.evaluation.folds)
    found = comparisons_of(per_user, [pair for own in pairs.values() for pair in own])
    comparison = found.comparisons[pools[0].name]
    assert comparison.auc.standard_error is not None
    errors = {LIS: comparison.auc.standard_error}
    if comparison.within_user is not None and comparison.within_user.standard_error is not None:
        errors[WITHIN_USER] = comparison.within_user.standard_error
    spreads = spreads_of(per_user, [comparison], [errors])[0]
    per_user.unpersist()
    lis, within = spreads[LIS], spreads[WITHIN_USER]
    assert lis is not None
    return ErrorModel(
        basis="a sample", lis=ScoreModel(spread=lis), within_user=ScoreModel(spread=within) if within else None
    )


def bootstrap(scores: pd.DataFrame, users: int, seed: int) -> float:
    """Standard deviation of the LIS over samples of so many users with replacement."""
    random, names = np.random.default_rng(seed), scores["user_id"].unique()
    code = pd.Series(np.arange(len(names)), index=names)
    prepared = []
    for _, cell in scores.groupby(["seed", "date", "fold"]):
        label, user = cell["label"].to_numpy() == 1, code[cell["user_id"]].to_numpy()
        arms = []
        for arm in ("control", "leaked"):
            values, place = np.unique(cell[arm].to_numpy(), return_inverse=True)
            arms.append((len(values), place))
        prepared.append((label, user, arms))
    drawn = []
    for _ in range(BOOTSTRAPS):
        weight = random.multinomial(users, np.full(len(names), 1 / len(names))).astype(float)
        gained = total = 0.0
        for label, user, arms in prepared:
            w = weight[user]
            aucs = []
            for size, place in arms:
                above = np.bincount(place[label], w[label], size)
                below = np.bincount(place[~label], w[~label], size)
                aucs.append(float((above * (np.cumsum(below) - below / 2)).sum()))
            gained += aucs[1] - aucs[0]
            total += w[label].sum() * w[~label].sum()
        drawn.append(gained / total)
    return statistics.stdev(drawn)


def main() -> int:
    """Prints a line a sample and the mean ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=sorted(SHARES), default=list(SHARES))
    parser.add_argument("--folder", type=Path, default=Path("build/check_ranker"))
    options = parser.parse_args()
    spark = get_session({}, app_name="check_power")
    holds: dict[str, bool] = {}
    for name in options.only:
        config = config_of(name, options.folder)
        pilot = next(one for one in pilot_scores(Lake(spark, config, step="plan", measurement=True)))
        print(f"{name}: {pilot.model}")
        holds |= check(spark, name, config, pilot.model)
    for statement, is_true in holds.items():
        print(f"{'yes' if is_true else 'NO '} {statement}")
    return int(not all(holds.values()))


def check(spark: SparkSession, name: str, config: RunConfig, model: ErrorModel) -> dict[str, bool]:
    """Ratios of expected to realised errors of one data set."""
    stored = Lake(spark, config, measurement=True).read("scores")
    key = ["seed", "date", "impression_id"]
    of_control = F.col("logit").alias("control")
    control = stored.where(F.col("arm") == CONTROL).select(*key, "user_id", "fold", "label", of_control)
    honest = stored.where(F.col("arm").contains("|honest|7|")).select(*key, F.col("logit").alias("leaked"))
    scores = control.join(honest, key).toPandas().sort_values(key)
    users = np.sort(scores["user_id"].unique())
    seeds, kinds = len(config.seeds), ("whole -> sample", "sample -> whole", "one date -> all")
    ratios: dict[str, list[float]] = {kind: [] for kind in kinds}
    within_ratios: dict[str, list[float]] = {kind: [] for kind in kinds}

    def compare(kind: str, label: str, own: ErrorModel, part: pd.DataFrame) -> None:
        rows = part[part["seed"] == config.seeds[0]][["date", "fold", "user_id", "label"]]
        size = evaluated_sizes(spark.createDataFrame(rows)).together
        expected = own.with_sigma(0.0, 0.0).errors(size, seeds)
        found = realised(part)
        values = [one.value if one is not None else math.nan for one in (expected.lis, expected.within_user)]
        ratio, within = values[0] / found[0], values[1] / found[1]
        ratios[kind].append(ratio)
        within_ratios[kind].append(within)
        print(
            f"  {name} {label}: LIS {found[0]:.5f} expected {ratio:.3f} times, within {found[1]:.5f} {within:.3f} times"
        )

    for number in range(SAMPLES):
        chosen = np.random.default_rng(number).choice(users, round(SHARES[name] * len(users)), replace=False)
        part = scores[scores["user_id"].isin(chosen)]
        compare("whole -> sample", f"sample {number}", model, part)
        sampled = model_of(spark, config, list(chosen), list(config.evaluation.dates))
        compare("sample -> whole", f"model of sample {number}", sampled, scores)
    for date in config.evaluation.dates:
        compare("one date -> all", f"model of {date}", model_of(spark, config, list(users), [date]), scores)
    size = evaluated_sizes(
        spark.createDataFrame(scores[scores["seed"] == config.seeds[0]][["date", "fold", "user_id", "label"]])
    ).together
    factor = model.with_sigma(0.0, 0.0).lis.factor_for(size.lis, seeds, WANTED)
    assert factor is not None
    wanted = round(factor * len(users))
    drawn = bootstrap(scores, wanted, 1)
    print(f"  {name}: SE {WANTED} expected of {wanted:,} users ({len(users):,} there), bootstrap {drawn:.6f}")
    found = {
        f"{name}: {wanted:,} users give {drawn:.6f} by bootstrap, {WANTED} +- 15 %": abs(drawn / WANTED - 1) < 0.15
    }
    for kind in ratios:
        told = {"LIS": ratios[kind], "within users": within_ratios[kind]}
        for what, values in told.items():
            if what == "within users" and name in FEW_PAIRS:
                continue
            listed = f"{min(values):.2f} to {max(values):.2f}"
            mean = statistics.fmean(values)
            found[f"{name} {kind}, {what}: mean ratio {mean:.3f} ({listed})"] = abs(mean - 1) < 0.15
    return found


if __name__ == "__main__":
    sys.exit(main())
