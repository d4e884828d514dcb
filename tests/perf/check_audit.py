"""What an audit finds in small simulated worlds: six planted leaks among twenty honest columns; exits 1 where not so.

python -m tests.perf.check_audit --seeds 1 2 3
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from lis_spark.audit import step
from lis_spark.config import load_config
from lis_spark.session import get_session
from tests.audited_world import HONEST, LEAKS, simulated_features

ROOT = Path(__file__).resolve().parents[2]
MEASURES = ("added_by_request", "added_by_day", "excess")


def main() -> int:
    """Each world in a folder of its own, removed when it has been looked at."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, default=ROOT / "conf" / "world_reference_small.yaml")
    parser.add_argument("--seeds", type=int, nargs="+", required=True, help="source.seed of each world")
    options = parser.parse_args()
    spark = get_session({}, app_name="check_audit")
    right = True
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as folder:
            places = [f"lake.path={folder}/lake", f"lake.work_path={folder}/work", f"output_path={folder}/out"]
            overrides = [*places, "source.content.rendered=none", f"source.seed={seed}"]
            features = simulated_features(spark, load_config(options.config, overrides), Path(folder) / "features")
            rows = step.run(spark, load_config(options.config, [*overrides, f"audit.path={features}"]))
        accused = {row["audited_column"] for row in rows if row["verdict"] == "leak"}
        right &= accused == set(LEAKS)
        print(
            f"world {seed}: {len(accused & set(LEAKS))} of 6 found, {len(accused & set(HONEST))} of 20 honest accused"
        )
        for row in rows:
            if row["audited_column"] in LEAKS or row["verdict"] != "no sign":
                found = {name: f"{row[name]:+.3f} +- {row[name] - row[f'{name}_ci_low']:.3f}" for name in MEASURES}
                print(f"  {row['verdict']:8} {row['audited_column']:34} {json.dumps(found)}")
        sys.stdout.flush()
    spark.stop()
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
