"""How often 95 % intervals of the honest LIS hold the LIS of all users, given the trained models (method 2.2).

    lis-spark run --config conf/world_reference.yaml <a world of many users, see docs/world.md>
    python tests/perf/interval_coverage.py --config build/<run>/config.yaml --horizon 7

The users of each fold are dealt out by hash into 50 samples of 2 %, four times over: 200 samples. Each is measured as
if there were no other users; the truth is the LIS over all of them.
"""

from __future__ import annotations

import argparse
import json

from pyspark.sql import Window
from pyspark.sql import functions as F

from lis_spark.config import load_config
from lis_spark.lake import Lake
from lis_spark.lis.arms import control_arm
from lis_spark.lis.plan import resolve
from lis_spark.lis.rankings import GROUPS
from lis_spark.metrics import compare, influence
from lis_spark.session import get_session

SHARES, DEALS = 50, 4


def main() -> None:
    """Prints the coverage, the truth, and the mean standard error beside the spread of the samples."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True)
    parser.add_argument("--horizon", type=int, default=7)
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_intermixed_args()
    config = load_config(options.config, options.overrides)
    spark = get_session(config.spark, app_name="interval coverage")
    lake = Lake(spark, config, measurement=True)
    seed, date = config.seeds[0], config.evaluation.dates[0]
    honest = [
        arm
        for arm in resolve(lake).arms(seed, date)
        if (arm.protocol, arm.variant, arm.scope, arm.horizon_days) == ("swap", "honest", "both", options.horizon)
    ]
    control = control_arm(date).name
    scores = (
        lake.read("scores")
        .where((F.col("seed") == seed) & (F.col("date") == F.lit(date)))
        .where(F.col("arm").isin(control, *(arm.name for arm in honest)))
    )
    users = scores.select("user_id", "fold").distinct()
    dealt = None
    for deal in range(DEALS):
        order = Window.partitionBy("fold").orderBy(F.xxhash64(F.lit(deal), "user_id"), "user_id")
        number = (F.row_number().over(order) - 1) % SHARES
        one = users.select("user_id", F.concat_ws("-", F.lit(deal), number).alias("stratum"))
        dealt = one if dealt is None else dealt.unionByName(one)
    assert dealt is not None
    everyone = users.select("user_id", F.lit("all").alias("stratum"))
    per_user = influence(scores.join(dealt.unionByName(everyone), "user_id"), GROUPS).persist()
    samples = ["all", *(f"{deal}-{share}" for deal in range(DEALS) for share in range(SHARES))]
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
    truth = found.pop("all")
    held = sum(one.ci_low <= truth.lis <= one.ci_high for one in found.values())
    values = [one.lis for one in found.values()]
    mean = sum(values) / len(values)
    spread = (sum((value - mean) ** 2 for value in values) / (len(values) - 1)) ** 0.5
    summary = {
        "samples": len(found),
        "users in all": truth.users,
        "truth": truth.lis,
        "mean of the samples": mean,
        "covered": held / len(found),
        "mean standard error": sum(one.standard_error for one in found.values()) / len(found),
        "spread of the samples": spread,
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
