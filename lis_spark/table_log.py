"""The log of a Delta folder, read without a query: its newest version, and what one commit did to its files.

Only what Delta's protocol says of commits is relied on (https://github.com/delta-io/delta/blob/master/PROTOCOL.md).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from pyspark.sql import SparkSession

LARGEST_COMMIT = 8 * 2**20  # bytes that pass through the driver; a commit of more is left to a query


@dataclass(frozen=True)
class AddedFile:
    """A data file: the values of its partition and how many rows it has, None where the log does not say."""

    partition: Mapping[str, str | None]
    rows: int | None


@dataclass(frozen=True)
class Commit:
    """Data files, by their paths below the table, that one commit added and took out."""

    added: Mapping[str, AddedFile]
    removed: frozenset[str]

    def files_after(self, before: Sequence[str], table: str) -> list[str] | None:
        """The table's data files after the commit, given those before it; None where these are written otherwise."""
        removed = {f"{table}/{path}" for path in self.removed}
        if not removed <= set(before):
            return None
        kept = [path for path in before if path not in removed]
        return kept + [f"{table}/{path}" for path in self.added]

    def partitions_with_rows(self, columns: Sequence[str]) -> set[tuple[str, ...]] | None:
        """The values of some columns in what was added; None where the log does not know them or numbers of rows."""
        if any(one.rows is None or not one.partition.keys() >= set(columns) for one in self.added.values()):
            return None
        return {tuple(str(one.partition[column]) for column in columns) for one in self.added.values() if one.rows}


def newest_commit(spark: SparkSession, table: str) -> tuple[int, object]:
    """Number and time of the newest version of a Delta folder, by the names in its log: its history is a query."""
    jvm: Any = spark._jvm
    folder = re.sub(r"([\\\[\]{}*?])", r"\\\1", f"{table}/_delta_log")
    commits = jvm.org.apache.hadoop.fs.Path(folder + "/" + "?" * 20 + ".json")  # 00000000000000000012.json
    file_system = commits.getFileSystem(spark._jsc.hadoopConfiguration())  # type: ignore[attr-defined]
    found = file_system.globStatus(commits)  # sorted by name
    newest = found[len(found) - 1]
    return int(newest.getPath().getName().removesuffix(".json")), newest.getModificationTime()


def read_commit(spark: SparkSession, table: str, version: int) -> Commit | None:
    """What the commit of a version did, None where it is too large to look at.

    Args:
        table: the folder of a table whose log still holds that version.
    """
    jvm: Any = spark._jvm
    path = jvm.org.apache.hadoop.fs.Path(f"{table}/_delta_log/{version:020d}.json")
    file_system = path.getFileSystem(spark._jsc.hadoopConfiguration())  # type: ignore[attr-defined]
    if file_system.getFileStatus(path).getLen() > LARGEST_COMMIT:
        return None
    stream = file_system.open(path)
    try:
        text = jvm.org.apache.commons.io.IOUtils.toString(stream, "UTF-8")
    finally:
        stream.close()
    added, removed = {}, set()
    for line in filter(None, text.split("\n")):  # a text within a line may hold other ends of lines
        action = json.loads(line)
        if "add" in action:
            rows = json.loads(action["add"].get("stats") or "{}").get("numRecords")
            added[unquote(action["add"]["path"])] = AddedFile(action["add"]["partitionValues"], rows)
        elif "remove" in action:
            removed.add(unquote(action["remove"]["path"]))
    return Commit(added, frozenset(removed))
