"""A real standalone Spark cluster on loopback, from the installed pyspark: one master, two workers of one core."""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyspark

START_SECONDS = 60
SHORT_LIVED = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def standalone_cluster(folder: Path, python: Path, workers: int = 2) -> Iterator[str]:
    """Starts the cluster, yields its URL and ends exactly the processes that it started.

    Args:
        folder: for logs and the workers' files.
        python: the interpreter of the executors, with the wheel installed.
        workers: each with one core and 2 GiB.
    """
    spark_class = Path(pyspark.__file__).parent / "bin" / "spark-class"
    environment = {
        **os.environ,
        "SPARK_LOCAL_IP": "127.0.0.1",
        "PYSPARK_PYTHON": str(python),
        "SPARK_HOME": str(Path(pyspark.__file__).parent),
        "SPARK_LOG_DIR": str(folder),
        "SPARK_WORKER_DIR": str(folder / "workers"),
        "OMP_NUM_THREADS": "1",
        # They live for minutes: what the second compiler makes faster, they never run, and their heaps are small.
        "SPARK_DAEMON_JAVA_OPTS": SHORT_LIVED,
    }
    port, ui = free_port(), free_port()
    url = f"spark://127.0.0.1:{port}"
    processes: list[subprocess.Popen[bytes]] = []

    def start(name: str, *arguments: str) -> None:
        log = (folder / f"{name}.log").open("wb")
        command = [str(spark_class), *arguments]
        processes.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=folder))

    try:
        address = ("--host", "127.0.0.1")
        master = "org.apache.spark.deploy.master.Master"
        start("master", master, *address, "--port", str(port), "--webui-port", str(ui))
        _wait(ui, 0)
        for number in range(workers):
            worker = "org.apache.spark.deploy.worker.Worker"
            size = ("--cores", "1", "--memory", "2g", "--webui-port", str(free_port()))
            start(f"worker{number}", worker, *address, *size, url)
        _wait(ui, workers)
        yield url
    finally:
        for process in reversed(processes):
            process.terminate()
        for process in processes:
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait(port: int, workers: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/", timeout=2) as answer:
                if answer.read().decode().count('"state" : "ALIVE"') >= workers:
                    return
        except OSError:
            pass
        time.sleep(0.3)
    raise TimeoutError(f"the standalone cluster did not come up with {workers} workers in {START_SECONDS} s")
