"""Leaks against each other on one table of influence: their scores over all dates, and what tells them apart (1.8)."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from pyspark.sql import DataFrame

from lis_spark.config.leaks import HONEST, NAIVE
from lis_spark.lis.plan.append_arms import CONTENT, SHUFFLED_GRAPH
from lis_spark.lis.plan.comparisons import Measurement
from lis_spark.lis.results.decision import combine_seeds
from lis_spark.lis.results.misleading import Score
from lis_spark.metrics import Comparison, compare, ratio_interval, sum_intervals

COMPARED = (HONEST, NAIVE, CONTENT, SHUFFLED_GRAPH)


@dataclass
class LeakScores:
    """What is known of one leak; scores are means over seeds, all evaluated dates together."""

    leak: str
    horizon_days: int
    scores: dict[str, Score] = field(default_factory=dict)
    by_horizon: dict[int, Score] = field(default_factory=dict)
    by_date: list[float] = field(default_factory=list)
    gauc: Score | None = None
    sigma_seed: float | None = None
    own_label_share: Score | None = None
    rises: bool = False

    @property
    def decided_by(self) -> str:
        """Honest where there is such a score."""
        return HONEST if HONEST in self.scores else NAIVE

    @property
    def decides(self) -> Score:
        """The score that the leak is judged by."""
        return self.scores[self.decided_by]


@dataclass(frozen=True)
class Entry:
    """The measurements of one score under one seed: one for each date."""

    name: str
    members: tuple[Measurement, ...]

    def pairs(self, folds: int) -> Iterator[dict[str, object]]:
        """Of all dates under one name: dates are ranked apart and their U2 are added."""
        for measurement in self.members:
            for pair in measurement.pairs(folds):
                alone = str(pair["comparison_id"]).removeprefix(measurement.comparison_id)
                yield {**pair, "comparison_id": self.name + alone}

    @property
    def sign(self) -> int:
        """Draws of a control are compared with the leaked arm the other way round."""
        return -1 if self.members[0].draws else 1

    @property
    def draws(self) -> list[str]:
        """Names of the comparisons with single draws."""
        return [f"{self.name}|{control}" for control in self.members[0].draws]


def scores_of_leaks(
    per_user: DataFrame, measurements: Sequence[Measurement], folds: int
) -> tuple[dict[str, LeakScores], dict[tuple[str, str], Score]]:
    """Scores of each leak, and the difference (first less second) of each pair of leaks with honest scores.

    Args:
        per_user: ``influence``.
        measurements: of protocol append over all impressions.
        folds: of users.
    """
    entries = entries_of(measurements, COMPARED)
    listed = [pair for entry in entries.values() for pair in entry.pairs(folds)]
    found = {comparison.comparison_id: comparison for comparison in compare(per_user, listed)}
    seeds = sorted({measurement.seed for measurement in measurements})
    leaks: dict[str, LeakScores] = {}
    for measurement in measurements:
        leak = leaks.setdefault(measurement.leak, LeakScores(measurement.leak, 0))
        if measurement.variant in (HONEST, NAIVE):
            leak.horizon_days = max(leak.horizon_days, measurement.horizon_days)
    for leak in leaks.values():
        for variant in COMPARED:
            own = [entries.get((seed, leak.leak, variant, leak.horizon_days)) for seed in seeds]
            if all(own):
                leak.scores[variant] = _mean([score_of(entry, found) for entry in own if entry])
        decided = [entries[seed, leak.leak, leak.decided_by, leak.horizon_days] for seed in seeds]
        gains = [_gauc(entry, found) for entry in decided]
        leak.gauc = _mean([gain for gain in gains if gain]) if all(gains) else None
        leak.sigma_seed = statistics.stdev(score_of(e, found).value for e in decided) if len(seeds) > 1 else None
        for seed, name, variant, horizon in entries:
            if (name, variant) == (leak.leak, leak.decided_by) and seed == seeds[0]:
                members = [entries[s, name, variant, horizon] for s in seeds]
                leak.by_horizon[horizon] = _mean([score_of(entry, found) for entry in members])
    _add_dates(leaks, per_user, entries, seeds, folds)
    _add_shares(leaks, per_user, entries, seeds, listed)
    honest = [leak for leak in leaks.values() if leak.decided_by == HONEST]
    sums, names = [], []
    for first, second in combinations(honest, 2):
        for seed in seeds:
            one, other = (entries[seed, leak.leak, HONEST, leak.horizon_days] for leak in (first, second))
            sums.append({one.name: one.sign, other.name: -other.sign})
            names.append((first.leak, second.leak, one, other))
    rising = [leak for leak in leaks.values() if len(leak.by_horizon) > 1]
    for leak in rising:
        for seed in seeds:
            one, other = (
                entries[seed, leak.leak, leak.decided_by, horizon]
                for horizon in (max(leak.by_horizon), min(leak.by_horizon))
            )
            sums.append({one.name: one.sign, other.name: -other.sign})
            names.append((leak.leak, leak.leak, one, other))
    gathered: dict[tuple[str, str], list[Score]] = {}
    for (first_name, second_name, one, other), told in zip(names, sum_intervals(per_user, listed, sums), strict=True):
        error = (told.standard_error**2 + scatter_of(one, found) + scatter_of(other, found)) ** 0.5
        gathered.setdefault((first_name, second_name), []).append(Score.of(told.value, error))
    differences = {key: _mean(values) for key, values in gathered.items()}
    for leak in rising:
        leak.rises = differences.pop((leak.leak, leak.leak)).ci_low > 0
    return leaks, differences


def entries_of(measurements: Sequence[Measurement], variants: Sequence[str]) -> dict[tuple[int, str, str, int], Entry]:
    """(seed, leak, variant, n) -> its measurements on all dates, of some variants in one stratum."""
    groups: dict[tuple[int, str, str, int], list[Measurement]] = {}
    for measurement in measurements:
        if measurement.variant in variants:
            key = (measurement.seed, measurement.leak, measurement.variant, measurement.horizon_days)
            groups.setdefault(key, []).append(measurement)
    return {key: Entry("|".join(map(str, key)), tuple(members)) for key, members in groups.items()}


def scatter_of(entry: Entry, found: Mapping[str, Comparison]) -> float:
    """Variance of a mean of draws of the control."""
    values = [found[name].lis for name in entry.draws]
    return statistics.variance(values) / len(values) if values else 0.0


def score_of(entry: Entry, found: Mapping[str, Comparison]) -> Score:
    """Of one seed; the scatter of draws is in its error."""
    comparison = found[entry.name]
    value = entry.sign * comparison.lis
    error = (comparison.standard_error**2 + scatter_of(entry, found)) ** 0.5
    return Score.of(value, error)


def _gauc(entry: Entry, found: Mapping[str, Comparison]) -> Score | None:
    comparison = found[entry.name]
    if comparison.lis_gauc is None or comparison.lis_gauc_standard_error is None:
        return None
    value, error = entry.sign * comparison.lis_gauc, comparison.lis_gauc_standard_error
    return Score.of(value, error)


def _mean(scores: Sequence[Score]) -> Score:
    """Over training seeds."""
    if len(scores) == 1:
        return scores[0]
    value, error, _ = combine_seeds([s.value for s in scores], [s.standard_error for s in scores])
    return Score.of(value, error)


def _add_dates(
    leaks: Mapping[str, LeakScores],
    per_user: DataFrame,
    entries: Mapping[tuple[int, str, str, int], Entry],
    seeds: Sequence[int],
    folds: int,
) -> None:
    """The score that decides on each date alone."""
    alone = {
        (leak.leak, seed, measurement.evaluated_date): measurement
        for leak in leaks.values()
        for seed in seeds
        for measurement in entries[seed, leak.leak, leak.decided_by, leak.horizon_days].members
    }
    pairs = [
        pair
        for measurement in alone.values()
        for pair in measurement.pairs(folds)
        if pair["comparison_id"] == measurement.comparison_id
    ]
    found = {comparison.comparison_id: comparison.lis for comparison in compare(per_user, pairs)}
    by_date: dict[tuple[str, object], list[float]] = {}
    for (leak, _, date), measurement in alone.items():
        sign = -1 if measurement.draws else 1
        by_date.setdefault((leak, date), []).append(sign * found[measurement.comparison_id])
    for (leak, _), values in by_date.items():
        leaks[leak].by_date.append(statistics.fmean(values))


def _add_shares(
    leaks: Mapping[str, LeakScores],
    per_user: DataFrame,
    entries: Mapping[tuple[int, str, str, int], Entry],
    seeds: Sequence[int],
    listed: Sequence[Mapping[str, object]],
) -> None:
    """1 - honest / naive, with one seed: a ratio of means over seeds has no interval here."""
    if len(seeds) > 1:
        return
    both = {
        leak.leak: tuple(entries[seeds[0], leak.leak, variant, leak.horizon_days].name for variant in (HONEST, NAIVE))
        for leak in leaks.values()
        if HONEST in leak.scores and NAIVE in leak.scores
    }
    ratios = [(honest, naive) for honest, naive in both.values()]
    for leak, told in zip(both, ratio_interval(per_user, listed, ratios).values(), strict=True):
        if told is not None and leaks[leak].scores[NAIVE].ci_low > 0:
            leaks[leak].own_label_share = Score(1 - told.value, told.standard_error, 1 - told.ci_high, 1 - told.ci_low)
