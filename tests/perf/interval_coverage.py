"""How often 95 % intervals of the honest LIS hold the LIS of all users, given the trained models (method 2.2).

    python tests/perf/interval_coverage.py --worlds 1 2 3 4 5

Each world is the reference regime with the users, items and impressions of OVERRIDES; its main job is run whole. The
users who show up on T are then dealt out by hash, fold by fold, into 50 samples of 2 %, four times over: 200 samples.
Each is measured as if there were no other users; the truth is the LIS over all of them.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from functools import reduce

from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from lis_spark.config import RunConfig, load_config
from lis_spark.lake import Lake
from lis_spark.lis.plan.arms import control_arm
from lis_spark.lis.plan.evaluation import resolve
from lis_spark.lis.results.rankings import GROUPS
from lis_spark.metrics import Comparison, compare, influence
from lis_spark.pipeline import run_steps
from lis_spark.session import get_session

SHARES, DEALS = 50, 4
# More than 20,000 users on day T, who see about a dozen impressions each; items as often shown as in the regime.
OVERRIDES = (
    "source.days=9",
    "source.people.users=26000",
    "source.catalogue.new_items_a_day=450",
    "source.traffic.impressions_a_day=300000",
    "source.traffic.impressions_a_request=3",
    "source.content.rendered=none",
    "evaluation.dates=[2026-01-08]",
    "evaluation.horizons=[0, 2]",
    "evaluation.variants=[naive, honest]",
    "evaluation.swap_refit=false",
    "evaluation.whole=false",
)
STEPS = ("simulate", "vocabulary", "training-rows", "train", "features", "score")
HORIZON = 2


def main() -> None:
    """Prints a line of JSON a world."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default="conf/world_reference.yaml")
    parser.add_argument("--worlds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_intermixed_args()
    for world in options.worlds:
        with tempfile.TemporaryDirectory() as folder:
            places = (f"lake.path={folder}/lake", f"lake.work_path={folder}/work", f"output_path={folder}/out")
            own = (f"source.seed={world}", f"seeds=[{world + 100}]")
            config = load_config(options.config, [*OVERRIDES, *own, *places, *options.overrides])
            spark = get_session(config.session_settings, app_name="interval coverage")
            run_steps(spark, config, STEPS)
            print(json.dumps({"world": world, **coverage(spark, config)}), flush=True)


def coverage(spark: SparkSession, config: RunConfig) -> dict[str, float]:
    """The share of samples whose interval holds the truth, and the mean standard error beside the samples' spread."""
    lake = Lake(spark, config, measurement=True)
    seed, date = config.seeds[0], config.evaluation.dates[0]
    honest = [
        arm
        for arm in resolve(lake).arms(seed, date)
        if (arm.protocol, arm.variant, arm.scope, arm.horizon_days) == ("swap", "honest", "both", HORIZON)
    ]
    control = control_arm(date).name
    scores = (
        lake.read("scores")
        .where((F.col("seed") == seed) & (F.col("date") == F.lit(date)))
        .where(F.col("arm").isin(control, *(arm.name for arm in honest)))
    )
    users = scores.select("user_id", "fold").distinct()
    everyone = users.select("user_id", F.lit("all").alias("stratum"))
    dealt = reduce(DataFrame.unionByName, [deal(users, number) for number in range(DEALS)], everyone)
    per_user = influence(scores.join(dealt, "user_id"), GROUPS).persist()
    samples = ["all", *(f"{number}-{share}" for number in range(DEALS) for share in range(SHARES))]
    pairs = [
        {
            "comparison_id": sample,
            "seed": seed,
            "date": date,
            "fold": arm.held_out_fold,
            "stratum": sample,
            "control_arm": control,
            "leaked_arm": arm.name,
        }
        for sample in samples
        for arm in honest
    ]
    found = {comparison.comparison_id: comparison for comparison in compare(per_user, pairs)}
    per_user.unpersist()
    truth = found.pop("all")
    values = [sample.lis for sample in found.values()]
    mean = sum(values) / len(values)
    return {
        "samples": len(found),
        "users in all": truth.users,
        "users of a sample": sum(sample.users for sample in found.values()) / len(found),
        "truth": truth.lis,
        "mean of the samples": mean,
        "covered": sum(holds(sample, truth.lis) for sample in found.values()) / len(found),
        "mean standard error": sum(sample.standard_error for sample in found.values()) / len(found),
        "spread of the samples": (sum((value - mean) ** 2 for value in values) / (len(values) - 1)) ** 0.5,
    }


def holds(sample: Comparison, truth: float) -> bool:
    """Whether the 95 % interval of a sample holds the truth."""
    low, high = sample.auc.interval
    return low is not None and high is not None and low <= truth <= high


def deal(users: DataFrame, number: int) -> DataFrame:
    """user_id and stratum: every user in one of 50 samples, which hold equally many users of each fold."""
    order = Window.partitionBy("fold").orderBy(F.xxhash64(F.lit(number), "user_id"), "user_id")
    share = (F.row_number().over(order) - 1) % SHARES
    return users.select("user_id", F.concat_ws("-", F.lit(number), share).alias("stratum"))


if __name__ == "__main__":
    main()
