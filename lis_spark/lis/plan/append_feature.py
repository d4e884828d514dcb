"""What the port of one arm of protocol ``append`` reads (method 1.3 to 1.6)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from lis_spark.config import IdTableLeak, Leak, NextClickLeak, SimilarItemsLeak
from lis_spark.keyed_random import salt
from lis_spark.lis.plan.arms import Arm

# Value of ``scope``: the vector enters by the port, no table is swapped.
PORT = "port"
# The vectors of a leak in the wrong order: a control (method 1.6).
ROW_SHUFFLED = "row_shuffled"
# What content predicts of a leak, and the same in the wrong order (method 1.8).
CONTENT = "content"
Made = Literal["as_is", "gaussian", "row_shuffled", "content", "content_shuffled"]


@dataclass(frozen=True)
class AppendFeature:
    """Which rows of which feature table an arm reads; without a table it has no port.

    ``made``: as they are; or those of another key; or what content predicts of them, or of those of another item; or
    in their place, where there are any, Gaussian draws of the same width, one for each key. ``beside`` names an
    ID-table leak whose honest vector of T stands before each vector, see :mod:`lis_spark.lis.append.rung_vectors`.
    ``port_hidden``: through a stronger port, with a hidden layer of so many. ``seed``: the training seed whose arm
    reads it, where other seeds read something else; see :func:`of_seeds`.
    """

    arm: Arm
    leak: Leak
    table: str | None = None
    variant: str = ""
    horizon_days: int = 0
    made: Made = "as_is"
    draw: int = 0
    beside: str | None = None
    port_hidden: int | None = None
    seed: int | None = None

    @property
    def differs_by_seed(self) -> bool:
        """Whether each training seed reads something else: rows of its own tables, an order or draws of its own."""
        reads_tables = isinstance(self.leak, IdTableLeak | NextClickLeak | SimilarItemsLeak)
        return self.table is not None and (reads_tables or self.made != "as_is" or self.beside is not None)

    @property
    def read(self) -> tuple[object, ...]:
        """What decides how the arm is trained: two arms that agree in it are one training."""
        if self.table is None:
            return ()
        what = (self.leak.name, self.table, self.variant, self.horizon_days, self.made, self.draw)
        return (*what, self.beside, self.port_hidden)


def of_seeds(features: Iterable[AppendFeature], seeds: Sequence[int]) -> list[AppendFeature]:
    """What the arms of several training seeds read: once what all of them read, the rest for each of them."""
    listed = list(features)
    shared = [feature for feature in listed if not feature.differs_by_seed]
    return shared + [replace(feature, seed=seed) for seed in seeds for feature in listed if feature.differs_by_seed]


def gaussian_stream(seed: int, draw: int) -> np.uint64:
    """The stream of one of the Gaussian draws that stand in a leak's place, under one training seed."""
    return salt("gaussian draw", seed, draw)
