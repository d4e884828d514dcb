"""Whether the line in 1 / F foretells the honest score of 100 folds, which lack hardly anybody; exits with 1 if not.

python -m tests.perf.check_folds --worlds 1 2 3      two to four minutes a world on two cores

In each world the honest score is measured with 2, 5, 10 and 100 folds, each among the impressions of its own folds. The
line through the first three is read at 1 / 100 and held against the score of 100 folds, on the same users.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from fractions import Fraction
from pathlib import Path

from lis_spark.config import RunConfig, load_config
from lis_spark.config.leaks import HONEST
from lis_spark.lake import Lake
from lis_spark.lis.plan.chains import OTHER_FOLDS
from lis_spark.lis.plan.evaluation import resolve
from lis_spark.lis.results.all_data import weights_at
from lis_spark.lis.results.measure import measurements_of
from lis_spark.lis.results.pools import single
from lis_spark.metrics import combine
from lis_spark.pipeline import run_steps
from lis_spark.session import get_session

ROOT = Path(__file__).resolve().parents[2]
KNOWN, TRUTH = (2, 5, 10), 100
STEPS = ("simulate", "vocabulary", "training-rows", "train", "features", "score", "measure")


def config_of(world: int, folder: Path) -> RunConfig:
    """A world of many users, so that a hundredth of them still holds pairs of different users."""
    return load_config(
        ROOT / "conf" / "world_reference_small.yaml",
        [
            *(f"lake.path={folder / 'lake'}", f"lake.work_path={folder / 'work'}", f"output_path={folder / 'out'}"),
            *(f"source.seed={world}", "source.people.users=3000", "source.traffic.impressions_a_day=20000"),
            *("source.content.rendered=none", "source.days=17", "evaluation.dates=[2026-01-11]"),
            *("evaluation.horizons=[0, 7]", "evaluation.variants=[naive, honest]", "evaluation.backward_horizons=[]"),
            *("evaluation.whole=false", "evaluation.folds=5", f"evaluation.folds_sensitivity={[*KNOWN, TRUTH]}"),
            *("evaluation.update_count_edges=[]", "evaluation.item_age_edges=[]"),
        ],
    )


def checked(world: int, folder: Path) -> dict[str, object]:
    """Scores by folds, and the line at 1 / 100 less the score of 100 folds, with the interval of the shared users."""
    spark, config = get_session(app_name="check_folds"), config_of(world, folder)
    run_steps(spark, config, STEPS)
    lake = Lake(spark, config, measurement=True)
    horizon = max(config.evaluation.horizons)
    pools = {
        one.other_folds or config.evaluation.folds: single(one)
        for one in measurements_of(resolve(lake))
        if one.variant in (HONEST, OTHER_FOLDS) and one.horizon_days == horizon and one.is_headline
    }
    listed = [pair for pool in pools.values() for pair in pool.pairs(config.evaluation.folds)]
    names = {folds: pool.name for folds, pool in pools.items()}
    line = {names[folds]: weight for folds, weight in weights_at(KNOWN, Fraction(1, TRUTH)).items()}
    sums = [*({name: 1} for name in names.values()), line, {**line, names[TRUTH]: Fraction(-1)}]
    *scores, foretold, error = combine(lake.read("influence"), listed, sums).sums
    low, high = error.interval
    return {
        "world": world,
        **{f"F = {folds}": round(score.value, 5) for folds, score in zip(names, scores, strict=True)},
        "foretold": round(foretold.value, 5),
        "error": round(error.value, 5),
        "error_low": round(low, 5),
        "error_high": round(high, 5),
        "holds": low <= 0 <= high or abs(error.value) < config.evaluation.decision_threshold / 2,
    }


def main() -> int:
    """Prints a line a world."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, nargs="+", default=[1, 2, 3])
    options = parser.parse_args()
    failed = 0
    for world in options.worlds:
        with tempfile.TemporaryDirectory() as folder:
            found = checked(world, Path(folder))
        print(json.dumps(found), flush=True)
        failed += not found["holds"]
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
