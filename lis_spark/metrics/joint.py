"""What comparisons share: correlations of their errors, and errors by leaving out one user at a time (method 2.2).

A second pass over the influence table, with the totals of the first. A user's influence is rounded to a whole multiple
of 2^-40 standard errors and products are summed as integers, so the same inputs give the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lis_spark.arrow_batches import whole_keys
from lis_spark.metrics.estimates import Comparison
from lis_spark.metrics.influence import MEASURES
from lis_spark.metrics.integers import IntArray, exact_dot, exact_sum
from lis_spark.metrics.moments import CHUNK_ROWS, number_units, numbered_rankings
from lis_spark.metrics.products import Unit
from lis_spark.metrics.terms import UnitTerms

Numbers = npt.NDArray[np.float64]
UserChunk = tuple[list[IntArray], npt.NDArray[np.integer], dict[str, IntArray], int]
# An influence of one standard error is so many whole units.
SCALE = 2**40
LIS, WITHIN_USER = "lis", "within_user"
KINDS = (LIS, WITHIN_USER)
# 2^20 x 2^20 x 2^12 rows stay below 2^53: sums of doubles that are whole numbers are exact in any order
_GRAM_BITS, _GRAM_ROWS = 20, 2**12
_GRAM_MASK = 2**_GRAM_BITS - 1
_KEYS, _SUMS = ("family", "kind", "left", "right"), ("gram", "deviation", "square")
_SCHEMA = "family int, kind string, left int, right int, " + ", ".join(f"{name} decimal(38,0)" for name in _SUMS)
_EXACT = pa.decimal128(38, 0)


@dataclass(frozen=True)
class JointErrors:
    """Errors of several estimates of one kind on shared users.

    Attributes:
        names: comparison_id of each, k.
        correlation: [k, k]; 0 beside an estimate without an error, 1 on the diagonal.
        jackknife: standard error of each by leaving out one user at a time, with the weights of the rankings (folds,
            days) free; None where no user but one has pairs.
    """

    names: tuple[str, ...]
    correlation: Numbers
    jackknife: tuple[float | None, ...]


def joint_errors(
    influences: DataFrame, families: Sequence[Sequence[Comparison]], correlated: bool = True
) -> list[dict[str, JointErrors]]:
    """Correlations and jackknife errors of the LIS, and of the AUC within users, of families of comparisons.

    All families take one Spark job.

    Args:
        influences: the table that the comparisons were made of.
        families: those that are read together, as :func:`lis_spark.metrics.compare` returns them.
        correlated: whether correlations within a family are wanted, which are k^2 sums; otherwise they are left at 0.

    Returns:
        Of each family, kind (:data:`LIS`, :data:`WITHIN_USER`) -> errors, in the order of its comparisons.
    """
    comparisons = [comparison for family in families for comparison in family]
    if not comparisons:
        return [{kind: JointErrors((), np.zeros((0, 0)), ()) for kind in KINDS} for _ in families]
    terms = [comparison.terms for comparison in comparisons]
    units = [term.unit for own in terms for term in own]
    numbers, positions = number_units(units)
    rows = numbered_rankings(influences, numbers, tuple(units[0].cell))
    errors = {
        LIS: [comparison.auc.standard_error or 0.0 for comparison in comparisons],
        WITHIN_USER: [c.within_user.standard_error or 0.0 if c.within_user else 0.0 for c in comparisons],
    }
    starts = np.cumsum([0, *map(len, families)]).tolist()
    places = [range(start, end) for start, end in pairwise(starts)]
    partial = rows.mapInArrow(_chunk_sums(terms, positions, errors, places, correlated), _SCHEMA)
    summed = partial.groupBy(*_KEYS).agg(*[F.sum(name).alias(name) for name in _SUMS]).collect()
    found: list[dict[tuple[str, int, int], dict[str, int]]] = [{} for _ in families]
    for row in summed:
        key = (row["kind"], row["left"], row["right"])
        found[row["family"]][key] = {name: int(row[name]) for name in _SUMS}
    return [
        {kind: _joint(kind, [errors[kind][place] for place in own], family, sums) for kind in KINDS}
        for own, family, sums in zip(places, families, found, strict=True)
    ]


def _joint(
    kind: str,
    errors: Sequence[float],
    comparisons: Sequence[Comparison],
    found: Mapping[tuple[str, int, int], Mapping[str, int]],
) -> JointErrors:
    names = tuple(comparison.comparison_id for comparison in comparisons)
    k = len(names)
    correlation = np.eye(k)
    for left in range(k):
        for right in range(left + 1, k):
            both = found[kind, left, right]["gram"] if (kind, left, right) in found else 0
            squares = found[kind, left, left]["gram"] * found[kind, right, right]["gram"]
            if squares:
                correlation[left, right] = correlation[right, left] = both / math.sqrt(squares)
    jackknife: list[float | None] = []
    for place, comparison in enumerate(comparisons):
        gain = comparison.auc if kind == LIS else comparison.within_user
        own = found[kind, place, place]
        if gain is None or gain.standard_error is None:
            jackknife.append(None)
            continue
        users = gain.clusters
        # sum of squares about the mean, of deviations in units of the standard error
        about_mean = own["square"] - own["deviation"] ** 2 / users
        unit = errors[place] or 1.0
        jackknife.append(math.sqrt(max(about_mean, 0.0) * (users - 1) / users) / SCALE * unit)
    return JointErrors(names, correlation, tuple(jackknife))


def _chunk_sums(
    terms: Sequence[Sequence[UnitTerms]],
    positions: Sequence[Unit],
    errors: Mapping[str, Sequence[float]],
    families: Sequence[range],
    correlated: bool,
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    # a function that Spark sends to its workers takes plain data along
    starts = np.cumsum([0, *[len(own) for own in terms]]).tolist()

    def chunks(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for rows, users, measures, people in user_chunks(batches, positions):
            effects = [
                user_effects(own, positions[start : start + len(own)], rows, users, measures, people)
                for own, start in zip(terms, starts, strict=False)
            ]
            for family, places in enumerate(families):
                for kind in KINDS if places else ():
                    own = [effects[place][kind] for place in places]
                    yield _sums_of_kind(family, kind, own, [errors[kind][place] for place in places], correlated)

    return chunks


def user_chunks(batches: Iterable[pa.RecordBatch], units: Sequence[Unit]) -> Iterator[UserChunk]:
    """Rows of an influence table with the number of their ranking, some whole users at a time.

    Args:
        batches: see :func:`lis_spark.metrics.moments.numbered_rankings`.
        units: whose rankings are wanted.

    Returns:
        Of each chunk: ranking -> its rows, users ascending; user (dense integers from 0) of each row; name of a measure
        -> its values; how many users there are.
    """
    rankings = max(max(unit.control, *unit.leaked) for unit in units) + 1
    for chunk in whole_keys(batches, "user_id", CHUNK_ROWS):
        users = chunk.column("user_id").combine_chunks().dictionary_encode().indices.to_numpy()
        measures = {name: chunk.column(name).to_numpy() for name in MEASURES}
        numbers = chunk.column("ranking").to_numpy()
        order = np.lexsort((users, numbers))
        bounds = np.searchsorted(numbers[order], np.arange(rankings + 1))
        rows = [order[bounds[number] : bounds[number + 1]] for number in range(rankings)]
        yield rows, users, measures, int(users.max()) + 1


def user_effects(
    terms: Sequence[UnitTerms],
    units: Sequence[Unit],
    rows: Sequence[IntArray],
    users: npt.NDArray[np.integer],
    measures: Mapping[str, IntArray],
    people: int,
) -> dict[str, tuple[Numbers, Numbers]]:
    """Of one comparison, for each user of a chunk: its influence, and what the estimate changes by without it.

    Args:
        terms: the units of the comparison, with their totals.
        units: the rankings of each.
        rows: ranking -> rows of the chunk, users ascending.
        users: shape (rows,), dense integers from 0.
        measures: name -> shape (rows,).
        people: users in the chunk.

    Returns:
        Kind -> (influence, change), shape (people,) each.
    """
    influence = {kind: np.zeros(people) for kind in KINDS}
    removed = {kind: (np.zeros(people), np.zeros(people)) for kind in KINDS}
    for term, unit in zip(terms, units, strict=True):
        control = rows[unit.control]
        own = users[control]
        p, n = measures["positives"][control], measures["negatives"][control]

        def difference(name: str, control: IntArray = control, unit: Unit = unit) -> Numbers:
            """The mean over the replicates, less the control's."""
            leaked = [measures[name][rows[number]] for number in unit.leaked]
            return np.add.reduce(leaked) / len(leaked) - measures[name][control]

        up, un, within = (difference(name) for name in ("u2_positives", "u2_negatives", "u2_within_user"))
        influence[LIS][own] += term.change * (up + un) + term.positive * p + term.negative * n
        influence[WITHIN_USER][own] += term.within_change * within + term.within_pairs * (2.0 * p * n)
        for kind, gained, weight in (
            (LIS, up + un - within, 2.0 * (p * float(term.negatives) + n * float(term.positives) - p * n)),
            (WITHIN_USER, within, 2.0 * p * n),
        ):
            removed[kind][0][own] += term.share * gained
            removed[kind][1][own] += term.share * weight
    totals = {
        LIS: (sum(term.gained for term in terms), sum(term.weight for term in terms)),
        WITHIN_USER: (sum(term.within_gained for term in terms), sum(term.within_weight for term in terms)),
    }
    return {kind: (influence[kind], _changes(*totals[kind], *removed[kind])) for kind in KINDS}


def _changes(gained: float, weight: float, gained_of_user: Numbers, weight_of_user: Numbers) -> Numbers:
    """(gained - own) / (weight - own weight) - gained / weight; 0 where nothing would be left."""
    left = weight - weight_of_user
    possible = left > 0
    own = gained_of_user * weight - gained * weight_of_user
    return np.where(possible, -own / np.where(possible, left * weight, 1.0), 0.0) if weight else np.zeros(len(left))


def _sums_of_kind(
    family: int, kind: str, effects: Sequence[tuple[Numbers, Numbers]], errors: Sequence[float], correlated: bool
) -> pa.RecordBatch:
    scales = [SCALE / (error or 1.0) for error in errors]
    units = [
        tuple(np.rint(values * scale).astype(np.int64) for values in both)
        for both, scale in zip(effects, scales, strict=True)
    ]
    influences = [influence for influence, _ in units]
    gram = exact_gram(np.stack(influences, axis=1)) if correlated else []
    columns_right = len(units) if correlated else 0
    listed = [(left, right) for left in range(len(units)) for right in range(left, max(left + 1, columns_right))]
    changes = [change for _, change in units]
    columns: dict[str, list[object]] = {name: [] for name in _SUMS}
    for left, right in listed:
        is_own = left == right
        both = gram[left][right] if correlated else exact_dot(influences[left], influences[left])
        columns["gram"].append(Decimal(both))
        columns["deviation"].append(Decimal(exact_sum(changes[left]) if is_own else 0))
        columns["square"].append(Decimal(exact_dot(changes[left], changes[left]) if is_own else 0))
    arrays = [
        pa.array([family] * len(listed), pa.int32()),
        pa.array([kind] * len(listed)),
        *(pa.array(side, pa.int32()) for side in zip(*listed, strict=True)),
    ]
    arrays += [pa.array(columns[name], _EXACT) for name in _SUMS]
    return pa.RecordBatch.from_arrays(arrays, names=[*_KEYS, *_SUMS])


def exact_gram(values: IntArray) -> list[list[int]]:
    """Sums of products of all pairs of columns as Python integers.

    Args:
        values: shape (rows, columns), below 2^60 in size.
    """
    columns = values.shape[1]
    total = [[0] * columns for _ in range(columns)]
    for start in range(0, len(values), _GRAM_ROWS):
        block = values[start : start + _GRAM_ROWS]
        digits = [block & _GRAM_MASK, (block >> _GRAM_BITS) & _GRAM_MASK, block >> (2 * _GRAM_BITS)]
        limbs = [digit.astype(np.float64) for digit in digits]
        for left_place, left in enumerate(limbs):
            for right_place, right in enumerate(limbs):
                shift = _GRAM_BITS * (left_place + right_place)
                for row, sums in enumerate((left.T @ right).tolist()):
                    for column, value in enumerate(sums):
                        total[row][column] += int(value) << shift
    return total
