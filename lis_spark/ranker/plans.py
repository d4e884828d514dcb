"""What crosses the border to the training processes: plain JSON, no session and no table."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from urllib.parse import unquote, urlparse

from pydantic import BaseModel, ConfigDict

from lis_spark.folds import NO_FOLD, Served

ITEM_FEATURE = "item"
USER_FEATURE = "user"


class Plain(BaseModel):
    """Base of the plans: immutable, unknown keys refused, JSON both ways."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FeatureSpec(Plain):
    """One categorical feature: ``column`` holds rows of ``table``, -1 where the value is missing."""

    name: str
    column: str
    table: str


class TableSpec(Plain):
    """One embedding table. ``key_hashes`` is a .npy file of int64, one a row: a cold row is a function of its key.

    ``initial_accumulator`` is in squares of gradients of the summed loss of a batch divided by ``batch_size``.
    """

    name: str
    rows: int
    key_hashes: str
    learning_rate: float
    initial_scale: float
    initial_accumulator: float


class CountSpec(Plain):
    """Features whose values' impressions and positives before the day the ranker reads, see :mod:`counts`.

    ``label`` tells which impressions are positive, ``prior`` is in impressions.
    """

    features: tuple[str, ...]
    label: str
    prior: float


class RankerSpec(Plain):
    """The ranker; field names as in :class:`lis_spark.config.RankerConfig`."""

    features: tuple[FeatureSpec, ...]
    tables: tuple[TableSpec, ...]
    labels: tuple[str, ...]
    history_length: int
    architecture: str
    dimension: int
    cross_layers: int
    hidden: tuple[int, ...]
    batch_size: int
    steps_a_day: int
    smallest_batch: int
    dense_learning_rate: float
    slot: str
    counts: CountSpec | None = None

    @property
    def counted(self) -> tuple[str, ...]:
        """Names of the features whose counts are read."""
        return self.counts.features if self.counts else ()

    @property
    def fields(self) -> int:
        """Vectors of width d that the interaction layers are given, histories aside."""
        return len(self.features) + len(self.counted)

    @property
    def item_feature(self) -> FeatureSpec:
        """The item: the target of the attention, whose rows the histories hold."""
        return next(feature for feature in self.features if feature.name == ITEM_FEATURE)

    @property
    def swapped_feature(self) -> FeatureSpec:
        """The feature whose table is swapped."""
        return next(feature for feature in self.features if feature.table == self.slot)

    @property
    def history_table(self) -> str | None:
        """The table that the histories look up; None where the architecture has no histories."""
        return self.item_feature.table if self.architecture == "history_dcn" else None


class DaySpec(Plain):
    """The files of one day of ``training_rows`` at the pinned version, and the rows that they must hold."""

    date: dt.date
    files: tuple[str, ...]
    rows: int
    row_groups: int


class PortSpec(Plain):
    """A frozen vector of each impression: the column of the rows that holds it packed (null: none).

    With ``table``, a folder of (row, vector) files, the column is the number (int64) of a row there; of one that the
    table has not there is no vector. ``widths`` are those of the vector's parts, one behind another, each of which is
    normalised on its own. ``hidden``: through a layer of so many before it enters, a stronger port.
    """

    column: str
    table: str | None = None
    widths: tuple[int, ...]
    hidden: int | None = None

    @property
    def width(self) -> int:
        """Of the whole vector."""
        return sum(self.widths)


class StateSpec(Plain):
    """The state of a model on disk, and the fingerprint of the chain day that it must be.

    ``sha256``: of each file, as ``model_snapshots`` has them; None while the launch goes on that trains it.
    """

    folder: str
    fingerprint: str
    sha256: str | None = None


class ChainSpec(Plain):
    """One training history: forks from its parent's state at ``fork_date`` and has one fingerprint a snapshot date.

    It lacks the users of ``held_out_fold`` on every day, or on ``held_out_days`` alone where there are some.
    """

    name: str
    seed: int
    fork_date: dt.date
    parent: StateSpec | None
    folds: int
    held_out_fold: int
    held_out_days: tuple[dt.date, ...] = ()
    trained_folds: tuple[int, ...]
    skip_days: tuple[dt.date, ...]
    permute_labels: bool
    replayed_days: int = 0
    fingerprints: dict[dt.date, str]
    keep_every_state: bool
    full_snapshots: tuple[dt.date, ...]

    @property
    def snapshot_dates(self) -> list[dt.date]:
        """In order; the day of data is the day before, or ``replayed_days`` earlier."""
        return sorted(self.fingerprints)

    @property
    def is_given_all(self) -> bool:
        """Whether it is given every row of its days, with the labels that they have."""
        partial = self.held_out_fold != NO_FOLD or self.trained_folds or self.skip_days or self.permute_labels
        return not partial

    def day_of_data(self, date: dt.date) -> dt.date:
        """The day whose rows lead to the snapshot of a date."""
        return date - dt.timedelta(days=1 + self.replayed_days)


class LaunchSpec(Plain):
    """How a plan is spread over processes; with ``arm_megabytes`` of 0 arms are trained one at a time."""

    ranks_per_chain: int
    threads_per_process: int
    cache_megabytes: int
    use_gpu: bool
    arm_megabytes: int = 0


class TrainTask(Plain):
    """A stretch of one chain: the snapshots after ``after`` (its fork, or an earlier stretch's end) to ``through``."""

    chain: str
    after: dt.date
    through: dt.date


class TrainPlan(Plain):
    """All chains of a step, trained in one launch; the tasks of a phase need only what the phases before made."""

    work_folder: str
    ranker: RankerSpec
    launch: LaunchSpec
    days: dict[dt.date, DaySpec]
    chains: tuple[ChainSpec, ...]
    phases: tuple[tuple[TrainTask, ...], ...]


class ArmSpec(Plain):
    """One arm; paths are folders of Parquet files with ``row`` and ``vector``, None: the ranker's own table.

    ``target_vectors`` hold the items of the evaluated day; ``refit_vectors`` the whole table, for the days before.
    A key that they do not hold keeps the ranker's own row, or is cold where ``cold_seed`` says by which training seed.
    """

    name: str
    served: Served
    folds: int
    held_out_fold: int
    target_vectors: str | None
    history_vectors: str | None
    model_state: StateSpec | None
    cold_seed: int | None
    permute_rows: bool
    permute_feature: str | None
    refit: bool
    refit_vectors: str | None


class EvaluationSpec(Plain):
    """All arms of one evaluated day under one training seed."""

    date: dt.date
    seed: int
    state: StateSpec
    day: DaySpec
    arms: tuple[ArmSpec, ...]
    refit_days: tuple[DaySpec, ...]
    refit_steps: int


class ScorePlan(Plain):
    """All evaluations of a step, scored in one launch."""

    work_folder: str
    output_folder: str
    ranker: RankerSpec
    launch: LaunchSpec
    label: str
    evaluations: tuple[EvaluationSpec, ...]


class AppendArmSpec(Plain):
    """One training of protocol ``append``: what its port reads (None: no port), and which arms it is for."""

    names: tuple[str, ...]
    port: PortSpec | None


class AppendEvaluationSpec(Plain):
    """All arms of one evaluated day T under one seed: from M_{T-w}, through ``days`` T-w .. T-1, scored on ``day``."""

    date: dt.date
    seed: int
    state: StateSpec
    days: tuple[DaySpec, ...]
    day: DaySpec
    arms: tuple[AppendArmSpec, ...]


class AppendPlan(Plain):
    """All evaluations of a step, trained and scored in one launch."""

    output_folder: str
    ranker: RankerSpec
    launch: LaunchSpec
    label: str
    port_columns: int
    evaluations: tuple[AppendEvaluationSpec, ...]


def state_folder(work_folder: str, chain: str, date: dt.date) -> Path:
    """Where the state of M_date of a chain lies."""
    return Path(work_folder) / "chains" / chain / date.isoformat()


def file_url(path: str | Path) -> str:
    """A local path as Spark and petastorm want it: with its scheme and without percent signs (neither decodes them)."""
    return f"file://{path}"


def local_path(uri: str) -> str:
    """A file URI as a path; other schemes stay."""
    parsed = urlparse(uri)
    return unquote(parsed.path) if parsed.scheme == "file" else uri
