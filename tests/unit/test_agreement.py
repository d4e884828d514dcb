"""LIS against AIS: measures against loops and SciPy, intervals against known spreads, and what cannot be told."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lis_spark.lis.results.agreement import CONCORDANCE, PEARSON, SPEARMAN, WITHOUT_NOISE, Outcomes, Told, agreement


def outcomes(
    ais: list[float], lis: list[float], content: list[float] | None = None, errors: float = 0.0, noise: int = 0
) -> Outcomes:
    """Independent errors of one size; the first ``noise`` sets are noise."""
    predictions = {"lis": np.array(lis)} | ({} if content is None else {"lis_content": np.array(content)})
    k = len(ais)
    return Outcomes(
        names=tuple(f"set{number}" for number in range(k)),
        is_noise=np.arange(k) < noise,
        ais=np.array(ais),
        predictions=predictions,
        covariance=np.eye(k * (1 + len(predictions))) * errors**2,
    )


def told(found: list[Told], measure: str, score: str = "lis") -> Told:
    return next(one for one in found if (one.measure, one.score) == (measure, score))


SCORES = st.lists(st.integers(-20, 20).map(lambda n: n / 1000), min_size=6, max_size=6)


@given(SCORES, SCORES)
def test_measures_are_those_of_loops_and_of_scipy(ais: list[float], lis: list[float]) -> None:
    """Without errors every pair of different AIS is told apart, and the true scores are the measured ones."""
    found = agreement(outcomes(ais, lis), draws=3)
    pairs = [(one, other) for one, other in combinations(range(6), 2) if ais[one] != ais[other]]
    shares = [
        0.5 if lis[one] == lis[other] else float((lis[one] > lis[other]) == (ais[one] > ais[other]))
        for one, other in pairs
    ]
    concordance = told(found, CONCORDANCE)
    assert concordance.pairs == len(pairs)
    if len(pairs) < 10:
        assert concordance.value is None
    else:
        assert concordance.value == pytest.approx(np.mean(shares))
        assert (concordance.ci_low, concordance.ci_high) == pytest.approx((np.mean(shares),) * 2)
    if len(set(ais)) > 1 and len(set(lis)) > 1:
        assert told(found, SPEARMAN).value == pytest.approx(stats.spearmanr(ais, lis).statistic, abs=1e-12)
        assert told(found, PEARSON).value == pytest.approx(stats.pearsonr(ais, lis).statistic, abs=1e-12)
    else:
        assert told(found, PEARSON).value is None


def test_only_pairs_that_ais_tells_apart_count() -> None:
    """Errors of .001 each: differences above .0028 are told apart."""
    ais = [0.000, 0.001, 0.002, 0.010, 0.011, 0.012, 0.020]
    lis = [0.3, 0.2, 0.1, 0.4, 0.6, 0.5, 0.7]
    found = agreement(outcomes(ais, lis, errors=0.001, noise=1))
    # 3 x 3 between the groups and 6 with the last: all in order; what is within a group is not asked
    assert told(found, CONCORDANCE).pairs == 15 and told(found, CONCORDANCE).value == 1.0
    assert told(found, WITHOUT_NOISE).pairs == 2 * 3 + 5 and told(found, WITHOUT_NOISE).value == 1.0
    fewer = agreement(outcomes(ais, lis, errors=0.001, noise=2))
    assert told(fewer, WITHOUT_NOISE).pairs == 3 + 4 and told(fewer, WITHOUT_NOISE).value is None, "not testable"


def test_a_better_score_is_told_with_an_interval() -> None:
    random = np.random.default_rng(3)
    ais = list(np.linspace(0.0, 0.03, 10))
    poor = list(random.permutation(ais))
    found = agreement(outcomes(ais, poor, ais, errors=0.0005))
    for measure in (CONCORDANCE, SPEARMAN, PEARSON):
        gain = told(found, measure, "lis_content - lis")
        both = told(found, measure, "lis_content"), told(found, measure)
        assert gain.value == pytest.approx(both[0].value - both[1].value)  # type: ignore[operator]
        assert gain.ci_low is not None and gain.ci_low > 0, measure


def test_the_interval_of_a_correlation_is_about_the_true_scores() -> None:
    """Of worlds with a true correlation of about .8, and errors that lower the measured one, 95 % hold the true one."""
    random, held, above = np.random.default_rng(5), 0, 0
    for world in range(60):
        true = random.multivariate_normal([0, 0], [[1, 0.8], [0.8, 1]], 10).T * 0.01
        measured = true + random.normal(size=true.shape) * 0.004
        found = told(agreement(outcomes(*map(list, measured), errors=0.004), seed=world, draws=400), PEARSON)
        assert found.ci_low is not None and found.ci_high is not None
        held += found.ci_low <= stats.pearsonr(*true).statistic <= found.ci_high
        above += found.ci_high < 1.0
    # 57 are expected; fewer than 51 have a chance of 1 in 1,300
    assert held >= 51 and above == 60


def test_errors_that_all_scores_share_change_no_order() -> None:
    """A common error moves all of them together: what the users give as covariance is used."""
    ais, lis = [0.001 * n for n in range(8)], [0.002 * n for n in range(8)]
    plain = outcomes(ais, lis)
    shared = Outcomes(plain.names, plain.is_noise, plain.ais, plain.predictions, np.full((16, 16), 0.01**2))
    found = told(agreement(shared), CONCORDANCE)
    assert found.pairs == 28 and (found.value, found.ci_low, found.ci_high) == (1.0, 1.0, 1.0)


def test_two_data_sets_have_no_order() -> None:
    with pytest.raises(ValueError, match="at least three"):
        agreement(outcomes([0.0, 0.1], [0.0, 0.1]))
