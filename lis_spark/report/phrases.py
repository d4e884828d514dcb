"""The words of each verdict: of a leak, and of somebody's own scores."""

from __future__ import annotations

from typing import NamedTuple

from lis_spark.lis.results.decision import (
    BELOW_BASELINE,
    CLEARLY_USEFUL,
    CONFLICTING,
    HARMFUL,
    NEGLIGIBLE,
    NOT_MEASURABLE,
    NOT_SHOWN,
    ONE_SEED,
    ORDER_NOT_RESOLVED,
    TELLS_USERS_APART,
    TOO_FEW,
    USEFUL,
)


class Phrase(NamedTuple):
    """Words before the emphasis, at it, and after it; ``{name}`` stands for what is judged."""

    before: str
    emphasis: str
    after: str

    def about(self, name: str) -> Phrase:
        """The words about what is called so."""
        return Phrase(*(words.replace("{name}", name) for words in self))


OF_LEAK = {
    CLEARLY_USEFUL: Phrase("The {name} is ", "clearly useful", " preference data"),
    USEFUL: Phrase("The {name} is ", "useful", " preference data"),
    TELLS_USERS_APART: Phrase("The {name} ", "tells users apart", " and does not order one user's items"),
    ORDER_NOT_RESOLVED: Phrase("The {name} gains, but ", "what it orders is not resolved", ""),
    NEGLIGIBLE: Phrase("The {name} is ", "negligible", " as preference data"),
    HARMFUL: Phrase("The {name} is ", "harmful", " as preference data"),
    CONFLICTING: Phrase("The evaluated dates are ", "conflicting", " about the {name}"),
    NOT_SHOWN: Phrase("The {name} is ", "not shown", " to be useful preference data"),
    NOT_MEASURABLE: Phrase("The {name} is ", "not measurable", " here, for too few impressions have it"),
    TOO_FEW: Phrase("The {name} was measured on ", "too few", " users or impressions"),
    ONE_SEED: Phrase("The {name} is ", "not judged", ", for its arms were trained under one seed"),
    BELOW_BASELINE: Phrase("The ranker is ", "below a simple baseline", ", and nothing is decided about the {name}"),
}
OF_SCORES = {
    CLEARLY_USEFUL: Phrase("{name} are ", "clearly useful", ""),
    USEFUL: Phrase("{name} are ", "useful", ""),
    TELLS_USERS_APART: Phrase("{name} ", "tell users apart", " and do not order one user's items"),
    ORDER_NOT_RESOLVED: Phrase("{name} gain, but ", "what they order is not resolved", ""),
    NEGLIGIBLE: Phrase("{name} are ", "negligible", ""),
    HARMFUL: Phrase("{name} are ", "harmful", ""),
    CONFLICTING: Phrase("{name} are ", "conflicting", " over the evaluated dates"),
    NOT_SHOWN: Phrase("{name} are ", "not shown", " to be useful"),
    TOO_FEW: Phrase("{name} are of ", "too few", " users or impressions"),
}
# Where a score comes without a verdict, or with one that is none of these.
LEAK_NOT_JUDGED = Phrase("The {name} is ", "not judged", ", for its score came without a verdict")
SCORES_NOT_JUDGED = Phrase("{name} are ", "not judged", ", for they came without a verdict")
