"""The known ways in which LIS misleads, looked for beside the leak that shows them (method 1.8, 2.3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lis_spark.lis.results.decision import interval


@dataclass(frozen=True)
class Score:
    """A score with its standard error and 95 % interval."""

    value: float
    standard_error: float
    ci_low: float
    ci_high: float

    @classmethod
    def of(cls, value: float, standard_error: float) -> Score:
        """With the interval that follows."""
        return cls(value, standard_error, *interval(value, standard_error))


def warnings(
    lis: Score,
    content: Score | None,
    gauc: Score | None,
    by_horizon: Mapping[int, Score],
    rises: bool,
    threshold: float,
    presence: Score | None = None,
) -> list[str]:
    """What a reader must know before LIS is taken for what an encoder would gain.

    Args:
        lis: the score that decides, at the longest horizon.
        content: LIS_content, where it was measured.
        gauc: the same score on GAUC.
        by_horizon: the score that decides at each n.
        rises: whether the score at the longest n is above that at the shortest, with the interval of the difference.
        threshold: absolute AUC that counts.
        presence: of similar items, a graph of T + n with the wrong neighbours against no graph.
    """
    found = []
    if content is not None:
        if lis.ci_low > 0 and content.ci_low > lis.value:
            found.append(
                f"noise in its rows: what content predicts of them scores {content.value:+.4f}, more than they do; an "
                "encoder averages such noise away, so LIS says too little"
            )
        elif lis.ci_low <= 0 < content.ci_low:
            found.append(
                f"more than LIS: what content predicts scores {content.value:+.4f} where the leak itself is not told "
                "from 0"
            )
        if lis.ci_low > 0 and lis.value >= threshold and content.ci_low <= 0:
            found.append(
                f"not in the content: of {lis.value:+.4f} content predicts {content.value:+.4f} "
                f"({content.ci_low:+.4f} to {content.ci_high:+.4f}); an encoder of content may gain nothing"
            )
    if len(by_horizon) > 1 and rises:
        listed = ", ".join(f"n = {n}: {score.value:+.4f}" for n, score in sorted(by_horizon.items()))
        found.append(f"a longer horizon raises LIS ({listed}) and need not raise what an encoder gains")
    if presence is not None and presence.ci_low > 0 and lis.ci_low > 0:
        found.append(
            f"presence: with the wrong neighbours a graph of T + n still gains {presence.value:+.4f} over none; that "
            "an item stands in it says that it was clicked"
        )
    if gauc is not None and lis.ci_low > 0 and lis.value >= threshold and gauc.ci_low <= 0:
        found.append(
            f"popularity: within users it is {gauc.value:+.4f} ({gauc.ci_low:+.4f} to {gauc.ci_high:+.4f}), so the "
            "gain may be in telling items that everybody clicks"
        )
    return found
