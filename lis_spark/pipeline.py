"""The steps in their order, and the record that each leaves in the table ``runs``."""

from __future__ import annotations

import datetime as dt
import json
import time
import uuid
from collections.abc import Callable, Sequence

from pyspark.sql import SparkSession

from lis_spark.alignment import represent
from lis_spark.alignment import step as alignment
from lis_spark.closed_loop import step as closed_loop
from lis_spark.config import RunConfig, WorldSource
from lis_spark.graph import step as graph
from lis_spark.lake import Lake
from lis_spark.lis.append import step as append
from lis_spark.lis.results import compare, measure
from lis_spark.lis.swap import features, score, train
from lis_spark.preference import step as preference
from lis_spark.progress import described, say
from lis_spark.ranker import training_rows, vocabulary
from lis_spark.report import step as report
from lis_spark.sources import ingest
from lis_spark.step import StepResult
from lis_spark.world import simulate

Step = Callable[..., StepResult]

STEPS: dict[str, Step] = {
    "simulate": simulate.run,
    "ingest": ingest.run,
    "vocabulary": vocabulary.run,
    "training-rows": training_rows.run,
    "graph": graph.run,
    "train": train.run,
    "curate": preference.run,
    "align": alignment.run,
    "represent": represent.run,
    "features": features.run,
    "score": score.run,
    "append": append.run,
    "measure": measure.run,
    "compare": compare.run,
    "experiment": closed_loop.run,
    "report": report.run,
}
_RUNS_DDL = (
    "run_id string, step string, config_fingerprint string, outcome string, partitions_written bigint, "
    "partitions_skipped bigint, rows_in bigint, rows_out bigint, rows_quarantined bigint, seconds double, "
    "inputs string, outputs string, message string, finished_ts timestamp"
)


def plan_of(config: RunConfig) -> tuple[str, ...]:
    """The steps of ``lis-spark run``: worlds are simulated, others ingested; others are left out if not asked for."""
    left_out = {"ingest" if isinstance(config.source, WorldSource) else "simulate"}
    leaks = config.append.leaks if config.append else ()
    wanted = {"graph": bool(config.graphs), "append": bool(leaks), "compare": config.compares_leaks}
    wanted |= {"experiment": config.closed_loop is not None}
    wanted |= {"curate": config.preference is not None, **dict.fromkeys(("align", "represent"), bool(config.encoders))}
    left_out |= {name for name, asked_for in wanted.items() if not asked_for}
    return tuple(name for name in STEPS if name not in left_out)


def run_steps(
    spark: SparkSession, config: RunConfig, names: Sequence[str] | None = None, force: bool = False
) -> list[StepResult]:
    """Runs the named steps in order, the whole plan where none is named; each says in one line what it did.

    All of them are recorded in the table ``runs``.

    Raises:
        LisError: from the step that refused or failed; what was finished before it stays.
    """
    run_id = uuid.uuid4().hex[:12]
    results: list[StepResult] = []
    records: list[tuple[object, ...]] = []
    started = time.monotonic()
    try:
        for name in names or plan_of(config):
            if name == "report":
                _remember(spark, config, run_id, records)  # it tells what the steps before it read and took
            begun = time.monotonic()
            try:
                with described(spark, name):  # what a step does not name itself has its name at least
                    result = STEPS[name](spark, config, force, run_id=run_id)
            except BaseException as error:
                outcome = "refused" if getattr(error, "exit_code", 3) == 2 else "failed"
                message = str(error) or type(error).__name__  # Ctrl-C has no text
                records.append(_record(run_id, config, StepResult(name), outcome, time.monotonic() - begun, message))
                raise
            seconds = time.monotonic() - begun
            outcome = "done" if result.partitions_written else "nothing to do"
            records.append(_record(run_id, config, result, outcome, seconds, None))
            results.append(result)
            say(result.line(seconds))
            for note in result.notes:
                say(f"  {note}")
    finally:
        _remember(spark, config, run_id, records)
    say(f"finished in {time.monotonic() - started:.0f} s")
    return results


def _remember(spark: SparkSession, config: RunConfig, run_id: str, records: list[tuple[object, ...]]) -> None:
    """Adds the records to the table ``runs`` and takes them off the list."""
    if not records:
        return
    lake = Lake(spark, config, run_id=run_id)
    with described(spark, "record of the run"):
        lake.create("runs")
        lake.append("runs", spark.createDataFrame(records, _RUNS_DDL))
    records.clear()


def _record(
    run_id: str, config: RunConfig, result: StepResult, outcome: str, seconds: float, message: str | None
) -> tuple[object, ...]:
    return (
        run_id,
        result.step,
        config.fingerprint,
        outcome,
        result.partitions_written,
        result.partitions_skipped,
        result.rows_read,
        result.rows_written,
        result.rows_quarantined,
        seconds,
        json.dumps(dict(result.versions), sort_keys=True),
        json.dumps(dict(result.outputs), sort_keys=True),
        message,
        dt.datetime.now(dt.UTC),
    )
