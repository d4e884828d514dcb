"""Counts of what a chain was given itself, where it is not given all that the table counts (method 1.2).

The counts of ``training_rows`` are of everybody. A chain that holds out a fold from its fork on must not learn from
them what the fold clicked later: an item's rate on the day after T holds the labels of T that are scored. So what a
chain was not given since its fork, and labels that it was given otherwise, are taken off the counts of its rows.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lis_spark.ranker.day_reader import DayRows
from lis_spark.ranker.plans import RankerSpec
from lis_spark.ranker.processes import Rank


class WithheldCounts:
    """Impressions and positives, by value of each counted feature, that the table counts and the chain has not seen.

    Of the size of the values that the withheld rows show.

    Args:
        spec: which features are counted, and by which label.
        rank: of the group that trains the chain: what its ranks have withheld is added up.
    """

    def __init__(self, spec: RankerSpec, rank: Rank) -> None:
        self.spec, self.rank = spec, rank
        self.known = {name: (np.empty(0, np.int64), np.zeros((1, 2), np.int64)) for name in spec.counted}
        self.of_all = np.zeros(2, np.int64)

    def add(self, rows: DayRows, given: np.ndarray, labels: np.ndarray) -> None:
        """Notes one day.

        Args:
            rows: this rank's share of the day, as the table has it.
            given: bool [rows], which of them the chain was given.
            labels: float32 [rows, labels], as it was given them.
        """
        if self.spec.counts is None:
            return
        place = self.spec.labels.index(self.spec.counts.label)
        seen = np.stack([given, given * labels[:, place]], axis=1).astype(np.int64)
        counted = np.stack([np.ones(len(rows)), rows.labels[:, place]], axis=1).astype(np.int64)
        missing = counted - seen
        differs = missing.any(axis=1)
        parts: list[object] = [missing.sum(axis=0)]
        for name in self.spec.counted:
            keys = rows.rows[differs, self._place(name)].astype(np.int64)
            parts.append(_summed(keys[keys >= 0], missing[differs][keys >= 0]))
        for others in self.rank.gathered(parts):
            assert isinstance(others, list)
            of_all, *by_feature = others
            self.of_all = self.of_all + of_all
            for name, (keys, sums) in zip(self.spec.counted, by_feature, strict=True):
                old_keys, old_sums = self.known[name]
                merged_keys, merged = _summed(np.r_[old_keys, keys], np.r_[old_sums[:-1], sums])
                self.known[name] = (merged_keys, np.r_[merged, np.zeros((1, 2), np.int64)])

    def taken_off(self, rows: DayRows) -> DayRows:
        """The same rows with the counts that the chain has seen itself."""
        if not any(len(keys) for keys, _ in self.known.values()):
            return rows
        counts = rows.counts.copy()
        for number, name in enumerate(self.spec.counted):
            keys, sums = self.known[name]
            values = rows.rows[:, self._place(name)]
            found = np.searchsorted(keys, values)
            is_known = (found < len(keys)) & (keys[np.minimum(found, len(keys) - 1)] == values) if len(keys) else False
            counts[:, 2 * number : 2 * number + 2] -= sums[np.where(is_known, found, len(keys))]
        counts[:, -2:] -= self.of_all
        return replace(rows, counts=counts)

    def _place(self, name: str) -> int:
        return [feature.name for feature in self.spec.features].index(name)


def _summed(keys: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct keys, ascending, and the sums of their values [keys, 2]."""
    distinct, place = np.unique(keys, return_inverse=True)
    sums = np.zeros((len(distinct), 2), np.int64)
    np.add.at(sums, place, values)
    return distinct, sums
