"""``lis-spark analyze``: checks everything that a run needs and computes nothing (architecture, "A step").

It says what would be refused before hours are spent: the source's columns and days, skew, free space, whether the
workers can import the package, whether a barrier stage finds its slots; and what each step would read and write.
"""

from __future__ import annotations

import datetime as dt
import shutil
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from rich.console import Console
from rich.table import Table

from lis_spark.config import RunConfig, WorldSource
from lis_spark.errors import InputError, LisError
from lis_spark.forecast import forecast_steps, forecast_table, planned_rows
from lis_spark.graph.cost import GraphCost, graph_costs
from lis_spark.lake import Lake
from lis_spark.lis.plan.chains import ONE_DAY, all_chains
from lis_spark.power.answer import date_lines
from lis_spark.power.pilot import pilot_scores
from lis_spark.power.plan import make_plan
from lis_spark.power.step import plan_run, planned_sizes, scenario_impressions
from lis_spark.progress import described
from lis_spark.ranker.feature_columns import column_name
from lis_spark.ranker.training_rows import rows_of_scenario
from lis_spark.sources.configured import read_source
from lis_spark.sources.days import Day, check_days, profile
from lis_spark.sources.duplicates import unique_rows
from lis_spark.sources.source import SourceData, context_names
from lis_spark.sources.validation import accepted_rows, judged
from lis_spark.table_files import absolute
from lis_spark.world.calendar import Calendar
from lis_spark.world.catalogue import item_count

UNSEEN = "does not see lake.work_path"


@dataclass(frozen=True)
class Finding:
    """One check: what was looked at, what was seen, and whether a run may start.

    ``is_too_few``: it may, and no verdict will come of it.
    """

    check: str
    seen: str
    passed: bool
    is_too_few: bool = False

    @property
    def mark(self) -> str:
        """How the check ended."""
        return "REFUSED" if not self.passed else "too few" if self.is_too_few else "ok"


def run(spark: SparkSession, config: RunConfig) -> int:
    """Prints the findings and the plan; the exit code is 2 where a run would be refused."""
    findings: list[Finding] = []
    days: dict[dt.date, Day] = {}
    graphs: list[GraphCost] = []

    def check(name: str, look: Callable[[], str]) -> None:
        try:
            findings.append(Finding(name, look(), True))
        except LisError as error:
            findings.append(Finding(name, str(error), False))

    source: list[SourceData] = []
    if isinstance(config.source, WorldSource):
        check("world", lambda: _simulated(config, days))
    else:
        check("source can be read, columns and types", lambda: _open(spark, config, source))
    with ExitStack() as kept:
        accepted: list[DataFrame] = []
        if source:
            with described(spark, "analyze: one pass over the source"):
                check("rows, labels, days, ids", lambda: _days(config, source[0], days, accepted, kept))
            if days and config.graphs:
                with described(spark, "analyze: what graphs cost"):
                    check("graphs", lambda: _graphs(config, accepted[0], graphs))
            check("skew", lambda: _skew(source[0].impressions))
        if days:
            check("evaluated days and horizons", lambda: _range(config, days))
        if days and all(finding.passed for finding in findings):
            with described(spark, "analyze: what the evaluated days could show"):
                check("what the evaluated days could show", lambda: _expected(spark, config, accepted, findings))
    check("free space", lambda: _space(config, days))
    check("workers import the package and see lake.work_path", lambda: _workers(spark, config))
    check("slots for the launch", lambda: _slots(spark, config))
    table = Table(title=f"{config.run_name}: checks", show_lines=True)
    for heading in ("", "check", "seen"):
        table.add_column(heading)
    for finding in findings:
        table.add_row(finding.mark, finding.check, finding.seen)
    console = Console()
    console.print(table)
    if days and all(finding.passed for finding in findings):
        console.print(forecast_table(forecast_steps(config, days, _items(config, source), graphs)))
    return 0 if all(finding.passed for finding in findings) else 2


def _open(spark: SparkSession, config: RunConfig, source: list[SourceData]) -> str:
    source.append(read_source(spark, config))
    return "; ".join((source[0].name, *source[0].notes))


def _days(
    config: RunConfig, source: SourceData, days: dict[dt.date, Day], impressions: list[DataFrame], kept: ExitStack
) -> str:
    """Fills ``days`` and ``impressions`` (the accepted rows, readable while ``kept`` is open)."""
    candidates = judged(source.impressions, config, source.has_impression_id)
    rows = kept.enter_context(unique_rows(candidates, source.has_impression_id))
    accepted = accepted_rows(rows, config, context_names(config))
    rows_of_scenario(accepted, config.scenario)
    for feature in config.features:  # a misspelt column is told here, not after the ingest
        table = accepted if feature.origin == "impressions" else source.items
        if table is None:
            raise InputError(
                f"feature {feature.name!r} is of items, and the source has none",
                table="items",
                remedy="give the source items, or take the feature out of features",
            )
        column_name(feature, table.columns)
    found = profile(rows, config, [column for column in accepted.columns if column != "date"])
    check_days(found, rows, config, source.name)
    impressions.append(accepted)
    days.update(found)
    total = sum(day.accepted for day in found.values())
    rejected = sum(day.rejected.total() for day in found.values())
    positives = sum(day.positives for day in found.values())
    ordered = sorted(date for date, day in found.items() if day.accepted)
    return (
        f"{total:,} rows accepted, {rejected:,} would go to quarantine; {ordered[0]} to {ordered[-1]} in "
        f"{config.time_zone}; label {config.label}: {positives / total:.3f} positive"
    )


def _expected(spark: SparkSession, config: RunConfig, accepted: Sequence[DataFrame], findings: list[Finding]) -> str:
    """Adds a finding for each evaluated date, and for all together: what it could show, or that it is too small."""
    lake = Lake(spark, config, step="analyze", measurement=True)
    if accepted:
        rows, days = scenario_impressions(accepted[0], config)
        plan = make_plan(config, planned_sizes(config, rows, days), days, pilot_scores(lake))
    elif lake.exists("training_rows"):
        plan = plan_run(spark, config)
    else:
        return "a simulated world says it when it has been simulated: lis-spark plan"
    for name, line, is_too_few in date_lines(plan.plain()):
        findings.append(Finding(name, line, True, is_too_few))
    return f"expected from {plan.basis}"


def _graphs(config: RunConfig, accepted: DataFrame, graphs: list[GraphCost]) -> str:
    graphs += graph_costs(accepted, config)
    return "; ".join(map(str, graphs))


def _simulated(config: RunConfig, days: dict[dt.date, Day]) -> str:
    """A world is not read but counted: its calendar says how many impressions each day will have."""
    world = config.source
    assert isinstance(world, WorldSource)
    requests = np.diff(Calendar.of(world, config.time_zone).first_request) * world.traffic.impressions_a_request
    days.update({world.first_date + dt.timedelta(days=day): Day(accepted=int(n)) for day, n in enumerate(requests)})
    last = world.first_date + dt.timedelta(days=world.days - 1)
    return f"{requests.sum():,} impressions of {item_count(world):,} items, {world.first_date} to {last}"


def _skew(impressions: DataFrame) -> str:
    heaviest = []
    for column in ("user_id", "item_id"):
        row = impressions.groupBy(column).count().orderBy(F.desc("count")).first()
        heaviest.append(f"heaviest {column}: {row[column]} with {row['count']:,} rows" if row else f"no {column}")
    return "; ".join(heaviest)


def _range(config: RunConfig, days: dict[dt.date, Day]) -> str:
    present = sorted(date for date, day in days.items() if day.accepted)  # type: ignore[type-var]
    chains = all_chains(config, present[0], present[-1])  # type: ignore[arg-type]
    if config.preference is not None:
        check_preference(config, present[0], present[-1])  # type: ignore[arg-type]
    return f"{len(config.evaluation.dates)} days T, n in {list(config.evaluation.horizons)}, {len(chains)} chains"


def check_preference(config: RunConfig, first: dt.date, last: dt.date) -> None:
    """Preference data, and what encoders take as targets, are of days that have a table."""
    asked = {"preference.as_of": config.preference_date}
    asked |= {f"encoders.leak_days of {one.name}": config.targets_date(one) for one in config.encoders if one.leak}
    for key, date in asked.items():
        if not first < date <= last + ONE_DAY:
            raise InputError(
                f"there is no table of {date}, which {key} asks for",
                found=f"data from {first} to {last}",
                expected=f"a day from {first + ONE_DAY} to {last + ONE_DAY}",
                remedy=f"change {key.split()[0]}",
            )


def _items(config: RunConfig, source: Sequence[SourceData]) -> int | None:
    """How many items there are, where encoders are to say something of them."""
    if not config.encoders:
        return None
    if isinstance(config.source, WorldSource):
        return item_count(config.source)
    return source[0].items.count() if source and source[0].items is not None else None


def _space(config: RunConfig, days: dict[dt.date, Day]) -> str:
    tables = planned_rows(config, days).bytes_of_tables
    # what the ranks hand over is as large again
    return "; ".join(
        _free(place, 2 * tables) for place in dict.fromkeys((config.lake.path, config.lake.work_path)) if place
    )


def _free(place: str, needed: float) -> str:
    if "://" in place or place.startswith("dbfs:"):
        return f"{place}: an object store, not looked at"
    folder = Path(absolute(place))
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise InputError(
            "too little free space",
            found=f"{free / 1e9:.1f} GB at {folder}",
            expected=f"{needed / 1e9:.1f} GB",
            remedy="set lake.path and lake.work_path to a larger disk, or measure fewer dates or horizons",
        )
    return f"{free / 1e9:.1f} GB free at {folder}, about {needed / 1e9:.2f} GB needed"


def _workers(spark: SparkSession, config: RunConfig) -> str:
    folder = Path(absolute(config.lake.work_path))
    folder.mkdir(parents=True, exist_ok=True)
    probe = folder / f".probe-{uuid.uuid4().hex}"
    probe.write_text("seen", encoding="utf-8")
    path = str(probe)

    def versions(batches: object) -> object:
        import pathlib
        import sys

        import pyarrow as pa

        import lis_spark

        for _ in batches:  # type: ignore[attr-defined]
            seen = "" if pathlib.Path(path).is_file() else f", {UNSEEN}"
            text = f"lis_spark {lis_spark.__version__}, Python {sys.version.split()[0]}{seen}"
            yield pa.RecordBatch.from_arrays([pa.array([text])], ["version"])

    try:
        rows = spark.range(2, numPartitions=2).mapInArrow(versions, "version string").distinct().collect()  # type: ignore[arg-type]
    except Exception as error:
        raise InputError(
            "a worker cannot import the package", found=str(error)[:300], remedy="install the wheel on every node"
        ) from error
    finally:
        probe.unlink()
    if any(UNSEEN in row["version"] for row in rows):
        raise InputError(
            "a worker does not see the files of the driver in lake.work_path",
            found=str(folder),
            expected="one folder, mounted on every node",
            remedy="set lake.work_path to a shared folder (NFS, a Volume)",
        )
    return "; ".join(row["version"] for row in rows)


def _slots(spark: SparkSession, config: RunConfig) -> str:
    launch = config.launch
    if launch.local_mode:
        return f"{launch.processes} processes on the driver's machine"
    if spark.conf.get("spark.dynamicAllocation.enabled", "false") == "true":
        raise InputError(
            "a barrier stage refuses dynamic allocation", remedy="set spark.dynamicAllocation.enabled=false"
        )
    slots = spark.sparkContext.defaultParallelism
    if slots < launch.processes:
        raise InputError(
            "too few slots for the barrier stage",
            found=f"{slots} slots",
            expected=f"{launch.processes} (launch.processes)",
            remedy="give the application more cores, or lower launch.processes",
        )
    return f"{launch.processes} of {slots} slots"
