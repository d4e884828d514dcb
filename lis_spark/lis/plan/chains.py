"""Which training histories a measurement needs (method sections 0, 1.1, 1.2, 1.6).

A chain is one training history. All chains share the base chain before their fork, and a chain that is evaluated on
day T forks at T: hold-outs never reach back before the fork, so the baseline is the same model for everyone.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from lis_spark.config import EvaluationConfig, LeakChains, RunConfig
from lis_spark.errors import InputError
from lis_spark.folds import NO_FOLD, fold_held_out_on

# A model that is trained anew starts from cold rows of its own: its seed is its pair's and this.
RETRAINED_SEED = 1_000_000_007
ONE_DAY = dt.timedelta(days=1)
# The honest score under another number of folds: how much it depends on what it withholds.
OTHER_FOLDS = "other_folds"
# Chains that lack a fold's events of day T alone: what naive gains over them are the labels that are scored.
SKIP_OWN_T = "skip_own_t"


@dataclass(frozen=True)
class Chain:
    """One training history.

    ``fork_date`` t means: starts from the parent's ``M_t`` (the base chain: from cold rows) and trains on days from t
    on; ``last_date`` is the date of its last snapshot, so its last day of data is the day before. It never sees the
    users of ``held_out_fold``, one of ``folds``, or lacks them on ``held_out_days`` alone where there are some; where
    ``trained_folds`` are given, it sees no users but theirs. With ``replayed_days`` r it trains on the days r days
    earlier, which its parent has seen: a table that moves on and learns nothing new.
    """

    name: str
    variant: str
    seed: int
    fork_date: dt.date
    last_date: dt.date
    parent: str | None = None
    folds: int = 1
    held_out_fold: int = NO_FOLD
    held_out_days: tuple[dt.date, ...] = ()
    trained_folds: tuple[int, ...] = ()
    skip_days: tuple[dt.date, ...] = ()
    permute_labels: bool = False
    replayed_days: int = 0

    def fold_held_out_on(self, day: dt.date) -> int:
        """The fold whose events of a day it does not see."""
        return fold_held_out_on(day, self.held_out_fold, self.held_out_days)

    @property
    def days(self) -> list[dt.date]:
        """The days before its snapshots, from the fork on, in order, skipped ones included."""
        return days_between(self.fork_date, self.last_date)

    def day_of_data(self, day: dt.date) -> dt.date:
        """The day whose rows it trains on for the snapshot after ``day``."""
        return day - ONE_DAY * self.replayed_days


@dataclass(frozen=True)
class Unavailable:
    """A measurement that the data does not allow, and why."""

    variant: str
    evaluated_date: dt.date
    horizon_days: int
    reason: str


def days_between(first: dt.date, end: dt.date) -> list[dt.date]:
    """``first`` .. the day before ``end``."""
    return [first + ONE_DAY * offset for offset in range((end - first).days)]


def base_name(seed: int) -> str:
    """Name of the base chain of a seed."""
    return f"base-s{seed}"


def seed_of(chain: str) -> int:
    """The training seed of the base chain that a chain is compared with: its name ends with it."""
    return int(chain.rpartition("-s")[2])


def leak_base_name(kind: LeakChains, seed: int) -> str:
    """Name of the chain that leaked tables come from: the base chain continued, or one that was trained anew."""
    return base_name(seed) if kind == "continued" else f"retrained-s{seed}"


def fork_name(kind: LeakChains, variant: str, evaluated_date: dt.date, seed: int, held_out_fold: int = NO_FOLD) -> str:
    """Name of a chain that forks at the evaluated day, from the chain of :func:`leak_base_name`."""
    fold = "" if held_out_fold == NO_FOLD else f"-f{held_out_fold}"
    return f"{'' if kind == 'continued' else 'retrained-'}{variant}-{evaluated_date}{fold}-s{seed}"


def other_folds_name(kind: LeakChains, evaluated_date: dt.date, seed: int, fold: int, folds: int) -> str:
    """Name of a chain that holds out a fold of another number of folds than the evaluation's own."""
    start = "" if kind == "continued" else "retrained-"
    return f"{start}honest-{evaluated_date}-f{fold}of{folds}-s{seed}"


def append_fork_name(evaluated_date: dt.date, window_days: int, seed: int, held_out_fold: int) -> str:
    """Name of a chain of protocol append: it forks w days before T and never sees the fold from then on."""
    return f"append-{evaluated_date}-w{window_days}-f{held_out_fold}-s{seed}"


def append_chains(config: RunConfig, seed: int, first_day: dt.date, last_day: dt.date) -> list[Chain]:
    """The held-out chains of the honest arms of protocol append, which fork at T - w (method 1.3).

    Held out only from T on, the rows that a port is trained on would hold memorised labels, and it would learn to
    trust them.

    Raises:
        InputError: T - w or T + n lies outside the data.
    """
    if config.append is None:
        return []
    window, longest = config.append.window_days, max(config.append_horizons)
    chains = []
    for date in config.evaluation.dates:
        fork, end = date - ONE_DAY * window, date + ONE_DAY * longest
        if fork <= first_day or end - ONE_DAY > last_day:
            raise InputError(
                f"protocol append at T = {date} needs a model of {fork} and data through {end - ONE_DAY}",
                table="impressions",
                found=f"data from {first_day} to {last_day}",
                expected=f"{first_day} < T - {window} and T + {longest} - 1 <= {last_day}",
                remedy="change append.window_days, append.horizons or evaluation.dates",
            )
        if any(leak.kind == "id_table" for leak in config.append.leaks):
            for fold in range(config.evaluation.folds):
                name = append_fork_name(date, window, seed, fold)
                folds = config.evaluation.folds
                chains.append(Chain(name, "append", seed, fork, end, base_name(seed), folds, held_out_fold=fold))
    return chains


def half_names(config: RunConfig) -> tuple[str, str]:
    """Names of the two chains of :func:`half_chains`."""
    date, seed = config.preference_date, config.seeds[0]
    return f"half-{date}-0-s{seed}", f"half-{date}-1-s{seed}"


def half_chains(config: RunConfig, first_day: dt.date, last_day: dt.date) -> list[Chain]:
    """Two chains on disjoint halves of the users, where theta is to be learned from their agreement (method 4).

    Each starts from cold rows of its own: from the same ones, items that nobody has trained would agree. Of an odd
    number of folds one is left out, so that the halves are alike.

    Raises:
        InputError: the day of the preference data lies outside the data.
    """
    if config.preference is None or config.preference.min_updates is not None:
        return []
    date, seed, size = config.preference_date, config.seeds[0], config.evaluation.folds // 2
    if not first_day < date <= last_day + ONE_DAY:
        raise InputError(
            f"there is no table of {date}, which preference data is to be made of",
            table="training_rows",
            found=f"data from {first_day} to {last_day}",
            expected=f"{first_day} < preference.as_of <= {last_day + ONE_DAY}",
            remedy="change preference.as_of",
        )
    return [
        Chain(
            name,
            "half",
            seed + RETRAINED_SEED * (2 + half),
            first_day,
            date,
            folds=config.evaluation.folds,
            trained_folds=tuple(range(half * size, (half + 1) * size)),
        )
        for half, name in enumerate(half_names(config))
    ]


def all_chains(config: RunConfig, first_day: dt.date, last_day: dt.date) -> list[Chain]:
    """Every chain that a configuration needs: of substitution, held-out ones of protocol append, halves for theta."""
    chains = plan_chains(config.evaluation, config.seeds, first_day, last_day)
    chains += [c for seed in config.seeds for c in append_chains(config, seed, first_day, last_day)]
    return chains + half_chains(config, first_day, last_day)


def plan_chains(
    evaluation: EvaluationConfig, seeds: Sequence[int], first_day: dt.date, last_day: dt.date
) -> list[Chain]:
    """Every chain that substitution needs, the base chains first.

    Args:
        evaluation: dates, horizons, folds, variants.
        seeds: one set of chains a seed.
        first_day: first day of data.
        last_day: last day of data; the base chain trains through it.

    Raises:
        InputError: a day T has no day of data before it, or T+n needs data that is not there.
    """
    check_range(evaluation, first_day, last_day)
    longest = max(evaluation.horizons)
    chains: list[Chain] = []
    kind = evaluation.leak_chains
    for seed in seeds:
        base, own = leak_base_name(kind, seed), seed
        chains.append(Chain(base_name(seed), "base", seed, first_day, last_day + ONE_DAY))
        if kind == "retrained":
            own = seed + RETRAINED_SEED
            chains.append(Chain(base, "retrained", own, first_day, last_day + ONE_DAY))
        if longest == 0:
            continue
        for date in evaluation.dates:
            end = date + ONE_DAY * longest
            if "honest" in evaluation.variants or "naive_matched" in evaluation.variants:
                for fold in range(evaluation.folds):
                    name = fork_name(kind, "honest", date, seed, fold)
                    chains.append(Chain(name, "honest", own, date, end, base, evaluation.folds, held_out_fold=fold))
            for folds in evaluation.other_folds:
                for fold in range(folds):
                    name = other_folds_name(kind, date, seed, fold, folds)
                    chains.append(Chain(name, OTHER_FOLDS, own, date, end, base, folds, held_out_fold=fold))
            if SKIP_OWN_T in evaluation.variants and longest > 1:
                for fold in range(evaluation.folds):
                    name, folds = fork_name(kind, SKIP_OWN_T, date, seed, fold), evaluation.folds
                    chains.append(Chain(name, SKIP_OWN_T, own, date, end, base, folds, fold, held_out_days=(date,)))
            if "skip_t" in evaluation.variants and longest > 1:
                name = fork_name(kind, "skip_t", date, seed)
                chains.append(Chain(name, "skip_t", own, date, end, base, skip_days=(date,)))
            if "label_shuffled" in evaluation.variants:
                name = fork_name(kind, "label_shuffled", date, seed)
                chains.append(Chain(name, "label_shuffled", own, date, end, base, permute_labels=True))
            if "replay" in evaluation.variants and can_replay(evaluation, date, first_day):
                name = fork_name(kind, "replay", date, seed)
                chains.append(Chain(name, "replay", own, date, end, base, replayed_days=longest))
    return chains


def can_replay(evaluation: EvaluationConfig, date: dt.date, first_day: dt.date) -> bool:
    """Whether there are as many days before T as the longest horizon takes."""
    return date - ONE_DAY * max(evaluation.horizons) >= first_day


def check_range(evaluation: EvaluationConfig, first_day: dt.date, last_day: dt.date) -> None:
    """Raises :class:`InputError` where T or T+n lies outside the data."""
    for date in evaluation.dates:
        if not first_day < date <= last_day:
            raise InputError(
                "an evaluated day needs itself and at least one day before it in the data",
                table="impressions",
                partition={"date": date.isoformat()},
                found=f"data from {first_day} to {last_day}",
                expected=f"{first_day} < T <= {last_day}",
                remedy="change evaluation.dates",
            )
        furthest = date + ONE_DAY * (max(evaluation.horizons) - 1)
        if furthest > last_day:
            fits = [horizon for horizon in evaluation.horizons if date + ONE_DAY * (horizon - 1) <= last_day]
            raise InputError(
                f"T+n lies beyond the data: T = {date} with n = {max(evaluation.horizons)} needs {furthest}",
                table="impressions",
                partition={"date": furthest.isoformat()},
                found=f"the last day of data is {last_day}",
                expected=f"for T = {date}: n in {fits}",
                remedy="wait for the data, or change evaluation.dates or evaluation.horizons",
            )


def backward_horizons(
    evaluation: EvaluationConfig, date: dt.date, first_full_day: dt.date
) -> tuple[list[int], list[Unavailable]]:
    """Which backward snapshots E_{T-n} are old enough to be tables, and why the others are not (method 1.6).

    A snapshot counts from the third day after the first full day of data on.
    """
    earliest = first_full_day + 3 * ONE_DAY
    usable: list[int] = []
    unavailable: list[Unavailable] = []
    for horizon in evaluation.backward_horizons if "backward" in evaluation.variants else ():
        snapshot = date - ONE_DAY * horizon
        if snapshot >= earliest:
            usable.append(horizon)
        else:
            reason = f"E at {snapshot} is younger than 3 full days after {first_full_day}, the first full day of data"
            unavailable.append(Unavailable("backward", date, -horizon, reason))
    return usable, unavailable


def lineage(chains: Sequence[Chain], name: str) -> list[tuple[str, dt.date, dt.date]]:
    """(chain, after, through): whose snapshots of which dates make up a chain's table, the oldest first."""
    by_name = {chain.name: chain for chain in chains}
    segments: list[tuple[str, dt.date, dt.date]] = []
    current, through = by_name[name], by_name[name].last_date
    while True:
        segments.append((current.name, current.fork_date, through))
        if current.parent is None:
            return segments[::-1]
        current, through = by_name[current.parent], current.fork_date
