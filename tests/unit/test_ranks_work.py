"""What steps tell training processes to run: named, so that a driver needs no PyTorch."""

from __future__ import annotations

import inspect
import pkgutil
import subprocess
import sys

import pytest

from lis_spark.alignment import step as align
from lis_spark.lis import append, score, train


@pytest.mark.parametrize("step", [align, append, score, train])
def test_the_work_of_a_step_takes_the_path_of_a_plan(step: object) -> None:
    work = pkgutil.resolve_name(step.WORK)  # type: ignore[attr-defined]
    assert list(inspect.signature(work).parameters) == ["plan_path"]


def test_the_steps_are_loaded_without_pytorch() -> None:
    """It takes four seconds of a core, in every command and in every Python worker."""
    code = "import sys, lis_spark.pipeline; print(*sorted({'torch', 'torchrec', 'transformers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split() == []
