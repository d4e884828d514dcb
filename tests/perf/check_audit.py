"""What an audit finds among planted leaks and honest columns; exits with 1 where it is not exactly the leaks.

python -m tests.perf.check_audit --seeds 1 2 3     small simulated worlds: six leaks, twenty honest columns
python -m tests.perf.check_audit --kuairand        the shipped impressions: seven leaks, eleven honest
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from lis_spark.audit import step
from lis_spark.config import load_config
from lis_spark.session import get_session
from tests.audited_world import HONEST, LEAKS, REAL_HONEST, REAL_LEAKS, real_features, simulated_features

ROOT = Path(__file__).resolve().parents[2]
MEASURES = ("added_by_request", "added_by_day", "excess")


def audits(spark: SparkSession, seeds: list[int], kuairand: bool) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Each lake in a folder of its own, removed when it has been looked at; (name, rows of its audit)."""
    wanted: list[tuple[str, Path, list[str]]] = [
        (
            f"world {seed}",
            ROOT / "conf" / "world_reference_small.yaml",
            ["source.content.rendered=none", f"source.seed={seed}"],
        )
        for seed in seeds
    ]
    if kuairand:
        wanted.append(
            ("KuaiRand-Pure", ROOT / "conf" / "kuairand_demo.yaml", [f"source.path={ROOT}/data/kuairand_pure"])
        )
    for name, file, chosen in wanted:
        with tempfile.TemporaryDirectory() as folder:
            places = [f"lake.path={folder}/lake", f"lake.work_path={folder}/work", f"output_path={folder}/out"]
            config, place = load_config(file, [*places, *chosen]), Path(folder) / "features"
            of_world = simulated_features if name.startswith("world") else real_features
            audited = f"audit.path={of_world(spark, config, place)}"
            yield name, step.run(spark, load_config(file, [*places, *chosen, audited]))


def main() -> int:
    """Prints what is found, of leaks and of whatever else is accused."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="*", default=[], help="source.seed of each world")
    parser.add_argument("--kuairand", action="store_true")
    options = parser.parse_args()
    spark = get_session({}, app_name="check_audit")
    right = True
    for name, rows in audits(spark, options.seeds, options.kuairand):
        leaks, honest = (LEAKS, HONEST) if name.startswith("world") else (REAL_LEAKS, REAL_HONEST)
        accused = {row["audited_column"] for row in rows if row["verdict"] == "leak"}
        right &= accused == set(leaks)
        found, wrongly = len(accused & set(leaks)), len(accused & set(honest))
        print(f"{name}: {found} of {len(leaks)} leaks found, {wrongly} of {len(honest)} honest columns accused")
        for row in rows:
            if row["audited_column"] in leaks or row["verdict"] != "no sign":
                said = {of: f"{row[of]:+.3f} +- {row[of] - row[f'{of}_ci_low']:.3f}" for of in MEASURES}
                print(f"  {row['verdict']:8} {row['audited_column']:34} {json.dumps(said)}")
        sys.stdout.flush()
    spark.stop()
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
