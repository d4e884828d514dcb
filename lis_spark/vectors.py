"""float32 vectors packed in BINARY (little endian): pack, unpack, check, in Arrow and in NumPy.

Parquet's nested lists are the bottleneck of vector tables; a packed vector is one dictionary-encodable value.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column
from pyspark.sql import functions as F

from lis_spark.errors import InputError

BYTES_PER_VALUE = 4


def pack(matrix: np.ndarray) -> pa.Array:
    """Rows of a [rows, width] array as Arrow binary values, float32 or int32 little endian; no row is copied twice."""
    data = np.ascontiguousarray(matrix, dtype="<i4" if matrix.dtype.kind == "i" else "<f4")
    rows, width = data.shape
    fixed = pa.FixedSizeBinaryArray.from_buffers(pa.binary(width * BYTES_PER_VALUE), rows, [None, pa.py_buffer(data)])
    return fixed.cast(pa.binary())


def unpack(column: pa.Array | pa.ChunkedArray, width: int, dtype: str = "<f4") -> np.ndarray:
    """The inverse of :func:`pack`: a [rows, width] array.

    Raises:
        InputError: a value is null or does not hold ``width`` numbers.
    """
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            column = column.chunk(0)
    if column.null_count:
        raise InputError(
            "a packed vector is null",
            found=f"{column.null_count} nulls",
            expected=f"{width} numbers",
            remedy="write the step before again with --force",
        )
    if not len(column):
        return np.empty((0, width), dtype=dtype)
    expected = width * BYTES_PER_VALUE
    lengths = pc.min_max(pc.binary_length(column)).as_py()
    if lengths != {"min": expected, "max": expected}:
        raise InputError(
            "a packed vector has another width",
            found=f"{lengths['min']} to {lengths['max']} bytes",
            expected=f"{width} numbers, {expected} bytes",
            remedy="compare `ranker.dimension` with the width that the snapshot was written with",
        )
    start = np.frombuffer(column.buffers()[1], dtype="<i4", count=1, offset=4 * column.offset)[0]
    values = np.frombuffer(column.buffers()[2], dtype=dtype, count=len(column) * width, offset=int(start))
    return values.reshape(-1, width)


def width_of(column: Column | str) -> Column:
    """Spark SQL: how many numbers a packed column holds."""
    return (F.octet_length(column) / BYTES_PER_VALUE).cast("int")
