"""Reads one day of ``training_rows`` by petastorm, counting every row and every column.

petastorm reads Parquet files, not Delta's log, so it gets the file list of one version; columns may vanish from its
batches without an error and rows have been lost by some versions, so both are compared with what was asked for.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from petastorm import make_batch_reader
from petastorm.errors import NoDataAvailableError

from lis_spark.errors import StepFailed
from lis_spark.ranker.plans import DaySpec, PortSpec, RankerSpec, file_url, local_path
from lis_spark.ranker.vector_files import found_vectors, read_vectors
from lis_spark.table_files import refuse_leaked_columns
from lis_spark.vectors import unpack

IDENTITY_COLUMNS = ("impression_id", "user_id")


@dataclass
class DayRows:
    """One rank's share of a day, in the order of the files.

    ``rows`` is int32 [rows, features], ``clicks`` and ``skips`` int32 [rows, K] with -1 where there are fewer,
    ``labels`` float32 [rows, labels], ``buckets`` int32 [rows] those of the users, of which folds are made. ``vectors``
    float32 [rows, v] are those of a port, zero where ``vector_mask`` [rows] says that there is none; v = 0 where no
    port was asked for.
    """

    rows: np.ndarray
    clicks: np.ndarray
    skips: np.ndarray
    labels: np.ndarray
    buckets: np.ndarray
    impression_ids: np.ndarray
    user_ids: np.ndarray
    vectors: np.ndarray
    vector_mask: np.ndarray

    def __len__(self) -> int:
        return len(self.buckets)

    def __getitem__(self, index: np.ndarray | slice) -> DayRows:
        def part(values: np.ndarray) -> np.ndarray:
            return values[index] if len(values) == len(self) else values  # ids are empty where they were not read

        return DayRows(*[part(getattr(self, name)) for name in self.__dataclass_fields__])

    def nbytes(self) -> int:
        """Size in memory, ids counted by their pointers."""
        return sum(getattr(self, name).nbytes for name in self.__dataclass_fields__)


class DayReader:
    """Days of one rank, kept while they fit, so that several chains share one reading.

    Args:
        ranker: which columns are read.
        shard: this rank's number among those that share the day.
        shards: how many share it.
        cache_megabytes: how much is kept.
        with_ids: also read impression_id and user_id (scoring).
        measurement: the caller trains arms of a measurement, whose rows may hold vectors from the future.
        port: also read the vectors of a port.
    """

    def __init__(
        self,
        ranker: RankerSpec,
        shard: int,
        shards: int,
        cache_megabytes: int,
        with_ids: bool = False,
        *,
        measurement: bool = False,
        port: PortSpec | None = None,
    ) -> None:
        self.ranker, self.shard, self.shards, self.with_ids = ranker, shard, shards, with_ids
        self.measurement, self.port = measurement, port
        self.limit = cache_megabytes * 1_000_000
        self.cache: OrderedDict[object, DayRows] = OrderedDict()
        self.table = None if port is None or port.table is None else read_vectors(port.table, port.width)

    def read(self, day: DaySpec) -> DayRows:
        """This rank's share of the day; the caller compares the sum over ranks with ``day.rows``."""
        if day.date in self.cache:
            self.cache.move_to_end(day.date)
            return self.cache[day.date]
        rows = self._read(day)
        self.cache[day.date] = rows
        while len(self.cache) > 1 and sum(kept.nbytes() for kept in self.cache.values()) > self.limit:
            self.cache.popitem(last=False)
        return rows

    def _read(self, day: DaySpec) -> DayRows:
        columns = self._columns()
        if not self.measurement:
            for file in day.files[:1]:  # the files of a day are written by one query
                refuse_leaked_columns(pq.read_schema(local_path(file)).names, "training_rows")
            refuse_leaked_columns(columns, "training_rows")
        batches: list[dict[str, np.ndarray]] = []
        # A day with fewer row groups than ranks is read by the first one: the others take part with nothing.
        alone = day.row_groups < self.shards
        if not day.files or (alone and self.shard > 0):
            return self._assemble(batches)
        try:
            with make_batch_reader(
                [file_url(local_path(file)) for file in day.files],
                schema_fields=columns,
                reader_pool_type="thread",
                workers_count=1,
                shuffle_row_groups=False,
                num_epochs=1,
                cur_shard=None if alone or self.shards == 1 else self.shard,
                shard_count=None if alone or self.shards == 1 else self.shards,
            ) as reader:
                for batch in reader:
                    received = batch._asdict()
                    if set(received) != set(columns):
                        raise StepFailed(
                            "petastorm did not deliver the columns that were asked for",
                            table="training_rows",
                            partition={"date": day.date.isoformat()},
                            found=", ".join(sorted(received)),
                            expected=", ".join(sorted(columns)),
                            remedy="columns must be physical and flat: no partition column, no array<struct>",
                        )
                    batches.append(received)
        except NoDataAvailableError as error:
            raise StepFailed(
                "fewer row groups than ranks",
                table="training_rows",
                partition={"date": day.date.isoformat()},
                remedy="raise ranker.row_groups_per_day",
            ) from error
        return self._assemble(batches)

    def _columns(self) -> list[str]:
        features = [feature.column for feature in self.ranker.features]
        labels = [f"label_{label}" for label in self.ranker.labels]
        identity = list(IDENTITY_COLUMNS) if self.with_ids else []
        port = [] if self.port is None else [self.port.column]
        return [*features, *labels, "history_clicks", "history_skips", "user_bucket", *identity, *port]

    def _assemble(self, batches: list[dict[str, np.ndarray]]) -> DayRows:
        def column(name: str, dtype: type) -> np.ndarray:
            return np.concatenate([np.asarray(batch[name]).astype(dtype) for batch in batches] or [np.empty(0, dtype)])

        def history(name: str) -> np.ndarray:
            width = self.ranker.history_length
            parts = [unpack(pa.array(batch[name], pa.binary()), width, "<i4") for batch in batches]
            return np.concatenate(parts) if parts else np.empty((0, width), np.int32)

        return DayRows(
            rows=np.stack([column(feature.column, np.int32) for feature in self.ranker.features], axis=1),
            clicks=history("history_clicks"),
            skips=history("history_skips"),
            labels=np.stack([column(f"label_{label}", np.float32) for label in self.ranker.labels], axis=1),
            buckets=column("user_bucket", np.int32),
            impression_ids=column("impression_id", object) if self.with_ids else np.empty(0, object),
            user_ids=column("user_id", object) if self.with_ids else np.empty(0, object),
            **self._vectors(batches),
        )

    def _vectors(self, batches: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        rows = sum(len(batch["user_bucket"]) for batch in batches)
        if self.port is None:
            return {"vectors": np.zeros((rows, 0), np.float32), "vector_mask": np.zeros(rows, np.float32)}
        if self.table is not None:
            parts = [np.asarray(batch[self.port.column]).astype(np.int64) for batch in batches]
            vectors, found = found_vectors(*self.table, np.concatenate(parts or [np.empty(0, np.int64)]))
            return {"vectors": vectors, "vector_mask": found.astype(np.float32)}
        packed = pa.chunked_array([pa.array(batch[self.port.column], pa.binary()) for batch in batches], pa.binary())
        present = pc.is_valid(packed).to_numpy().astype(bool)
        vectors = np.zeros((rows, self.port.width), np.float32)
        vectors[present] = unpack(packed.drop_null(), self.port.width)
        return {"vectors": vectors, "vector_mask": present.astype(np.float32)}


def check_count(day: DaySpec, received: int) -> None:
    """Compares the rows that all ranks received with the table's own count.

    Raises:
        StepFailed: rows were lost or doubled.
    """
    if received != day.rows:
        raise StepFailed(
            "the reader lost or doubled rows",
            table="training_rows",
            partition={"date": day.date.isoformat()},
            found=f"{received:,} rows read by all ranks",
            expected=f"{day.rows:,} rows in the table",
            remedy="run again; if it happens twice, report the petastorm and pyarrow versions",
        )
