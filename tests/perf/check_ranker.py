"""The ranker against simple baselines on thin and dense data, real and simulated: AUC and AUC within users by date and
training seed, and the honest LIS; exits with 1 where a baseline is not below the ranker by more than seeds scatter.

    python -m tests.perf.check_ranker
    python -m tests.perf.check_ranker --only world_thin --folder build/check_ranker

Each data set has a lake of its own; what is done is not done again. About half an hour on two cores.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

CONFIGS = {
    "kuairand_demo": ["evaluation.horizons=[0, 7]", "evaluation.variants=[naive, honest]"],
    "movietweetings_rate": [],
    "world_thin": [],
    "world_reference_small": [
        "evaluation.dates=[2026-01-11, 2026-01-12, 2026-01-13]",
        "evaluation.horizons=[0, 7]",
        "evaluation.variants=[naive, honest]",
    ],
}
SEEDS = (17, 18, 19)
BASELINES = ("item_rate", "user_rate", "item_and_user")
Row = dict[str, Any]


def measured(name: str, folder: Path) -> list[Row]:
    """Rows of lis_results of one data set, with baselines, under all seeds."""
    place = folder / name
    overrides = [
        *(f"lake.path={place / 'lake'}", f"lake.work_path={place / 'work'}", f"output_path={place / 'out'}"),
        f"seeds={list(SEEDS)}",
        *("evaluation.scopes=[both]", "evaluation.slots=false", "evaluation.baselines=true"),
        *CONFIGS[name],
    ]
    command = [sys.executable, "-m", "lis_spark.cli", "run", "--config", f"conf/{name}.yaml", *overrides]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    rows: list[Row] = json.loads((place / "out" / "lis_results.json").read_text(encoding="utf-8"))
    return [row for row in rows if row["stratum"] == "all"]


def statements(name: str, rows: list[Row]) -> dict[str, bool]:
    """Prints a line a date and kind of AUC, and says whether the ranker is above all baselines.

    On each date by AUC; within users over all dates together, for some data has few users with several impressions.
    """
    found = {}
    compared = [row for row in rows if row["protocol"] == "baseline" and row["seed"] != "mean"]
    for date in sorted({row["evaluated_date"] for row in compared}, key=lambda one: (one is None, one)):
        by_variant: dict[str, list[Row]] = {}
        for row in compared:
            if row["evaluated_date"] == date:
                by_variant.setdefault(row["variant"], []).append(row)
        for auc in ("auc", "within_user"):
            ranker = [row[f"{auc}_control"] for row in by_variant["chance"]]
            # baselines know no seed
            reached = {variant: by_variant[variant][0][f"{auc}_leaked"] for variant in BASELINES}
            best = max(reached, key=lambda one: reached[one])
            mean, scatter = statistics.fmean(ranker), statistics.stdev(ranker)
            above = mean - reached[best]
            listed = " ".join(f"{value:.4f}" for value in ranker)
            others = " ".join(f"{variant} {value:.4f}" for variant, value in reached.items())
            place = f"{name} {date or 'all dates'} {auc}"
            print(f"{place}: ranker {listed} (SD {scatter:.4f}); {others}")
            if (auc == "auc") == (date is not None):
                statement = f"{place}: {above:+.4f} above {best}, seeds scatter {scatter:.4f}"
                found[statement] = above > scatter
    return found


def told(row: Row) -> str:
    """The honest LIS of a row, its part within users and its verdict."""
    parts = [
        f"{name} {row[column]:+.4f} +- " + ("none" if row[high] is None else f"{row[high] - row[column]:.4f}")
        for name, column, high in (
            ("honest LIS", "lis", "ci_high"),
            ("within users", "lis_within_user", "lis_within_user_ci_high"),
            ("by the user", "lis_user_part", "lis_user_part_ci_high"),
        )
    ]
    return f"{', '.join(parts)}: {row['verdict']}"


def main() -> int:
    """Prints AUCs and the honest LIS, then a line a statement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=sorted(CONFIGS), default=list(CONFIGS))
    parser.add_argument("--folder", type=Path, default=Path("build/check_ranker"))
    options = parser.parse_args()
    holds: dict[str, bool] = {}
    for name in options.only:
        rows = measured(name, options.folder)
        holds |= statements(name, rows)
        for row in rows:
            if row["variant"] == "honest" and row["horizon_days"] == 7 and row["seed"] == "mean":
                print(f"{name} {row['evaluated_date'] or 'all dates'}: {told(row)}")
    for statement, is_true in holds.items():
        print(f"{'yes' if is_true else 'NO '} {statement}")
    return int(not all(holds.values()))


if __name__ == "__main__":
    sys.exit(main())
