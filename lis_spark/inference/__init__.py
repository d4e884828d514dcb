"""Statistics of estimates that share their users: seeds, many at once, ranks, the best of many, and no effect at all.

Arrays and numbers only; knows no table, no Spark and no configuration.
"""

from lis_spark.inference.equivalence import is_negligible, largest_error, smallest_margin
from lis_spark.inference.ranks import RankSets, rank_sets
from lis_spark.inference.seeds import Estimate, combine_orders, combine_seeds, errors_with_seeds, satterthwaite
from lis_spark.inference.shrinkage import Shrunken, shrink
from lis_spark.inference.simultaneous import SimultaneousIntervals, holm, holm_lower_bounds, simultaneous_intervals

__all__ = [
    "Estimate",
    "RankSets",
    "Shrunken",
    "SimultaneousIntervals",
    "combine_orders",
    "combine_seeds",
    "errors_with_seeds",
    "holm",
    "holm_lower_bounds",
    "is_negligible",
    "largest_error",
    "rank_sets",
    "satterthwaite",
    "shrink",
    "simultaneous_intervals",
    "smallest_margin",
]
