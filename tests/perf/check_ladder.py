"""The nested ladder over content shares and training steps against what method 6 says of it; exits with 1 where one is
not so. Small worlds, each in a folder of its own: a run that was stopped goes on.

python -m tests.perf.check_ladder --seeds 1 2 3 --shares .2 .5 .8
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from lis_spark.alignment.progress import Progress
from lis_spark.inference.students_t import critical_value

STEPS = 200  # at most: of these the state with the highest mean recall is kept
FEWER_STEPS = {"early": 5, "middle": 30}  # encoders of the same that stop there, whatever their mean recall is
RUNG_AFTER = {**{steps: f"rung_other_{name}" for name, steps in FEWER_STEPS.items()}, STEPS: "rung_aligned"}
Row = dict[str, Any]
Ladder = Mapping[str, Row]
Statement = tuple[str, bool]


def ladder_of(seed: int, share: float, folder: Path) -> Ladder:
    """Variant -> row of lis_results over all items, of a world that is simulated, trained and aligned where needed."""
    place = folder / f"seed{seed}_share{share:g}"
    leaks = ", ".join(
        [
            "{kind: id_table}",
            *(
                f"{{kind: representation, name: {name}, encoder: {name}, draws: 2}}"
                for name in ("aligned", *FEWER_STEPS, "unaligned")
            ),
        ]
    )
    overrides = [
        *(f"lake.path={place / 'lake'}", f"lake.work_path={place / 'work'}", f"output_path={place / 'out'}"),
        *(f"source.seed={seed}", f"source.catalogue.content_share={share}"),
        # what the ladder does not look at is left out
        *("evaluation.horizons=[0, 7]", "evaluation.variants=[naive]", "evaluation.item_age_edges=[]"),
        f"encoders=[{{name: aligned, title_tokens: 64, steps: {STEPS}, patience: null}}, "
        + "".join(
            f"{{name: {name}, title_tokens: 64, steps: {steps}, keeps: last}}, " for name, steps in FEWER_STEPS.items()
        )
        + "{name: unaligned, title_tokens: 64, objective: none}]",
        "append={window_days: 10, horizons: [7], content: {columns: [title, image], shuffles: 2}, "
        f"ladder: {{unaligned: unaligned, aligned: aligned, others: [{', '.join(FEWER_STEPS)}]}}, leaks: [{leaks}]}}",
    ]
    place.mkdir(parents=True, exist_ok=True)
    with (place / "log").open("w", encoding="utf-8") as log:
        command = [sys.executable, "-m", "lis_spark.cli", "run", "--config", "conf/world_alignment_small.yaml"]
        subprocess.run([*command, *overrides], check=True, stdout=log, stderr=log)
    curve = Progress.result_in(place / "work" / "encoders" / "aligned")
    last, kept = curve.curve[-1], curve.kept
    print(
        f"world {seed}, content share {share:g}: mean recall {kept.mean_recall:.4f} after {kept.step} steps, "
        f"{last.mean_recall:.4f} after {last.step}, chance {kept.chance:.4f}",
        flush=True,
    )
    rows = json.loads((place / "out" / "lis_results.json").read_text(encoding="utf-8"))
    return {row["variant"]: row for row in rows if (row["leak"], row["stratum"]) == ("ladder", "all")}


def statements(ladders: Mapping[tuple[int, float], Ladder]) -> Iterator[Statement]:
    """What the method says of them."""
    seeds, shares = sorted({seed for seed, _ in ladders}), sorted({share for _, share in ladders})
    for seed, share in sorted(ladders):
        ladder = ladders[seed, share]
        if share >= 0.5:
            for name, row in _steps(ladder).items():
                yield f"world {seed}, share {share:g}: the step to {name} is not below 0", row["ci_high"] >= 0
        above = ladder["aligned_above_early"]
        few = FEWER_STEPS["early"]
        yield (
            f"world {seed}, share {share:g}: more is left after {few} steps than the best of {STEPS}",
            above["ci_low"] > 0,
        )
    for share in shares:
        if share >= 0.5:
            yield from _pooled([ladders[seed, share] for seed in seeds if (seed, share) in ladders], share)
    for share in shares:
        worlds = [ladders[seed, share] for seed in seeds if (seed, share) in ladders]
        left = {
            steps: statistics.fmean(one["rung_content"]["lis"] - one[rung]["lis"] for one in worlds)
            for steps, rung in RUNG_AFTER.items()
        }
        means = ", ".join(f"{mean:+.4f} after {steps}" for steps, mean in left.items())
        falls = all(later < earlier for earlier, later in pairwise(left.values()))
        yield f"share {share:g}, mean of {len(worlds)} worlds: what is left falls with steps ({means})", falls
    for seed in seeds:
        missing = [ladders[seed, share]["step_honest"]["lis"] for share in shares if (seed, share) in ladders]
        if len(missing) > 1:
            yield f"world {seed}: what content lacks falls with its share", missing == sorted(missing, reverse=True)
            yield f"world {seed}: to at most half", missing[-1] <= missing[0] / 2


def _steps(ladder: Ladder) -> dict[str, Row]:
    steps = {name: ladder[f"step_{name}"] for name in ("aligned", "content", "honest", "naive")}
    return {"unaligned": ladder["rung_unaligned"], **steps}


def _pooled(ladders: Sequence[Ladder], share: float) -> Iterator[Statement]:
    """Steps over all worlds; their users are others, so the errors are independent."""
    for name in _steps(ladders[0]):
        rows = [_steps(ladder)[name] for ladder in ladders]
        mean = statistics.fmean(row["lis"] for row in rows)
        half = critical_value(math.inf, 0.05) * math.sqrt(sum(row["standard_error"] ** 2 for row in rows)) / len(rows)
        said = f"share {share:g}, mean of {len(rows)} worlds: the step to {name} is not below 0"
        yield f"{said} ({mean:+.4f}, half interval {half:.4f})", mean + half >= 0


def main() -> int:
    """Prints the ladders, then a line a statement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--shares", type=float, nargs="+", default=[0.2, 0.5, 0.8])
    parser.add_argument("--folder", type=Path, default=Path("build/ladder"))
    options = parser.parse_args()
    ladders: dict[tuple[int, float], Ladder] = {}
    rungs = ("rung_unaligned", *RUNG_AFTER.values(), "rung_content", "rung_honest", "rung_naive")
    for seed in options.seeds:
        for share in options.shares:
            found = ladders[seed, share] = ladder_of(seed, share, options.folder)
            told = [
                f"{name.rpartition('_')[2]} {found[name]['lis']:+.4f} "
                f"({(found[name]['ci_high'] - found[name]['ci_low']) / 2:.4f})"
                for name in rungs
            ]
            print(f"world {seed}, content share {share:g}: {', '.join(told)}", flush=True)
    failed = 0
    for said, holds in statements(ladders):
        print(f"{'yes' if holds else 'NO '} {said}")
        failed += not holds
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
