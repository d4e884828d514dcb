"""Which arms of protocol ``append`` are trained together, and by which group of ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq
import torch

from lis_spark.ranker.arm_scoring import BATCH_ROWS
from lis_spark.ranker.network import SHIFT, dense_part
from lis_spark.ranker.plans import AppendArmSpec, AppendEvaluationSpec, AppendPlan, PortSpec, RankerSpec
from lis_spark.ranker.port import new_port

LARGEST_STACK = 16
BYTES = 4
# Value, gradient and both moments of Adam; values, what TorchRec makes of them, and gradients.
COPIES_OF_PARAMETERS, COPIES_OF_LOOKUPS = 4, 3


@dataclass(frozen=True)
class Stack:
    """Arms of one evaluation that are trained together; ``first`` is the number of the first among all of the plan."""

    evaluation: AppendEvaluationSpec
    arms: tuple[AppendArmSpec, ...]
    first: int

    @property
    def cost(self) -> int:
        """Rows that pass through its arms, and once more for what a step costs however few arms it has."""
        rows = sum(day.rows for day in (*self.evaluation.days, self.evaluation.day))
        return rows * (len(self.arms) + 1)


def dealt(plan: AppendPlan, groups: int) -> list[list[Stack]]:
    """The stacks of each group of ranks, in the order of the plan.

    Of all sizes that fit, the one after which the last group is done first; among equals the largest.
    """
    largest = [largest_stack(plan, evaluation) for evaluation in plan.evaluations]
    options = [deal(cut(plan, [min(size, most) for most in largest]), groups) for size in range(LARGEST_STACK, 0, -1)]
    return min(options, key=lambda shares: max(sum(stack.cost for stack in share) for share in shares))


def cut(plan: AppendPlan, sizes: Sequence[int]) -> list[Stack]:
    """Each evaluation's arms in as few stacks as hold at most so many, which differ by one at most."""
    stacks, first = [], 0
    for evaluation, size in zip(plan.evaluations, sizes, strict=True):
        arms = evaluation.arms
        pieces = -(-len(arms) // size)
        bounds = [len(arms) * piece // pieces for piece in range(pieces + 1)]
        for start, end in pairwise(bounds):
            stacks.append(Stack(evaluation, arms[start:end], first + start))
        first += len(arms)
    return stacks


def deal(stacks: Sequence[Stack], groups: int) -> list[list[Stack]]:
    """The stacks of each group, in order of their arms: the largest first, to whoever has least."""
    shares: list[list[Stack]] = [[] for _ in range(groups)]
    load = [0] * groups
    for stack in sorted(stacks, key=lambda stack: (-stack.cost, stack.first)):
        least = load.index(min(load))
        load[least] += stack.cost
        shares[least].append(stack)
    return [sorted(share, key=lambda stack: stack.first) for share in shares]


def largest_stack(plan: AppendPlan, evaluation: AppendEvaluationSpec) -> int:
    """How many arms of an evaluation fit into ``launch.arm_megabytes`` of a rank: 1 to 16."""
    arm = max((arm_bytes(plan, evaluation, arm.port) for arm in evaluation.arms), default=1)
    return min(max(plan.launch.arm_megabytes * 1_000_000 // arm, 1), LARGEST_STACK)


def arm_bytes(plan: AppendPlan, evaluation: AppendEvaluationSpec, port: PortSpec | None) -> int:
    """What an arm takes of a rank's memory while it is trained and scored: tables, parameters, lookups, vectors."""
    spec, ranks = plan.ranker, plan.launch.ranks_per_chain
    tables = sum(table.rows + SHIFT for table in spec.tables) * (spec.dimension + 1) // ranks
    lookups = len(spec.features) + (2 * spec.history_length if spec.history_table else 0)
    looked_up = max(BATCH_ROWS, spec.batch_size // ranks) * lookups * spec.dimension
    parameters, vectors = _parameters(spec, None, 0), 0
    if port is not None:
        parameters += _parameters(spec, port.model_copy(update={"column": "", "table": None}), plan.port_columns)
        held = max(day.rows for day in (*evaluation.days, evaluation.day)) // ranks
        if port.table is not None:
            held = sum(pq.read_metadata(file).num_rows for file in Path(port.table).glob("*.parquet"))
        vectors = held * port.width
    return BYTES * (tables + COPIES_OF_LOOKUPS * looked_up + COPIES_OF_PARAMETERS * parameters + vectors)


@cache
def _parameters(spec: RankerSpec, port: PortSpec | None, columns: int) -> int:
    """Numbers in the ranker's dense part, or in a port of it."""
    with torch.device("meta"):
        module = dense_part(spec, 0) if port is None else new_port(spec, port, columns, 0)
    return sum(parameter.numel() for parameter in module.parameters())
