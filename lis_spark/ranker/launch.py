"""Starts training processes by TorchDistributor and brings a rank's own error to the driver as JSON.

Its child processes get the environment and no PYTHONPATH; an exception in a rank would arrive as "return code 1", so
each rank writes its own as JSON and the driver raises that. What the ranks do is named, not imported: PyTorch and
TorchRec take seconds to load, and the driver needs neither.
"""

from __future__ import annotations

import json
import logging
import os
import pkgutil
import threading
import traceback
from pathlib import Path

from lis_spark.errors import InputError, LisError, StepFailed
from lis_spark.progress import Bar


def guarded(work: str, plan_path: str) -> object:
    """Runs a rank's work (``module:function``); its own error is left beside the plan before it is raised."""
    try:
        return pkgutil.resolve_name(work)(plan_path)
    except BaseException as error:
        place = Path(plan_path).with_suffix("")
        rank = os.environ.get("RANK", "0")
        text = json.dumps(
            {
                "rank": int(rank),
                "message": str(error),
                "type": type(error).__name__,
                "refused": getattr(error, "exit_code", 3) == 2,
                "trace": traceback.format_exc()[-4000:],
            }
        )
        Path(f"{place}.error-{rank}.json").write_text(text, encoding="utf-8")
        raise


def launch(
    work: str,
    plan_path: Path,
    *,
    processes: int,
    local_mode: bool,
    use_gpu: bool,
    title: str,
    pieces: int,
) -> None:
    """Runs a function of one argument, the plan's path, on every rank; shows a bar meanwhile.

    What a rank has to say goes to files: on one machine all ranks write TorchDistributor's result to the same file, and
    the last one wins.

    Args:
        work: ``module:function``, which the training processes import.
        plan_path: a JSON plan on a folder that every rank can open.
        processes: ranks.
        local_mode: on this machine; else a barrier stage, which needs as many free slots.
        use_gpu: one GPU a rank.
        title: of the bar.
        pieces: how many lines of :func:`processes.report_progress` there will be.

    Raises:
        LisError: what the first rank that failed said of itself.
    """
    from pyspark.ml.torch.distributor import TorchDistributor

    prefix = plan_path.with_suffix("")
    for left in (*plan_path.parent.glob(f"{prefix.name}.error-*"), *plan_path.parent.glob(f"{prefix.name}.progress-*")):
        left.unlink()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    done = threading.Event()
    with Bar(title, pieces) as bar:
        watcher = threading.Thread(target=_watch, args=(prefix, bar, done), daemon=True)
        watcher.start()
        try:
            distributor = TorchDistributor(num_processes=processes, local_mode=local_mode, use_gpu=use_gpu)
            distributor.logger.setLevel(logging.ERROR)  # our bar says when it starts and ends
            distributor.run(guarded, work, str(plan_path))
        except Exception as error:
            raise _rank_error(prefix, error) from error
        finally:
            done.set()
            watcher.join()
    if _error_files(prefix):  # once rank 0 has ended well, TorchDistributor says nothing of the others
        raise _rank_error(prefix, None)


def _watch(prefix: Path, bar: Bar, done: threading.Event) -> None:
    seen = 0
    while True:
        finished = done.wait(0.5)
        lines = sum(
            len(file.read_text(encoding="utf-8").splitlines())
            for file in prefix.parent.glob(f"{prefix.name}.progress-*")
        )
        if lines > seen:
            bar.advance(lines - seen)
            seen = lines
        if finished:
            return


def _error_files(prefix: Path) -> list[Path]:
    return sorted(prefix.parent.glob(f"{prefix.name}.error-*.json"), key=lambda file: file.stat().st_mtime)


def _rank_error(prefix: Path, error: Exception | None) -> LisError:
    files = _error_files(prefix)
    if not files:
        return StepFailed(
            "the training processes could not be started",
            found=str(error)[:1500],
            remedy="barrier mode needs launch.processes free slots and the wheel on every node: see lis-spark analyze",
        )
    first = json.loads(files[0].read_text(encoding="utf-8"))
    kind = InputError if first["refused"] else StepFailed
    return kind(
        f"rank {first['rank']} failed: {first['type']}: {first['message']}",
        found=first["trace"],
        remedy="what was finished stays; the same command goes on from the last finished day",
    )
