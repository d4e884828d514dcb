"""Two parts of a change of logits: what a row's user explains, and what is left to the row's item (method 2.4).

With d_i = leaked logit - control logit, the user part of a row is the mean of d over the user's *other* rows of the
day: it knows nothing of the row's item. The item part is d less the user part. Each is added to the control's logit and
ranked, so that a gain of AUC is told from telling users apart. Only users with at least two rows have both parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from lis_spark.arrow_batches import key_codes, whole_keys
from lis_spark.metrics.products import UNITS

USER_PART, ITEM_PART = "user_part", "item_part"
PARTS = (USER_PART, ITEM_PART)
# A logit beyond this says nothing more, and the change of an infinite one has to be a number.
LARGEST = 1000.0
# Rows that a Python worker holds at a time, besides those of one user.
CHUNK_ROWS = 250_000
_KEYS = ("leaked_arm", "control_arm", "user_id")
_EMITS = ("emits_control", "emits_leaked")


def part_arm(part: str, leaked_arm: str, control_arm: str) -> str:
    """Name of the arm that adds one part of the leaked arm's change to the control's logit."""
    return f"{part}|{leaked_arm}|over|{control_arm}"


def split_scores(paired: DataFrame, group_columns: Sequence[str]) -> DataFrame:
    """The scores of both arms and of both parts, over the users with at least two rows.

    Args:
        paired: group columns, leaked_arm, control_arm, emits_control and emits_leaked (boolean), user_id,
            impression_id, label, request (BIGINT, null where not known), control and leaked (logits, float or double):
            one row for each impression that a leaked arm and its control score.
        group_columns: what makes a ranking of its own, without ``arm``; a user's rows of one group are one day.

    Returns:
        Group columns, arm, user_id, impression_id, label, logit (double), request: for each row :func:`part_arm` of
        both parts, the leaked arm where ``emits_leaked`` and the control arm where ``emits_control``.

    Raises:
        OverflowError: the sum of a user's changes of logit is beyond 64 bits in units of 2^-32.
    """
    names = [*group_columns, *_KEYS, *_EMITS, "impression_id", "label", "request", "control", "leaked"]
    logits = {name: F.col(name).cast("double") for name in ("control", "leaked")}
    rows = paired.select(*names).withColumns({**logits, "label": F.col("label").cast("tinyint")})
    # an exact sum needs no order, but a worker must hold all rows of a user
    by_user = rows.repartition("user_id").sortWithinPartitions("user_id")
    fields = [T.StructField(name, rows.schema[name].dataType) for name in group_columns]
    own = [("arm", T.StringType()), ("user_id", rows.schema["user_id"].dataType)]
    own += [("impression_id", rows.schema["impression_id"].dataType), ("label", T.ByteType())]
    own += [("logit", T.DoubleType()), ("request", T.LongType())]
    schema = T.StructType([*fields, *[T.StructField(*one) for one in own]])
    return by_user.mapInArrow(_split(tuple(group_columns)), schema)


def _split(group_columns: Sequence[str]) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def split(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for chunk in whole_keys(batches, "user_id", CHUNK_ROWS):
            rows = chunk.combine_chunks()
            owners = key_codes(rows, [*group_columns, *_KEYS])
            control, leaked = (np.clip(rows[arm].to_numpy(), -LARGEST, LARGEST) for arm in ("control", "leaked"))
            kept, change, user_part = leave_one_out(owners, leaked - control)
            rows, control = rows.take(pa.array(kept)), control[kept]
            yield _emitted(rows, group_columns, _part_names(USER_PART, rows), control + user_part)
            yield _emitted(rows, group_columns, _part_names(ITEM_PART, rows), control + (change - user_part))
            for arm in ("leaked", "control"):
                chosen = rows.filter(rows[f"emits_{arm}"])
                yield _emitted(chosen, group_columns, chosen[f"{arm}_arm"], chosen[arm].to_numpy())

    return split


def leave_one_out(
    owners: npt.NDArray[np.int64], change: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The mean change of the other rows of the same owner.

    Changes are rounded to whole multiples of 2^-32, so that their sums do not depend on the order of the rows, and a
    change that all rows of an owner share leaves nothing to the item.

    Args:
        owners: shape (rows,), dense integers from 0.
        change: shape (rows,), leaked logit - control logit, finite.

    Returns:
        The rows whose owner has at least two, ascending; of each its own change, rounded, and the mean change of the
        owner's other rows.

    Raises:
        OverflowError: a sum may be beyond 64 bits.
    """
    rows = np.bincount(owners, minlength=1)
    largest = np.zeros(len(rows))
    np.maximum.at(largest, owners, np.abs(change))
    if float((largest * rows).max(initial=0.0)) * UNITS >= 2**62:
        raise OverflowError("the sum of one user's changes of logit is beyond 64 bits")
    units = np.rint(change * UNITS).astype(np.int64)
    totals = np.zeros(len(rows), np.int64)
    np.add.at(totals, owners, units)
    kept = np.flatnonzero(rows[owners] > 1)
    others = (totals[owners[kept]] - units[kept]) / (rows[owners[kept]] - 1)
    return kept, units[kept] / UNITS, others / UNITS


def _part_names(part: str, rows: pa.Table) -> pa.Array:
    pairs = [rows[name].combine_chunks().dictionary_encode() for name in ("leaked_arm", "control_arm")]
    leaked, control = (encoded.indices.to_numpy().astype(np.int64) for encoded in pairs)
    names = [[str(value) for value in encoded.dictionary.to_pylist()] for encoded in pairs]
    numbers, place = np.unique(leaked * max(len(names[1]), 1) + control, return_inverse=True)
    made = [part_arm(part, names[0][n // len(names[1])], names[1][n % len(names[1])]) for n in numbers.tolist()]
    return pa.DictionaryArray.from_arrays(pa.array(place), pa.array(made, pa.string())).cast(pa.string())


def _emitted(
    rows: pa.Table, group_columns: Sequence[str], arms: pa.Array | pa.ChunkedArray, logit: npt.NDArray[np.float64]
) -> pa.RecordBatch:
    same = {name: rows[name] for name in (*group_columns, "user_id", "impression_id", "label", "request")}
    columns = {**same, "arm": arms, "logit": pa.array(logit, pa.float64())}
    names = [*group_columns, "arm", "user_id", "impression_id", "label", "logit", "request"]
    whole = [
        column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        for column in (columns[name] for name in names)
    ]
    return pa.RecordBatch.from_arrays(whole, names=names)
