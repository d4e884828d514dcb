"""Every read and write of a table: versions pinned, writes idempotent by partition, provenance, leak guard.

Architecture, "A step" and "The leak guard". A table is a Delta folder below ``lake.path`` or a table of a catalog's
schema; whichever it is, nothing else in the package knows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Generic

from delta.tables import DeltaTable
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, DataFrameWriter, Observation, SparkSession
from pyspark.sql import functions as F
from typing_extensions import TypeVar

from lis_spark import table_facts
from lis_spark.config import RunConfig, RunOnLake
from lis_spark.ddl import table_definition
from lis_spark.errors import InputError, LisError, StaleError, StepFailed
from lis_spark.partitions import PartitionKey, literal, partition_condition, value_by_key
from lis_spark.table_facts import FILES, FINGERPRINTS, TableVersion
from lis_spark.table_files import absolute, missing_files
from lis_spark.table_log import newest_commit, read_commit
from lis_spark.write_errors import refused_write

FINGERPRINT = "lis_fingerprint"
T = TypeVar("T")
ConfigT = TypeVar("ConfigT", bound=RunOnLake, default=RunConfig)


class Lake(Generic[ConfigT]):
    """The tables of one configuration, as one step sees them.

    Args:
        spark: a session with Delta.
        config: the run's configuration, of which only ``lake`` matters here.
        run_id: written into each commit.
        step: written into each commit.
        measurement: the caller measures, and may therefore read leaked tables.
    """

    def __init__(
        self,
        spark: SparkSession,
        config: ConfigT,
        *,
        run_id: str = "",
        step: str = "",
        measurement: bool = False,
    ) -> None:
        self.spark = spark
        self.config = config
        self.run_id = run_id
        self.step = step
        self.measurement = measurement
        self.pinned: dict[str, int] = {}
        # Versions that questions were answered from: rows are then read from the same, whoever writes meanwhile.
        self.asked: dict[str, int] = {}
        self.written: dict[str, int] = {}

    # -- where a table lies ------------------------------------------------------------------------------------

    def identifier(self, name: str) -> str:
        """The name to use in SQL."""
        place = self._place(name)
        return place if self.config.lake.path is None else f"delta.`{place}`"

    def _place(self, name: str) -> str:
        lake, leaked = self.config.lake, name.startswith("leaked_")
        if lake.path is None:
            return f"{(lake.leaked_schema_name if leaked else None) or lake.schema_name}.{name}"
        root = (lake.leaked_path if leaked else None) or lake.path
        return f"{absolute(root)}/{name}"

    def _delta(self, name: str) -> DeltaTable:
        place = self._place(name)
        if self.config.lake.path is None:
            return DeltaTable.forName(self.spark, place)
        return DeltaTable.forPath(self.spark, place)

    def exists(self, name: str) -> bool:
        """Whether the table has been created."""
        if self.config.lake.path is None:
            return self.spark.catalog.tableExists(self._place(name))
        return DeltaTable.isDeltaTable(self.spark, self._place(name))

    def table_property(self, name: str, key: str) -> str | None:
        """A property of an existing table, None where it is not set."""
        rows = self.spark.sql(f"SHOW TBLPROPERTIES {self.identifier(name)}").collect()
        return next((str(row["value"]) for row in rows if row["key"] == key), None)

    def set_table_property(self, name: str, key: str, value: str) -> None:
        """Sets a property of an existing table."""
        with self._learning(name, {}):
            self.spark.sql(f"ALTER TABLE {self.identifier(name)} SET TBLPROPERTIES ({literal(key)} = {literal(value)})")

    def create(self, name: str, columns: Mapping[str, str] | None = None) -> None:
        """Creates the table from its DDL when it is not there; ``columns`` fills the placeholders of the DDL."""
        if not self.exists(name):
            definition = table_definition(name)
            self.spark.sql(definition.create_statement(self.identifier(name), dict(columns or {})))
            newest = self._newest(name)
            if newest[0] == 0:  # nobody has written since
                table_facts.remember(self._version(name, newest), FINGERPRINTS, {})
                table_facts.remember(self._version(name, newest), FILES, [])

    # -- reading -----------------------------------------------------------------------------------------------

    def version(self, name: str) -> int | None:
        """The newest version of a table, None where it does not exist."""
        return self._newest(name)[0] if self.exists(name) else None

    def _newest(self, name: str) -> tuple[int, object]:
        """Number and time of the newest version."""
        if self.config.lake.path is not None:
            return newest_commit(self.spark, self._place(name))
        newest = self._delta(name).history(1).select("version", "timestamp").first()
        assert newest is not None
        return int(newest["version"]), newest["timestamp"]

    def known(self, name: str, what: str, compute: Callable[[DataFrame], T]) -> T:
        """What ``compute`` says of the version that this step reads, asked once in a process: versions never change.

        What is read of the table afterwards is of the same version, until the step itself writes to it.

        Args:
            name: a table that exists.
            what: names the question.
            compute: version of the table -> answer, small.
        """
        newest = self._newest(name)
        number = self.pinned[name] if name in self.pinned else self.asked.setdefault(name, newest[0])
        version = self._version(name, newest, number)
        return table_facts.answer(version, what, lambda: compute(self._frame(name, version.number)))

    def _version(self, name: str, newest: tuple[int, object], number: int | None = None) -> TableVersion:
        return TableVersion(self.identifier(name), newest[0] if number is None else number, newest)

    def pin(self, name: str, version: int | None = None) -> int:
        """Fixes the version that this step reads, once, and checks that its files are all still there.

        Raises:
            InputError: the table does not exist.
            StaleError: files of that version have been removed (VACUUM).
        """
        if name in self.pinned and version in (None, self.pinned[name]):
            return self.pinned[name]
        if not self.exists(name):
            raise InputError(
                "the table does not exist",
                table=self._place(name),
                remedy="run the step that writes it: lis-spark run",
            )
        chosen = self._version(name, self._newest(name), self.asked.get(name) if version is None else version)
        self._check_files(name, chosen)
        self.pinned[name] = chosen.number
        return chosen.number

    def unpin(self, name: str) -> None:
        """The newest version is read from now on: rows were added that this step goes on with."""
        self.pinned.pop(name, None)
        self.asked.pop(name, None)

    def read(self, name: str, version: int | None = None) -> DataFrame:
        """The table at its pinned version.

        Raises:
            LisError: the table holds information from the future and the caller is not a measurement.
        """
        self._refuse_leaked(name)
        return self._frame(name, self.pin(name, version))

    def _frame(self, name: str, version: int) -> DataFrame:
        reader = self.spark.read.format("delta").option("versionAsOf", version)
        if self.config.lake.path is None:
            return self.spark.sql(f"SELECT * FROM {self._place(name)} VERSION AS OF {version}")
        return reader.load(self._place(name))

    def files(self, name: str, condition: str) -> list[str]:
        """The data files of the pinned version that hold rows of a partition condition, sorted."""
        frame = self.read(name).where(condition)
        return sorted(frame.inputFiles())

    def fingerprints(self, name: str) -> dict[PartitionKey, str]:
        """Partition key (ISO strings, in partition order) -> the fingerprint that its rows carry; {} where none.

        Raises:
            StaleError: one partition carries two fingerprints.
        """
        if not self.exists(name):
            return {}
        return dict(self.known(name, FINGERPRINTS, lambda frame: self._fingerprints_of(name, frame)))

    def _fingerprints_of(self, name: str, frame: DataFrame) -> dict[PartitionKey, str]:
        keys = table_definition(name).key_columns
        found: dict[PartitionKey, str] = {}
        for row in frame.select(*keys, FINGERPRINT).distinct().collect():
            key = tuple(str(row[column]) for column in keys)
            if key in found:
                raise StaleError(
                    "one partition carries rows of two runs",
                    table=self._place(name),
                    partition=dict(zip(keys, key, strict=True)),
                    remedy="run the step again with --force",
                )
            found[key] = row[FINGERPRINT]
        return found

    # -- writing -----------------------------------------------------------------------------------------------

    def write_partitions(
        self,
        name: str,
        frame: DataFrame,
        fingerprints: Mapping[PartitionKey, str],
        inputs: Mapping[str, int] | None = None,
    ) -> int:
        """Replaces exactly the named partitions, in one atomic commit; returns the rows written.

        Args:
            name: a table of ``schemas/`` that exists (:meth:`create`).
            frame: its columns without ``lis_fingerprint``; rows outside the named partitions are refused.
            fingerprints: partition key -> fingerprint, for each partition that is to be replaced. An unpartitioned
                table has the one key ``()``.
            inputs: table -> version that went in, for the commit's provenance; the pinned ones where None.

        Raises:
            InputError: a row breaks a rule of the schema (named, with a sample).
            StepFailed: another run wrote the same partition meanwhile.
        """
        if not fingerprints:
            return 0
        definition = table_definition(name)
        stamped = self._stamp(frame, definition.key_columns, fingerprints)
        observation = Observation()
        observed = stamped.observe(observation, F.count(F.lit(1)).alias("rows"))
        provenance = {"run_id": self.run_id, "step": self.step, "inputs": dict(inputs or self.pinned)}
        writer = (
            observed.write.format("delta")
            .mode("overwrite")
            .option("userMetadata", json.dumps(provenance, sort_keys=True))
        )
        if definition.key_columns:
            writer = writer.option("replaceWhere", partition_condition(definition.key_columns, fingerprints))
        with self._learning(name, fingerprints):
            self._save(writer, name, stamped, fingerprints)
        self._committed(name)
        return int(observation.get["rows"])

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

    def take_back(self, name: str, before: int | None) -> None:
        """Puts the table back to the version before our last commit, where nobody has written to it since.

        Raises:
            StepFailed: somebody has: our rows are still there.
        """
        if before is None or self.version(name) != self.written.get(name):
            raise StepFailed(
                "what was written cannot be taken back: another run has written since",
                table=self._place(name),
                remedy="run the step again with --force",
            )
        self._delta(name).restoreToVersion(before)
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

    # -- guards ------------------------------------------------------------------------------------------------

    def _refuse_leaked(self, name: str) -> None:
        if self.measurement:
            return
        leaked = name.startswith("leaked_")
        if not leaked and self.exists(name):
            leaked = self.table_property(name, "lis.leaked") == "true"
        if leaked:
            raise LisError(
                "this table holds information from after its impressions and may only be read to measure",
                table=self._place(name),
                remedy="train on control_features or embedding_snapshots instead",
            )

    def _files_of(self, name: str, frame: DataFrame) -> list[str]:
        """Its data files; those of a Delta folder by paths below the folder, as commits name them."""
        files = frame.inputFiles()
        if self.config.lake.path is None:
            return files
        return [file[max(0, file.find(f"{self._place(name)}/")) :] for file in files]

    def _check_files(self, name: str, version: TableVersion) -> None:
        files = table_facts.answer(version, FILES, lambda: self._files_of(name, self._frame(name, version.number)))
        missing = missing_files(self.spark, files)
        if missing:
            raise StaleError(
                f"{len(missing)} of {len(files)} files of version {version.number} are gone (VACUUM?)",
                table=self._place(name),
                partition=f"version {version.number}",
                found=f"for instance {missing[0]} is not there",
                expected="every file of the version that is read",
                remedy="read a newer version, or run the step that writes the table again with --force",
            )
