"""Arrow batches that come sorted by user, cut so that a chunk holds whole users."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa


def whole_users(batches: Iterable[pa.RecordBatch], chunk_rows: int) -> Iterator[pa.Table]:
    """Cuts rows sorted by user_id into tables of at least ``chunk_rows`` rows (the last: any), never within a user."""
    held: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        if not batch.num_rows:
            continue
        if count >= chunk_rows:
            users = batch.column("user_id")
            last = held[-1].column("user_id")[-1]
            others = np.flatnonzero(users.dictionary_encode().indices.to_numpy() > 0)
            cut = 0 if users[0] != last else (int(others[0]) if len(others) else batch.num_rows)
            if cut < batch.num_rows:
                yield pa.Table.from_batches([*held, batch.slice(0, cut)])
                held, count, batch = [], 0, batch.slice(cut)
        held.append(batch)
        count += batch.num_rows
    if held:
        yield pa.Table.from_batches(held)
