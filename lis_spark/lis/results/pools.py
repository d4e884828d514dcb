"""The same measurement on several dates, or under several training seeds, estimated together (method 1.7).

Users return on other dates and are the same under every seed, so the comparisons of all members are one comparison:
dates are ranked apart and weighed by their pairs, and a user is one cluster however often it stands there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

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
    """

    name: str
    members: tuple[Measurement, ...] = ()
    replicates: tuple[str, ...] = ()
    draws: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0,)
    dates: int = 1

    @classmethod
    def of(cls, name: str, members: Sequence[Measurement], replicates: Sequence[str] = ()) -> Pool:
        """With what the members say of seeds, dates and draws."""
        first = members[0]
        draws = tuple(name + draw.removeprefix(first.comparison_id) for draw in first.draws.values())
        seeds = tuple(sorted({one.seed for one in members}))
        dates = len({one.evaluated_date for one in members})
        return cls(name, tuple(members), tuple(replicates), draws, seeds, dates)

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
        return Pool(f"{self.name}|{part}", (), replicates, (), self.seeds, self.dates)


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


def _name(*parts: object) -> str:
    return "|".join(map(str, parts))
