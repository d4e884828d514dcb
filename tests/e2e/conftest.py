"""The main job on real data, once for all tests that look at what it left: conf/kuairand_small.yaml in a folder."""

from __future__ import annotations

import datetime as dt
import os
import pickle
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from filelock import FileLock
from pyspark.sql import Row

from lis_spark.config import RunConfig, load_config
from lis_spark.pipeline import run_steps
from lis_spark.step import StepResult

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "data" / "kuairand_pure"
SMALL = ROOT / "conf" / "kuairand_small.yaml"
LAST_DAY = dt.date(2022, 5, 2)


@dataclass
class SmallRun:
    """A finished run, what its steps said, the folder of its source (ends with ``LAST_DAY``), the notebook's answer.

    All processes of the suite look at the same one: whoever writes into its tables takes the fixture ``copied``.
    """

    config: RunConfig
    source: Path
    results: list[StepResult]
    answer: list[Row]


def rows_through(last_day: dt.date) -> pa.Table:
    """The shipped impressions of every fourth item up to the end of a day in Shanghai: about 5,000 on a day.

    Many runs are made of them. Of a fourth of the items each is as well learned as among all.
    """
    end = dt.datetime.combine(last_day + dt.timedelta(days=1), dt.time(), ZoneInfo("Asia/Shanghai"))
    rows = pq.read_table(DATA / "impressions.parquet")
    some = pa.array(rows["video_id"].to_numpy() % 4 == 0)
    return rows.filter(pc.and_(some, pc.less(rows["time_ms"], int(end.timestamp() * 1000))))


def small_overrides(folder: Path, source: Path) -> list[str]:
    """Everything that a run writes below ``folder``; one training process, for on two cores a second only waits."""
    return [
        f"lake.path={folder / 'lake'}",
        f"lake.work_path={folder / 'work'}",
        f"output_path={folder / 'out'}",
        f"source.path={source}",
        "ingest.end_date=null",
        "launch.processes=1",
        "evaluation.swap_refit=true",
    ]


def small_config(folder: Path, source: Path, *overrides: str) -> RunConfig:
    """The shipped small configuration with places of its own."""
    return load_config(SMALL, [*small_overrides(folder, source), *overrides])


@pytest.fixture(scope="session")
def small_run(spark: Any, tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    """Every step, on data that ends with the last day that is needed; made by the first process that needs it."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # of all processes
    folder /= "small_run"
    made = folder.with_suffix(".pickle")
    with FileLock(folder.with_suffix(".lock")):
        if not made.exists():
            made.write_bytes(pickle.dumps(_run_notebook(spark, folder)))
        run = pickle.loads(made.read_bytes())
    assert isinstance(run, SmallRun)
    return run


def _run_notebook(spark: Any, folder: Path) -> SmallRun:
    """As the quick-start notebook runs them."""
    source = folder / "source"
    source.mkdir(parents=True)
    pq.write_table(rows_through(LAST_DAY), source / "impressions.parquet")
    items = "video_features_basic_pure.csv"
    (source / items).write_bytes((DATA / items).read_bytes())
    notebook = ROOT / "notebooks" / "01_quick_start.py"
    cells: dict[str, Any] = {"config_path": SMALL, "overrides": small_overrides(folder, source)}
    exec(compile(notebook.read_text(encoding="utf-8"), str(notebook), "exec"), cells)
    assert cells["spark"] is spark, "a notebook takes the session that is there"
    return SmallRun(cells["config"], source, cells["results"], cells["answer"].collect())


@pytest.fixture
def copied(small_run: SmallRun, tmp_path: Path) -> RunConfig:
    """The finished run in a folder of its own, which a test may spoil."""
    for name in ("lake", "work", "source"):
        shutil.copytree(small_run.source.parent / name, tmp_path / name)
    return small_config(tmp_path, tmp_path / "source")


ALIGNMENT = ROOT / "conf" / "world_alignment_small.yaml"
ALIGNMENT_DATE = "2026-01-10"


@pytest.fixture(scope="session")
def alignment_world(spark: Any, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Overrides of a world that is simulated and trained, once for all tests of preference data and encoders."""
    folder = tmp_path_factory.mktemp("alignment_world")
    overrides = [
        *(f"lake.path={folder / 'lake'}", f"lake.work_path={folder / 'work'}", f"output_path={folder / 'out'}"),
        *("source.days=11", "source.traffic.impressions_a_day=3000", "source.catalogue.near_duplicate_share=0.25"),
        *(f"evaluation.dates=[{ALIGNMENT_DATE}]", "evaluation.horizons=[0, 1]", "evaluation.refit={horizons: [1]}"),
        *("evaluation.variants=[naive]", "evaluation.backward_horizons=[]", "evaluation.align_minimum_updates=10"),
        *("launch.processes=1", "preference.as_of=null", "append=null", "seeds=[17]", "evaluation.swap_refit=true"),
    ]
    run_steps(spark, load_config(ALIGNMENT, overrides), ("simulate", "vocabulary", "training-rows", "train"))
    return overrides
