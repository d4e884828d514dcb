"""Sample ratio mismatch: whether the arms have the users that were planned for them (chi-square)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from scipy.stats import chi2

STOP_BELOW = 0.001


@dataclass(frozen=True)
class SampleRatio:
    """``expected``: users that the planned shares give each arm of as many users."""

    users: Mapping[str, int]
    expected: Mapping[str, float]
    statistic: float
    p_value: float

    @property
    def is_mismatch(self) -> bool:
        """Whether nothing can be concluded from these arms."""
        return self.p_value < STOP_BELOW


def sample_ratio(users: Mapping[str, int], shares: Mapping[str, float]) -> SampleRatio:
    """Compares assigned users with planned shares.

    Args:
        users: arm -> assigned users.
        shares: arm -> planned share of all users; only their ratios matter.
    """
    total, planned = sum(users.get(arm, 0) for arm in shares), sum(shares.values())
    expected = {arm: total * share / planned for arm, share in shares.items()}
    if not total or len(shares) < 2:
        return SampleRatio(dict(users), expected, 0.0, 1.0)
    statistic = sum((users.get(arm, 0) - wanted) ** 2 / wanted for arm, wanted in expected.items())
    return SampleRatio(dict(users), expected, statistic, float(chi2.sf(statistic, len(shares) - 1)))
