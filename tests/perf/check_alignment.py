"""An aligned encoder against what the method asks of it (5, 6); exits with 1 where one is not so.

Runs what is not done first.

python -m tests.perf.check_alignment --config conf/world_alignment.yaml
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lis_spark.config import load_config
from lis_spark.lake import Lake
from lis_spark.session import get_session

TIMES_CHANCE, SMALLEST_GALLERY = 10, 500
GAINS = (
    ("AIS against the row-shuffled draws", "representation"),
    ("above the encoder aligned to random targets", "above_random_targets"),
)
Row = Mapping[str, Any]


def statements(encoders: Mapping[str, Row], results: Mapping[tuple[str, str], Row]) -> Iterator[tuple[str, bool]]:
    """What the method says of them, with what was found.

    Args:
        encoders: name -> row of the table ``encoders``.
        results: (leak, variant) -> row of lis_results on items unseen in alignment.
    """
    aligned, unaligned = encoders["aligned"], encoders["unaligned"]
    recall, chance = aligned["mean_recall"], aligned["chance"]
    yield f"the gallery has {aligned['gallery']} items", aligned["gallery"] >= SMALLEST_GALLERY
    told = f"mean recall {recall:.4f} is {recall / chance:.1f} times chance ({chance:.4f})"
    yield told, recall >= TIMES_CHANCE * chance
    yield (
        f"and above that of the encoder that is not aligned ({unaligned['mean_recall']:.4f})",
        recall > unaligned["mean_recall"],
    )
    for said, variant in GAINS:
        row = results["aligned", variant]
        yield f"{said} {row['lis']:+.4f} ({row['ci_low']:+.4f} to {row['ci_high']:+.4f})", row["ci_low"] > 0
    raw = results["raw", "representation"]
    same = raw["u2_control"] == raw["u2_leaked"] and raw["standard_error"] == 0  # and no user's rows have moved
    yield f"the raw preference data gives exactly 0 ({raw['lis']})", same


def main() -> int:
    """Prints a line a statement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=Path("conf/world_alignment.yaml"))
    options = parser.parse_args()
    subprocess.run([sys.executable, "-m", "lis_spark.cli", "run", "--config", str(options.config)], check=True)
    config = load_config(options.config)
    rows = json.loads((Path(config.output_path) / "lis_results.json").read_text(encoding="utf-8"))
    results = {(row["leak"], row["variant"]): row for row in rows if row["stratum"] == "alignment:unseen"}
    spark = get_session(config.session_settings)
    encoders = {row["name"]: row.asDict() for row in Lake(spark, config).read("encoders").collect()}
    spark.stop()
    failed = 0
    for said, holds in statements(encoders, results):
        print(f"{'yes' if holds else 'NO '} {said}")
        failed += not holds
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
