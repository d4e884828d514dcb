"""Step ``experiment``: a simulated experiment, day after day, from the ranker of its first day on (method 7).

Each day: the same candidates for a request whatever its user's arm; every arm's ranker, trained on from M_first on all
that this arm (where logs are shared, any arm) has shown so far, scores them; the best are shown; users answer by p*;
what they did decides whether they come back. One launch a day trains and scores the rankers of all arms. On the days of
the run-in no ranker reads more than that of the control; from the start on, a treated arm's is trained with its port on
the days of the run-in too.
"""

from __future__ import annotations

import datetime as dt
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from lis_spark.closed_loop.candidates import drawn, dummy_labels, readable, representation_of
from lis_spark.closed_loop.choice import chosen, with_outcomes, within_budget
from lis_spark.closed_loop.counts import with_counts
from lis_spark.closed_loop.logs import Logs, day_spec, lost
from lis_spark.closed_loop.people import People
from lis_spark.closed_loop.user_days import UserDays
from lis_spark.config import AppendConfig, ClosedLoopConfig, ReadOutConfig, RunConfig, fingerprint
from lis_spark.errors import ConfigError
from lis_spark.expected_rows import ExpectedRows
from lis_spark.experiment import assign
from lis_spark.lake import Lake
from lis_spark.lis.append.representation_source import vector_width, vectors_table
from lis_spark.lis.append.step import WORK
from lis_spark.lis.plan.chains import ONE_DAY, base_name, days_between
from lis_spark.lis.swap.trained_models import model_state, trained_models
from lis_spark.partitions import PartitionKey
from lis_spark.progress import Bar, described
from lis_spark.ranker.exchange import launch_plan, launch_spec, ranker_spec
from lis_spark.ranker.plans import (
    AppendArmSpec,
    AppendEvaluationSpec,
    AppendPlan,
    DaySpec,
    PortSpec,
    StateSpec,
    file_url,
)
from lis_spark.ranker.training_rows import columns_of_ranker
from lis_spark.step import StepResult
from lis_spark.table_files import absolute
from lis_spark.world.frames import world_of

STEP_VERSION = 5


def run(spark: SparkSession, config: RunConfig, force: bool = False, *, run_id: str = "") -> StepResult:
    """Simulates the days that are not there yet, in order; a day depends on all before it.

    Raises:
        ConfigError: no experiment is configured.
        InputError: the ranker of the first day, the world or a representation is not there.
        StepFailed: rows were lost or doubled.
    """
    refuse_without(config)
    return ClosedLoop(spark, config, run_id).run(force)


def refuse_without(config: RunConfig) -> None:
    """Raises ConfigError where no experiment is configured."""
    if config.closed_loop is None:
        raise ConfigError(
            "which experiment?",
            expected="closed_loop: {start_date: ..., arms: ...}",
            remedy="see conf/experiment_feed.yaml",
        )


def read_out_config(spark: SparkSession, config: RunConfig) -> ReadOutConfig:
    """The read-out of a simulated experiment: its users are assigned by hash, its outcomes are the lake's own."""
    experiment = config.experiment_read_out(Lake(spark, config).identifier("user_days"))
    return ReadOutConfig(
        run_name=config.run_name,
        output_path=config.output_path,
        lake=config.lake,
        spark=config.spark,
        experiment=experiment,
    )


class ClosedLoop:
    """One simulated experiment on one lake."""

    def __init__(self, spark: SparkSession, config: RunConfig, run_id: str) -> None:
        assert config.closed_loop is not None
        self.spark, self.config = spark, config
        self.loop: ClosedLoopConfig = config.closed_loop
        self.world = world_of(config)
        self.lake = Lake(spark, config, run_id=run_id, step="experiment", measurement=True)
        self.users = UserDays(self.lake, self.loop)
        self.arms = self.users.arms
        self.work = Path(absolute(config.lake.work_path)) / f"closed-loop-{run_id or uuid.uuid4().hex[:12]}"
        self.logs = Logs(self.lake, self.loop, self.work.with_name(f"{self.work.name}-logs"))

    def run(self, force: bool) -> StepResult:
        """All days."""
        lake = self.lake
        self._create_tables()
        assign.run(self.spark, read_out_config(self.spark, self.config), force)
        loop = self.loop
        dates = days_between(loop.first_date, loop.end_date + ONE_DAY)
        before = days_between(loop.start_date - ONE_DAY * loop.covariate_days, loop.first_date)
        models = trained_models(lake)
        start = model_state(
            absolute(self.config.lake.work_path), base_name(self.config.seeds[0]), loop.first_date, models
        )
        wanted = self._fingerprints(dates, before, start)
        stored = {} if force else lake.fingerprints("experiment_users")
        skipped = rows = 0
        if any(stored.get(key) != wanted[key] for key in self._keys(before)):
            rows += self.users.write_before(before, {key: wanted[key] for key in self._keys(before)})
        usual = self.users.usual()
        spec = ranker_spec(lake)
        ports, no_ports = self._ports(), [None] * len(self.arms)
        append = self.config.append
        columns = append.port_columns if append else AppendConfig.model_fields["port_columns"].default
        try:
            with Bar(f"experiment {loop.name}", len(dates)) as bar:
                for date in dates:
                    (key,) = self._keys([date])
                    if stored.get(key) == wanted[key]:
                        skipped += 1
                    else:
                        stored = {}  # what follows was made of another day
                        people = self.users.people(date)
                        self._candidates(people, date)
                        plan = AppendPlan(
                            output_folder=str(self.work / "logits"),
                            ranker=spec,
                            launch=launch_spec(self.config),
                            label=self.config.label,
                            port_columns=columns,
                            evaluations=self._evaluations(date, start, ports if date >= loop.start_date else no_ports),
                        )
                        launch_plan(self.config, "experiment", plan, WORK, f"rankers of {date}", len(self.arms))
                        rows += self._show(date, people, usual, wanted[key])
                        shutil.rmtree(self.work, ignore_errors=True)
                    bar.advance()
        finally:
            shutil.rmtree(self.work, ignore_errors=True)
            self.logs.remove()
        done = len(dates) - skipped
        return StepResult("experiment", rows, rows, 0, done, skipped, versions=dict(lake.pinned), outputs=lake.written)

    def _create_tables(self) -> None:
        self.lake.create("experiment_users")
        self.lake.create("experiment_impressions", columns_of_ranker(self.config))

    def _keys(self, dates: list[dt.date]) -> list[PartitionKey]:
        return [(self.loop.name, date.isoformat()) for date in dates]

    def _fingerprints(self, dates: list[dt.date], before: list[dt.date], start: StateSpec) -> dict[PartitionKey, str]:
        """A day's is that of all before it: satisfaction and rankers go on from there."""
        lake, config = self.lake, self.config
        read: list[object] = []
        for arm in self.arms:
            one = representation_of(config, arm)
            table, name = ("", "") if one is None else vectors_table(one)
            read.append(lake.fingerprints(table).get((name,)) if table else None)
        part = fingerprint(
            ["closed loop", STEP_VERSION, self.loop.model_dump(mode="json", exclude={"days", "metrics"}), read],
            [start.fingerprint, self.world.model_dump(mode="json", exclude={"days"}), config.ranker, config.scenario],
            [config.label, config.labels, config.launch.ranks_per_chain, config.launch.use_gpu],
        )
        wanted = {key: fingerprint(part, key[1]) for key in self._keys(before)}
        for key in self._keys(dates):
            part = fingerprint(part, key[1])
            wanted[key] = part
        return wanted

    def _ports(self) -> list[PortSpec | None]:
        read = [representation_of(self.config, arm) for arm in self.arms]
        return [
            None if one is None else PortSpec(column="vector", widths=(vector_width(self.lake, one),)) for one in read
        ]

    def _candidates(self, people: People, date: dt.date) -> None:
        """Files of the day's candidates, a folder an arm."""
        day = (date - self.world.first_date).days
        named = readable(self.lake, drawn(self.lake, people, day))
        rows = with_counts(self.lake, named, date).withColumns(dummy_labels(self.config))
        with described(self.spark, f"experiment: candidates of {date}"):
            placed = rows.repartition("arm").sortWithinPartitions("arm", "time_ms", "request", "place")
            placed.write.partitionBy("arm").parquet(file_url(self.work / "candidates"))

    def _evaluations(
        self, date: dt.date, start: StateSpec, ports: Sequence[PortSpec | None]
    ) -> tuple[AppendEvaluationSpec, ...]:
        """Every arm: on its log so far, then the day's candidates."""
        return tuple(
            AppendEvaluationSpec(
                date=date,
                seed=self.config.seeds[0],
                state=start,
                days=tuple(self.logs.before(arm, date)),
                day=candidates,
                arms=(AppendArmSpec(names=(arm,), port=port),),
            )
            for arm, port, candidates in zip(self.arms, ports, self._candidate_specs(date), strict=True)
        )

    def _show(self, date: dt.date, people: People, usual: float, part: str) -> int:
        """Chooses, lets users answer, and writes what was shown and what each user did."""
        lake, loop, name = self.lake, self.loop, self.loop.name
        seed = self.config.seeds[0]
        folder = self.work / "logits" / str(seed) / date.isoformat()
        scores = day_spec(date, [str(file) for file in folder.glob("*.parquet")]).rows
        asked = sum(one.rows for one in self._candidate_specs(date))
        if scores != asked:
            raise lost(loop, "candidates", date, f"{scores:,} scores", f"{asked:,}")
        logits = self.spark.read.parquet(file_url(folder))
        candidates = self.spark.read.parquet(file_url(self.work / "candidates"))
        scored = candidates.join(logits.select("impression_id", "logit"), "impression_id")
        answered = with_outcomes(chosen(scored, loop, self.world), self.world, date)
        of_label = {f"label_{one}": F.col(one).cast("tinyint") for one in self.config.labels}
        arm_name = F.element_at(F.array(*[F.lit(arm) for arm in self.arms]), F.col("arm") + 1)
        shown = within_budget(answered, loop).withColumns(
            {
                **of_label,
                "arm": arm_name,
                "clicked": F.col("click"),
                "was_read": F.col("read"),
                "engaged": F.col("engage"),
                "experiment": F.lit(name),
                "date": F.lit(date),
            }
        )
        columns = [one for one in lake.read("experiment_impressions").columns if one != "lis_fingerprint"]
        placed = shown.repartition("arm").sortWithinPartitions("arm", "time_ms", "request", "position")
        keys: dict[PartitionKey, str] = {(name, date.isoformat(), arm): part for arm in self.arms}
        requests, places = asked // loop.candidates, self.world.traffic.impressions_a_request
        expected = ExpectedRows(
            count=requests * places,
            unit=f"rows: {requests:,} requests of {places}",
            problem="impressions were lost or doubled",
            remedy="run the experiment again; what is whole is kept",
            at_most=loop.daily_budget is not None,
        )
        with described(self.spark, f"experiment: what arms show on {date}"):
            frame = placed.select(*columns)
            written = lake.write_partitions("experiment_impressions", frame, keys, expected=expected)
        with described(self.spark, f"experiment: users of {date}"):
            self.users.write(date, people, usual, part)
        return written

    def _candidate_specs(self, date: dt.date) -> list[DaySpec]:
        folders = (self.work / "candidates" / f"arm={number}" for number in range(len(self.arms)))
        return [day_spec(date, [str(file) for file in folder.glob("*.parquet")]) for folder in folders]
