"""Packed vectors: what goes in comes out, bit for bit, and another width is refused."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from lis_spark.errors import InputError
from lis_spark.ranker.vector_files import find_rows
from lis_spark.vectors import pack, unpack


@given(arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=6)))
def test_float_vectors_come_back_bit_for_bit(matrix: np.ndarray) -> None:
    packed = pack(matrix)
    assert packed.type == pa.binary()
    assert packed[0].as_py() == matrix[0].astype("<f4").tobytes()
    back = unpack(packed, matrix.shape[1])
    assert back.tobytes() == matrix.astype("<f4").tobytes()
    assert unpack(packed[1:], matrix.shape[1]).tobytes() == matrix[1:].astype("<f4").tobytes()


def test_integer_rows_and_chunks() -> None:
    rows = np.array([[3, -1], [7, 2]], dtype=np.int32)
    chunked = pa.chunked_array([pack(rows), pack(rows[:1])])
    assert unpack(chunked, 2, "<i4").tolist() == [[3, -1], [7, 2], [3, -1]]
    assert unpack(pa.array([], pa.binary()), 4).shape == (0, 4)


def test_another_width_and_a_null_are_refused() -> None:
    with pytest.raises(InputError, match="another width") as error:
        unpack(pack(np.zeros((2, 3), np.float32)), 4)
    assert "12 to 12 bytes" in str(error.value) and "4 numbers, 16 bytes" in str(error.value)
    with pytest.raises(InputError, match="1 nulls"):
        unpack(pa.array([b"1234", None]), 1)


@given(st.sets(st.integers(-(2**63), 2**63 - 1)), st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_rows_of_a_table_are_found_by_their_numbers(table: set[int], others: list[int]) -> None:
    rows = sorted(table)
    wanted = [*others, *rows, *others]
    places = find_rows(np.array(rows, np.int64), np.array(wanted, np.int64))
    assert places.tolist() == [rows.index(row) if row in table else len(rows) for row in wanted]
