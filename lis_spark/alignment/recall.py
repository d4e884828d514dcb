"""Mean recall: how often an item's own target is among the nearest, both ways; the monitor of the paper (method 5)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

CUTS = (1, 5, 10)
# Similarities are compared in steps of this: the same vectors in other places of a matrix differ in their last bits.
STEP = 1e-6
ROWS_AT_ONCE = 1024
Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Recall:
    """Shares of items whose own counterpart is among the nearest k, k of CUTS, by the direction of the question."""

    gallery: int
    content_to_id: tuple[float, ...]
    id_to_content: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Over cuts and directions."""
        return float(np.mean(self.content_to_id + self.id_to_content))

    @property
    def chance(self) -> float:
        """What a random order reaches."""
        return float(np.mean([min(1.0, cut / self.gallery) for cut in CUTS]))


def recall(vectors: Vectors, targets: Vectors) -> Recall:
    """Of validation items, all of which are the gallery.

    Args:
        vectors: [items, d], of length 1.
        targets: [items, d], of length 1, in the order of the items.
    """
    ways = (_ranks(vectors, targets), _ranks(targets, vectors))
    shares = [tuple(float((ranks <= cut).mean()) for cut in CUTS) for ranks in ways]
    return Recall(len(vectors), shares[0], shares[1])


def _ranks(asked: Vectors, gallery: Vectors) -> npt.NDArray[np.int64]:
    """Pessimistic: others that are as near come first, or a model that says the same of all would be perfect."""
    ranks = np.empty(len(asked), np.int64)
    for start in range(0, len(asked), ROWS_AT_ONCE):
        rows = np.arange(start, min(start + ROWS_AT_ONCE, len(asked)))
        steps = np.rint(asked[rows].astype(np.float64) @ gallery.T.astype(np.float64) / STEP)
        own = steps[np.arange(len(rows)), rows]
        ranks[rows] = (steps >= own[:, None]).sum(1)  # its own is among them, as the 1 of 1 + others
    return ranks
