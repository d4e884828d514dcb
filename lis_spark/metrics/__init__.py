"""Exact AUC, influence per user, GAUC and calibration; knows nothing of leaks or rankers (method 2)."""

from lis_spark.metrics.comparison import compare, ratio_interval, sum_intervals
from lis_spark.metrics.estimates import Comparison, RatioInterval, SumInterval
from lis_spark.metrics.influence import influence, totals
from lis_spark.metrics.ranks import exact_auc, order_key

__all__ = [
    "Comparison",
    "RatioInterval",
    "SumInterval",
    "compare",
    "exact_auc",
    "influence",
    "order_key",
    "ratio_interval",
    "sum_intervals",
    "totals",
]
