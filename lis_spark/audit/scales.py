"""In which units an audited column is looked at: bins of its values and of its changes, from a sample of whole keys."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lis_spark.audit.key_rows import NONE, UNITS, KeyRows, Numbers

# Few bins: what a column gives away, it gives away coarsely, and every cell of bins has to be learned.
VALUE_BINS, CHANGE_BINS = 4, 6
# Beyond these quantiles of the sample a value says nothing more.
TAIL = 0.001


@dataclass(frozen=True)
class Scale:
    """Of one column: its extremes, its middle and spread, how much it changes between a key's requests, and its bins.

    ``change`` is the variance of a change, as a share of that between two rows at random: 0 for a column that belongs
    to the key, near 1 for one that has nothing to do with it.
    """

    low: float
    high: float
    middle: float
    spread: float
    change: float
    value_edges: tuple[float, ...]
    change_edges: tuple[tuple[float, ...], ...]

    def standardised(self, values: Numbers) -> Numbers:
        """Within the extremes, around 0; 0 where there is none."""
        kept = np.where(np.isfinite(values), np.clip(values, self.low, self.high), self.middle)
        return (kept - self.middle) / (self.spread or 1.0)

    def cells(self, rows: KeyRows, column: int, unit: str) -> tuple[np.ndarray, np.ndarray]:
        """Of each row, the cell of (value, change since the neighbour before) and of (value, change until the next)."""
        edges = self.change_edges[UNITS.index(unit)]
        value = codes(rows.values[:, column], self.value_edges)
        before, after = rows.moved(column, unit)
        width = number_of_codes(edges)
        return value * width + codes(before, edges), value * width + codes(after, edges)


def scales_of(rows: KeyRows) -> list[Scale]:
    """Those of all columns, from a sample of whole keys."""
    return [_scale(rows, column) for column in range(rows.values.shape[1])]


def _scale(rows: KeyRows, column: int) -> Scale:
    values = rows.values[:, column]
    finite = values[np.isfinite(values)]
    if not len(finite):
        finite = np.zeros(1)
    low, middle, high = np.quantile(finite, (TAIL, 0.5, 1 - TAIL)).tolist()
    changes = []
    for unit in UNITS:
        before, after = rows.moved(column, unit)
        changes.append(_edges(np.concatenate([before, after]), CHANGE_BINS))
    before_row, _ = rows.neighbours("request")
    if rows.is_id[column]:
        known = (before_row != NONE) & (rows.ids[:, column] != 0)
        differs = rows.ids[known, column] != rows.ids[before_row[known], column]
        change = float(differs.mean()) if known.any() else 1.0
    else:
        moved = rows.moved(column, "request")[0]
        moved = moved[np.isfinite(moved)]
        change = float(np.var(moved) / (2 * np.var(finite))) if len(moved) and np.var(finite) > 0 else 1.0
    clipped = np.clip(finite, low, high)
    edges = _edges(finite, VALUE_BINS)
    return Scale(low, high, middle, float(clipped.std()), change, edges, tuple(changes))


def _edges(values: Numbers, bins: int) -> tuple[float, ...]:
    finite = values[np.isfinite(values)]
    if not len(finite):
        return (0.0,)
    return tuple(np.unique(np.quantile(finite, np.linspace(0, 1, bins + 1)[1:-1])).tolist())


def number_of_codes(edges: tuple[float, ...]) -> int:
    """How many codes there are with so many edges."""
    return 2 * len(edges) + 2


def codes(values: Numbers, edges: tuple[float, ...]) -> np.ndarray:
    """The bin of each value: an edge that many values share is a bin of its own, and so is a value that is missing."""
    found = np.searchsorted(edges, values, "left") + np.searchsorted(edges, values, "right")
    found[~np.isfinite(values)] = 2 * len(edges) + 1
    return found
