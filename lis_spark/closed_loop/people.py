"""The users of a simulated experiment from one day to the next: arm, satisfaction, and whether they come."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pyspark.sql import Column
from pyspark.sql import functions as F

from lis_spark.config import ClosedLoopConfig, WorldSource
from lis_spark.keyed_random import salt, uniforms

NOBODY = -1
# Days are counted within a user's key.
_DAYS_A_USER = 1 << 20


@dataclass(frozen=True)
class People:
    """By number of the user: ``arms`` int8 (:data:`NOBODY` outside the experiment), ``satisfaction`` float64."""

    arms: npt.NDArray[np.int8]
    satisfaction: npt.NDArray[np.float64]

    def come(self, world: WorldSource, loop: ClosedLoopConfig, users: np.ndarray, day: int) -> npt.NDArray[np.bool_]:
        """Whether each of some users comes on a day that the world would have them come.

        A user's number of the day is the same in every arm, so that arms differ in what satisfaction does alone.
        """
        logit = loop.staying + loop.attachment * self.satisfaction[users]
        drawn = uniforms(salt(world.seed, "comes"), users.astype(np.int64) * _DAYS_A_USER + day, 1)[0]
        return drawn < 1.0 / (1.0 + np.exp(-logit))


def satisfaction_after(loop: ClosedLoopConfig, usual: float) -> Column:
    """Satisfaction after a day, of rows with ``before``, ``impressions`` and ``reads``; who did not come keeps it.

    Args:
        loop: memory.
        usual: reads an impression that the world's own traffic gives.
    """
    felt = F.col("reads") / F.greatest("impressions", F.lit(1)) - F.lit(usual)
    moved = F.lit(loop.memory) * F.col("before") + F.lit(1.0 - loop.memory) * felt
    return F.when(F.col("impressions") > 0, moved).otherwise(F.col("before"))
