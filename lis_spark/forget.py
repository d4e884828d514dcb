"""``lis-spark forget``: one user's rows out of every table, and leaked tables by age (architecture, "The leak guard").

What is deleted is gone from the newest versions; files of older versions go with VACUUM, after the retention of the
tables. The source is not ours: a user who stays in it comes back when one of his days is written again. Nor are models
unlearned: a state on disk keeps the numbers of the user's row, without his id, until its days are trained again.
"""

from __future__ import annotations

import datetime as dt
import re
import time
import uuid
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lis_spark.config import RunConfig, TableSource
from lis_spark.expected_rows import ExpectedRows
from lis_spark.lake import Lake
from lis_spark.partitions import PartitionKey, literal
from lis_spark.progress import described, say
from lis_spark.ranker.stretches import cut_days, in_stretches
from lis_spark.sources.columns import MALFORMED
from lis_spark.table_files import absolute

BY_USER = (
    *("scores", "influence", "truth", "user_days"),
    *("experiment_assignments", "experiment_users", "experiment_impressions"),
)
BY_IMPRESSION = ("leaked_features", "control_features")
USER_COLUMN = "user_id"


def run(
    spark: SparkSession, config: RunConfig, user: str | None, leaked_before: dt.date | None, vacuum: bool
) -> dict[str, int]:
    """Deletes and says what went; returns table -> rows that were deleted or renamed.

    A second call finds nothing; one that was cut off goes on: `impressions`, by which rows are found, goes last.

    Args:
        spark: session.
        config: whose lake.
        user: a ``user_id``.
        leaked_before: rows of ``leaked_features`` of evaluated days before it go.
        vacuum: also removes the files of older versions that are beyond the tables' retention.

    Raises:
        StepFailed: rows of the user are still there, or rows of others went with them.
    """
    began = time.monotonic()
    lake = Lake(spark, config, run_id=uuid.uuid4().hex[:12], step="forget", measurement=True)
    gone: dict[str, int] = {}
    if leaked_before is not None and lake.exists("leaked_features"):
        with described(spark, f"forget: leaked features before {leaked_before}"):
            gone["leaked_features"] = lake.delete(
                "leaked_features", f"evaluated_date < DATE {literal(leaked_before.isoformat())}"
            )
    if user is not None:
        with described(spark, "forget: one user"):
            for name, rows in _forget_user(lake, user).items():
                gone[name] = gone.get(name, 0) + rows
    for name, rows in gone.items():
        say(f"forget: {name}: {rows:,} rows")
        if vacuum:
            lake.vacuum(name)
    kept = "" if vacuum else "; older versions keep them until VACUUM (lis-spark forget --vacuum, after the retention)"
    say(f"forget: {sum(gone.values()):,} rows of {len(gone)} tables in {time.monotonic() - began:.1f} s{kept}")
    return gone


def _forget_user(lake: Lake, user: str) -> dict[str, int]:
    same = f"{USER_COLUMN} = {literal(user)}"
    gone: dict[str, int] = {}
    if lake.exists("training_rows"):  # the features know only impressions, so theirs are looked up before these go
        ids = lake.read("training_rows").where(same).select("impression_id", "date").localCheckpoint()
        for name in BY_IMPRESSION:
            if lake.exists(name):
                gone[name] = lake.delete_matching(name, ids)
        gone["training_rows"] = _forget_training_rows(lake, same)
    for name in BY_USER:
        if lake.exists(name):
            gone[name] = lake.delete(name, same)
    gone.update(_forget_keys(lake, user))
    if lake.exists("runs"):  # an error may have named one of his rows
        said = f"message RLIKE {_word(user)}"
        gone["runs"] = lake.read("runs").where(said).count()
        if gone["runs"]:
            lake.update("runs", said, {"message": "'(named a forgotten user)'"})
    if lake.exists("quarantine"):
        gone["quarantine"] = lake.delete("quarantine", _of_user_in_quarantine(lake.config, user))
    if lake.exists("impressions"):
        gone["impressions"] = lake.delete("impressions", same)
    return gone


def _forget_training_rows(lake: Lake, same: str) -> int:
    """Writes the user's days again, sorted and cut as before: a DELETE would not keep the order of rows and files."""
    rows = lake.read("training_rows")
    counts = {row["date"]: row["count"] for row in rows.where(same).groupBy("date").count().collect()}
    if not counts:
        return 0
    stored = lake.fingerprints("training_rows")
    keys: dict[PartitionKey, str] = {(day.isoformat(),): stored[(day.isoformat(),)] for day in counts}
    days: DataFrame = rows.where(F.col("date").isin(sorted(counts))).drop("lis_fingerprint")
    others = days.where(f"NOT ({same})")
    of_user = sum(counts.values())
    expected = ExpectedRows(
        count=days.count() - of_user,
        unit="rows of others",
        problem="other rows went with those of the user",
        remedy="report this with the versions of the tables: it is a defect",
    )
    cut = in_stretches(others, cut_days(others, lake.config, sorted(counts)))
    lake.write_partitions("training_rows", cut, keys, expected=expected)
    return of_user


def _forget_keys(lake: Lake, user: str) -> dict[str, int]:
    """The user's vocabulary row keeps its number and loses its key; vectors of the row and hashes of the key go."""
    gone: dict[str, int] = {}
    for slot in sorted({feature.table for feature in lake.config.features if feature.column == USER_COLUMN}):
        if lake.exists("embedding_snapshots"):
            condition = f"slot = {literal(slot)} AND item_id = {literal(user)}"
            deleted = lake.delete("embedding_snapshots", condition)
            gone["embedding_snapshots"] = gone.get("embedding_snapshots", 0) + deleted
        if not lake.exists("vocabularies"):
            continue
        condition = f"slot = {literal(slot)} AND key = {literal(user)}"
        if lake.exists("running_counts"):
            deleted = _forget_counts(lake, slot, condition)
            gone["running_counts"] = gone.get("running_counts", 0) + deleted
        renamed = "concat('forgotten row ', row)"
        found = lake.read("vocabularies").where(condition).count()
        if found:
            lake.update("vocabularies", condition, {"key": renamed, "key_hash": f"xxhash64({renamed})"})
        gone["vocabularies"] = gone.get("vocabularies", 0) + found
    for file in Path(absolute(lake.config.lake.work_path)).glob("vocabularies/*.npy"):
        file.unlink()  # made anew by the next launch
    return gone


def _forget_counts(lake: Lake, slot: str, condition: str) -> int:
    """What was counted of the user alone goes; in the counts of items the user is one among many and stays."""
    rows = [row["row"] for row in lake.read("vocabularies").where(condition).select("row").collect()]
    names = [feature.name for feature in lake.config.features if feature.table == slot]
    if not rows:
        return 0
    listed = ", ".join(map(literal, names))
    return lake.delete("running_counts", f"feature IN ({listed}) AND row = {rows[0]}")


def _of_user_in_quarantine(config: RunConfig, user: str) -> str:
    """Rejected rows of the user; of a row that could not be read, its text must hold the id as a word."""
    column = config.source.columns.user_id if isinstance(config.source, TableSource) else USER_COLUMN
    path = literal(f"$['{column}']")  # in brackets: a name may have dots
    of_field = f"get_json_object(row_json, {path}) = {literal(user)}"
    unread = f"get_json_object(row_json, {literal(f'$.{MALFORMED}')})"
    return f"({of_field}) OR ({unread} IS NOT NULL AND {unread} RLIKE {_word(user)})"


def _word(user: str) -> str:
    """A pattern of Spark SQL that finds the id where it stands alone."""
    return literal(rf"(^|[^0-9A-Za-z_-]){re.escape(user)}($|[^0-9A-Za-z_-])")
