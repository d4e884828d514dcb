"""What steps tell training processes to run and Python workers to load: named, so that a driver needs no PyTorch."""

from __future__ import annotations

import inspect
import pkgutil
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

import pytest

from lis_spark.alignment import step as align
from lis_spark.config import parse_config
from lis_spark.config.run import WORKERS_LOAD
from lis_spark.lis.append import step as append
from lis_spark.lis.swap import score, train


@pytest.mark.parametrize("step", [align, append, score, train])
def test_the_work_of_a_step_takes_the_path_of_a_plan(step: object) -> None:
    work = pkgutil.resolve_name(step.WORK)  # type: ignore[attr-defined]
    assert list(inspect.signature(work).parameters) == ["plan_path"]


def test_the_steps_are_loaded_without_pytorch() -> None:
    """It takes four seconds of a core, in every command and in every Python worker."""
    code = "import sys, lis_spark.pipeline; print(*sorted({'torch', 'torchrec', 'transformers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split() == []


def test_workers_load_what_applies_encoders_where_there_are_any(config_data: dict[str, Any]) -> None:
    """What a run's own Spark settings say of the same key goes before."""
    key = f"spark.executorEnv.{WORKERS_LOAD}"
    assert parse_config(config_data).session_settings == {}
    config_data |= {
        "preference": {"tail_share": 0.5},
        "encoders": [{"name": "aligned"}],
        "spark": {"spark.ui.enabled": "false"},
    }
    settings = parse_config(config_data).session_settings
    assert settings["spark.ui.enabled"] == "false" and all(find_spec(name) for name in settings[key].split(","))
    config_data["spark"] = {key: "json"}
    assert parse_config(config_data).session_settings == {key: "json"}
