"""Holds the results of the regimes' runs against what method 8 says of them; exits with 1 where one is not so.

python tests/perf/check_regimes.py --paper build/paper_*/lis_results.json --sparse ... --reference ...
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

REGIMES = ("paper", "sparse", "reference")
Statement = tuple[str, bool]
Row = dict[str, Any]


class World:
    """The scores of one run: LIS by substitution of both lookups, over all impressions."""

    def __init__(self, file: Path) -> None:
        rows = json.loads(file.read_text(encoding="utf-8"))
        self.rows: dict[tuple[str, int], Row] = {
            (row["variant"], row["horizon_days"]): row
            for row in rows
            if (row["protocol"], row["swap_scope"], row["stratum"]) == ("swap", "both", "all")
        }

    def lis(self, variant: str, horizon: int) -> float:
        """LIS of a variant."""
        return float(self.rows[variant, horizon]["lis"])

    def u2(self, variant: str, horizon: int) -> str:
        """The integer 2 U of the leaked arm."""
        return str(self.rows[variant, horizon]["u2_leaked"])


def in_every_regime(regime: str, world: World) -> Iterator[Statement]:
    """Bounds and controls."""
    honest = [row for (variant, horizon), row in world.rows.items() if variant == "honest" and horizon > 0]
    yield "every honest LIS is below its truth bound", all(row["lis"] <= row["truth_bound"] for row in honest)
    yield "n = 0 is the integer 0", world.rows["naive", 0]["u2_control"] == world.rows["naive", 0]["u2_leaked"]
    least = -0.005 if regime == "sparse" else -0.05
    yield f"backward(7) < {least}", world.lis("backward", -7) < least
    permuted = [row["lis"] for (variant, _), row in world.rows.items() if variant == "row_permuted"]
    yield "row-permuted < -.04 at every n", max(permuted) < -0.04
    if regime != "sparse":
        half = world.lis("label_shuffled", 7) < 0.5 * world.lis("honest", 7)
        yield "label-shuffled(7) is below half of honest(7)", half


def of_paper(world: World) -> Iterator[Statement]:
    """LIS rises as in the paper's Table 1."""
    for variant in ("naive", "honest"):
        first, second, third = (world.lis(variant, horizon) for horizon in (1, 7, 30))
        yield f"{variant} rises over n = 1, 7, 30", first < second < third
    for horizon, published in ((7, 0.06), (30, 0.09)):
        naive, honest = world.lis("naive", horizon), world.lis("honest", horizon)
        yield f"honest({horizon}) is at least .75 of naive({horizon})", honest >= 0.75 * naive
        yield f"naive({horizon}) is within a factor of 2 of the paper's {published}", 0.5 <= naive / published <= 2


def of_sparse(world: World) -> Iterator[Statement]:
    """The method's own negative control."""
    naive = [world.lis("naive", horizon) for horizon in (1, 7, 30)]
    honest = [world.lis("honest", horizon) for horizon in (1, 7, 30)]
    yield "naive falls over n = 1, 7, 30", naive[0] > naive[1] > naive[2]
    yield "honest rises over n = 1, 7, 30", honest[0] < honest[1] < honest[2]
    row = world.rows["honest", 1]
    yield "honest(1) is 0 within its interval", row["ci_low"] <= 0 <= row["ci_high"]
    yield "all of honest(1)'s interval lies below a tenth of naive(1)", row["ci_high"] < 0.1 * naive[0]
    yield "naive(1)'s interval does not reach 0", world.rows["naive", 1]["ci_low"] > 0


def of_reference(world: World) -> Iterator[Statement]:
    """Items of 18 days learn nothing after T+18."""
    for variant in ("naive", "honest"):
        yield f"{variant}: LIS(18) and LIS(30) are one integer", world.u2(variant, 18) == world.u2(variant, 30)


OF_REGIME = {"paper": of_paper, "sparse": of_sparse, "reference": of_reference}


def main() -> int:
    """Prints a line a statement and world."""
    parser = argparse.ArgumentParser(description=__doc__)
    for regime in REGIMES:
        parser.add_argument(f"--{regime}", type=Path, nargs="+", default=[])
    options = parser.parse_args()
    failed = 0
    for regime in REGIMES:
        for file in getattr(options, regime):
            world = World(file)
            for said, holds in [*in_every_regime(regime, world), *OF_REGIME[regime](world)]:
                print(f"{'yes' if holds else 'NO '} {regime} {file.parent.name}: {said}")
                failed += not holds
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
