"""Exact integer moments of influence by user: all that intervals and ratios need, in one Spark job (method 2.2).

A *unit* is one comparison within one ranking (a day, a fold, a stratum). With, for a user in a unit,
p and n its positives and negatives, c the control's U2 share of both sides, d the leaked arms' sum of the same minus
R times c (R replicates), m the impressions where the user has both classes, g the difference of m x AUC of the user in
units of 2^-32, b the doubled pairs of the user's own rows and w the difference of their U2, q and r the same among the
rows of a request, the job returns the sums over users of the products that a variance is made of, for every pair of
units in which one user stands. Users, not rows, are the clusters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import reduce

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from lis_spark.arrow_batches import whole_keys
from lis_spark.errors import InputError, StepFailed
from lis_spark.metrics.checks import SAMPLE_ROWS, check_columns, group_name, sides_differ
from lis_spark.metrics.influence import MEASURES
from lis_spark.metrics.pairs import ArmPair
from lis_spark.metrics.products import PRODUCTS, SUMS, PairSums, Unit, pair_sums

# Rows of the influence table that a Python worker holds at a time, besides those of one user.
CHUNK_ROWS = 500_000
_KEYS = ("bundle", "left", "right")
_COUNTS = ("users", "users_with_both_classes", "users_with_request_pairs", "members", "uneven")
_EXACT, _TOO_LARGE = pa.decimal128(38, 0), 10**38


@dataclass(frozen=True)
class Moments:
    """Sums over the users that stand in both of two units, which may be one and the same.

    ``users``, ``users_with_both_classes`` and ``users_with_request_pairs`` count each user of a bundle once, in one of
    its units; ``members`` are all users of a unit.
    """

    left: int
    right: int
    products: Mapping[str, int]
    sums: Mapping[str, int]
    users: int
    users_with_both_classes: int
    users_with_request_pairs: int
    members: int


def collect_moments(
    influences: DataFrame,
    units: Sequence[ArmPair],
    bundles: Sequence[Sequence[int]],
    table: str = "influence",
) -> list[list[Moments]]:
    """The moments of every bundle, in one job.

    Args:
        influences: see :func:`lis_spark.metrics.influence`; the units' cell columns and ``arm`` among its groups.
        units: what is compared with what.
        bundles: positions in ``units`` whose covariances are wanted together: the units of one comparison, or of the
            two comparisons of a ratio.
        table: name in error messages.

    Returns:
        One list for each bundle: the moments of its units, and of its pairs of units that share users.

    Raises:
        InputError: a column or an arm is missing, or two arms of a unit do not cover the same impressions.
        StepFailed: a sum is beyond decimal(38,0), or the sides of a U2 differ.
    """
    cell_columns = tuple(units[0].cell)
    check_columns(influences, [*cell_columns, "arm", "user_id", *MEASURES], table)
    numbers, positions = number_units(units)
    rows = numbered_rankings(influences, numbers, cell_columns)
    schema = T.StructType(
        [
            *[T.StructField(name, T.IntegerType()) for name in _KEYS],
            *[T.StructField(name, T.LongType()) for name in (*_COUNTS, "too_large")],
            *[T.StructField(name, T.DecimalType(38, 0)) for name in (*PRODUCTS, *SUMS)],
        ]
    )
    partial = rows.mapInArrow(_chunk_sums(positions, bundles), schema)
    # try_sum: null where it does not fit, whatever the session's ANSI setting
    summed = partial.groupBy(*_KEYS).agg(
        *[F.sum(name).alias(name) for name in (*_COUNTS, "too_large")],
        *[F.try_sum(name).alias(name) for name in (*PRODUCTS, *SUMS)],
    )
    result: list[list[Moments]] = [[] for _ in bundles]
    for row in sorted(summed.collect(), key=lambda row: [row[name] for name in _KEYS]):
        unit = units[row["left"]]
        if row["uneven"]:
            raise _uneven(influences, unit, row["uneven"], table)
        if row["too_large"] or any(row[name] is None for name in (*PRODUCTS, *SUMS)):
            raise StepFailed(
                "a sum over the users is beyond decimal(38,0)",
                table=table,
                partition=unit.name,
                remedy="measure fewer days or users at once",
            )
        products = {name: int(row[name]) for name in PRODUCTS}
        sums = {name: int(row[name]) for name in SUMS}
        if row["left"] == row["right"]:
            _check_sides(sums, unit)
        result[row["bundle"]].append(
            Moments(row["left"], row["right"], products, sums, *[row[name] for name in _COUNTS[:4]])
        )
    for bundle, found in zip(bundles, result, strict=True):
        with_users = {moments.left for moments in found if moments.sums["p"] or moments.sums["n"]}
        for number in set(bundle) - with_users:
            raise _uneven(influences, units[number], 0, table)
    return result


def number_units(units: Sequence[ArmPair]) -> tuple[dict[tuple[object, ...], int], list[Unit]]:
    """(arm, cell) -> number of the ranking, and the numbers that each unit compares."""
    numbers: dict[tuple[object, ...], int] = {}
    positions = []
    for unit in units:
        rankings = [numbers.setdefault((arm, *unit.cell.values()), len(numbers)) for arm in unit.arms]
        positions.append(Unit(rankings[0], tuple(rankings[1:])))
    return numbers, positions


def numbered_rankings(
    influences: DataFrame, numbers: Mapping[tuple[object, ...], int], cell_columns: Sequence[str]
) -> DataFrame:
    """The rows of the wanted rankings with the ranking's number, the rows of a user together."""
    schema = T.StructType(
        [
            T.StructField("ranking", T.IntegerType()),
            *[T.StructField(name, influences.schema[name].dataType) for name in ("arm", *cell_columns)],
        ]
    )
    rows = [(number, *key) for key, number in numbers.items()]
    wanted = influences.sparkSession.createDataFrame(rows, schema)
    same = [influences[name].eqNullSafe(wanted[name]) for name in ("arm", *cell_columns)]
    joined = influences.join(F.broadcast(wanted), reduce(lambda left, right: left & right, same))
    narrow = joined.select("ranking", influences["user_id"], *MEASURES)
    return narrow.repartition("user_id").sortWithinPartitions("user_id")


def _chunk_sums(
    units: Sequence[Unit], bundles: Sequence[Sequence[int]], chunk_rows: int = CHUNK_ROWS
) -> Callable[[Iterable[pa.RecordBatch]], Iterable[pa.RecordBatch]]:
    def chunks(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for chunk in whole_keys(batches, "user_id", chunk_rows):
            users = chunk.column("user_id").combine_chunks().dictionary_encode().indices.to_numpy()
            measures = {name: chunk.column(name).to_numpy() for name in MEASURES}
            rankings = chunk.column("ranking").to_numpy()
            yield from _to_arrow(list(pair_sums(rankings, users, measures, units, bundles)))

    return chunks


def _to_arrow(found: Sequence[PairSums]) -> Iterator[pa.RecordBatch]:
    exact = [{**row.products, **row.sums} for row in found]
    # a null would be skipped by the sum that follows, so what does not fit is counted
    too_large = [sum(abs(value) >= _TOO_LARGE for value in values.values()) for values in exact]
    columns = {}
    for name, data_type in [*[(key, pa.int32()) for key in _KEYS], *[(count, pa.int64()) for count in _COUNTS]]:
        columns[name] = pa.array([getattr(row, name) for row in found], data_type)
    columns["too_large"] = pa.array(too_large, pa.int64())
    for name in (*PRODUCTS, *SUMS):
        fitting = [values[name] if abs(values[name]) < _TOO_LARGE else 0 for values in exact]
        columns[name] = pa.array([Decimal(value) for value in fitting], _EXACT)
    yield from pa.Table.from_pydict(columns).to_batches()


def _check_sides(sums: Mapping[str, int], unit: ArmPair) -> None:
    for arm in ("control", "leaked"):
        above, below = sums[f"{arm}_u2_positives"], sums[f"{arm}_u2_negatives"]
        if above != below:
            raise sides_differ(f"{unit.name}, {arm} arm", above, below)


def _uneven(influences: DataFrame, unit: ArmPair, affected: int, table: str) -> InputError:
    """Says how the arms of a unit differ: users and impressions by arm, and a few of the users."""
    cell = [F.col(name).eqNullSafe(F.lit(value)) for name, value in unit.cell.items()]
    rows = influences.where(reduce(lambda left, right: left & right, cell, F.col("arm").isin(*unit.arms)))
    totals = [F.count(F.lit(1)).alias("users"), F.sum("positives").alias("p"), F.sum("negatives").alias("n")]
    counted = {
        row["arm"]: f"{row['users']:,} users, {row['p']:,} positives, {row['n']:,} negatives"
        for row in rows.groupBy("arm").agg(*totals).collect()
    }
    differing = (
        rows.groupBy("user_id")
        .agg(F.array_sort(F.collect_list(F.struct("arm", "positives", "negatives"))).alias("arms"))
        .where(
            f"size(arms) <> {len(unit.arms)} OR "
            "size(array_distinct(transform(arms, arm -> struct(arm.positives, arm.negatives)))) > 1"
        )
        .orderBy("user_id")
        .limit(SAMPLE_ROWS)
    )
    sample = "; ".join(
        f"user {row['user_id']}: " + ", ".join(f"{arm} {p} and {n}" for arm, p, n in row["arms"])
        for row in differing.collect()
    )
    missing = [arm for arm in unit.arms if arm not in counted]
    wrong = (
        f"arms have no scores: {', '.join(missing)}"
        if missing
        else f"the arms cover different impressions of {affected:,} users"
    )
    return InputError(
        wrong,
        table=table,
        partition=f"comparison {unit.comparison_id}: {group_name(unit.cell, list(unit.cell))}",
        found="; ".join(f"{arm}: {counted.get(arm, 'nothing')}" for arm in unit.arms)
        + ("" if missing else f" | {sample}"),
        expected="every arm scores the same impressions of the same users",
        remedy="score the missing impressions, or leave them out of every arm",
    )
