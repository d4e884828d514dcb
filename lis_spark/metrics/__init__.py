"""Exact AUC, influence per user, GAUC and calibration; knows nothing of leaks or rankers (method 2)."""

from lis_spark.metrics.combined_estimates import CombinedEstimate
from lis_spark.metrics.comparison import Combinations, combine, compare
from lis_spark.metrics.estimates import Comparison, Gain
from lis_spark.metrics.influence import influence, totals
from lis_spark.metrics.joint import LIS, WITHIN_USER, JointErrors, joint_errors
from lis_spark.metrics.parts import ITEM_PART, USER_PART, part_arm, split_scores
from lis_spark.metrics.ranks import exact_auc, order_key

__all__ = [
    "ITEM_PART",
    "LIS",
    "USER_PART",
    "WITHIN_USER",
    "Combinations",
    "CombinedEstimate",
    "Comparison",
    "Gain",
    "JointErrors",
    "combine",
    "compare",
    "exact_auc",
    "influence",
    "joint_errors",
    "order_key",
    "part_arm",
    "split_scores",
    "totals",
]
