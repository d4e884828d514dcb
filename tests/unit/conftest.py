"""Unit tests start no Spark and no training processes: one that tries fails and says where it belongs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn

import pytest

STARTS = (
    "pyspark.sql.SparkSession.getActiveSession",
    "pyspark.sql.SparkSession.Builder.getOrCreate",
    "pyspark.core.context.SparkContext.__init__",
    "pyspark.core.context.launch_gateway",
    "lis_spark.ranker.launch.launch",
)


def refused(*_: Any, **__: Any) -> NoReturn:
    """In place of what starts them."""
    pytest.fail("a unit test starts nothing: what needs Spark or training processes belongs to tests/integration")


@pytest.fixture(autouse=True)
def nothing_is_started() -> Iterator[None]:
    """For the time of a test: the process may have a session that other tests have left."""
    with pytest.MonkeyPatch.context() as patch:
        for name in STARTS:
            patch.setattr(name, refused)
        yield
