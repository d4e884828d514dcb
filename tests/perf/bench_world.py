"""Rows a second, peak memory and bytes a row of `lis-spark simulate`, each size in a process of its own.

    python tests/perf/bench_world.py --config conf/world_reference.yaml --impressions 1000000 10000000 100000000

The number of impressions is spread over the days of the configuration; users and items grow with it, so that items are
shown and users come as often as in the configuration. The lake is removed after each size. Memory is that of the whole
process tree: the driver, Spark's JVM and its Python workers, added up every half second.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from memory import Watch

TABLES = ("impressions", "truth", "user_days", "items", "truth_items")


def main() -> None:
    """Prints one line of JSON a size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default="conf/world_reference.yaml")
    parser.add_argument("--impressions", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--folder", default=None, help="where the lakes are made; a temporary folder where absent")
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_intermixed_args()
    for impressions in options.impressions:
        print(json.dumps(measured(options, impressions)), flush=True)


def measured(options: argparse.Namespace, impressions: int) -> dict[str, object]:
    """One simulation of one size."""
    from lis_spark.config import WorldSource, load_config

    world = load_config(options.config, options.overrides).source
    assert isinstance(world, WorldSource)
    growth = impressions / (world.days * world.impressions_a_day)
    folder = Path(tempfile.mkdtemp(dir=options.folder))
    try:
        command = [
            *(sys.executable, "-m", "lis_spark.cli", "simulate", "--config", options.config),
            *(f"lake.path={folder}", f"lake.work_path={folder}/work"),
            *options.overrides,
            f"source.traffic.impressions_a_day={impressions // world.days}",
            f"source.people.users={max(10, round(world.people.users * growth))}",
            f"source.catalogue.new_items_a_day={max(2, round(world.catalogue.new_items_a_day * growth))}",
        ]
        begun = time.monotonic()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        watch = Watch(process.pid)
        errors = process.communicate()[1]
        seconds = time.monotonic() - begun
        watch.stop()
        if process.returncode:
            raise SystemExit(errors[-3000:])
        line = next(line for line in errors.splitlines() if "simulate:" in line)
        inside = float(line.rpartition("(")[2].partition(" s)")[0])
        size = {name: sum(file.stat().st_size for file in (folder / name).rglob("*.parquet")) for name in TABLES}
        return {
            "impressions": impressions,
            "seconds": round(seconds, 1),
            "seconds in the step": inside,
            "impressions a second": round(impressions / inside),
            "peak memory, GB": round(watch.peak / 1e9, 2),
            "bytes an impression": {name: round(size[name] / impressions, 1) for name in ("impressions", "truth")},
            "megabytes": {name: round(value / 1e6, 1) for name, value in size.items()},
        }
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
