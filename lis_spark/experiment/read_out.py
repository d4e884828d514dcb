"""``lis-spark read-out``: what an experiment changed, or why nothing can be said of it."""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from lis_spark.config import ExperimentConfig, RatioMetric, ReadOutConfig, fingerprint
from lis_spark.config.experiment import AssignmentTable, Metric, OutcomeTable
from lis_spark.errors import InputError
from lis_spark.experiment.assigned import OWN_TABLE, read_assigned, shares_of
from lis_spark.experiment.effects import Effect, effect_of
from lis_spark.experiment.moments import Quantity, Sums
from lis_spark.experiment.sample_ratio import STOP_BELOW, SampleRatio, sample_ratio
from lis_spark.experiment.user_days import BEFORE, ArmSums, sum_outcomes
from lis_spark.inference import holm, holm_lower_bounds
from lis_spark.lake import Lake
from lis_spark.progress import described
from lis_spark.sources.state import table_state

STEP_VERSION = 2
LEVEL = 0.05
Row = dict[str, Any]


def run(spark: SparkSession, config: ReadOutConfig, force: bool = False, *, run_id: str = "") -> list[Row]:
    """Rows of ``experiment_results``: every arm and metric, adjusted and plain, and the plain effect of each day.

    An experiment whose tables and configuration have not changed is told from what is stored.

    Raises:
        InputError: the arms do not have the users that were planned for them (sample ratio mismatch), or a table
            cannot be used as it is.
    """
    experiment = config.experiment
    lake = Lake(spark, config, run_id=run_id, step="read-out")
    lake.create("experiment_results")
    table, outcomes = assignment_table(lake, experiment), outcome_table(lake, experiment)
    states = {
        f"{name} {one.path}": table_state(spark, one.path, one.format, one.version)
        for name, one in (("assignments", table), ("outcomes", outcomes))
    }
    part = fingerprint("read-out", STEP_VERSION, experiment.model_dump(mode="json", exclude={"replay"}), states)
    known = lake.fingerprints("experiment_results").get((experiment.name,)) == part
    if known and not force and None not in states.values():  # a view's state is known by nobody: it is read anew
        return stored(lake, experiment)
    with described(spark, f"read-out: users of {experiment.name}"):
        assigned = read_assigned(spark, experiment, table)
        ratio = sample_ratio(*shares_of(experiment, assigned))
    refuse_mismatch(ratio, experiment, table.path)
    with described(spark, f"read-out: outcomes of {experiment.name}"):
        sums = sum_outcomes(spark, experiment, assigned, outcomes)
    rows = effects(experiment, sums)
    shared = {
        "experiment": experiment.name,
        "run_name": config.run_name,
        "scenario": experiment.scenario,
        "control_arm": experiment.control,
        "sample_ratio_p": ratio.p_value,
        "start_date": experiment.start_date,
        "end_date": experiment.end_date,
        "covariate_days": experiment.covariate_days,
        "tables": json.dumps(states, default=str, sort_keys=True),
        "created_ts": dt.datetime.now(dt.UTC),
    }
    schema = lake.read("experiment_results").drop("lis_fingerprint").schema
    frame = spark.createDataFrame([{**shared, **row} for row in rows], schema)
    lake.write_partitions("experiment_results", frame.coalesce(1), {(experiment.name,): part})
    return stored(lake, experiment)


def assignment_table(lake: Lake[ReadOutConfig], experiment: ExperimentConfig) -> AssignmentTable:
    """Where it is said who has which arm: a table of the user's, or what ``lis-spark assign`` wrote.

    Raises:
        InputError: nobody has been assigned.
    """
    if experiment.assignments is not None:
        return experiment.assignments
    if (experiment.name,) not in lake.fingerprints(OWN_TABLE):
        raise InputError(
            f"nobody has been assigned to {experiment.name}",
            table=OWN_TABLE,
            remedy="run lis-spark assign with this configuration, or give experiment.assignments",
        )
    return AssignmentTable(path=lake.identifier(OWN_TABLE), format="table", entered="entered")


def outcome_table(lake: Lake[ReadOutConfig], experiment: ExperimentConfig) -> OutcomeTable:
    """Where it is said what users did: a table of the user's, or that of a simulated experiment.

    Raises:
        InputError: there is none.
    """
    if experiment.outcomes is not None:
        return experiment.outcomes
    if not lake.exists("experiment_users"):
        raise InputError(
            f"nobody knows what users of {experiment.name} did",
            table="experiment_users",
            remedy="give experiment.outcomes, or run lis-spark experiment on a simulated world",
        )
    return OutcomeTable(path=lake.identifier("experiment_users"), format="table")


def stored(lake: Lake[ReadOutConfig], experiment: ExperimentConfig) -> list[Row]:
    """What was read out of an experiment: arms as they are configured, headlines first."""
    results = lake.read("experiment_results").where(F.col("experiment") == experiment.name)
    places = {arm: place for place, arm in enumerate(experiment.treatments)}

    def order(row: Row) -> tuple[object, ...]:
        return str(row["date"] or ""), places[row["arm"]], not row["is_headline"], not row["is_primary"]

    return sorted((row.asDict() for row in results.drop("lis_fingerprint").collect()), key=order)


def refuse_mismatch(ratio: SampleRatio, experiment: ExperimentConfig, table: str) -> None:
    """Stops a read-out whose arms are not what was planned.

    Raises:
        InputError: a sample ratio mismatch.
    """
    if not ratio.is_mismatch:
        return
    found = ", ".join(
        f"{arm}: {users:,} users where {ratio.expected[arm]:,.0f} are expected" for arm, users in ratio.users.items()
    )
    raise InputError(
        f"sample ratio mismatch in {experiment.name}: users were lost or added in one arm, and nothing is read out",
        table=table,
        found=f"{found}; p = {ratio.p_value:.1e}",
        expected=f"arms in the planned shares, p of at least {STOP_BELOW}",
        remedy="find the step between assignment and this table that treats the arms differently (crashes, bots, "
        "filters on what the arm changes); those who are left in the arms are no longer alike",
    )


def effects(experiment: ExperimentConfig, sums: ArmSums) -> list[Row]:
    """Rows without what they share; Holm over the primary headlines of all arms."""
    rows: list[Row] = []
    found: dict[int, Effect] = {}
    for metric in experiment.metrics:
        for arm in (experiment.control, *experiment.treatments):
            if not _is_defined(metric, sums.of_users[arm]):
                raise InputError(
                    f"{metric.name} is not defined in the arm {arm}",
                    found=f"{sums.of_users[arm].users:,} users, and nothing in {metric.columns[-1]}",
                    expected="two users or more in each arm, and a denominator above 0",
                    remedy="read out later, or leave the metric out",
                )
        for arm in experiment.treatments:
            adjusted = metric.covariate and experiment.covariate_days > 0
            for is_adjusted in (True, False) if adjusted else (False,):
                effect = _effect(experiment, metric, arm, sums.of_users, is_adjusted)
                found[len(rows)] = effect
                of_all_days = {"date": None, "adjusted": is_adjusted, "is_headline": is_adjusted == adjusted}
                rows.append({**_named(experiment, metric, arm, sums.of_users), **of_all_days, **_figures(effect)})
            for date in sorted({date for _, date in sums.of_days}):
                of_day = {name: sums.of_days[name, date] for name in (experiment.control, arm)}
                if all(_is_defined(metric, one) for one in of_day.values()):
                    figures = _figures(_effect(experiment, metric, arm, of_day, False))
                    plain = {"date": date, "adjusted": False, "is_headline": False}
                    rows.append({**_named(experiment, metric, arm, of_day), **plain, **figures})
    judged = [place for place, row in enumerate(rows) if row["is_headline"] and row["is_primary"]]
    _adjust([rows[place] for place in judged], [found[place] for place in judged])
    for row in rows:
        row["verdict"] = _verdict(row)
    return rows


def _adjust(rows: Sequence[Row], effects: Sequence[Effect]) -> None:
    """Writes p after Holm, and intervals of the lifts that hold together for all registered metrics and arms."""
    for row, p_holm in zip(rows, holm([row["p_value"] for row in rows]), strict=True):
        row["p_holm"] = p_holm
    above = [_chance_above(row) for row in rows]
    lowest = holm_lower_bounds(above, lambda place, chance: _bound(effects[place], chance, True))
    highest = holm_lower_bounds([1 - p for p in above], lambda place, chance: -_bound(effects[place], chance, False))
    for row, effect, low, high in zip(rows, effects, lowest, highest, strict=True):
        if effect.lift is not None:
            row["lift_together_low"], row["lift_together_high"] = low, -high


def _chance_above(row: Row) -> float:
    """One-sided p of an effect above 0."""
    half = float(row["p_value"]) / 2
    return half if row["difference"] > 0 else 1 - half


def _bound(effect: Effect, chance: float, is_lower: bool) -> float:
    return effect.lift_bound(chance, is_lower) if effect.lift is not None else 0.0


def _effect(
    experiment: ExperimentConfig, metric: Metric, arm: str, sums: Mapping[str, Sums], is_adjusted: bool
) -> Effect:
    quantity, before = quantities(metric)
    control, treated = sums[experiment.control], sums[arm]
    return effect_of(
        control.moments(), treated.moments(), (control + treated).moments(), quantity, before if is_adjusted else None
    )


def _named(experiment: ExperimentConfig, metric: Metric, arm: str, sums: Mapping[str, Sums]) -> Row:
    return {
        "metric": metric.name,
        "kind": metric.kind,
        "is_primary": metric.primary,
        "arm": arm,
        "users_control": sums[experiment.control].users,
        "users_treated": sums[arm].users,
        "p_holm": None,
        "lift_together_low": None,
        "lift_together_high": None,
    }


def _is_defined(metric: Metric, sums: Sums) -> bool:
    """Whether there is a variance, and something below the line."""
    return sums.users > 1 and math.isfinite(sums.moments().value(quantities(metric)[0]))


def quantities(metric: Metric) -> tuple[Quantity, Quantity]:
    """What a metric is after entry, and before."""
    if isinstance(metric, RatioMetric):
        names = metric.columns
    else:
        names = (metric.name,) if metric.kind == "days_active" else metric.columns
    return Quantity(*names), Quantity(*[name + BEFORE for name in names])


def _figures(found: Effect) -> Row:
    return {
        "value_control": found.control,
        "value_treated": found.treated,
        "difference": found.difference,
        "difference_low": found.difference_low,
        "difference_high": found.difference_high,
        "lift": found.lift,
        "lift_low": found.lift_low,
        "lift_high": found.lift_high,
        "p_value": found.p_value,
        "theta": found.theta,
        "variance_left": found.variance_left,
        "detectable_lift": found.detectable_lift,
    }


def _verdict(row: Row) -> str:
    """Of a primary metric by Holm's p, of others by their own."""
    p_value = row["p_value"] if row["p_holm"] is None else row["p_holm"]
    if p_value >= LEVEL:
        return "not shown"
    return "higher" if row["difference"] > 0 else "lower"
