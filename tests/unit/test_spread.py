"""What an error is made of: planted parts are found again, and give the error of other users, rows and days."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lis_spark.metrics.spread import ErrorWeights, Spread, fit_spread, spread_sums

USERS, DAYS = 40_000, 3


def planted(spread: Spread, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Influences of users who come on some days with some rows: each row, day and user errs for itself."""
    random = np.random.default_rng(seed)
    rows = random.geometric(0.2, (DAYS, USERS)) * (random.random((DAYS, USERS)) < 0.7)
    own, shared = rows.astype(float), rows.astype(float)  # each row weighs 1
    psi = np.sqrt(spread.by_impression * own) * random.standard_normal(rows.shape)
    psi += np.sqrt(spread.by_user_day) * shared * random.standard_normal(rows.shape)
    psi += np.sqrt(spread.by_user) * shared * random.standard_normal(USERS)
    return psi, own, shared


@pytest.mark.parametrize("parts", [(1.0, 0.3, 0.1), (1.0, 0.0, 0.0), (0.2, 0.0, 0.5)])
def test_fit_spread_of_planted_parts_finds_them(parts: tuple[float, float, float]) -> None:
    spread = Spread(by_impression=parts[0], by_user_day=parts[1], by_user=parts[2])
    psi, own, shared = planted(spread, 1)
    error = float(np.sqrt((psi.sum(axis=0) ** 2).sum()))
    found = fit_spread(spread_sums(psi, own, shared), error)
    assert found is not None
    assert found.by_impression == pytest.approx(parts[0], abs=0.1)
    assert found.by_user_day == pytest.approx(parts[1], abs=0.05)
    assert found.by_user == pytest.approx(parts[2], abs=0.05)
    weights = ErrorWeights(
        impressions=own.sum(), user_days=(shared**2).sum(), users=float((shared.sum(axis=0) ** 2).sum())
    )
    assert found.error(weights) == pytest.approx(error, rel=1e-9), "it gives the error that was measured"


def test_fit_spread_of_one_day_expects_other_days_to_share_some_of_it() -> None:
    psi, own, shared = planted(Spread(by_impression=1.0, by_user_day=0.5, by_user=0.0), 2)
    found = fit_spread(spread_sums(psi[:1], own[:1], shared[:1]), float(np.sqrt((psi[0] ** 2).sum())))
    assert found is not None
    assert found.by_user == pytest.approx(0.25 * found.by_user_day, rel=1e-6), "a fifth of what a day shares"


def test_fit_spread_without_pairs_or_error_gives_none() -> None:
    nothing = np.zeros((1, 3))
    assert fit_spread(spread_sums(nothing, nothing, nothing), 0.1) is None
    assert fit_spread(spread_sums(nothing, nothing + 1, nothing + 1), 0.0) is None


@given(st.integers(0, 2**32 - 1), st.floats(1e-6, 1e3))
def test_fit_spread_of_any_influences_has_no_part_below_zero(seed: int, error: float) -> None:
    random = np.random.default_rng(seed)
    own = random.integers(0, 4, (2, 30)).astype(float)
    psi = random.standard_normal((2, 30)) * own
    found = fit_spread(spread_sums(psi, own, own), error)
    if own.any():
        assert found is not None
        assert min(found.by_impression, found.by_user_day, found.by_user) >= 0
