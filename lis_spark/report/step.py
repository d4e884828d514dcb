"""Step ``report``: the HTML file, the JSON of the rows, the configuration as it ran, and the table in the terminal."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import yaml
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from rich.console import Console

from lis_spark.config import KuaiRandSource, MovieTweetingsSource, RunConfig
from lis_spark.errors import InputError
from lis_spark.lake import Lake
from lis_spark.lis.plan.arms import SLOT_PERMUTED
from lis_spark.lis.plan.evaluation import resolve
from lis_spark.lis.plan.ladder import LADDER
from lis_spark.lis.results.compare import compared_leaks, compared_outcomes
from lis_spark.lis.results.diagnosis import diagnoses_of
from lis_spark.lis.results.measure import results_of
from lis_spark.lis.results.slots import rank_slots
from lis_spark.power.answer import Plan
from lis_spark.power.plan import PLAN_VERSION
from lis_spark.report.context import ReportContext, Unavailable
from lis_spark.report.files import write_whole
from lis_spark.report.ladder_table import ladder_views, print_ladders
from lis_spark.report.measurements import clean
from lis_spark.report.outcome_table import OutcomeView, print_outcomes
from lis_spark.report.page import write_report
from lis_spark.report.power_table import PLAN_FILE
from lis_spark.report.representation_table import is_of_representation, print_representations, represented
from lis_spark.report.terminal import print_results
from lis_spark.step import StepResult
from lis_spark.world.simulate import stored_probe

LICENCES = {
    KuaiRandSource: "KuaiRand-Pure, CC BY-SA 4.0; Gao et al., CIKM 2022, doi 10.1145/3511808.3557624 (a subset)",
    MovieTweetingsSource: "MovieTweetings, MIT, (c) 2013 Simon Dooms",
}


def run(spark: SparkSession, config: RunConfig, force: bool = False, *, run_id: str = "") -> StepResult:
    """Writes ``report.html``, ``lis_results.json`` and ``config.yaml`` into ``output_path`` and prints the table.

    They are written anew each time: they hold nothing that the tables and the configuration do not, but for what
    ``lis-spark plan`` has left in ``plan.json``.
    """
    lake = Lake(spark, config, run_id=run_id, step="report", measurement=True)
    rows = results_of(lake)
    if not rows:
        raise InputError("nothing has been measured with this configuration", remedy="run lis-spark run with it first")
    folder = Path(config.output_path)
    results = write_whole(folder / "lis_results.json", json.dumps(rows, indent=1))
    settings = folder / "config.yaml"
    command = f"lis-spark run --config {settings}"
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    write_whole(settings, f"# {command}\n{text}")  # with all overrides: the run itself, not its file
    apart = (row["variant"] == SLOT_PERMUTED or row["leak"] == LADDER or is_of_representation(row) for row in rows)
    shown = [row for row, is_apart in zip(rows, apart, strict=True) if not is_apart]
    context = _context(lake, rows, text, command)
    outputs = [results, settings]
    if context.leaks:
        outputs.append(write_whole(folder / "leak_comparison.json", json.dumps(context.leaks, indent=1)))
    page = write_report(shown, context, folder / "report.html")
    console = Console(width=120)
    print_results(console, shown, context)
    print_outcomes(console, context.outcomes)
    print_representations(console, context.representations)
    print_ladders(console, context.ladders)
    written = tuple(map(str, (page, *outputs)))
    return StepResult("report", len(rows), len(rows), 0, len(written), 0, written, versions=dict(lake.pinned))


def _context(lake: Lake, rows: list[dict[str, object]], config_yaml: str, command: str) -> ReportContext:
    config, plan = lake.config, resolve(lake)
    days = [date.isoformat() for date in plan.rows]
    total = sum(plan.rows.values())
    source = f"{config.source.kind}, {total:,} impressions, days of {config.time_zone}"
    if config.evaluation.user_share < 1:
        source += f", evaluated on a share of {config.evaluation.user_share:g} of the users"
    runs = (
        lake.read("runs")
        .where((F.col("config_fingerprint") == config.fingerprint) & F.col("outcome").isin("done", "nothing to do"))
        .groupBy("step")
        .agg(
            F.max_by("seconds", F.when(F.col("outcome") == "done", F.col("finished_ts"))).alias("seconds"),
            F.max_by("inputs", "finished_ts").alias("inputs"),
            F.min("finished_ts").alias("first"),
        )
        .orderBy("first")
        .collect()
        if lake.exists("runs")
        else []
    )
    unavailable = [
        Unavailable(entry.variant, entry.reason, entry.evaluated_date.isoformat(), entry.horizon_days)
        for entry in plan.unavailable()
    ]
    cleaned = [clean(row) for row in rows]
    probe, outcomes = stored_probe(lake), compared_outcomes(lake)
    return ReportContext(
        run_name=config.run_name,
        source=source,
        content=probe.line() if probe is not None else "",
        licence=LICENCES.get(type(config.source), ""),
        config_yaml=config_yaml,
        rerun_commands=[command],
        days=days,
        model=_model(config),
        timings={row["step"]: row["seconds"] for row in runs if row["seconds"] is not None},
        read_by={row["step"]: json.loads(row["inputs"]) for row in runs},
        slots=[asdict(slot) for slot in rank_slots(rows)],
        leaks=compared_leaks(lake),
        representations=represented(cleaned),
        outcomes=OutcomeView(**outcomes) if outcomes else None,
        ladders=ladder_views(cleaned, diagnoses_of(lake, cleaned)),
        plan=_plan(config),
        unavailable=unavailable,
        warnings=_quarantined(lake),
        decision_threshold=config.evaluation.decision_threshold,
    )


def _plan(config: RunConfig) -> Plan | None:
    """What ``lis-spark plan`` has said of this very configuration."""
    file = Path(config.output_path) / PLAN_FILE
    if not file.is_file():
        return None
    plan = json.loads(file.read_text(encoding="utf-8"))
    is_of_run = (plan.get("config_fingerprint"), plan.get("version")) == (config.fingerprint, PLAN_VERSION)
    return plan if is_of_run else None


def _model(config: RunConfig) -> dict[str, object]:
    ranker = config.ranker
    return {
        "architecture": ranker.architecture,
        "table width": ranker.dimension,
        "history": f"last {config.history.length} clicks and last {config.history.length} skips",
        "features": ", ".join(feature.name for feature in config.features),
        "tables": f"row-wise Adagrad, learning rate {ranker.table_learning_rate}",
        "dense part": f"learning rate {ranker.dense_learning_rate}, hidden {list(ranker.hidden)}",
        "batch": ranker.batch_size,
        "seeds": list(config.seeds),
        "leaked tables": _leaked_tables(config),
    }


def _leaked_tables(config: RunConfig) -> str:
    kind = "the ranker trained on" if config.evaluation.leak_chains == "continued" else "a ranker trained anew"
    aligned = ", mapped onto E_T by orthogonal Procrustes" if config.evaluation.align == "procrustes" else ""
    return kind + aligned


def _quarantined(lake: Lake) -> list[str]:
    """One line on rows that the source had and the measurement has not."""
    if not lake.exists("quarantine"):
        return []
    counts = lake.read("quarantine").groupBy("reason").count().orderBy(F.desc("count"), "reason").collect()
    if not counts:
        return []
    total = sum(row["count"] for row in counts)
    reasons = ", ".join(f"{row['reason']} ({row['count']:,})" for row in counts[:5])
    return [f"{total:,} rows of the source lie in quarantine and are not measured: {reasons}."]
