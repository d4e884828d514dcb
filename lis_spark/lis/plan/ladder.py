"""The nested ladder: from an encoder that is not aligned to the future itself, rung by rung (method 6).

Every rung is one more feature beside the same cross-fitted ID vector of T, and as wide as the widest of them, so one
control, Gaussian noise in the rung's place, serves all of them.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import replace

from lis_spark.config import AppendConfig
from lis_spark.config.leaks import HONEST, NAIVE
from lis_spark.lis.plan.append_feature import CONTENT, PORT, AppendFeature
from lis_spark.lis.plan.arms import CONTROL, REPRESENTATION, RUNG, Arm

# Name of its measurements in place of a leak's.
LADDER = "ladder"
UNALIGNED, ALIGNED = "unaligned", "aligned"
# From the lowest on: what an encoder says that is not aligned, and the aligned one; what content predicts of the ID
# vector of T + n; that vector of chains that never saw the user's fold; and of one that did.
RUNGS = (UNALIGNED, ALIGNED, CONTENT, HONEST, NAIVE)
# Before the name of a rung: it is compared with the one below.
STEP = "step_"
# Before the name of another representation beside the same ID vector, which the aligned one is compared with.
OTHER, ALIGNED_ABOVE = "other_", "aligned_above_"
# The aligned vector through a stronger port, and what that is above the port that all have.
STRONGER, LOST_IN_USE = "stronger_port", "lost_in_use"
# All that content holds beyond an encoder that is not aligned: what alignment could reach.
REACHABLE = "content_above_unaligned"


def ladder_features(append: AppendConfig, horizons: Sequence[int], date: dt.date) -> list[AppendFeature]:
    """The arms of the ladder on one evaluated day, at the longest horizon; none where it is not asked for."""
    ladder, horizon = append.ladder, max(horizons, default=0)
    if ladder is None:
        return []
    leaks = {leak.name: leak for leak in append.leaks}
    table = leaks[ladder.id_table]

    def arm(variant: str) -> Arm:
        return Arm("append", variant, horizon, PORT, date, None, None, leak=LADDER)

    future = AppendFeature(arm(""), table, "leaked_features", HONEST, horizon, beside=ladder.id_table)
    noise = [
        replace(future, arm=arm(f"{CONTROL}_noise_{draw}"), made="gaussian", draw=draw)
        for draw in range(ladder.noise_draws)
    ]
    controls = tuple(feature.arm.name for feature in noise)
    said = replace(future, table="control_features", variant=REPRESENTATION, horizon_days=0)
    sources = {
        UNALIGNED: replace(said, leak=leaks[ladder.unaligned]),
        ALIGNED: replace(said, leak=leaks[ladder.aligned]),
        CONTENT: replace(future, made="content"),
        HONEST: future,
        NAIVE: replace(future, variant=NAIVE),
    }
    rungs, below = [], None
    for name in RUNGS:
        others = [] if below is None else [(f"{STEP}{name}", arm(f"{RUNG}{below}").name)]
        if name == CONTENT:
            others.append((REACHABLE, arm(f"{RUNG}{UNALIGNED}").name))
        if name == ALIGNED:
            others += [(f"{ALIGNED_ABOVE}{other}", arm(f"{RUNG}{OTHER}{other}").name) for other in ladder.others]
        own = replace(arm(f"{RUNG}{name}"), compared_with=controls, also_compared=tuple(others))
        rungs.append(replace(sources[name], arm=own))
        below = name
    beside = [
        replace(said, leak=leaks[other], arm=replace(arm(f"{RUNG}{OTHER}{other}"), compared_with=controls))
        for other in ladder.others
    ]
    if ladder.stronger_port is not None:
        weaker = arm(f"{RUNG}{ALIGNED}").name
        own = replace(arm(f"{RUNG}{STRONGER}"), compared_with=controls, also_compared=((LOST_IN_USE, weaker),))
        beside.append(replace(sources[ALIGNED], arm=own, port_hidden=ladder.stronger_port))
    return [*noise, *rungs, *beside]
