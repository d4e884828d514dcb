"""What a step reads of the tables: versions that stay the same while it runs, and the leak guard.

Architecture, "A step" and "The leak guard". A table is a Delta folder below ``lake.path`` or a table of a catalog's
schema; whichever it is, nothing else in the package knows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic

from delta.tables import DeltaTable
from pyspark.sql import DataFrame, SparkSession
from typing_extensions import TypeVar

from lis_spark import table_facts
from lis_spark.config import RunConfig, RunOnLake
from lis_spark.ddl import table_definition
from lis_spark.errors import InputError, LisError, StaleError
from lis_spark.partitions import PartitionKey
from lis_spark.table_facts import FILES, FINGERPRINTS, TableVersion
from lis_spark.table_files import absolute, missing_files
from lis_spark.table_log import newest_commit

FINGERPRINT = "lis_fingerprint"
T = TypeVar("T")
ConfigT = TypeVar("ConfigT", bound=RunOnLake, default=RunConfig)


class LakeReader(Generic[ConfigT]):
    """The tables of one configuration, as one step reads them.

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
        self._provenance: dict[str, str] = {}  # of our last commit to each table

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
