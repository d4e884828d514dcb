"""Reads one day of ``training_rows`` by petastorm, counting every row and every column.

petastorm reads Parquet files, not Delta's log, so it gets the file list of one version; columns may vanish from its
batches without an error and rows have been lost by some versions, so both are compared with what was asked for.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from petastorm import make_batch_reader
from petastorm.errors import NoDataAvailableError

from lis_spark.errors import StepFailed
from lis_spark.ranker.counts import count_columns
from lis_spark.ranker.plans import DaySpec, RankerSpec, file_url, local_path
from lis_spark.table_files import refuse_leaked_columns
from lis_spark.vectors import unpack

IDENTITY_COLUMNS = ("impression_id", "user_id")
BUCKET_COLUMN = "user_bucket"


@dataclass
class DayRows:
    """One rank's share of a day, in the order of the files.

    ``rows`` is int32 [rows, features], ``clicks`` and ``skips`` int32 [rows, K] with -1 where there are fewer,
    ``labels`` float32 [rows, labels], ``buckets`` int32 [rows] those of the users, of which folds are made. ``counts``
    int64 [rows, 2 (C + 1)] are those of :func:`lis_spark.ranker.counts.count_columns`, no column where the ranker reads
    none; ``numbers`` int64 [rows, n] the columns of numbers that the reader was asked for.
    """

    rows: np.ndarray
    clicks: np.ndarray
    skips: np.ndarray
    labels: np.ndarray
    buckets: np.ndarray
    impression_ids: np.ndarray
    user_ids: np.ndarray
    counts: np.ndarray
    numbers: np.ndarray

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
        numbers: columns of numbers that are read, too.
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
        numbers: tuple[str, ...] = (),
    ) -> None:
        self.ranker, self.shard, self.shards, self.with_ids = ranker, shard, shards, with_ids
        self.measurement, self.numbers = measurement, numbers
        self.limit = cache_megabytes * 1_000_000
        self.cache: OrderedDict[object, DayRows] = OrderedDict()

    def read(self, day: DaySpec) -> DayRows:
        """This rank's share of the day; the caller compares the sum over ranks with ``day.rows``."""
        if day.date in self.cache:
            self.cache.move_to_end(day.date)
            return self.cache[day.date]
        rows = self.load(day)
        self.cache[day.date] = rows
        while len(self.cache) > 1 and sum(kept.nbytes() for kept in self.cache.values()) > self.limit:
            self.cache.popitem(last=False)
        return rows

    def load(self, day: DaySpec) -> DayRows:
        """The same from the files, whatever is kept."""
        columns = self._columns()
        if not self.measurement:
            for file in day.files[:1]:  # the files of a day are written by one query
                refuse_leaked_columns(pq.read_schema(local_path(file)).names, "training_rows")
            refuse_leaked_columns(columns, "training_rows")
        return self._assemble(read_columns(day, columns, self.shard, self.shards))

    def _columns(self) -> list[str]:
        features = [feature.column for feature in self.ranker.features]
        labels = [f"label_{label}" for label in self.ranker.labels]
        identity = list(IDENTITY_COLUMNS) if self.with_ids else []
        fixed = ["history_clicks", "history_skips", BUCKET_COLUMN]
        return [*features, *labels, *fixed, *identity, *count_columns(self.ranker.counted), *self.numbers]

    def _assemble(self, batches: list[dict[str, np.ndarray]]) -> DayRows:
        def column(name: str, dtype: type) -> np.ndarray:
            return np.concatenate([np.asarray(batch[name]).astype(dtype) for batch in batches] or [np.empty(0, dtype)])

        def history(name: str) -> np.ndarray:
            width = self.ranker.history_length
            parts = [unpack(pa.array(batch[name], pa.binary()), width, "<i4") for batch in batches]
            return np.concatenate(parts) if parts else np.empty((0, width), np.int32)

        buckets = column(BUCKET_COLUMN, np.int32)

        def integers(names: Sequence[str]) -> np.ndarray:
            found = np.empty((len(buckets), len(names)), np.int64)
            for place, name in enumerate(names):
                found[:, place] = column(name, np.int64)
            return found

        return DayRows(
            rows=np.stack([column(feature.column, np.int32) for feature in self.ranker.features], axis=1),
            clicks=history("history_clicks"),
            skips=history("history_skips"),
            labels=np.stack([column(f"label_{label}", np.float32) for label in self.ranker.labels], axis=1),
            buckets=buckets,
            impression_ids=column("impression_id", object) if self.with_ids else np.empty(0, object),
            user_ids=column("user_id", object) if self.with_ids else np.empty(0, object),
            counts=integers(count_columns(self.ranker.counted)),
            numbers=integers(self.numbers),
        )


def read_columns(day: DaySpec, columns: Sequence[str], shard: int, shards: int) -> list[dict[str, np.ndarray]]:
    """Columns of one rank's share of a day, batch by batch in the order of the files.

    A day with fewer row groups than ranks is read by the first one: the others take part with nothing.

    Raises:
        StepFailed: a column was not delivered, or a rank got no row group.
    """
    batches: list[dict[str, np.ndarray]] = []
    alone = day.row_groups < shards
    if not day.files or (alone and shard > 0):
        return batches
    try:
        with make_batch_reader(
            [file_url(local_path(file)) for file in day.files],
            schema_fields=list(columns),
            reader_pool_type="thread",
            workers_count=1,
            shuffle_row_groups=False,
            num_epochs=1,
            cur_shard=None if alone or shards == 1 else shard,
            shard_count=None if alone or shards == 1 else shards,
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
    return batches


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
