"""Which arms are trained together: every arm once, groups evenly loaded, and no more than memory holds."""

from __future__ import annotations

import datetime as dt
import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lis_spark.ranker.plans import (
    AppendArmSpec,
    AppendEvaluationSpec,
    AppendPlan,
    DaySpec,
    FeatureSpec,
    PortSpec,
    RankerSpec,
    StateSpec,
    TableSpec,
)
from lis_spark.ranker.stacks import LARGEST_STACK, Stack, arm_bytes, dealt, largest_stack
from tests.ranker_worlds import make_launch

TABLES = {"item": 99, "user": 199}


def ranker(**changes: object) -> RankerSpec:
    tables = [
        TableSpec(name=n, rows=r, key_hashes="", learning_rate=1, initial_scale=1, initial_accumulator=0)
        for n, r in TABLES.items()
    ]
    settings = {
        "features": tuple(FeatureSpec(name=name, column=f"row_{name}", table=name) for name in TABLES),
        "tables": tuple(tables),
        "labels": ("click",),
        "history_length": 10,
        "architecture": "fm",
        "dimension": 8,
        "cross_layers": 2,
        "hidden": (16,),
        "batch_size": 512,
        "steps_a_day": 1,
        "smallest_batch": 1,
        "dense_learning_rate": 0.1,
        "slot": "item",
    }
    return RankerSpec.model_validate(settings | changes)


def plan_of(evaluations: list[tuple[int, int]], megabytes: int = 512, ranks: int = 1, **changes: object) -> AppendPlan:
    """Evaluations of (arms, rows of each of two days)."""

    def evaluation(number: int, arms: int, rows: int) -> AppendEvaluationSpec:
        first, second = (DaySpec(date=dt.date(2022, 5, day), files=(), rows=rows, row_groups=1) for day in (1, 2))
        return AppendEvaluationSpec(
            date=second.date,
            seed=number,
            state=StateSpec(folder="", fingerprint=""),
            days=(first,),
            day=second,
            arms=tuple(AppendArmSpec(names=(f"{number}-{arm}",), port=None) for arm in range(arms)),
        )

    return AppendPlan(
        output_folder="",
        ranker=ranker(**changes),
        launch=make_launch(ranks).model_copy(update={"arm_megabytes": megabytes}),
        label="click",
        port_columns=4,
        evaluations=tuple(evaluation(number, arms, rows) for number, (arms, rows) in enumerate(evaluations)),
    )


def loads(shares: list[list[Stack]]) -> list[int]:
    """Rows that pass through the arms of each group."""
    return [
        sum(
            len(stack.arms) * sum(day.rows for day in (*stack.evaluation.days, stack.evaluation.day)) for stack in share
        )
        for share in shares
    ]


evaluations = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 1000)), min_size=1, max_size=4)


@given(evaluations, st.integers(1, 5), st.sampled_from([0, 2, 512]))
def test_every_arm_is_trained_once(arms: list[tuple[int, int]], groups: int, megabytes: int) -> None:
    plan = plan_of(arms, megabytes)
    shares = dealt(plan, groups)
    assert shares == dealt(plan, groups) and len(shares) == groups
    listed = [arm for evaluation in plan.evaluations for arm in evaluation.arms]
    trained: dict[int, AppendArmSpec] = {}
    for share in shares:
        assert [stack.first for stack in share] == sorted(stack.first for stack in share)
        for stack in share:
            assert set(stack.arms) <= set(stack.evaluation.arms) and 1 <= len(stack.arms) <= LARGEST_STACK
            assert megabytes or len(stack.arms) == 1
            trained |= dict(enumerate(stack.arms, stack.first))
    assert [trained[number] for number in range(len(listed))] == listed and len(trained) == len(listed)


@given(st.integers(1, 60), st.integers(1, 6))
def test_no_group_waits_for_a_stack_that_could_have_been_shared(arms: int, groups: int) -> None:
    shares = dealt(plan_of([(arms, 100)]), groups)
    sizes = [len(stack.arms) for share in shares for stack in share]
    assert max(sizes) <= math.ceil(arms / groups) and max(sizes) - min(sizes) <= 1
    assert max(sum(len(stack.arms) for stack in share) for share in shares) == math.ceil(arms / groups)


@given(evaluations, st.integers(1, 5))
def test_the_last_group_is_done_soon(arms: list[tuple[int, int]], groups: int) -> None:
    """At most a stack later than if every arm could be divided."""
    load = loads(dealt(plan_of(arms), groups))
    largest = max(2 * rows * min(count, LARGEST_STACK) for count, rows in arms)
    assert max(load) <= sum(load) / groups + largest


def test_one_group_trains_as_many_together_as_there_may_be() -> None:
    assert [len(stack.arms) for stack in dealt(plan_of([(33, 10), (2, 10)]), 1)[0]] == [11, 11, 11, 2]


@pytest.mark.parametrize("ranks", [1, 2])
def test_memory_of_an_arm(tmp_path: Path, ranks: int) -> None:
    """Counted by hand: of a factorisation machine, and of the default ranker."""
    plan = plan_of([(1, 50)], ranks=ranks)
    (evaluation,) = plan.evaluations
    tables = (100 + 200) * (8 + 1) // ranks
    looked_up = 3 * 4096 * 2 * 8
    assert arm_bytes(plan, evaluation, None) == 4 * (tables + looked_up + 4 * (2 * 8 + 1))
    column = PortSpec(column="own", widths=(3, 2))
    norms, enter, linear = 2 * 5, 5 * 8 + 8, 5
    ported = 4 * (tables + looked_up + 4 * (17 + norms + enter + linear) + 50 // ranks * 5)
    assert arm_bytes(plan, evaluation, column) == ported
    pq.write_table(pa.table({"row": [1, 2, 3]}), tmp_path / "0.parquet")
    owned = column.model_copy(update={"table": str(tmp_path)})
    assert arm_bytes(plan, evaluation, owned) == ported + 4 * (3 * 5 - 50 // ranks * 5)
    deep = plan_of([(1, 50)], ranks=ranks, architecture="history_dcn")
    width = 8 * (2 + 4)
    dense = 4 * 8 * 8 + 2 * (width * width + width) + width * 16 + 16 + (width + 16 + 1)
    looked_up = 3 * 4096 * (2 + 20) * 8
    assert arm_bytes(deep, deep.evaluations[0], None) == 4 * (tables + looked_up + 4 * dense)


def test_as_many_arms_as_memory_holds() -> None:
    for megabytes in (0, 1, 3, 7, 10, 10_000):
        plan = plan_of([(40, 50)], megabytes)
        (evaluation,) = plan.evaluations
        fits = megabytes * 1_000_000 // arm_bytes(plan, evaluation, None)
        assert largest_stack(plan, evaluation) == min(max(fits, 1), LARGEST_STACK)
        sizes = [len(stack.arms) for stack in dealt(plan, 1)[0]]
        assert max(sizes) <= max(fits, 1)
