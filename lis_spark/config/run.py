"""The configuration of one run: its sections, and the rules between them."""

from __future__ import annotations

import datetime as dt
import difflib
from zoneinfo import ZoneInfo, available_timezones

from pydantic import Field, field_validator, model_validator

from lis_spark.config.append import AppendConfig
from lis_spark.config.audit import AuditConfig
from lis_spark.config.closed_loop import OUTCOMES, ClosedLoopConfig
from lis_spark.config.encoder import EncoderConfig
from lis_spark.config.evaluation import EvaluationConfig
from lis_spark.config.experiment import AssignConfig, ExperimentConfig, Layer, OutsideTable
from lis_spark.config.graph import GraphConfig
from lis_spark.config.lake import RunOnLake
from lis_spark.config.leaks import IdTableLeak, PlantedLeak, Representation, SimilarItemsLeak, SqlLeak, TableLeak
from lis_spark.config.preference import PreferenceConfig
from lis_spark.config.query import AS_OF
from lis_spark.config.ranker import CountsConfig, FeatureConfig, HistoryConfig, LaunchConfig, RankerConfig
from lis_spark.config.section import fingerprint
from lis_spark.config.sources import IngestConfig, Source
from lis_spark.config.world import WorldSource

# Features that are counted where the configuration names none.
COUNTED = ("user", "item", "author")
# Of the users of a simulated experiment.
_BUCKETS = 1000
# Environment of Python workers: modules that take seconds to load, separated by commas.
WORKERS_LOAD = "LIS_SPARK_WORKERS_LOAD"


class RunConfig(RunOnLake):
    """The configuration of one run."""

    time_zone: str = "UTC"
    seeds: tuple[int, ...] = Field((17,), min_length=1)
    scenario: str = Field(
        "default",
        description="what is trained and measured; rows of a source without a scenario column are all of it",
    )
    source: Source
    ingest: IngestConfig = IngestConfig()
    labels: tuple[str, ...] = Field(("click",), min_length=1)
    history: HistoryConfig = HistoryConfig()
    features: tuple[FeatureConfig, ...]
    counts: CountsConfig = CountsConfig()
    ranker: RankerConfig = RankerConfig()
    launch: LaunchConfig = LaunchConfig()
    graphs: tuple[GraphConfig, ...] = Field((), description="graphs of similar items, as of each T and T + n")
    evaluation: EvaluationConfig
    append: AppendConfig | None = Field(None, description="protocol append: arms retrained with a leak as a feature")
    audit: AuditConfig | None = Field(None, description="a feature table that is believed honest (lis-spark audit)")
    preference: PreferenceConfig | None = Field(
        None, description="items that an encoder is aligned on (lis-spark curate)"
    )
    encoders: tuple[EncoderConfig, ...] = Field((), description="encoders of items to align (lis-spark align)")
    closed_loop: ClosedLoopConfig | None = Field(None, description="a simulated experiment (lis-spark experiment)")

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
        graphs = [graph.name for graph in self.graphs]
        if len(set(graphs)) < len(graphs):
            raise ValueError("graphs: two graphs have the same name")
        encoders = [encoder.name for encoder in self.encoders]
        if len(set(encoders)) < len(encoders):
            raise ValueError("encoders: two encoders have the same name")
        if encoders and self.preference is None:
            raise ValueError("encoders: they are aligned on preference items; give the section preference")
        if "item" not in names or "user" not in names:
            raise ValueError("features: `user` and `item` must be among them")
        uncounted = sorted(set(self.counts.features or ()) - set(names))
        if uncounted:
            raise ValueError(f"counts.features: no feature is called {uncounted[0]!r}; there are {', '.join(names)}")
        unknown = sorted(set(self.ranker.tables) - {feature.table for feature in self.features})
        if unknown:
            raise ValueError(f"ranker.tables: no feature uses the table {unknown[0]!r}")
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

    @model_validator(mode="after")
    def _leaks_fit(self) -> RunConfig:
        graphs = [graph.name for graph in self.graphs]
        if self.append is not None and self.append.horizons is None and max(self.evaluation.horizons) == 0:
            raise ValueError("append.horizons: evaluation.horizons has none above 0 to take instead")
        for leak in self.append.leaks if self.append else ():
            if isinstance(leak, SimilarItemsLeak):
                graph = next((graph for graph in self.graphs if graph.name == leak.graph), None)
                if graph is None:
                    raise ValueError(f"append.leaks: {leak.name} wants the graph {leak.graph!r}, graphs has {graphs}")
                if graph.neighbours < leak.neighbours:
                    raise ValueError(
                        f"append.leaks: {leak.name} wants {leak.neighbours} neighbours, graph {leak.graph} keeps "
                        f"{graph.neighbours}"
                    )
            if isinstance(leak, PlantedLeak) and not isinstance(self.source, WorldSource):
                raise ValueError(f"append.leaks: {leak.name}: only a simulated world knows p*, source is no world")
        return self

    @model_validator(mode="after")
    def _encoders_fit(self) -> RunConfig:
        future, representations = (self.append.future_leaks, self.append.representations) if self.append else ((), ())
        of_items = [
            leak.name for leak in future if isinstance(leak, IdTableLeak | TableLeak | SqlLeak) and leak.key == "item"
        ]
        trained = [one.name for one in self.encoders if one.objective != "none" and one.steps_of is None]
        for encoder in self.encoders:
            if encoder.steps_of is not None and encoder.steps_of not in trained:
                raise ValueError(
                    f"encoders: {encoder.name} wants the steps of {encoder.steps_of!r}; encoders with steps of their "
                    f"own are {trained}"
                )
            if encoder.leak is not None and encoder.leak not in of_items:
                raise ValueError(
                    f"encoders: {encoder.name} wants the leak {encoder.leak!r}; ID tables, tables and queries "
                    f"keyed by item of append.leaks are {of_items}"
                )
            own = next((leak for leak in future if leak.name == encoder.leak), None)
            if isinstance(own, SqlLeak) and own.parsed.reads_labels and AS_OF not in own.parsed.parameters:
                raise ValueError(
                    f"encoders: {encoder.name}: the query of {own.name} reads labels of all days, those that are "
                    f"scored among them; it has to ask for :{AS_OF} to be as it was known then"
                )
        by_name = {encoder.name: encoder for encoder in self.encoders}
        for leak in representations:
            if self.preference is None:
                raise ValueError(f"append.leaks: {leak.name} needs the section preference")
            known = list(by_name) if leak.encoder else [self.preference.name]
            wanted = leak.encoder or leak.preference
            if wanted not in known:
                raise ValueError(f"append.leaks: {leak.name} wants {wanted!r}, there is {known}")
            assert self.append is not None
            as_of = self.representation_date(leak)
            first = min(self.evaluation.dates) - dt.timedelta(days=self.append.window_days)
            if as_of > first:  # found hours later otherwise, when all is aligned
                raise ValueError(
                    f"append.leaks: {leak.name} knows labels up to {as_of}, of days that the ranker is trained on with "
                    f"it: at most T - w = {first}; set preference.as_of to an earlier day, or lower append.window_days "
                    "or encoders.leak_days"
                )
        return self

    @model_validator(mode="after")
    def _closed_loop_fits(self) -> RunConfig:
        loop = self.closed_loop
        if loop is None:
            return self
        if not isinstance(self.source, WorldSource):
            raise ValueError("closed_loop: only a simulated world answers to what it is shown, source is no world")
        if self.ranker.architecture == "history_dcn":
            raise ValueError("closed_loop: a ranker without histories is needed, for instance ranker.architecture: fm")
        last = self.source.first_date + dt.timedelta(days=self.source.days - 1)
        if loop.end_date > last:
            raise ValueError(f"closed_loop: it ends on {loop.end_date}, and the world on {last}: raise source.days")
        if loop.first_date <= self.source.first_date:
            raise ValueError(
                f"closed_loop.start_date: rankers start as the model of {loop.first_date}, and the world begins on "
                f"{self.source.first_date}"
            )
        if loop.candidates < self.source.traffic.impressions_a_request:
            raise ValueError("closed_loop.candidates: fewer than a request shows")
        if loop.explored >= self.source.traffic.impressions_a_request:
            raise ValueError("closed_loop.explored: the ranker would choose nothing")
        if self.source.people.new_users_a_day:
            raise ValueError("closed_loop: all users enter on the first day; set source.people.new_users_a_day to 0")
        looked_up = {(one.column, one.transform, one.origin) for one in self.features}
        if not looked_up <= {("user_id", "id", "impressions"), ("item_id", "id", "impressions")}:
            raise ValueError("closed_loop: candidates have the features user_id and item_id and no others")
        encoders = {encoder.name: encoder for encoder in self.encoders}
        names = list(encoders)
        for arm, own in loop.arms.items():
            if own.encoder is not None and own.encoder not in encoders:
                raise ValueError(f"closed_loop.arms: {arm} wants the encoder {own.encoder!r}, there is {names}")
            if own.preference and self.preference is None:
                raise ValueError(f"closed_loop.arms: {arm} needs the section preference")
            known = self.targets_date(encoders[own.encoder]) if own.encoder else self.preference_date
            if own.reads and known > loop.first_date:
                raise ValueError(
                    f"closed_loop.arms: {arm} would know what was clicked until {known}, on days that its ranker "
                    f"learns from: set preference.as_of to {loop.first_date} or earlier"
                )
        self.experiment_read_out("user_days")  # its rules are told before hours of work
        return self

    def experiment_read_out(self, users: str) -> ExperimentConfig:
        """The read-out of the simulated experiment: users are assigned by hash, outcomes are the lake's own.

        Args:
            users: name of a table with ``user_id``.
        """
        loop = self.closed_loop
        assert loop is not None
        width = round(_BUCKETS * loop.share)
        experiment = ExperimentConfig(
            name=loop.name,
            scenario="ads" if self.scenario == "ads" else "feed",
            start_date=loop.start_date,
            end_date=loop.end_date,
            control=loop.control,
            assign=AssignConfig(
                users=OutsideTable(path=users, format="table"),
                layers=(Layer(name="all", salt=loop.salt, buckets=_BUCKETS),),
                arms={arm: (number * width, (number + 1) * width) for number, arm in enumerate(loop.arms)},
            ),
            budgets=loop.budgets,
            covariate_days=loop.covariate_days,
            metrics=loop.metrics,
        )
        unknown = sorted(set(experiment.outcome_columns) - set(OUTCOMES))
        if unknown:
            raise ValueError(f"closed_loop.metrics: {unknown[0]!r} is none of the outcomes {', '.join(OUTCOMES)}")
        return experiment

    @property
    def session_settings(self) -> dict[str, str]:
        """Of a Spark session for this run: ``spark``, and what its Python workers are forked with beside our steps."""
        applied = "lis_spark.alignment.inference,lis_spark.alignment.embedded_model"
        return {**({f"spark.executorEnv.{WORKERS_LOAD}": applied} if self.encoders else {}), **self.spark}

    @property
    def preference_date(self) -> dt.date:
        """t of the table M_t that preference data is made of."""
        as_of = self.preference.as_of if self.preference else None
        return as_of or self.evaluation.dates[0]

    def targets_date(self, encoder: EncoderConfig) -> dt.date:
        """The first day that the targets of an encoder know nothing of."""
        return self.preference_date + dt.timedelta(days=encoder.leak_days)

    def representation_date(self, leak: Representation) -> dt.date:
        """The first day that an encoder's targets, or the preference data itself, know nothing of."""
        encoder = next((encoder for encoder in self.encoders if encoder.name == leak.encoder), None)
        return self.targets_date(encoder) if encoder else self.preference_date

    @property
    def label(self) -> str:
        """The label that is measured."""
        return self.evaluation.label or self.labels[0]

    @property
    def counted_features(self) -> tuple[FeatureConfig, ...]:
        """The features whose values' impressions and positives before the day the ranker reads."""
        names = COUNTED if self.counts.features is None else self.counts.features
        return tuple(feature for feature in self.features if feature.name in names)

    @property
    def has_baselines(self) -> bool:
        """Whether simple baselines stand beside the ranker: they know counts of users and items."""
        counted = {feature.name for feature in self.counted_features}
        return self.evaluation.baselines and {"user", "item"} <= counted

    @property
    def append_horizons(self) -> tuple[int, ...]:
        """Horizons of protocol append; none where it is not asked for."""
        if self.append is None:
            return ()
        return self.append.horizons or tuple(h for h in self.evaluation.horizons if h > 0)

    @property
    def compares_leaks(self) -> bool:
        """Whether there are leaks to put side by side."""
        return self.append is not None and len(self.append.future_leaks) > 1

    @property
    def represents(self) -> bool:
        """Whether representations of items, or preference data, are measured."""
        return self.append is not None and bool(self.append.representations)

    @property
    def slot_is_in_histories(self) -> bool:
        """Whether the swapped table is the one that the histories look up: that of the item."""
        item = next(feature for feature in self.features if feature.name == "item")
        return item.table == self.evaluation.slot and self.ranker.architecture == "history_dcn"

    @property
    def fingerprint(self) -> str:
        """Fingerprint of all choices of a run. Places, Spark settings and what stands beside it are left out."""
        chosen = self.model_dump(
            mode="json", exclude={"lake", "output_path", "spark", "audit", "preference", "encoders", "closed_loop"}
        )
        chosen["source"].pop("path", None)
        return fingerprint(chosen)
