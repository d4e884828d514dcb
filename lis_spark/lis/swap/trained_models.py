"""Trained models that measurements start from: where their states lie, and what they must be."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from lis_spark.errors import InputError
from lis_spark.lake import Lake
from lis_spark.partitions import PartitionKey
from lis_spark.ranker.plans import StateSpec, state_folder


@dataclass(frozen=True)
class TrainedModel:
    """A row of ``model_snapshots``: of which training it is, and the hashes of its files."""

    fingerprint: str
    sha256: str


def trained_models(lake: Lake) -> dict[PartitionKey, TrainedModel]:
    """(chain, date) -> the model; a row for each day of each chain comes to the driver."""
    rows = lake.read("model_snapshots").select("chain", "date", "lis_fingerprint", "sha256").collect()
    return {
        (row["chain"], row["date"].isoformat()): TrainedModel(row["lis_fingerprint"], row["sha256"]) for row in rows
    }


def model_state(work_folder: str, chain: str, date: dt.date, models: Mapping[PartitionKey, TrainedModel]) -> StateSpec:
    """The state of M_date of a chain, of which training it must be, and which files.

    Raises:
        InputError: no such model was trained.
    """
    model = models.get((chain, date.isoformat()))
    if model is None:
        of_chain = sorted(day for name, day in models if name == chain)
        raise InputError(
            "there is no such model",
            table="model_snapshots",
            partition={"chain": chain, "date": date.isoformat()},
            found=f"models of {of_chain[0]} to {of_chain[-1]}" if of_chain else "no model of this chain",
            remedy="lis-spark train",
        )
    folder = state_folder(work_folder, chain, date)
    return StateSpec(folder=str(folder), fingerprint=model.fingerprint, sha256=model.sha256)
