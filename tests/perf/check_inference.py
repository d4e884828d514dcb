"""Whether intervals, rank sets and shrunken estimates hold what they promise, over simulated worlds; exits with 1 where
one does not.

python -m tests.perf.check_inference                  every line of the table, eight minutes on one core
python -m tests.perf.check_inference --worlds 200     a first look; bounds are as wide as so few worlds ask for

A world is what a table of results is made of: users whose influence is normal and correlated between estimates, their
covariance estimated from the same users, and training seeds where there are some.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lis_spark.inference import combine_seeds, errors_with_seeds, rank_sets, shrink, simultaneous_intervals

Numbers = npt.NDArray[np.float64]
SEEDS = 3
# Of users in the tables that hold many estimates; few, so that their covariance is far from known.
USERS = 80
DRAWS = 1_000
POPULATIONS = 10
# Standard errors of the binomial count of worlds by which a one-sided bound may be missed.
NOISE = 3.0
TRUTHS = {
    "equal": np.zeros(POPULATIONS),
    "spread": np.arange(POPULATIONS) * 1.5,
    "tied in threes": np.repeat([0.0, 3.0, 6.0, 9.0], [3, 3, 3, 1]),
}


@dataclass(frozen=True)
class Line:
    """``found`` must lie in [``low``, ``high``]; ``told`` is what else there is to say."""

    name: str
    found: float
    low: float
    high: float
    told: str = ""

    @property
    def holds(self) -> bool:
        return self.low <= self.found <= self.high


def measured(random: np.random.Generator, truth: Numbers, correlation: float, users: int) -> tuple[Numbers, Numbers]:
    """(estimates [k], their estimated covariance [k, k]) with true standard errors of 1."""
    shared, own = random.standard_normal((users, 1)), random.standard_normal((users, len(truth)))
    influence = math.sqrt(users) * (math.sqrt(correlation) * shared + math.sqrt(1.0 - correlation) * own)
    return truth + influence.mean(axis=0), np.cov(influence.T).reshape(len(truth), len(truth)) / users


def seed_lines(worlds: int) -> Iterator[Line]:
    """One estimate, three seeds: clusters by how much seeds scatter next to the users' standard error."""
    for users in (30, 80, 150, 1000):
        for scatter in (0.0, 1.0, 2.0):
            random, held, width = np.random.default_rng([1, users, int(scatter)]), 0, 0.0
            for _ in range(worlds):
                variance = random.chisquare(users - 1) / (users - 1)
                values = random.standard_normal() + scatter * random.standard_normal(SEEDS)
                low, high = combine_seeds(list(values), variance, users).interval()
                held += low <= 0.0 <= high
                width += (high - low) / worlds
            name = f"t interval, {SEEDS} seeds, {users} users, seed SD {scatter:.0f} SE"
            yield Line(name, held / worlds, *widened(0.93, 0.97, worlds), f"mean width {width:.2f} SE")


def joint_lines(worlds: int) -> Iterator[Line]:
    """Many estimates, all held at once; then the same with seeds, whose few degrees of freedom differ."""
    for k in (5, 20, 60):
        for correlation in (0.0, 0.5, 0.9, 1.0):
            yield _joint(worlds, k, correlation, None)
    for k in (5, 20):
        for scatter in (1.0, 2.0):
            yield _joint(worlds, k, 0.5, scatter)


def _joint(worlds: int, k: int, correlation: float, scatter: float | None) -> Line:
    random, held, width = np.random.default_rng([2, k, int(100 * correlation)]), 0, 0.0
    for world in range(worlds):
        values, covariance = measured(random, np.zeros(k), correlation, USERS)
        degrees: Numbers | float = USERS - 1.0
        if scatter is not None:
            seeds = values + scatter * random.standard_normal((SEEDS, k))
            values, added = seeds.mean(axis=0), seeds.var(axis=0, ddof=1) / SEEDS
            errors, degrees = errors_with_seeds(np.diag(covariance), added, [USERS] * k, [SEEDS - 1] * k)
            covariance = covariance.copy()
            np.fill_diagonal(covariance, errors**2)
        intervals = simultaneous_intervals(values, covariance, degrees, draws=DRAWS, seed=world)
        held += bool(((intervals.low <= 0) & (intervals.high >= 0)).all())
        width += float((intervals.high - intervals.low).mean()) / worlds
    with_seeds = "" if scatter is None else f", {SEEDS} seeds, seed SD {scatter:.0f} SE"
    name = f"{k} intervals at once, correlation {correlation:.1f}{with_seeds}"
    low, high = widened(0.935, 0.98, worlds)
    return Line(name, held / worlds, low, high, f"mean width {width:.2f} SE")


def rank_lines(worlds: int) -> Iterator[Line]:
    """No claim about any two is wrong: rank sets hold every rank that a truth, or a tie of truths, allows."""
    for name, truth in TRUTHS.items():
        random, held, told_apart, width = np.random.default_rng([3, len(name)]), 0, 0.0, 0.0
        above = np.greater.outer(truth, truth)
        lowest, highest = 1 + above.sum(axis=0), len(truth) - above.sum(axis=1)
        for world in range(worlds):
            values, covariance = measured(random, truth, 0.5, USERS)
            sets = rank_sets(values, covariance, USERS - 1.0, draws=DRAWS, seed=world)
            held += bool(((sets.lowest <= lowest) & (sets.highest >= highest)).all())
            told_apart += sets.is_above.sum() / max(1, above.sum()) / worlds
            width += float((sets.highest - sets.lowest + 1).mean()) / worlds
        said = f"{width:.2f} ranks a set" + (f", {told_apart:.0%} of the pairs told apart" if above.any() else "")
        yield Line(f"rank sets, {len(truth)} populations, {name}", held / worlds, at_least(0.95, worlds), 1.0, said)


def best_lines(worlds: int) -> Iterator[Line]:
    """How far the best of twenty is overrated: as it was measured, and shrunken, which takes off half at least."""
    for users in (USERS, 1000):
        for spread in (0.0, 0.5, 1.0, 2.0):
            random = np.random.default_rng([4, users, int(10 * spread)])
            before, after, held = np.empty(worlds), np.empty(worlds), 0
            for world in range(worlds):
                truth = spread * random.standard_normal(20)
                values, covariance = measured(random, truth, 0.5, users)
                shrunken, best = shrink(values, covariance), int(np.argmax(values))
                before[world] = values[best] - truth[best]
                after[world] = shrunken.values[best] - truth[best]
                held += abs(after[world]) <= 1.96 * shrunken.standard_errors[best]
            half = float(before.mean()) / 2.0 + NOISE * float(after.std()) / math.sqrt(worlds)
            told = f"before {before.mean():+.2f}; error {root_mean_square(before):.2f} -> {root_mean_square(after):.2f}"
            told += f"; 1.96 posterior SE hold {held / worlds:.0%}"
            name = f"bias of the best of 20, {users} users, truths' SD {spread:.1f} SE"
            yield Line(name, float(after.mean()), -half, half, told)


def root_mean_square(errors: Numbers) -> float:
    """Of errors in any unit."""
    return math.sqrt(float(np.mean(errors**2)))


def widened(low: float, high: float, worlds: int) -> tuple[float, float]:
    """Bounds that are meant for 2,000 worlds, for fewer."""
    extra = NOISE * math.sqrt(0.95 * 0.05) * max(0.0, worlds**-0.5 - 2000**-0.5)
    return low - extra, high + extra


def at_least(share: float, worlds: int) -> float:
    """The share that so many worlds show, but for binomial error, where the true one is ``share``."""
    return share - NOISE * math.sqrt(share * (1.0 - share) / worlds)


def main() -> int:
    """Prints a line as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=2000, help="simulated worlds a line")
    options = parser.parse_args()
    parts: list[Callable[[int], Iterator[Line]]] = [seed_lines, joint_lines, rank_lines, best_lines]
    missed = 0
    for part in parts:
        for line in part(options.worlds):
            missed += not line.holds
            word = "" if line.holds else "MISSED "
            bounds = f"[{line.low:.3f}, {line.high:.3f}]"
            print(f"{line.name:62} {line.found:7.4f} in {bounds:16} {word}{line.told}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
