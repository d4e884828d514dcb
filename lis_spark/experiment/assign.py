"""``lis-spark assign``: users -> arms, before an experiment begins."""

from __future__ import annotations

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from lis_spark.config import ReadOutConfig, fingerprint
from lis_spark.errors import ConfigError, InputError
from lis_spark.expected_rows import ExpectedRows
from lis_spark.experiment.assigned import OWN_TABLE
from lis_spark.experiment.assignment import assigned_arm, user_key
from lis_spark.experiment.sample_ratio import sample_ratio
from lis_spark.lake import Lake
from lis_spark.progress import described
from lis_spark.sources.columns import ID, check_columns, identifier
from lis_spark.sources.state import table_state
from lis_spark.sources.table import open_table
from lis_spark.step import StepResult

STEP_VERSION = 1


def run(spark: SparkSession, config: ReadOutConfig, force: bool = False, *, run_id: str = "") -> StepResult:
    """Writes the users of the arms to ``experiment_assignments``; users of no arm have no row.

    Raises:
        ConfigError: the configuration has no section ``assign``.
        InputError: the table of users cannot be read, or the arms do not get their shares of it.
    """
    experiment = config.experiment
    assign = experiment.assign
    if assign is None:
        raise ConfigError(
            "who is to be assigned?",
            expected="experiment: {assign: {users, layers, arms}}",
            remedy="see docs/experiments.md",
        )
    lake = Lake(spark, config, run_id=run_id, step="assign")
    lake.create(OWN_TABLE)
    table = assign.users
    state = table_state(spark, table.path, table.format, table.version)
    part = fingerprint("assign", STEP_VERSION, assign, experiment.name, experiment.start_date.isoformat(), state)
    if not force and state is not None and lake.fingerprints(OWN_TABLE).get((experiment.name,)) == part:
        return StepResult("assign", partitions_skipped=1)
    frame = open_table(spark, table.path, table.format, table.version)
    check_columns(frame, {table.user: ID}, table.path, "experiment.assign.users")
    users = frame.select(identifier(table.user).alias("user_id")).distinct().where("user_id IS NOT NULL")
    arms = users.withColumn("arm", assigned_arm(assign, user_key("user_id")))
    with described(spark, f"assign: users of {experiment.name}"):
        counted = {row["arm"]: row["count"] for row in arms.groupBy("arm").count().collect()}
    total = sum(counted.values())
    shares = {**assign.shares, "in no arm": 1.0 - sum(assign.shares.values())}
    found = {arm: counted.get(None if arm == "in no arm" else arm, 0) for arm in shares}
    ratio = sample_ratio(found, {arm: share for arm, share in shares.items() if share > 1e-12})
    if ratio.is_mismatch:
        raise InputError(
            "the hash did not give the arms their shares",
            table=table.path,
            found=", ".join(f"{arm}: {users:,}" for arm, users in found.items()) + f"; p = {ratio.p_value:.1e}",
            expected=", ".join(f"{arm}: {share:.3%}" for arm, share in shares.items()),
            remedy="take another salt, and look for user ids that are not ids",
        )
    with described(spark, f"assign: {total:,} users of {experiment.name}"):
        rows = arms.where("arm IS NOT NULL").select(
            "user_id",
            "arm",
            F.lit(experiment.start_date).alias("entered"),
            F.lit(experiment.name).alias("experiment"),
        )
        expected = ExpectedRows(
            count=total - found["in no arm"],
            unit="users: as counted before",
            problem="users came or went while they were given to arms",
            remedy="run the step again when nobody writes to the table of users",
        )
        written = lake.write_partitions(OWN_TABLE, rows, {(experiment.name,): part}, expected=expected)
    said = ", ".join(f"{arm} {users:,}" for arm, users in found.items())
    notes = (f"{total:,} users: {said}; sample ratio p = {ratio.p_value:.3f}",)
    return StepResult("assign", total, written, 0, 1, 0, notes, outputs=dict(lake.written))
