"""How often 95 % intervals hold the truth where users are few, training seeds scatter, or a stratum is at the floor.

python -m tests.perf.check_coverage                   every line of the table, an hour on one core
python -m tests.perf.check_coverage --worlds 200      a first look; bounds are as wide as so few worlds ask for

The users of each world are drawn anew, the items stay: intervals are those of users. Both arms are scored, ranked
within five folds and estimated by the product's own code (influence, compare, Found), all worlds of a line in one Spark
job. The truth is the mean over the worlds of the line: with few users in a fold, pairs of one user weigh more than they
do among many, so it depends on their number. Exits with 1 where a line misses.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from lis_spark.lis.results.decision import FEWEST_OF_A_CLASS
from lis_spark.lis.results.estimates import Found
from lis_spark.lis.results.measure import comparisons_of
from lis_spark.lis.results.pools import Pool
from lis_spark.metrics import LIS, WITHIN_USER, influence
from lis_spark.session import get_session
from tests.perf.check_inference import widened
from tests.perf.check_verdicts import auc_influence

ITEMS, FOLDS, SEEDS = 300, 5, (17, 18, 19)
# Impressions of a user, on average; activity is unequal.
ROWS = 12.0
CONTROL, LEAKED = "control", "leaked"
KINDS = {LIS: lambda one: one.auc, WITHIN_USER: lambda one: one.within_user}
# Standard deviation over seeds, in standard errors of the users.
SCATTERS = (0.0, 1.0, 2.0)
# Of all worlds of a line together, for time.
MOST_USERS = 400_000


@dataclass(frozen=True)
class Setting:
    """One line: users of a world, folds, training seeds, and how much seeds scatter next to the users' error."""

    name: str
    users: int
    folds: int = FOLDS
    seeds: int = 1
    scatter: float = 0.0
    rows: float = ROWS


def settings() -> Iterator[Setting]:
    """The lines of the table."""
    for users in (30, 80, 150, 1000):
        yield Setting(f"{users} users in {FOLDS} folds", users)
    for scatter in SCATTERS:
        for users in (80, 1000):
            yield Setting(f"{users} users, 3 seeds of {scatter:.0f} SE", users, seeds=3, scatter=scatter)
    # 30 positives and 30 users on average, in one ranking: what the floor lets through
    yield Setting("a stratum at the floor", 30, folds=1, rows=3.4)


def draw_rows(setting: Setting, worlds: int, seed_effect: float, number: int) -> pd.DataFrame:
    """A row an impression: world, user_id, fold, label, logit of the control and of each seed's leaked arm.

    Args:
        setting: the line.
        worlds: how many worlds.
        seed_effect: standard deviation over seeds of how much a leaked arm knows of the items.
        number: of the draw.
    """
    of_items = np.random.default_rng(1)
    popularity, taste = of_items.normal(0, 0.6, ITEMS), of_items.normal(0, 1, (ITEMS, 3)) / np.sqrt(3)
    random = np.random.default_rng([2, number, setting.users])
    users = worlds * setting.users
    activity = random.lognormal(0.0, 0.8, users)
    counts = 1 + random.poisson((setting.rows - 1.0) * activity / np.exp(0.32))
    user = np.repeat(np.arange(users), counts)
    item = random.integers(0, ITEMS, len(user))
    intercept, likes = random.normal(0, 0.7, users), random.normal(0, 1, (users, 3))
    known = popularity[item] + (likes[user] * taste[item]).sum(axis=1)
    truth = -0.9 + intercept[user] + known
    frame = {
        "world": user // setting.users,
        "user_id": user,
        "fold": random.integers(0, setting.folds, users)[user],
        "label": (random.random(len(user)) < 1 / (1 + np.exp(-truth))).astype(np.int8),
        CONTROL: 0.6 * intercept[user] + 0.4 * popularity[item] + random.normal(0, 0.8, len(user)),
    }
    effects = seed_effect * random.standard_normal((worlds, setting.seeds))
    for place in range(setting.seeds):
        knows = 0.15 + effects[:, place]
        frame[f"{LEAKED}_{SEEDS[place]}"] = (
            frame[CONTROL] + knows[frame["world"]] * known + random.normal(0, 0.2, len(user))
        )
    return pd.DataFrame(frame)


def usable(rows: pd.DataFrame) -> pd.DataFrame:
    """Without worlds in which a fold has one class or one user, or which are below the floor of an interval."""
    cells = rows.groupby(["world", "fold"]).agg(
        users=("user_id", "nunique"), positives=("label", "sum"), rows=("label", "size")
    )
    cells["negatives"] = cells["rows"] - cells["positives"]
    fine = (cells["users"] > 1) & (cells["positives"] > 0) & (cells["negatives"] > 0)
    whole = cells.groupby("world")[["positives", "negatives"]].sum().min(axis=1) >= FEWEST_OF_A_CLASS
    kept = fine.groupby("world").all() & whole
    return rows[rows["world"].map(kept)]


def estimates(spark: SparkSession, rows: pd.DataFrame, setting: Setting) -> tuple[list[Pool], Found]:
    """Of each world one pool of its training seeds, and all comparisons."""
    frame = spark.createDataFrame(rows)
    arms = [CONTROL, *(f"{LEAKED}_{seed}" for seed in SEEDS[: setting.seeds])]
    scored = F.explode(F.array(*[F.struct(F.lit(arm).alias("arm"), F.col(arm).alias("logit")) for arm in arms]))
    scores = frame.withColumn("impression_id", F.monotonically_increasing_id().cast("string")).select(
        "world", "fold", F.col("user_id").cast("string"), "impression_id", "label", scored.alias("scored")
    )
    per_user = influence(scores.select("*", "scored.arm", "scored.logit").drop("scored"), ("world", "fold", "arm"))
    pools, pairs = [], []
    for world, cells in rows.groupby("world"):
        names = tuple(f"{world}|{seed}" for seed in SEEDS[: setting.seeds])
        pools.append(Pool(str(world), replicates=names if len(names) > 1 else (), seeds=SEEDS[: setting.seeds]))
        for fold in sorted(cells["fold"].unique()):
            for name, arm in zip(names, arms[1:], strict=True):
                cell = {"world": world, "fold": int(fold), "control_arm": CONTROL, "leaked_arm": arm}
                pairs += [{"comparison_id": one, **cell} for one in {str(world), name}]
    found = comparisons_of(per_user, pairs)
    per_user.unpersist()
    return pools, found


def coverage(spark: SparkSession, setting: Setting, worlds: int, seed_effect: float) -> dict[str, dict[str, float]]:
    """Kind of gain -> share of worlds whose interval holds the mean over the worlds, mean error, and worlds."""
    told: dict[str, dict[str, float]] = {}
    worlds = min(worlds, MOST_USERS // setting.users)
    rows = usable(draw_rows(setting, worlds, seed_effect, int(10 * setting.scatter) + 100 * setting.seeds))
    pools, found = estimates(spark, rows, setting)
    for name, kind in KINDS.items():
        known = [one for one in (found.estimate(pool, kind, name) for pool in pools) if one is not None]
        values = np.array([one.value for one in known])
        bounds = np.array([one.interval() for one in known])
        held = (bounds[:, 0] <= values.mean()) & (values.mean() <= bounds[:, 1])
        errors = [one.standard_error for one in known]
        told[name] = {
            "covered": float(held.mean()),
            "mean_error": float(np.sqrt(np.mean(np.square(errors)))),
            "spread": float(values.std(ddof=1)),
            "worlds": len(known),
        }
    return told


def seed_slope() -> float:
    """By how much AUC within folds changes with what a leaked arm knows of the items, in a large world."""
    large = Setting("", 40_000, folds=1, seeds=1)
    rows = draw_rows(large, 1, 0.0, 0)
    changed = [rows[CONTROL] + knows * (rows[f"{LEAKED}_{SEEDS[0]}"] - rows[CONTROL]) for knows in (0.8, 1.2)]
    labels, users = rows["label"].to_numpy(), rows["user_id"].to_numpy()
    low, high = (auc_influence(labels, users, logits.to_numpy())[0] for logits in changed)
    return (high - low) / (0.4 * 0.15)


def main() -> int:
    """Prints a line as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=1000, help="simulated worlds a line")
    options = parser.parse_args()
    spark = get_session(app_name="coverage of intervals")
    missed, error_of = 0, {}
    for setting in settings():
        slope = seed_slope() if setting.scatter else 1.0
        effect = setting.scatter * error_of.get(setting.users, 0.0) / slope
        for kind, told in coverage(spark, setting, options.worlds, effect).items():
            if kind == LIS and not setting.scatter and setting.folds > 1:
                error_of.setdefault(setting.users, told["mean_error"])
            low, high = widened(0.93, 0.97, int(told["worlds"]))
            holds = low <= told["covered"] <= high
            missed += not holds
            word = "" if holds else "MISSED "
            print(
                f"{setting.name:32} {kind:12} {told['covered']:.3f} in [{low:.3f}, {high:.3f}] {word}"
                f"mean SE {told['mean_error']:.5f}, spread {told['spread']:.5f}, {told['worlds']:,} worlds",
                flush=True,
            )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
