"""Typed configuration of a run: YAML, ``key=value`` overrides, unknown keys refused with the nearest valid name.

Every choice that the paper leaves open is a key here, with the default of the method, and is written beside each
result (method section 0).
"""

from __future__ import annotations

import datetime as dt
import difflib
import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from zoneinfo import ZoneInfo, available_timezones

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from lis_spark.errors import ConfigError

Variant = Literal["naive", "naive_matched", "honest", "skip_t", "label_shuffled", "backward", "row_permuted"]
SwapScope = Literal["both", "target", "history"]


class Section(BaseModel):
    """Base of every section: immutable, and no key that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class LakeConfig(Section):
    """Where the Delta tables lie: folders below ``path``, or tables of a catalog's ``schema_name``."""

    path: str | None = "build/lake"
    schema_name: str | None = Field(None, description="catalog.schema; then `path` is not used for tables")
    leaked_schema_name: str | None = Field(None, description="a schema of its own for leaked_* tables (grants)")
    leaked_path: str | None = Field(None, description="a folder of its own for leaked_* tables")
    work_path: str = Field("build/work", description="checkpoints and exchange files that every worker can open")
    staging_path: str | None = Field(
        None,
        description="a mounted folder for exports of training rows, where ranks cannot open the lake's files",
    )

    @model_validator(mode="after")
    def _one_place(self) -> LakeConfig:
        if (self.path is None) == (self.schema_name is None):
            raise ValueError("give either lake.path or lake.schema_name (set the other to null)")
        return self


class KuaiRandSource(Section):
    """KuaiRand-Pure: ``impressions.parquet`` and ``video_features_basic_pure.csv`` in ``path``."""

    kind: Literal["kuairand"]
    path: str


class MovieTweetingsSource(Section):
    """MovieTweetings: ``ratings.dat`` and ``movies.dat`` in ``path``; a rating of at least ``positive_rating`` is 1."""

    kind: Literal["movietweetings"]
    path: str
    positive_rating: int = Field(8, ge=0, le=10)


class ColumnMap(Section):
    """Which column of an outside table is which field of ``impressions``."""

    user_id: str
    item_id: str
    time: str
    labels: dict[str, str] = Field(description="label name -> column with 0 or 1", min_length=1)
    impression_id: str | None = Field(None, description="derived from (user, item, time) where absent")
    request_id: str | None = Field(None, description="derived from (user, minute) where absent")
    scenario: str | None = None
    position: str | None = None
    context: dict[str, str] = Field(default_factory=dict, description="context name -> column")


class TableSource(Section):
    """Any Delta, Parquet, CSV or JSON table with a column map."""

    kind: Literal["table"]
    path: str = Field(description="a path, or catalog.schema.table with format: table")
    format: Literal["delta", "parquet", "csv", "json", "table"] = "delta"
    version: int | None = Field(None, ge=0, description="Delta version to read; the newest where absent")
    columns: ColumnMap
    time_format: Literal["timestamp", "epoch_seconds", "epoch_milliseconds"] = "timestamp"
    items_path: str | None = Field(None, description="optional table with item_id and item feature columns")
    items_columns: dict[str, str] = Field(default_factory=dict, description="items field -> column")


Source = Annotated[KuaiRandSource | MovieTweetingsSource | TableSource, Field(discriminator="kind")]


class IngestConfig(Section):
    """What is accepted from a source."""

    start_date: dt.date | None = None
    end_date: dt.date | None = None
    allow_missing_days: bool = False
    earliest_date: dt.date = Field(dt.date(2000, 1, 1), description="times before it are taken as broken clocks")
    latest_date: dt.date | None = Field(None, description="times after it are in the future; today where absent")
    quarantine_share_limit: float = Field(0.01, ge=0, le=1)


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


class RankerConfig(Section):
    """The ranker and its training (method 1.1: row-wise Adagrad, so untouched rows keep their bits)."""

    architecture: Literal["history_dcn", "fm_mlp"] = "history_dcn"
    dimension: int = Field(16, ge=2, le=1024)
    cross_layers: int = Field(2, ge=0, le=8)
    hidden: tuple[int, ...] = (128, 64)
    batch_size: int = Field(512, ge=1, description="over all ranks of a chain")
    table_learning_rate: float = Field(0.02, gt=0)
    dense_learning_rate: float = Field(0.001, gt=0)
    initial_scale: float = Field(0.01, ge=0, description="standard deviation of a cold row")
    row_groups_per_day: int = Field(4, ge=1, description="at least several times the ranks of a chain")
    base_interval_days: int = Field(7, ge=1, description="a full copy of embedding_snapshots every so many days")


class LaunchConfig(Section):
    """TorchDistributor."""

    processes: int = Field(2, ge=1)
    local_mode: bool = True
    use_gpu: bool = False
    ranks_per_chain: int = Field(1, ge=1, description="1: a chain a rank; more: tables sharded by row over them")
    threads_per_process: int = Field(1, ge=1)
    cache_megabytes: int = Field(512, ge=0, description="decoded days kept by a rank, so that chains share a reading")

    @model_validator(mode="after")
    def _divides(self) -> LaunchConfig:
        if self.processes % self.ranks_per_chain:
            raise ValueError("launch.processes must be a multiple of launch.ranks_per_chain")
        return self


class RefitConfig(Section):
    """swap+refit: the dense part fine-tuned on the days before T with the substituted table frozen."""

    horizons: tuple[int, ...] | None = Field(None, description="the longest of evaluation.horizons where absent")
    window_days: int = Field(1, ge=1, description="w: refitted on D_{T-w} .. D_{T-1}")
    steps: int = Field(10, ge=1, description="k gradient steps of ranker.batch_size")


class EvaluationConfig(Section):
    """What is measured (method 1.1, 1.2, 1.6, 1.7)."""

    dates: tuple[dt.date, ...] = Field(min_length=1)
    horizons: tuple[int, ...] = (0, 1, 3, 5, 7)
    backward_horizons: tuple[int, ...] = (1, 3)
    folds: int = Field(5, ge=2, le=100)
    slot: str = "item"
    variants: tuple[Variant, ...] = get_args(Variant)
    scopes: tuple[SwapScope, ...] = ("both", "target", "history")
    swap_refit: bool = True
    whole: bool = True
    slots: bool = Field(True, description="permutation importance of each feature: which table is worth swapping")
    refit: RefitConfig = RefitConfig()
    label: str | None = Field(None, description="the label that is scored; the first of `labels` where absent")
    update_count_edges: tuple[int, ...] = (10, 30, 100, 300)
    item_age_edges: tuple[int, ...] = (3, 7, 14)
    decision_threshold: float = Field(0.0010, gt=0)
    layout: Literal["packed", "reference"] = "packed"

    @property
    def refit_horizons(self) -> tuple[int, ...]:
        """Horizons of swap+refit; none where it is switched off."""
        if not self.swap_refit:
            return ()
        return (max(self.horizons),) if self.refit.horizons is None else self.refit.horizons

    @field_validator("horizons")
    @classmethod
    def _horizons(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(h < 0 for h in value):
            raise ValueError("horizons are days after T; backward ones belong to backward_horizons")
        if 0 not in value:
            raise ValueError("horizon 0 is the identity control and cannot be left out")
        return tuple(sorted(set(value)))


class RunConfig(Section):
    """The configuration of one run."""

    run_name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    time_zone: str = "UTC"
    seeds: tuple[int, ...] = Field((17,), min_length=1)
    output_path: str = "build/run"
    scenario: str = Field(
        "default",
        description="what is trained and measured; rows of a source without a scenario column are all of it",
    )
    lake: LakeConfig = LakeConfig()
    source: Source
    ingest: IngestConfig = IngestConfig()
    labels: tuple[str, ...] = Field(("click",), min_length=1)
    history: HistoryConfig = HistoryConfig()
    features: tuple[FeatureConfig, ...]
    ranker: RankerConfig = RankerConfig()
    launch: LaunchConfig = LaunchConfig()
    evaluation: EvaluationConfig
    spark: dict[str, str] = Field(default_factory=dict, description="extra Spark settings of this run")

    @field_validator("time_zone")
    @classmethod
    def _zone(cls, value: str) -> str:
        if value not in available_timezones():
            near = difflib.get_close_matches(value, available_timezones(), 1)
            raise ValueError(f"not a time zone{f'; did you mean {near[0]}?' if near else ''}")
        ZoneInfo(value)
        return value

    @model_validator(mode="after")
    def _names_fit(self) -> RunConfig:
        names = [feature.name for feature in self.features]
        if len(set(names)) < len(names):
            raise ValueError("features: two features have the same name")
        if "item" not in names or "user" not in names:
            raise ValueError("features: `user` and `item` must be among them")
        if self.evaluation.slot not in {feature.table for feature in self.features}:
            raise ValueError(f"evaluation.slot: no feature uses the table {self.evaluation.slot!r}")
        users = [feature.name for feature in self.features if feature.table == self.evaluation.slot]
        if len(users) > 1:
            raise ValueError(f"evaluation.slot: {users} share the table; a swap needs a table of one feature")
        if "history" in self.evaluation.scopes and not self.slot_is_in_histories:
            raise ValueError(
                f"evaluation.scopes: the histories do not hold the table {self.evaluation.slot!r}; leave out `history`"
            )
        evaluation = self.evaluation
        if not set(evaluation.refit_horizons) <= set(evaluation.horizons):
            raise ValueError(
                f"evaluation.refit.horizons: {evaluation.refit_horizons} are not all among evaluation.horizons "
                f"{evaluation.horizons}"
            )
        lacking = {"row_permuted"} & set(evaluation.variants) or ({"whole"} if evaluation.whole else set())
        if lacking and "naive" not in evaluation.variants:
            raise ValueError(
                f"evaluation.variants: {', '.join(lacking)} needs the table of naive: add it, or leave this out"
            )
        if self.evaluation.label is not None and self.evaluation.label not in self.labels:
            raise ValueError(f"evaluation.label: {self.evaluation.label!r} is not one of labels {self.labels}")
        return self

    @property
    def label(self) -> str:
        """The label that is measured."""
        return self.evaluation.label or self.labels[0]

    @property
    def slot_is_in_histories(self) -> bool:
        """Whether the swapped table is the one that the histories look up: that of the item."""
        item = next(feature for feature in self.features if feature.name == "item")
        return item.table == self.evaluation.slot and self.ranker.architecture == "history_dcn"

    @property
    def fingerprint(self) -> str:
        """Fingerprint of all choices. Places and Spark settings are left out: a lake that is moved holds the same."""
        chosen = self.model_dump(mode="json", exclude={"lake", "output_path", "spark"})
        chosen["source"].pop("path")
        return fingerprint(chosen)


def fingerprint(*parts: Any) -> str:
    """32 hex digits of SHA-256 over the canonical JSON of plain data and pydantic sections."""

    def plain(value: Any) -> Any:
        if isinstance(value, BaseModel):
            return value.model_dump(mode="json")
        if isinstance(value, dt.date):
            return value.isoformat()
        raise TypeError(f"cannot fingerprint {type(value)}")

    text = json.dumps(parts, sort_keys=True, default=plain, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def load_config(path: str | Path, overrides: tuple[str, ...] | list[str] = ()) -> RunConfig:
    """Reads a YAML file, applies ``dotted.key=value`` overrides (values are YAML) and validates.

    Raises:
        ConfigError: no such file, not YAML, an unknown key (with the nearest valid one), or a value out of range.
    """
    file = Path(path)
    if not file.is_file():
        raise ConfigError("there is no such configuration file", found=str(path), remedy="see the folder conf/")
    try:
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError("the configuration is not valid YAML", found=f"{path}: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError("the configuration is not a mapping of keys", found=str(path))
    for override in overrides:
        _apply(data, override)
    return parse_config(data, str(path))


def parse_config(data: dict[str, Any], origin: str = "configuration") -> RunConfig:
    """Validates plain data; see :func:`load_config`."""
    try:
        return RunConfig.model_validate(data)
    except ValidationError as error:
        raise ConfigError(
            f"{origin} is not a valid configuration",
            found="\n    ".join(_explain(problem) for problem in error.errors()),
            remedy="correct the keys named above; the defaults stand in lis_spark/config.py",
        ) from error


def _apply(data: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise ConfigError("an override is not of the form key=value", found=override, expected="a.b.c=value")
    node = data
    *parents, last = key.split(".")
    for parent in parents:
        node = node.setdefault(parent, {})
        if not isinstance(node, dict):
            raise ConfigError("an override goes through a key that holds no mapping", found=override)
    node[last] = yaml.safe_load(value)


def _explain(problem: Any) -> str:
    location = [str(part) for part in problem["loc"]]
    name = ".".join(location)
    if problem["type"] != "extra_forbidden":
        return f"{name}: {problem['msg']} (found {problem.get('input')!r})"
    near = difflib.get_close_matches(location[-1], sorted(_known_keys()), 1)
    return f"{name}: unknown key" + (f"; did you mean {near[0]!r}?" if near else "")


def _known_keys() -> set[str]:
    keys: set[str] = set()
    stack: list[type[Section]] = [Section]
    while stack:
        section = stack.pop()
        stack.extend(section.__subclasses__())
        keys.update(section.model_fields)
    return keys
