"""Evidence on every column of an audited table: dates, what it knew before and after, and of later labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pyspark import StorageLevel
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from lis_spark.audit.excess import excess_by_window
from lis_spark.audit.findings import Finding
from lis_spark.audit.joined import AFTER, MATCHED, Joined, joined, key_rows
from lis_spark.audit.key_rows import UNITS
from lis_spark.audit.later_labels import WINDOWS
from lis_spark.audit.movement import Estimate, auc_gain, auc_within_blocks
from lis_spark.audit.passes import (
    BY,
    KeyedRows,
    bounds,
    counted_cells,
    dealt,
    sampled_scales,
)
from lis_spark.audit.scales import Scale, number_of_codes
from lis_spark.config import AuditConfig
from lis_spark.errors import InputError, StepFailed
from lis_spark.lake import Lake
from lis_spark.progress import Bar, described

KEYS = ("user", "item")
# Of the bar, after the bins: cells, moments, influence.
_PASSES = 3
_Evidence = tuple[dict[str, Estimate], float | None, dict[str, Estimate]]


def findings(lake: Lake, audit: AuditConfig) -> list[Finding]:
    """What can be said of each column of the table, in no order.

    Raises:
        InputError: the table cannot be audited as it is, or none of its keys is that of an impression.
        StepFailed: the join lost or doubled impressions.
    """
    source = joined(lake, audit)
    source.rows.persist(StorageLevel.DISK_ONLY)  # five jobs read what is joined once
    try:
        return _found(lake, source, audit)
    finally:
        source.rows.unpersist()


def _found(lake: Lake, source: Joined, audit: AuditConfig) -> list[Finding]:
    with described(lake.spark, f"audit of {audit.path}: join and dates"):
        coverage, after, rows = _looked_at(lake, source, audit)
    numbers = tuple(column.place for column in source.columns if column.kind != "id")
    ids = tuple(column.place for column in source.columns if column.kind == "id")
    kept = max(int(rows * audit.key_share), 1)
    scales: dict[str, list[Scale]] = {}
    with Bar("audit", len(KEYS) * (1 + _PASSES)) as bar:
        for key in KEYS:
            with described(lake.spark, f"audit of {audit.path}: bins by {key}"):
                whole = KeyedRows(key_rows(source, key, numbers, ids, audit.key_share), numbers, ids)
                scales[key] = sampled_scales(whole, kept)
            bar.advance()
        if not all(scales.values()):
            raise InputError("the sample holds no user or no item", table=audit.path, remedy="raise audit.key_share")
        # a column belongs to the key in whose rows it changes least
        keys = {column.place: min(KEYS, key=lambda key: scales[key][column.place].change) for column in source.columns}
        tests = len(source.columns) * (len(UNITS) + len(WINDOWS))
        found: list[Finding] = []
        for key in KEYS:
            of_key = (tuple(p for p in numbers if keys[p] == key), tuple(p for p in ids if keys[p] == key))
            if not any(of_key):
                bar.advance(_PASSES)
                continue
            keyed = dealt(KeyedRows(key_rows(source, key, *of_key, audit.key_share), *of_key), kept)
            evidence = _of_key(lake.spark, audit.path, key, keyed, scales[key], bar)
            for place, (added, alone, excess) in evidence.items():
                name = source.columns[place].name
                found.append(Finding(name, key, coverage[place], after[place], alone, added, excess, tests))
    return found


def _of_key(
    spark: SparkSession, table: str | None, key: str, keyed: KeyedRows, scales: Sequence[Scale], bar: Bar
) -> dict[int, _Evidence]:
    """Of each column of the key, by its place: AUC added by unit, AUC of the value alone, and excess by window."""
    chosen = [scales[place] for place in keyed.places]
    keyed.rows.persist()
    try:
        with described(spark, f"audit of {table}: before and after, by {key}"):
            cells = counted_cells(keyed, chosen)
        bar.advance()
        with described(spark, f"audit of {table}: later labels, by {key}"):
            every, apart = bounds(keyed, chosen, bar.advance)
        bar.advance()
    finally:
        keyed.rows.unpersist()
    found: dict[int, _Evidence] = {}
    for index, place in enumerate(keyed.places):
        found[place] = (*_added(cells, index, chosen[index]), excess_by_window(every, apart, index))
    return found


def _added(
    cells: dict[tuple[int, int, int, int], np.ndarray], index: int, scale: Scale
) -> tuple[dict[str, Estimate], float | None]:
    """What the last change adds above the next one, by unit; and the AUC of the value alone."""
    added: dict[str, Estimate] = {}
    for unit, name in enumerate(UNITS):
        # by blocks of keys and by blocks of days: whichever the column varies by, the larger error is its own
        found = [auc_gain(cells[index, unit, 0, by], cells[index, unit, 1, by]) for by in range(len(BY))]
        widest = max(found, key=lambda estimate: estimate.standard_error)
        added[name] = Estimate(found[0].value, widest.standard_error, widest.freedom)
    counts = cells[index, 0, 0, 0]
    width = number_of_codes(scale.change_edges[0])
    alone = auc_within_blocks(counts.reshape(len(counts), -1, width, 2).sum(2))
    return added, None if np.isnan(alone) else alone


def _looked_at(lake: Lake, source: Joined, audit: AuditConfig) -> tuple[dict[int, float], dict[int, float], int]:
    """Coverage and share dated after, by column; and how many rows there are."""
    sums = [F.count(F.lit(1)).alias("rows"), F.count_if(MATCHED).alias("matched")]
    for column in source.columns:
        value = F.col(f"{'id' if column.kind == 'id' else 'value'}_{column.place}")
        there = value.isNotNull() & (~F.isnan(value) if column.kind == "number" else F.lit(True))
        late = F.col(AFTER) | (F.col(f"later_{column.place}") if column.kind in ("day", "instant") else F.lit(False))
        sums += [
            F.count_if(there).alias(f"there_{column.place}"),
            F.count_if(there & late).alias(f"late_{column.place}"),
        ]
    row = source.rows.agg(*sums).first()
    assert row is not None
    expected = lake.read("impressions").where(F.col("scenario") == lake.config.scenario).count()
    if row["rows"] != expected:
        raise StepFailed(
            "the join with the audited table lost or doubled impressions",
            table=audit.path,
            found=f"{row['rows']:,} rows",
            expected=f"{expected:,} impressions",
            remedy="look for doubled keys in the audited table, and run the audit again",
        )
    if not row["matched"]:
        raise InputError(
            f"no impression has its {audit.keyed_by} in the audited table",
            table=audit.path,
            found=f"{audit.key} is never an {audit.keyed_by}_id of impressions, or all dates are after them",
            expected=f"ids as in the lake's impressions ({audit.keyed_by}_id, text)",
            remedy="correct audit.keyed_by and audit.key_column",
        )
    places = [column.place for column in source.columns]
    coverage = {place: row[f"there_{place}"] / expected for place in places}
    after = {place: row[f"late_{place}"] / max(row[f"there_{place}"], 1) for place in places}
    return coverage, after, expected
