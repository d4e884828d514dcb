"""States of an encoder's training on disk: one file each, so that none is half written."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from lis_spark.alignment.progress import Progress

_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


def write_state(
    folder: Path, name: str, parameters: dict[str, Any], optimizer: torch.optim.Optimizer | None, progress: Progress
) -> None:
    """What is learned, and the optimizer's moments where the training is to go on from here."""
    tensors: dict[str, Tensor] = {key: one.detach().contiguous() for key, one in parameters.items()}
    if optimizer is not None:
        for key, one in parameters.items():
            for moment, value in optimizer.state.get(one, {}).items():
                tensors[f"{moment}/{key}"] = value.detach().contiguous()
    file = folder / f"{name}.safetensors"
    part = file.with_suffix(".part")
    save_file(tensors, part, {"progress": progress.json()})
    os.replace(part, file)


def read_state(
    folder: Path,
    name: str,
    is_wanted: Callable[[Progress], bool],
    parameters: dict[str, Any],
    optimizer: torch.optim.Optimizer | None,
) -> Progress | None:
    """Puts a state back and says how far it had come; None where there is none, or not one that is wanted."""
    file = folder / f"{name}.safetensors"
    if not file.is_file():
        return None
    with safe_open(file, "pt") as stored:
        progress = Progress.parse(stored.metadata()["progress"])
        if not is_wanted(progress):
            return None
        with torch.no_grad():
            for key, one in parameters.items():
                one.copy_(stored.get_tensor(key))
        if optimizer is not None and progress.step:
            known = set(stored.keys())
            for key, one in parameters.items():
                if f"step/{key}" in known:
                    optimizer.state[one] = {
                        moment: stored.get_tensor(f"{moment}/{key}").to("cpu" if moment == "step" else one.device)
                        for moment in _MOMENTS
                    }
    return progress
