"""Arrow batches that come sorted by a key, cut so that a chunk holds whole keys; numbers for the keys of a chunk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa


def whole_keys(batches: Iterable[pa.RecordBatch], key: str, chunk_rows: int) -> Iterator[pa.Table]:
    """Cuts rows sorted by ``key`` into tables of at least ``chunk_rows`` rows (the last: any), never within a key."""
    held: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        if not batch.num_rows:
            continue
        if count >= chunk_rows:
            keys = batch.column(key)
            last = held[-1].column(key)[-1]
            others = np.flatnonzero(keys.dictionary_encode().indices.to_numpy() > 0)
            cut = 0 if keys[0] != last else (int(others[0]) if len(others) else batch.num_rows)
            if cut < batch.num_rows:
                yield pa.Table.from_batches([*held, batch.slice(0, cut)])
                held, count, batch = [], 0, batch.slice(cut)
        held.append(batch)
        count += batch.num_rows
    if held:
        yield pa.Table.from_batches(held)


def key_codes(rows: pa.Table, names: Sequence[str]) -> npt.NDArray[np.int64]:
    """Dense numbers from 0, equal for the rows that agree in all of some columns (null agrees with null).

    Args:
        rows: of one chunk.
        names: columns of any type that Arrow encodes.
    """
    codes = np.zeros(rows.num_rows, np.int64)
    for name in names:
        encoded = rows.column(name).combine_chunks().dictionary_encode()
        own = encoded.indices.fill_null(len(encoded.dictionary)).to_numpy().astype(np.int64)
        _, codes = np.unique(codes * (len(encoded.dictionary) + 1) + own, return_inverse=True)
    return codes.astype(np.int64)
