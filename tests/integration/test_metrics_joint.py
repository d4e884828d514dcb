"""Correlations and jackknife errors of comparisons on shared users, against the definitions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest

from lis_spark.metrics import compare, influence, joint_errors
from tests.naive_metrics import (
    ALL_PAIRS,
    ARMS,
    COMPARISONS,
    DATES,
    GROUPS,
    as_scores,
    impressions,
    influence_on_gain,
    influence_on_lis,
    jackknife_of_gain,
    jackknife_of_lis,
    over_all,
    own_pairs,
    pair,
    rankings_of,
)


@pytest.fixture(scope="module")
def wide() -> pd.DataFrame:
    return impressions()


@pytest.fixture(scope="module")
def influences(spark: Any, wide: pd.DataFrame) -> Iterator[Any]:
    frame = influence(as_scores(spark, wide), GROUPS)
    yield frame
    frame.unpersist()


def check_kind(found: Any, psi: list[pd.Series], jackknife: list[float]) -> None:
    assert found.names == tuple(COMPARISONS)
    together = pd.concat(psi, axis=1).fillna(0.0).to_numpy()
    norms = (together**2).sum(0) ** 0.5
    assert found.correlation == pytest.approx(together.T @ together / norms / norms[:, None], abs=1e-9)
    assert found.jackknife == pytest.approx(jackknife, rel=1e-8)
    # folds share no user
    one, other = list(COMPARISONS).index("one"), list(COMPARISONS).index("other fold")
    assert found.correlation[one, other] == found.correlation[other, one] == 0


def test_joint_errors_of_overlapping_comparisons_equal_the_definition(influences: Any, wide: pd.DataFrame) -> None:
    comparisons = compare(influences, ALL_PAIRS)
    found = joint_errors(influences, [comparisons])[0]
    assert set(found) == {"lis", "within_user"}
    rankings = [rankings_of(wide, pairs) for pairs in COMPARISONS.values()]
    own = [own_pairs(each) for each in rankings]
    check_kind(found["lis"], list(map(influence_on_lis, rankings)), list(map(jackknife_of_lis, rankings)))
    check_kind(found["within_user"], list(map(influence_on_gain, own)), list(map(jackknife_of_gain, own)))
    alone = joint_errors(influences, [comparisons], correlated=False)[0]
    assert all(alone[kind].jackknife == found[kind].jackknife for kind in found)


def test_joint_errors_of_several_families_equal_those_of_each_alone(influences: Any) -> None:
    comparisons = compare(influences, ALL_PAIRS)
    families = [comparisons[:2], [], comparisons[1:]]
    for family, together in zip(families, joint_errors(influences, families), strict=True):
        (alone,) = joint_errors(influences, [family])
        for kind, errors in alone.items():
            assert together[kind].names == errors.names
            assert together[kind].correlation.tolist() == errors.correlation.tolist()
            assert together[kind].jackknife == errors.jackknife


def test_joint_errors_of_equal_arms_are_zero(spark: Any, wide: pd.DataFrame) -> None:
    per_user = influence(as_scores(spark, wide.assign(same=wide["a"]), ["a", "b", "same"]), GROUPS)
    comparisons = compare(per_user, [*over_all("nothing", "same"), *over_all("something", "b")])
    for found in joint_errors(per_user, [comparisons])[0].values():
        assert found.jackknife[0] == 0.0 < found.jackknife[1]
        assert found.correlation.tolist() == [[1.0, 0.0], [0.0, 1.0]]
    per_user.unpersist()


def rows_of(users: dict[str, tuple[int, list[tuple[int, float, float]]]]) -> pd.DataFrame:
    """Rows of user -> fold, [(label, logit of a, logit of b)]."""
    rows = [
        (DATES[0], fold, user, f"{user} {number}", *row, pd.NA)
        for user, (fold, own) in users.items()
        for number, row in enumerate(own)
    ]
    return pd.DataFrame(
        rows, columns=["evaluated_date", "fold", "user_id", "impression_id", "label", "a", "b", "request"]
    )


def test_joint_errors_where_one_user_has_pairs_leave_its_jackknife_empty(spark: Any) -> None:
    users = {"both": (0, [(1, 2.0, 3.0), (0, 2.0, 1.0)]), "up": (0, [(1, 1.0, 0.0)]), "down": (0, [(0, 0.0, 2.0)])}
    wide, pairs = rows_of(users), [pair("one", "b")]
    per_user = influence(as_scores(spark, wide, ["a", "b"]), GROUPS)
    comparisons = compare(per_user, pairs)
    found = joint_errors(per_user, [comparisons])[0]
    per_user.unpersist()
    gain = comparisons[0].within_user
    assert (gain.value, gain.standard_error, gain.interval, gain.clusters) == (0.5, None, (None, None), 1)
    assert found["within_user"].jackknife == (None,)
    assert found["lis"].jackknife == pytest.approx([jackknife_of_lis(rankings_of(wide, pairs))], rel=1e-8)


def test_joint_errors_of_users_without_influence_still_free_the_weights_of_folds(spark: Any) -> None:
    """Every pair of one fold is won and none of the other: no user has an influence, but the folds' weights have."""
    users = {
        f"u{number}": (number % 2, [(row % 2, 0.0, float(row % 2) * (1 - number % 2)) for row in range(2 + number)])
        for number in range(8)
    }
    wide, pairs = rows_of(users), [pair("two", "b", fold=fold) for fold in (0, 1)]
    per_user = influence(as_scores(spark, wide, ["a", "b"]), GROUPS)
    comparisons = compare(per_user, pairs)
    found = joint_errors(per_user, [comparisons])[0]
    per_user.unpersist()
    expected = jackknife_of_lis(rankings_of(wide, pairs))
    assert comparisons[0].standard_error == 0.0 < expected
    assert found["lis"].jackknife == pytest.approx([expected], rel=1e-8)


def test_joint_errors_of_shuffled_rows_are_the_same_bits(spark: Any, wide: pd.DataFrame) -> None:
    uneven = wide.assign(**{arm: wide[arm] / 3 + wide["item"] / 7 for arm in ARMS})
    results = []
    for rows, partitions, at_once in ((uneven, 1, 10**6), (uneven.sample(frac=1, random_state=2), 5, 700)):
        per_user = influence(as_scores(spark, rows).repartition(partitions), GROUPS, rows_per_partition=at_once)
        found = joint_errors(per_user.repartition(partitions), [compare(per_user, ALL_PAIRS)])[0]
        per_user.unpersist()
        results.append({kind: (one.names, one.correlation.tolist(), one.jackknife) for kind, one in found.items()})
    assert results[0] == results[1]
