"""What a training process is: its rank among all, and how it tells the driver of what it has finished."""

from __future__ import annotations

import datetime as dt
import logging
import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed import ProcessGroup

from lis_spark.ranker.plans import LaunchSpec


@dataclass(frozen=True)
class Rank:
    """One training process: its place among all, and in the group of ranks that train a chain together."""

    rank: int
    ranks: int
    group: ProcessGroup
    group_number: int
    groups: int
    place: int
    group_size: int
    device: torch.device

    def gathered(self, value: object) -> list[object]:
        """The value of every rank of the group, in their order."""
        if self.group_size == 1:
            return [value]
        values: list[object] = [None] * self.group_size
        dist.all_gather_object(values, value, group=self.group)
        return values


def join(launch: LaunchSpec) -> Rank:
    """Joins the launch: gloo on CPU, NCCL on GPU; one process group for each set of ranks that shares a chain."""
    # petastorm 0.12 calls what later versions of pyarrow will drop; the pins keep it, and each call would warn.
    warnings.filterwarnings("ignore", category=FutureWarning)
    logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)
    torch.set_num_threads(launch.threads_per_process)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # nobody reads what nobody wrote
    rank, ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    device = torch.device("cpu")
    if launch.use_gpu:
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if launch.use_gpu else "gloo", timeout=dt.timedelta(hours=12))
    size = launch.ranks_per_chain
    mine: ProcessGroup | None = None
    for number in range(ranks // size):  # every rank takes part in making every group
        group = dist.new_group(list(range(number * size, (number + 1) * size)))
        if number == rank // size:
            mine = group
    assert mine is not None
    return Rank(rank, ranks, mine, rank // size, ranks // size, rank % size, size, device)


def report_progress(plan_path: str, rank: int, what: str) -> None:
    """One finished piece of work, for the driver's bar."""
    with Path(f"{Path(plan_path).with_suffix('')}.progress-{rank}").open("a", encoding="utf-8") as file:
        file.write(what + "\n")
