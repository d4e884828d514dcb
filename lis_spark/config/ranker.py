"""Sections on the ranker: what it reads, how it is built and trained, how it is launched."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from lis_spark.config.section import Section


class HistoryConfig(Section):
    """The user's last clicks and last skips before an impression."""

    length: int = Field(10, ge=1, le=1000)
    lookback_days: int = Field(30, ge=1, description="how many days before the impression's own are read")


class FeatureConfig(Section):
    """One categorical input of the ranker.

    ``transform``: ``id`` takes the value as it is, ``hour`` the local hour of a timestamp, ``log2_bucket`` the integer
    part of log2(1 + value), ``first_token`` the part before the first comma.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    column: str
    origin: Literal["impressions", "items"] = "impressions"
    transform: Literal["id", "hour", "log2_bucket", "first_token"] = "id"
    slot: str | None = Field(None, description="vocabulary and embedding table; the feature's own name where absent")

    @property
    def table(self) -> str:
        """Name of the vocabulary (slot) and of the embedding table."""
        return self.slot or self.name


class CountsConfig(Section):
    """How often values of features were shown and were positive before the day of an impression, as numbers."""

    features: tuple[str, ...] | None = Field(
        None, description="names of features whose values are counted; those of user, item and author where absent"
    )
    prior: float = Field(
        10.0, gt=0, description="impressions with the rate of all that the rate of a value is smoothed by"
    )


class TableConfig(Section):
    """What one embedding table has otherwise than the others."""

    learning_rate: float | None = Field(None, gt=0)
    initial_scale: float | None = Field(None, ge=0)


class RankerConfig(Section):
    """The ranker and its training (method 1.1: row-wise Adagrad, so untouched rows keep their bits)."""

    architecture: Literal["history_dcn", "fm_mlp", "fm"] = "history_dcn"
    dimension: int = Field(16, ge=2, le=1024)
    cross_layers: int = Field(2, ge=0, le=8)
    hidden: tuple[int, ...] = (128, 64)
    batch_size: int = Field(512, ge=1, description="rows of a step of training, over all ranks of a chain")
    steps_a_day: int = Field(
        16, ge=1, description="on a day of few rows batches are smaller, so that there are so many steps"
    )
    smallest_batch: int = Field(32, ge=1, description="rows; a day that is too thin for such batches has fewer steps")
    table_learning_rate: float = Field(0.05, gt=0)
    dense_learning_rate: float = Field(0.001, gt=0)
    initial_scale: float = Field(0.01, ge=0, description="standard deviation of a cold row")
    initial_accumulator: float = Field(
        0.004, ge=0, description="of row-wise Adagrad on gradients of the summed loss: more holds young rows back"
    )
    tables: dict[str, TableConfig] = Field(default_factory=dict, description="table name -> its own settings")
    row_groups_per_day: int = Field(4, ge=1, description="at least several times the ranks of a chain")
    base_interval_days: int = Field(7, ge=1, description="a full copy of embedding_snapshots every so many days")

    @property
    def table_accumulator(self) -> float:
        """``initial_accumulator`` for gradients of a batch's summed loss divided by ``batch_size``.

        They are what the tables are given. Adagrad forgets the scale of gradients, its initial accumulator does not:
        without this a larger batch would hold young rows still.
        """
        return self.initial_accumulator / self.batch_size**2


class LaunchConfig(Section):
    """TorchDistributor."""

    processes: int = Field(2, ge=1)
    local_mode: bool = True
    use_gpu: bool = False
    ranks_per_chain: int = Field(1, ge=1, description="1: a chain a rank; more: tables sharded by row over them")
    threads_per_process: int = Field(1, ge=1)
    inference_megabytes: int = Field(
        512, ge=1, description="for a batch of items in a worker of represent, beside the encoder's own weights"
    )
    cache_megabytes: int = Field(512, ge=0, description="decoded days kept by a rank, so that chains share a reading")
    arm_megabytes: int = Field(
        128, ge=0, description="of a rank, for arms of append that are trained together, at most 16; 0: one at a time"
    )

    @model_validator(mode="after")
    def _divides(self) -> LaunchConfig:
        if self.processes % self.ranks_per_chain:
            raise ValueError("launch.processes must be a multiple of launch.ranks_per_chain")
        return self
