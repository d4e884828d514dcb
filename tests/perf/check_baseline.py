"""The ranker on KuaiRand-Pure against a plain FM with an MLP on the same rows: mean AUC of M_T on D_T over days and
training seeds; exits with 1 where the ranker is below .732 or less than .005 above.

    python -m tests.perf.check_baseline
    python -m tests.perf.check_baseline --dates 2022-04-27 2022-04-28 2022-04-29    # days that settings are chosen on

Both are trained in this run, each in a lake of its own from the same files; what is done is not done again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

CONFIG = "conf/kuairand_baseline.yaml"
RANKER, PLAIN = "history_dcn", "fm_mlp"
LEAST, LEAST_ABOVE = 0.732, 0.005


def aucs(architecture: str, dates: list[str], folder: Path) -> dict[tuple[str, str], float]:
    """(day, seed) -> AUC of the base chain."""
    place = folder / architecture
    overrides = [
        *(f"lake.path={place / 'lake'}", f"lake.work_path={place / 'work'}", f"output_path={place / 'out'}"),
        *(f"ranker.architecture={architecture}", f"evaluation.dates=[{', '.join(dates)}]"),
    ]
    command = [sys.executable, "-m", "lis_spark.cli", "run", "--config", CONFIG, *overrides]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    rows = json.loads((place / "out" / "lis_results.json").read_text(encoding="utf-8"))
    return {(row["evaluated_date"], row["seed"]): row["auc_control"] for row in rows if row["seed"] != "mean"}


def main() -> int:
    """Prints AUCs by day and seed, then a line a statement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    usual = ["2022-04-30", "2022-05-01", "2022-05-02", "2022-05-03"]
    parser.add_argument("--dates", nargs="+", default=usual)
    parser.add_argument("--folder", type=Path, default=Path("build/check_baseline"))
    options = parser.parse_args()
    found = {name: aucs(name, options.dates, options.folder) for name in (RANKER, PLAIN)}
    for key in sorted(found[RANKER]):
        print(f"{key[0]}, seed {key[1]}: {found[RANKER][key]:.5f}, {PLAIN} {found[PLAIN][key]:.5f}")
    means = {name: statistics.fmean(values.values()) for name, values in found.items()}
    above = [found[RANKER][key] - found[PLAIN][key] for key in found[RANKER]]
    statements = {
        f"mean AUC {means[RANKER]:.5f} is at least {LEAST}": means[RANKER] >= LEAST,
        f"and {statistics.fmean(above):+.5f} (of {len(above)} {min(above):+.5f} to {max(above):+.5f}) above {PLAIN} "
        f"{means[PLAIN]:.5f}, at least {LEAST_ABOVE}": statistics.fmean(above) >= LEAST_ABOVE,
    }
    for said, holds in statements.items():
        print(f"{'yes' if holds else 'NO '} {said}")
    return int(not all(statements.values()))


if __name__ == "__main__":
    sys.exit(main())
