"""``lis-spark STEP --config FILE key=value ...``: one verb a step, and ``lis-spark run`` for the whole plan."""

from __future__ import annotations

import argparse
import datetime as dt
import shlex
import sys
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lis_spark import __version__
from lis_spark.errors import LisError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from lis_spark.config import RunConfig

EXIT_DONE, EXIT_REFUSED, EXIT_FAILED = 0, 2, 3
STEP_NAMES = (
    *("simulate", "ingest", "vocabulary", "training-rows", "graph", "train", "curate"),
    *("align", "represent", "features", "score", "append", "measure", "compare", "experiment", "report"),
)
# Verbs that read the configuration of an experiment.
EXPERIMENT_VERBS = ("assign", "read-out", "replay")
# Verbs of several steps.
VERBS_OF_STEPS = {
    "measure-ais": ("represent", "features", "score", "append", "measure", "report"),
    "experiment": (
        *("simulate", "vocabulary", "training-rows", "train", "curate", "align", "represent", "experiment"),
    ),
}
_HELP = {
    "run": "every step that is not up to date, then the table and the report",
    "simulate": "a world with known truth -> impressions, items, user_days, truth",
    "ingest": "outside data -> impressions, items, quarantine",
    "vocabulary": "append-only rows of the embedding tables",
    "training-rows": "impressions with point-in-time histories",
    "graph": "clicks -> graphs of similar items (Swing), as of each T and T + n",
    "train": "all chains in one launch -> model and embedding snapshots",
    "curate": "learned items -> preference_items: evenly spread, split by birth, with whitened targets",
    "align": "preference_items -> encoders of items, trained until mean recall no longer rises",
    "represent": "encoders and items -> representations: what is new or changed is encoded",
    "features": "leaked and control feature tables",
    "score": "all arms of each evaluated day -> logits",
    "append": "the ranker retrained with each leak as a feature, and with its control -> logits",
    "measure": "exact AUC, LIS, intervals, verdicts; with --scores: from logits of your own",
    "compare": "every leak of the configuration side by side: runs what is not up to date, then compares",
    "audit": "which columns of a feature table know what came after the impression",
    "measure-ais": "what representations of items are worth: runs what is not up to date, from represent on",
    "slots": "which embedding table matters most (permutation importance)",
    "assign": "users -> arms of an experiment, by salted hash",
    "read-out": "what an experiment changed: lifts with intervals, or why nothing can be said",
    "replay": "days without an experiment, divided at random 1,000 times: is p uniform?",
    "experiment": "a simulated experiment whose rankers choose what users see, and its read-out",
    "report": "build the HTML report from what has been measured",
    "forget": "delete one user's rows everywhere, or leaked features by age",
    "analyze": "check everything and say what each step would read, write and take; computes nothing",
    "plan": "how many users, dates and seeds a verdict needs, what they cost, and which share of the users suffices",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point. Exit codes: 0 done, 2 input or configuration refused, 3 failed."""
    options = parsed(arguments)
    try:
        return _run(options)
    except LisError as error:
        print(f"lis-spark {options.verb}: {error}", file=sys.stderr)
        return error.exit_code
    except Exception as error:
        traceback.print_exc()
        print(f"lis-spark {options.verb}: a defect, not your input: {type(error).__name__}: {error}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        print("stopped; what was finished stays, and the same command goes on from there", file=sys.stderr)
        return EXIT_FAILED


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line, or exit code 2 with what is wrong with it."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if any(argument.startswith("-") or "=" not in argument for argument in rest):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    options.overrides = [*options.overrides, *rest]  # argparse sees one run of them, and TABLE may stand in it
    if options.verb == "audit" and options.table:  # audit.path=... alone stands where the table would
        table = options.table if "=" in options.table else f"audit.path={options.table}"
        options.overrides.insert(0, table)
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lis-spark", description="Leakage Impact Score on Spark")
    parser.add_argument("--version", action="version", version=__version__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb in ("run", "analyze", "plan", *STEP_NAMES[:-1], "measure-ais", "slots", "report"):
        one = verbs.add_parser(verb, help=_HELP[verb])
        one.add_argument(
            "--config", required=verb != "measure", help="a YAML file, for instance conf/kuairand_demo.yaml"
        )
        one.add_argument("overrides", nargs="*", metavar="key=value", help="for instance launch.processes=4")
        if verb in STEP_NAMES or verb in ("run", *VERBS_OF_STEPS):
            one.add_argument("--force", action="store_true", help="recompute what is up to date")
        if verb == "measure":
            scores = one.add_argument_group("logits of your own, without our ranker")
            scores.add_argument("--scores", help="a Delta or Parquet path, or catalog.schema.table")
            for name, default in (("control", "logit_control"), ("leaked", "logit_leaked")):
                scores.add_argument(f"--{name}-column", default=default, help=f"logit of the {name} arm")
            usual = {
                "user": "user_id",
                "impression": "impression_id",
                "date": "evaluated_date",
                "request": "request_id",
            }
            for name in ("user", "label", "impression", "fold", "date", "request"):
                default = usual.get(name, name)
                scores.add_argument(f"--{name}-column", default=default)
            scores.add_argument("--threshold", type=float, default=0.0010, help="absolute AUC that counts")
            scores.add_argument("--output", default="build/scores", help="folder of report.html and lis_results.json")
    audit = verbs.add_parser("audit", help=_HELP["audit"])
    audit.add_argument("table", nargs="?", metavar="TABLE", help="a path or catalog.schema.table; audit.path if absent")
    audit.add_argument("--config", required=True, help="whose impressions; a YAML file")
    audit.add_argument("overrides", nargs="*", metavar="key=value", help="for instance audit.keyed_by=item")
    for verb in EXPERIMENT_VERBS:
        one = verbs.add_parser(verb, help=_HELP[verb])
        one.add_argument("--config", required=True, help="of an experiment, for instance conf/read_out_feed.yaml")
        one.add_argument(
            "overrides", nargs="*", metavar="key=value", help="for instance experiment.end_date=2026-03-30"
        )
        one.add_argument("--force", action="store_true", help="recompute what is up to date")
    forget = verbs.add_parser("forget", help=_HELP["forget"])
    forget.add_argument("--config", required=True, help="whose lake; a YAML file")
    forget.add_argument("overrides", nargs="*", metavar="key=value", help="for instance lake.path=/data/lake")
    forget.add_argument("--user", help="a user_id: its rows go from every table")
    forget.add_argument(
        "--leaked-before", type=dt.date.fromisoformat, metavar="DATE", help="leaked features of earlier days T go"
    )
    forget.add_argument("--vacuum", action="store_true", help="also remove old files that are beyond the retention")
    return parser


def _run(options: argparse.Namespace) -> int:
    if options.verb == "measure" and options.scores:
        return _measure_scores(options)
    if options.verb in EXPERIMENT_VERBS:
        return _experiment(options)
    from lis_spark.config import load_config
    from lis_spark.errors import ConfigError

    if options.config is None:
        raise ConfigError(
            "measure needs --config, or --scores for logits of your own",
            remedy="say lis-spark measure --config FILE, or --scores TABLE",
        )
    if options.verb == "forget" and options.user is None and options.leaked_before is None:
        raise ConfigError(
            "forget needs to know what",
            expected="--user ID, or --leaked-before YYYY-MM-DD, or both",
            remedy="say whom, or which rows, to forget",
        )
    config = load_config(options.config, options.overrides)
    # Spark starts only now: a misspelt key is told at once.
    from lis_spark import pipeline
    from lis_spark.session import get_session

    spark = get_session(config.session_settings, app_name=f"lis_spark {options.verb} {config.run_name}")
    if options.verb == "analyze":
        from lis_spark import analyze

        return analyze.run(spark, config)
    if options.verb == "plan":
        return _plan(spark, config)
    if options.verb == "forget":
        from lis_spark import forget

        forget.run(spark, config, options.user, options.leaked_before, options.vacuum)
        return EXIT_DONE
    if options.verb == "audit":
        return _audit(spark, config)
    if options.verb == "slots":
        from lis_spark.lis.results import slots

        return slots.run(spark, config)
    names = None if options.verb in ("run", "compare") else VERBS_OF_STEPS.get(options.verb, (options.verb,))
    if options.verb == "measure-ais" and not config.represents:
        raise ConfigError(
            "no representation is to be measured",
            expected="append: {leaks: [{kind: representation, name: aligned, encoder: aligned}]}",
            remedy="see docs/alignment.md",
        )
    if options.verb == "compare":
        from lis_spark.lis.results.compare import refuse_fewer_than_two

        refuse_fewer_than_two(config)  # before hours of work
    if options.verb == "experiment":
        return _simulated_experiment(spark, config, options.force)
    pipeline.run_steps(spark, config, names, force=options.force)
    return EXIT_DONE


def _simulated_experiment(spark: SparkSession, config: RunConfig, force: bool) -> int:
    """The steps that an experiment needs, the experiment, and its read-out."""
    from lis_spark import pipeline
    from lis_spark.closed_loop.step import read_out_config, refuse_without
    from lis_spark.report import read_out

    refuse_without(config)  # before hours of work
    wanted = [name for name in VERBS_OF_STEPS["experiment"] if name in pipeline.plan_of(config)]
    pipeline.run_steps(spark, config, wanted, force=force)
    read_out.run(spark, read_out_config(spark, config), force)
    return EXIT_DONE


def _plan(spark: SparkSession, config: RunConfig) -> int:
    import json
    from pathlib import Path

    from rich.console import Console

    from lis_spark.power.step import plan_run
    from lis_spark.report.files import write_whole
    from lis_spark.report.power_table import PLAN_FILE, print_plan

    plan = plan_run(spark, config).plain()
    file = write_whole(Path(config.output_path) / PLAN_FILE, json.dumps(plan, indent=1))
    print_plan(Console(width=130), plan)
    print(f"{file}\nlis-spark report puts it on the page of the run")
    return EXIT_DONE


def _audit(spark: SparkSession, config: RunConfig) -> int:
    import json
    from pathlib import Path

    from rich.console import Console

    from lis_spark.audit import step
    from lis_spark.report.audit_table import print_audit
    from lis_spark.report.files import write_whole

    rows = step.run(spark, config)
    file = write_whole(Path(config.output_path) / "audit.json", json.dumps(rows, indent=1, default=str))
    print_audit(Console(width=130), rows)
    print(file)
    return EXIT_DONE


def _experiment(options: argparse.Namespace) -> int:
    from lis_spark.config import load_read_out

    config = load_read_out(options.config, options.overrides)
    from lis_spark.session import get_session

    spark = get_session(config.spark, app_name=f"lis_spark {options.verb} {config.run_name}")
    if options.verb == "assign":
        from lis_spark.experiment import assign

        print("\n".join(assign.run(spark, config, options.force).notes))
        return EXIT_DONE
    if options.verb == "replay":
        from lis_spark.report import replay

        replay.run(spark, config)
        return EXIT_DONE
    from lis_spark.report import read_out

    read_out.run(spark, config, options.force)
    return EXIT_DONE


def _same_again(options: argparse.Namespace) -> str:
    """The command line of a measurement of scores: what is not as it would be without being said."""
    usual = vars(_parser().parse_args(["measure", "--scores", options.scores]))
    given = [
        text
        for name, value in usual.items()
        if getattr(options, name) != value
        for text in (f"--{name.replace('_', '-')}", str(getattr(options, name)))
    ]
    return shlex.join(["lis-spark", "measure", "--scores", options.scores, *given])


def _measure_scores(options: argparse.Namespace) -> int:
    from lis_spark.report.own_scores import report_own_scores

    roles = ("control", "leaked", "user", "label", "impression", "fold", "date", "request")
    columns = {role: getattr(options, f"{role}_column") for role in roles}
    report_own_scores(options.scores, columns, options.threshold, options.output, _same_again(options))
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())
