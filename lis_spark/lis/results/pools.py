"""The same measurement on several dates, or under several training seeds, estimated together (method 1.7).

Users return on other dates and are the same under every seed, so the comparisons of all members are one comparison:
dates are ranked apart and weighed by their pairs, and a user is one cluster however often it stands there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from lis_spark.lis.plan.append_feature import ROW_SHUFFLED
from lis_spark.lis.plan.comparisons import SPLIT_COMPARISONS, Measurement


@dataclass(frozen=True)
class Pool:
    """Measurements that differ in their date or seed alone, and what is compared with what under their common name.

    Attributes:
        name: comparison_id.
        members: the measurements; none where a table of scores is measured.
        replicates: names of its parts, one for each training seed, where there are several.
        draws: names of the comparisons with single draws of the control, where there are several.
        seeds: training seeds, ascending.
        dates: how many evaluated dates.
        against_own_order: whether a leak is compared with its own vectors in the wrong order.
        checks: names of the comparisons of two wrong orders of such a leak, one for each training seed.
    """

    name: str
    members: tuple[Measurement, ...] = ()
    replicates: tuple[str, ...] = ()
    draws: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0,)
    dates: int = 1
    against_own_order: bool = False
    checks: tuple[str, ...] = ()

    @classmethod
    def of(cls, name: str, members: Sequence[Measurement], replicates: Sequence[str] = ()) -> Pool:
        """With what the members say of seeds, dates and draws."""
        first = members[0]
        draws = tuple(name + draw.removeprefix(first.comparison_id) for draw in first.draws.values())
        seeds = tuple(sorted({one.seed for one in members}))
        dates = len({one.evaluated_date for one in members})
        own_order = first.arms[0].against_own_order
        return cls(name, tuple(members), tuple(replicates), draws, seeds, dates, own_order)

    def pairs(self, folds: int) -> Iterator[dict[str, object]]:
        """The pairs of all members under the name of the pool, those of its parts included."""
        for member in self.members:
            for pair in (*member.pairs(folds), *member.split_pairs(folds)):
                suffix = str(pair["comparison_id"]).removeprefix(member.comparison_id)
                yield {**pair, "comparison_id": self.name + suffix}

    def part(self, part: str) -> Pool:
        """The same over users with several impressions, of one of :data:`SPLIT_COMPARISONS`; draws are not told."""
        assert part in SPLIT_COMPARISONS
        replicates = tuple(f"{name}|{part}" for name in self.replicates)
        own_order = self.against_own_order
        return Pool(f"{self.name}|{part}", (), replicates, (), self.seeds, self.dates, own_order)


def single(measurement: Measurement) -> Pool:
    """One measurement alone."""
    return Pool.of(measurement.comparison_id, [measurement])


def over_seeds(measurements: Iterable[Measurement], seeds: Sequence[int]) -> list[Pool]:
    """For every measurement that all of several seeds have made, all of them together."""
    groups: dict[tuple[object, ...], list[Measurement]] = {}
    for one in measurements:
        groups.setdefault(one.place, []).append(one)
    return [
        Pool.of(_name("mean of seeds", *place), members, [one.comparison_id for one in members])
        for place, members in groups.items()
        if len(members) == len(seeds) > 1
    ]


def over_dates(measurements: Iterable[Measurement], seeds: Sequence[int], dates: int) -> list[Pool]:
    """For every measurement that was made on all dates: all dates of each seed, then of all seeds together.

    Args:
        measurements: of which dates are pooled.
        seeds: all training seeds.
        dates: how many evaluated dates there are.
    """
    groups: dict[tuple[object, ...], dict[int, list[Measurement]]] = {}
    for one in measurements:
        groups.setdefault(one.place[1:], {}).setdefault(one.seed, []).append(one)
    pools = []
    for place, by_seed in groups.items():
        if set(by_seed) != set(seeds) or any(len(members) != dates for members in by_seed.values()):
            continue
        of_seeds = [Pool.of(_name("all dates", seed, *place), members) for seed, members in by_seed.items()]
        pools += of_seeds
        if len(seeds) > 1:
            everything = [one for members in by_seed.values() for one in members]
            pools.append(Pool.of(_name("all dates, mean of seeds", *place), everything, [p.name for p in of_seeds]))
    return pools


def with_checks(pools: Sequence[Pool]) -> list[Pool]:
    """The pools; one of a leak against its own order knows the comparisons of two wrong orders under the same seeds."""
    orders = {_key(pool): pool.replicates for pool in pools if pool.members[0].variant == ROW_SHUFFLED}
    return [
        replace(pool, checks=orders.get(_key(pool), ())) if pool.against_own_order and pool.replicates else pool
        for pool in pools
    ]


def _key(pool: Pool) -> tuple[object, ...]:
    """What a pool shares with that of two wrong orders of the same leak."""
    one = pool.members[0]
    return pool.seeds, tuple(sorted({m.evaluated_date for m in pool.members})), one.leak, one.horizon_days, one.stratum


def _name(*parts: object) -> str:
    return "|".join(map(str, parts))
