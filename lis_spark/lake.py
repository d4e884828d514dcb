"""Every write of a table: idempotent by partition, atomic, with its provenance; what is read of them is in
:mod:`lis_spark.lake_reader`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NoReturn

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, DataFrameWriter, Observation
from pyspark.sql import functions as F

from lis_spark import table_facts
from lis_spark.ddl import table_definition
from lis_spark.errors import StepFailed
from lis_spark.expected_rows import ExpectedRows
from lis_spark.lake_reader import FINGERPRINT, ConfigT, LakeReader
from lis_spark.partitions import PartitionKey, literal, partition_condition, value_by_key
from lis_spark.table_facts import COLUMNS, FILES, FINGERPRINTS
from lis_spark.table_log import read_commit
from lis_spark.write_errors import refused_write


class Lake(LakeReader[ConfigT]):
    """The tables of one configuration, as one step sees them."""

    def set_table_property(self, name: str, key: str, value: str) -> None:
        """Sets a property of an existing table."""
        with self._learning(name, {}):
            self.spark.sql(f"ALTER TABLE {self.identifier(name)} SET TBLPROPERTIES ({literal(key)} = {literal(value)})")

    def create(self, name: str, columns: Mapping[str, str] | None = None) -> None:
        """Creates the table from its DDL when it is not there; ``columns`` fills the placeholders of the DDL.

        A table of an older release is given the columns that it lacks, null in the rows that are there.
        """
        if self.exists(name):
            self._add_columns(name, columns or {})
        else:
            definition = table_definition(name)
            self.spark.sql(definition.create_statement(self.identifier(name), dict(columns or {})))
            newest = self._newest(name)
            if newest[0] == 0:  # nobody has written since
                table_facts.remember(self._version(name, newest), FINGERPRINTS, {})
                table_facts.remember(self._version(name, newest), FILES, [])

    def _add_columns(self, name: str, columns: Mapping[str, str]) -> None:
        """Adds columns that the DDL has and the table has not: writers select by the table's schema."""
        newest = self._newest(name)
        version = self._version(name, newest)
        known = table_facts.answer(version, COLUMNS, lambda: set(self._frame(name, newest[0]).columns))
        optional = table_definition(name).optional_columns(columns)
        added = {column: text for column, text in optional.items() if column not in known}
        if not added:
            return
        listed = ", ".join(f"{column} {text}" for column, text in added.items())
        with self._explained(name):
            self.spark.sql(f"ALTER TABLE {self.identifier(name)} ADD COLUMNS ({listed})")
        self.unpin(name)

    def write_partitions(
        self,
        name: str,
        frame: DataFrame,
        fingerprints: Mapping[PartitionKey, str],
        inputs: Mapping[str, int] | None = None,
        expected: ExpectedRows | None = None,
    ) -> int:
        """Replaces exactly the named partitions, in one atomic commit; returns the rows written.

        Args:
            name: a table of ``schemas/`` that exists (:meth:`create`).
            frame: its columns without ``lis_fingerprint``; rows outside the named partitions are refused.
            fingerprints: partition key -> fingerprint, for each partition that is to be replaced. An unpartitioned
                table has the one key ``()``.
            inputs: table -> version that went in, for the commit's provenance; the pinned ones where None.
            expected: what was counted before; rows are counted while they are written, and where the counts differ the
                table is put back to the version before.

        Raises:
            InputError: a row breaks a rule of the schema (named, with a sample).
            StepFailed: another run wrote the same partition meanwhile, or there are other rows than expected.
        """
        if not fingerprints:
            return 0
        definition = table_definition(name)
        stamped = self._stamp(frame, definition.key_columns, fingerprints)
        observation, counts = Observation(), [F.count(F.lit(1)).alias("rows")]
        if expected is not None:
            counts.append(expected.aggregate.alias("counted"))
        observed = stamped.observe(observation, *counts)
        provenance = {"run_id": self.run_id, "step": self.step, "inputs": dict(inputs or self.pinned)}
        said = self._provenance[name] = json.dumps(provenance, sort_keys=True)
        writer = observed.write.format("delta").mode("overwrite").option("userMetadata", said)
        if definition.key_columns:
            writer = writer.option("replaceWhere", partition_condition(definition.key_columns, fingerprints))
        with self._learning(name, fingerprints):
            self._save(writer, name, stamped, fingerprints)
        self._committed(name)
        found = observation.get
        if expected is not None and not expected.agrees_with(int(found["counted"])):
            self._take_back_and_fail(name, expected, fingerprints, int(found["counted"]))
        return int(found["rows"])

    def empty_partitions(self, name: str, keys: Iterable[PartitionKey]) -> None:
        """Takes all rows out of partitions that nobody wants any more, in one atomic commit."""
        empty = self.read(name).drop("lis_fingerprint").limit(0)
        self.write_partitions(name, empty, dict.fromkeys(keys, "emptied"))

    def _take_back_and_fail(
        self, name: str, expected: ExpectedRows, fingerprints: Mapping[PartitionKey, str], found: int
    ) -> NoReturn:
        try:
            self.take_back(name)
        except StepFailed as refused:
            raise expected.failure(name, fingerprints, found, is_taken_back=False) from refused
        raise expected.failure(name, fingerprints, found, is_taken_back=True)

    def _save(
        self, writer: DataFrameWriter, name: str, frame: DataFrame, fingerprints: Mapping[PartitionKey, str]
    ) -> None:
        with self._explained(name, frame, fingerprints):
            if self.config.lake.path is None:
                writer.saveAsTable(self._place(name))
            else:
                writer.save(self._place(name))

    @contextmanager
    def _explained(
        self, name: str, frame: DataFrame | None = None, fingerprints: Mapping[PartitionKey, str] | None = None
    ) -> Iterator[None]:
        """Says what a refused write of the block means."""
        try:
            yield
        except (PySparkException, Py4JJavaError) as error:  # Delta's own exceptions arrive unconverted
            place, definition = self._place(name), table_definition(name)
            raise refused_write(place, definition, frame, fingerprints or {}, error) from error

    def written_bytes(self, name: str) -> int:
        """Bytes of the data files of our last commit to a table."""
        newest = self._delta(name).history(1).select("operationMetrics").first()
        return 0 if newest is None else int(newest["operationMetrics"].get("numOutputBytes", 0))

    def append(self, name: str, frame: DataFrame) -> None:
        """Adds rows to a table that is a log."""
        self._save(frame.write.format("delta").mode("append"), name, frame, {})
        self.unpin(name)

    def merge(self, name: str, frame: DataFrame, key: str, replaces: bool = False) -> None:
        """Adds rows whose ``key`` is not there yet: running twice doubles nothing; ``replaces`` those that are."""
        source = frame.dropDuplicates([key])
        merge = self._delta(name).alias("old").merge(source.alias("new"), f"old.{key} = new.{key}")
        if replaces:
            merge = merge.whenMatchedUpdateAll()
        with self._explained(name, source):
            merge.whenNotMatchedInsertAll().execute()
        self._committed(name)

    def delete(self, name: str, condition: str) -> int:
        """Deletes the rows of a condition; returns how many. The files of older versions keep them until VACUUM."""
        before = self.version(name)
        with self._explained(name):
            self._delta(name).delete(condition)
        return self._deleted(name, before)

    def delete_matching(self, name: str, keys: DataFrame) -> int:
        """Deletes the rows that agree with a row of ``keys`` in all of its columns; returns how many."""
        before = self.version(name)
        same = " AND ".join(f"old.{column} = forgotten.{column}" for column in keys.columns)
        merge = self._delta(name).alias("old").merge(keys.alias("forgotten"), same).whenMatchedDelete()
        with self._explained(name):
            merge.execute()
        return self._deleted(name, before)

    def update(self, name: str, condition: str, values: Mapping[str, str]) -> None:
        """Sets columns to SQL expressions in the rows of a condition."""
        with self._explained(name):
            self._delta(name).update(condition, dict(values))
        self.unpin(name)

    def take_back(self, name: str) -> None:
        """Puts the table back to the version before our last commit, where nobody has written to it since.

        Raises:
            StepFailed: somebody has: our rows are still there.
        """
        newest = self._delta(name).history(1).select("version", "userMetadata").first()
        ours = self.written.get(name)
        if newest is None or newest["version"] != ours or newest["userMetadata"] != self._provenance.get(name):
            raise StepFailed(
                "what was written cannot be taken back: another run has written since",
                table=self._place(name),
                remedy="run the step again with --force",
            )
        assert ours is not None
        self._delta(name).restoreToVersion(ours - 1)
        self.unpin(name)

    def vacuum(self, name: str) -> None:
        """Removes files that no version within the table's retention needs (7 days, where nobody has set another)."""
        self._delta(name).vacuum()

    def _deleted(self, name: str, before: int | None) -> int:
        self.unpin(name)
        last = self._delta(name).history(1).select("version", "operationMetrics").first()
        if last is None or last["version"] == before:  # nothing matched, so nothing was committed
            return 0
        metrics = last["operationMetrics"]
        return int(metrics.get("numDeletedRows", metrics.get("numTargetRowsDeleted", 0)))

    def _committed(self, name: str) -> None:
        self.unpin(name)
        version = self.version(name)
        assert version is not None
        self.written[name] = version

    @contextmanager
    def _learning(self, name: str, fingerprints: Mapping[PartitionKey, str]) -> Iterator[None]:
        """What is known of a table before the block's commit, and the commit, say what it then holds: no query asks.

        At 10^9 rows the query reads a column of every file, and every step asks it. Of a catalog's table there is no
        log to look into.
        """
        if self.config.lake.path is None:
            yield
            return
        before = self._version(name, self._newest(name))
        yield
        after = self._version(name, self._newest(name))
        if not table_facts.anything_known(before) or after.number != before.number + 1:  # or somebody else wrote, too
            return
        place, keys = self._place(name), table_definition(name).key_columns
        commit = read_commit(self.spark, place, after.number)
        if commit is not None:
            table_facts.learn(before, after, commit, folder=place, keys=keys, fingerprints=fingerprints)

    def _stamp(self, frame: DataFrame, keys: Sequence[str], fingerprints: Mapping[PartitionKey, str]) -> DataFrame:
        if not keys:
            return frame.withColumn(FINGERPRINT, F.lit(fingerprints[()]))
        # No join: Spark takes a sort below a join away, and files are sorted for a reason. A map in a map, because a
        # lookup in a map is a scan of its keys. A partition that nobody named gets a null, which NOT NULL refuses.
        found = value_by_key({tuple(key): value for key, value in fingerprints.items()})
        for column in keys:
            found = F.try_element_at(found, F.col(column).cast("string"))
        return frame.withColumn(FINGERPRINT, found)
