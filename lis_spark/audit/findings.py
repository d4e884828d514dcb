"""What is said of a column: leak, suspect or no sign, with reasons in words, and in which order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from lis_spark.audit.movement import Estimate, student_quantile

Verdict = Literal["leak", "suspect", "no sign"]
# All tests of an audit together accuse an honest table with this probability.
FALSE_ACCUSATION = 0.05
# A column that ranks the labels so well by itself is more often an outcome than a feature.
OUTCOME_AUC = 0.9


@dataclass(frozen=True)
class Finding:
    """One column. ``added``: unit -> AUC above the control shifted in time; ``excess``: window -> share of variance."""

    column: str
    key: str
    coverage: float
    dated_after: float
    auc_alone: float | None
    added: Mapping[str, Estimate]
    excess: Mapping[str, Estimate]
    tests: int

    @property
    def worst_window(self) -> str:
        """The window in which the excess stands out most."""
        return max(self.excess, key=lambda window: self.excess[window].t)

    def reasons(self, threshold: float) -> list[str]:
        """Why it is accused.

        Args:
            threshold: absolute AUC that counts.
        """
        found = []
        if self.dated_after > 0:
            found.append(f"by its date it holds data from after {_share(self.dated_after)} of its impressions")
        for unit, estimate in self.added.items():
            if estimate.value >= threshold and self._stands_out(estimate):
                low, high = estimate.interval()
                found.append(
                    f"a label shows in it before and not after: AUC {estimate.value:+.4f} ({low:+.4f} to {high:+.4f}) "
                    f"above the {self.key}'s next {unit}"
                )
        worst = self.excess[self.worst_window] if self.excess else None
        if worst is not None and worst.value > 0 and self._stands_out(worst):
            low, high = worst.interval()
            found.append(
                f"it says more of the {self.key}'s later labels than can be known ({self.worst_window}): "
                f"{100 * worst.value:.0f} % of their variance too much ({100 * low:.0f} to {100 * high:.0f})"
            )
        return found

    def judged(self, threshold: float) -> tuple[Verdict, list[str]]:
        """The verdict, and why."""
        reasons = self.reasons(threshold)
        if reasons:
            return "leak", reasons
        if self.auc_alone is not None and max(self.auc_alone, 1 - self.auc_alone) >= OUTCOME_AUC:
            return "suspect", [f"AUC {self.auc_alone:.3f} by itself: look whether it is an outcome of the impression"]
        return "no sign", []

    def _stands_out(self, estimate: Estimate) -> bool:
        needed = student_quantile(1 - FALSE_ACCUSATION / self.tests, estimate.freedom) if estimate.freedom > 1 else 0.0
        return needed > 0 and estimate.t > needed


def ranked(findings: Sequence[Finding], threshold: float) -> list[Finding]:
    """Accused first, then suspects, each by the AUC that they add and then by the excess."""
    order = {"leak": 0, "suspect": 1, "no sign": 2}

    def place(finding: Finding) -> tuple[float, ...]:
        added = max((estimate.value for estimate in finding.added.values()), default=0.0)
        excess = finding.excess[finding.worst_window].value if finding.excess else 0.0
        return order[finding.judged(threshold)[0]], -max(added, 0.0), -excess

    return sorted(findings, key=place)


def _share(share: float) -> str:
    return f"{100 * share:.1f} %" if share >= 0.001 else "less than 0.1 %"
