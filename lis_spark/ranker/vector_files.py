"""Tables of (row, vector) as Parquet files, which ranks and Spark's Python workers read whole.

Nothing here needs torch: a worker that looks a vector up would wait seconds for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lis_spark.errors import StaleError
from lis_spark.ranker.plans import file_url
from lis_spark.vectors import unpack


def export_vectors(frame: DataFrame, keys: Sequence[str], folder: Path) -> None:
    """Writes the distinct (keys, row, vector) as Parquet folders ``folder/table=.../part-*``, one for each table.

    A row with two vectors, or one of another width, is refused by the rank that reads it
    (:func:`read_vectors`).
    """
    distinct = frame.select(*keys, "row", "vector").distinct()
    named = distinct.withColumn("table", F.concat_ws("_", *[F.col(key).cast("string") for key in keys]))
    tables = named.select("table", "row", "vector").repartition("table")
    tables.write.mode("overwrite").partitionBy("table").parquet(file_url(folder))


def vector_folder(folder: Path, parts: Sequence[object]) -> str:
    """The folder that :func:`export_vectors` wrote for one table."""
    return str(folder / f"table={'_'.join(str(part) for part in parts)}")


def read_vectors(folder: str, width: int) -> tuple[np.ndarray, np.ndarray]:
    """(rows [n], vectors [n, width]) of an exported table, in row order.

    Raises:
        StaleError: the folder is not there, or a row has two vectors.
        InputError: a vector of another width.
    """
    files = sorted(Path(folder).glob("*.parquet"))
    if not files:
        raise StaleError("an exported table is not there", table=folder, remedy="run score with --force")
    table = pa.concat_tables([pq.ParquetFile(file).read(["row", "vector"]) for file in files]).sort_by("row")
    rows = table["row"].to_numpy()
    doubled = rows[1:][rows[1:] == rows[:-1]]
    if len(doubled):
        raise StaleError(
            "a feature table holds two vectors for one item in one snapshot",
            table=folder,
            found=f"row {doubled[0]} and {len(doubled) - 1} more",
            expected="every impression of an item has the item's one vector",
            remedy="the table was changed since it was written: run features with --force",
        )
    return rows, unpack(table["vector"], width)


def find_rows(rows: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """int64 [w]: the places of some rows in a table, n where the table has them not.

    Args:
        rows: int64 [n], ascending.
        wanted: int64 [w].
    """
    places = np.searchsorted(rows, wanted)
    known = places < len(rows)
    known[known] = rows[places[known]] == wanted[known]
    return np.where(known, places, len(rows))
