"""The wheel in a clean environment in another folder, and a slice of the main job on a real cluster."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyspark
import pytest

from tests.e2e.cluster import SHORT_LIVED, standalone_cluster
from tests.e2e.conftest import SmallRun
from tests.e2e.readme import of_readme

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of a fresh environment with our wheel; the pinned libraries are lent by the environment of the tests."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder / "dist"), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    python = folder / "venv" / "bin" / "python"
    (wheel,) = (folder / "dist").glob("*.whl")
    site = subprocess.run(
        [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    subprocess.run([str(python), "-m", "pip", "install", "-q", "--no-deps", str(wheel)], check=True)
    # The libraries are 6 GB: a path file lends those of the test environment, without its editable lis_spark.
    own = subprocess.run(
        [sys.executable, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    (Path(site) / "pinned_libraries.pth").write_text(own + "\n", encoding="utf-8")
    return python


def test_the_wheel_carries_schemas_and_configurations(installed: Path, tmp_path: Path) -> None:
    code = (
        "import json, lis_spark\n"
        "from lis_spark.ddl import resource_folder\n"
        "from lis_spark.config import load_config\n"
        "files = sorted(p.name for n in ('schemas', 'conf') for p in resource_folder(n).iterdir())\n"
        "load_config(resource_folder('conf') / 'kuairand_demo.yaml')\n"
        "print(json.dumps([lis_spark.__file__, files]))"
    )
    out = subprocess.run([str(installed), "-c", code], check=True, capture_output=True, text=True, cwd=tmp_path).stdout
    place, files = json.loads(out)
    assert str(ROOT) not in place
    own = {file.name for folder in ("schemas", "conf") for file in (ROOT / folder).iterdir()}
    assert own <= set(files) and {"impressions.sql", "kuairand_demo.yaml", "log4j2.properties"} <= own
    verb = installed.parent / "lis-spark"
    helped = subprocess.run([str(verb), "--help"], check=True, capture_output=True, text=True, cwd=tmp_path).stdout
    assert "analyze" in helped and "measure" in helped


@dataclass(frozen=True)
class ClusterRun:
    """The main job on a cluster: what was submitted, in which folder, and what it said; the cluster still runs."""

    command: list[str]
    ways: dict[str, Any]
    folder: Path
    done: subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def cluster_run(installed: Path, tmp_path_factory: pytest.TempPathFactory, small_run: SmallRun) -> Iterator[ClusterRun]:
    """The line of the README, with one master and two workers; two ranks in a barrier stage, tables sharded by row over
    them."""
    folder = tmp_path_factory.mktemp("cluster")
    job = folder / "run.py"
    job.write_text((ROOT / "jobs" / "run.py").read_text(encoding="utf-8"), encoding="utf-8")
    config = folder / "kuairand_small.yaml"
    config.write_text((ROOT / "conf" / "kuairand_small.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    with standalone_cluster(folder, installed) as url:
        here = {
            "spark://host:7077": url,
            "conf/spark-defaults.conf": str(ROOT / "conf" / "spark-defaults.conf"),
            "jobs/run.py": str(job),
            "conf/kuairand_small.yaml": str(config),
        }
        words = [here.get(word, word.replace("/shared/", "")) for word in of_readme("spark-submit")]
        assert {*here.values(), "launch.ranks_per_chain=2", "lake.path=lake", "lake.work_path=work"} <= set(words)
        command = [
            str(Path(pyspark.__file__).parent / "bin" / "spark-submit"),
            *words[: words.index(str(job))],
            *("--conf", "spark.executor.memory=1g", "--conf", "spark.executor.cores=1"),
            *("--conf", f"spark.executor.extraJavaOptions={SHORT_LIVED}"),
            *("--conf", f"spark.driver.extraJavaOptions={SHORT_LIVED}"),
            *("--conf", "spark.databricks.delta.snapshotPartitions=2", "--conf", "spark.sql.shuffle.partitions=2"),
            *("--conf", "spark.driver.host=127.0.0.1", "--conf", "spark.ui.enabled=false"),
            *words[words.index(str(job)) :],
            *(f"source.path={small_run.source}", "ingest.end_date=null", "output_path=out"),
            # fewer arms than on one machine: what differs here is the launch
            *("evaluation.variants=[naive, naive_matched, honest]", "evaluation.horizons=[0, 3]"),
            *("evaluation.scopes=[both]", "evaluation.whole=false", "evaluation.slots=false"),
            "evaluation.swap_refit=true",
            *("evaluation.update_count_edges=[]", "evaluation.item_age_edges=[]"),
        ]
        environment = {
            **{key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
            "PYSPARK_PYTHON": str(installed),
            "PYSPARK_DRIVER_PYTHON": str(installed),
            "SPARK_LOCAL_IP": "127.0.0.1",
            "SPARK_HOME": str(Path(pyspark.__file__).parent),
            "OMP_NUM_THREADS": "1",
        }
        ways = {"cwd": folder, "env": environment, "capture_output": True, "text": True, "timeout": 900}
        yield ClusterRun(command, ways, folder, subprocess.run(command, **ways))


@pytest.mark.cluster
def test_spark_submit_on_a_standalone_cluster_in_barrier_mode(cluster_run: ClusterRun, small_run: SmallRun) -> None:
    """The AUC of one rank."""
    assert cluster_run.done.returncode == 0, cluster_run.done.stderr[-6000:]
    out = cluster_run.folder / "out"
    rows = json.loads((out / "lis_results.json").read_text(encoding="utf-8"))
    zero = [row for row in rows if row["horizon_days"] == 0 and row["variant"] in ("naive", "honest")]
    assert zero and all(row["lis"] == 0.0 and row["u2_control"] == row["u2_leaked"] for row in zero)
    alone = json.loads((Path(small_run.config.output_path) / "lis_results.json").read_text(encoding="utf-8"))

    def key(row: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(row[name] for name in ("protocol", "variant", "swap_scope", "horizon_days", "stratum"))

    of_one_rank = {key(row): row for row in alone}
    compared = [(row, of_one_rank[key(row)]) for row in rows if row["stratum"] == "all"]
    # swap: naive and honest at 0 and 3, matched at 3; refitted: naive and honest at 3; seven of simple baselines
    assert len(compared) == 7 + 7
    for row, other in compared:
        assert row["positives"] == other["positives"] and row["users"] == other["users"]
        assert abs(row["auc_control"] - other["auc_control"]) < 0.002
        if row["variant"] in ("naive", "honest", "naive_matched"):
            assert abs(row["auc_leaked"] - other["auc_leaked"]) < 0.002
    naive = next(r for r in rows if r["variant"] == "naive" and r["horizon_days"] == 3 and r["stratum"] == "all")
    assert naive["ci_low"] > 0
    assert (out / "report.html").stat().st_size > 10_000


@pytest.mark.cluster
@pytest.mark.slow("submits the main job to a cluster once more")
def test_spark_submit_where_a_rank_finds_a_changed_state_says_what_the_rank_says(cluster_run: ClusterRun) -> None:
    """Its own error, not that a stage failed, is what the driver says."""
    assert cluster_run.done.returncode == 0, cluster_run.done.stderr[-6000:]
    state = next((cluster_run.folder / "work" / "chains" / "base-s17").glob("2022-04-30/state-0*.safetensors"))
    kept = state.read_bytes()
    state.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    failed = subprocess.run([*cluster_run.command, "evaluation.variants=[naive, honest]"], **cluster_run.ways)
    said = " ".join((failed.stdout + failed.stderr).split())
    assert failed.returncode == 2, said[-6000:]
    assert "failed: StaleError: the state of a model was changed or removed" in said
    assert f"2022-04-30/{state.name}" in said and "what to do: train with --force" in said
