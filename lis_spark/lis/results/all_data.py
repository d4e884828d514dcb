"""What the honest score would be of a table that lacks nobody's events (method 1.2).

The honest score of F folds withholds one user in F. Under several F it is close to a straight line in 1 / F, whose
value at 1 / F = 0 is estimated by least squares: a weighted sum of the scores, so its interval knows of the users that
they share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import chain

from pyspark.sql import DataFrame

from lis_spark.config.leaks import HONEST
from lis_spark.inference import combine_seeds
from lis_spark.lis.plan.chains import OTHER_FOLDS
from lis_spark.lis.results.estimates import Found
from lis_spark.lis.results.result_row import ResultRow
from lis_spark.lis.results.rows import MEAN, ResultSet
from lis_spark.metrics import combine


def add_all_data(
    results: ResultSet,
    per_user: DataFrame,
    pairs: Mapping[str, Sequence[Mapping[str, object]]],
    comparisons: Found,
) -> None:
    """Writes ``lis_all_data`` beside each honest score that is measured under several numbers of folds.

    Args:
        results: all rows; those of one day and seed, and those of several.
        per_user: the table `influence`.
        pairs: comparison_id -> what it compares.
        comparisons: all of them, and their errors by leaving out users.
    """
    names: dict[tuple[object, ...], dict[int, str]] = {}
    for row, pool in zip(results.rows, results.pools, strict=True):
        if row.variant in (HONEST, OTHER_FOLDS) and row.folds and pool.name in pairs:
            names.setdefault(_place(row), {})[row.folds] = pool.name
    honest = {_place(row): row for row in results.rows if row.variant == HONEST and len(names.get(_place(row), ())) > 1}
    sums = [
        {names[place][folds]: weight for folds, weight in weights_at(list(names[place])).items()} for place in honest
    ]
    combined = combine(per_user, list(chain.from_iterable(pairs.values())), sums)
    found = dict(zip(honest, combined.sums, strict=True))
    for place, row in honest.items():
        own = found[place]
        of_seeds = [one.value for other, one in found.items() if other[1:] == place[1:] and other[0] != MEAN]
        values = of_seeds if row.seed == MEAN else [own.value]
        error = own.standard_error * comparisons.widening(names[place].values())
        if row.standard_error is None:  # too few users, or rows of a class
            row.lis_all_data = own.value
        else:
            row.fill("lis_all_data", combine_seeds(values, error**2, own.clusters))


def weights_at(folds: Sequence[int], place: Fraction = Fraction(0)) -> dict[int, Fraction]:
    """Number of folds F -> weight of its score in the least-squares line in 1 / F at a place.

    Args:
        folds: two different numbers at least.
        place: 1 / F that the line is read at; 0: a table that lacks nobody.
    """
    places = {count: Fraction(1, count) for count in folds}
    mean = sum(places.values(), Fraction(0)) / len(places)
    squares = sum(((one - mean) ** 2 for one in places.values()), Fraction(0))
    return {count: Fraction(1, len(places)) + (place - mean) * (one - mean) / squares for count, one in places.items()}


def _place(row: ResultRow) -> tuple[object, ...]:
    """What a row is of, but for its number of folds."""
    return row.seed, row.evaluated_date, row.protocol, row.leak, row.swap_scope, row.horizon_days, row.stratum
