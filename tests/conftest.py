"""One Spark session for a process of the suite, with settings for small data, each with its reason."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from lis_spark.config import RunConfig, parse_config
from tests.groups import complaint, group_of, marks_of, place_of
from tests.processes import available_memory, processes_for, usable_cores

ROOT = Path(__file__).resolve().parent.parent
# How long one example takes says how busy the machine is, and nothing of the code.
hypothesis.settings.register_profile("without deadlines", deadline=None)
hypothesis.settings.load_profile("without deadlines")
# The JVM's second compiler has ten times its patience: what is called that often by hundreds of small queries is worth
# it, what a test calls by the way is not. A small run, first and third in one session, in CPU seconds of the JVM: 109
# and 47; with the usual patience 145 and 53, without the second compiler 83 and 60.
os.environ.setdefault(
    "JDK_JAVA_OPTIONS",
    "-XX:ReservedCodeCacheSize=256m -XX:Tier4InvocationThreshold=50000 -XX:Tier4MinInvocationThreshold=10000 "
    "-XX:Tier4CompileThreshold=150000 -XX:Tier4BackEdgeThreshold=400000 "
    # Delta keeps what it has read of each table for an hour, and a suite has thousands of tables, a test some twenty.
    "-Ddelta.log.cacheSize=50",
)


def pytest_xdist_auto_num_workers() -> int | None:
    """What ``-n auto`` means; pytest-xdist's own variable goes before it."""
    if os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS"):
        return None
    return processes_for(usable_cores(), available_memory())


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the group's mark, and pytest what -m asks for, in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks that follow from fixtures, the groups of tests that share a process, and those that take longest first."""
    places = {}
    for item in items:
        assert isinstance(item, pytest.Function)
        for mark in marks_of(item.fixturenames):
            item.add_marker(mark)
        wrong = complaint(item.nodeid, [(mark.name, mark.args) for mark in item.iter_markers()])
        if wrong:
            raise pytest.UsageError(wrong)
        group = group_of(item.module.__name__, item.fixturenames)
        item.add_marker(pytest.mark.xdist_group(group))
        places[item] = place_of(group)
    items.sort(key=places.__getitem__)


def pytest_collection_finish() -> None:
    """What is loaded by now stays: to look through all of it for garbage, time and again, took a tenth of the units."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def spark() -> Iterator[Any]:
    from lis_spark.session import get_session

    session = get_session(
        {
            # Two rows need no four tasks.
            "spark.sql.shuffle.partitions": "2",
            # Three sessions stand beside a cluster, and encoders in processes of their own.
            "spark.driver.memory": "2g",
            # The rest of it is for what Spark does not count: plans, compiled code, the history of a thousand queries.
            "spark.memory.fraction": "0.5",
            # Nobody looks at the UI of a test, and its port may be taken.
            "spark.ui.enabled": "false",
            # Two rows are read sooner than code for them is compiled; commands in processes of their own do compile.
            "spark.sql.codegen.wholeStage": "false",
            "spark.sql.adaptive.coalescePartitions.minPartitionNum": "1",
        },
        app_name="lis_spark tests",
    )
    yield session
    session.stop()


@pytest.fixture
def config_data(tmp_path: Path) -> dict[str, Any]:
    """Plain data of a small valid configuration, its lake in the test's own folder."""
    return {
        "run_name": "test",
        "time_zone": "UTC",
        "output_path": str(tmp_path / "out"),
        "lake": {"path": str(tmp_path / "lake"), "work_path": str(tmp_path / "work")},
        "source": {
            "kind": "table",
            "path": str(tmp_path / "source"),
            "format": "parquet",
            "columns": {"user_id": "user", "item_id": "item", "time": "time", "labels": {"click": "click"}},
        },
        "features": [
            {"name": "user", "column": "user_id"},
            {"name": "item", "column": "item_id"},
        ],
        "evaluation": {"dates": ["2022-05-03"], "horizons": [0, 1], "folds": 2},
    }


@pytest.fixture
def config(config_data: dict[str, Any]) -> RunConfig:
    """The validated form of ``config_data``."""
    return parse_config(config_data)
