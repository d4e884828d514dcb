"""Pairs within users and requests, several controls, and parts of a change of logits, against the definitions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import functions as F
from scipy.stats import t

from lis_spark.errors import InputError
from lis_spark.metrics import compare, influence, part_arm, split_scores
from tests.naive_metrics import (
    ALL_PAIRS,
    ARMS,
    COMPARISONS,
    CONTROLS,
    GROUPS,
    Ranking,
    as_scores,
    aucs,
    clustered,
    error_of_own_share,
    gain_of,
    impressions,
    influence_on_gain,
    influence_on_lis,
    over_all,
    own_pairs,
    pair,
    rankings_of,
)

CELL = ("evaluated_date", "fold")


@pytest.fixture(scope="module")
def wide() -> pd.DataFrame:
    return impressions()


@pytest.fixture(scope="module")
def influences(spark: Any, wide: pd.DataFrame) -> Iterator[Any]:
    frame = influence(as_scores(spark, wide), GROUPS)
    yield frame
    frame.unpersist()


def compared(scores: Any, pairs: list[dict[str, Any]]) -> list[Any]:
    per_user = influence(scores, GROUPS)
    found = compare(per_user, pairs)
    per_user.unpersist()
    return found


def check_gain(found: Any, own: pd.DataFrame) -> None:
    pairs = own["pairs"].sum()
    assert found.control == pytest.approx(own["control"].sum() / pairs, abs=1e-12)
    assert found.leaked == pytest.approx(own["leaked"].sum() / pairs, abs=1e-12)
    assert found.value == pytest.approx(gain_of(own), abs=1e-12)
    assert found.clusters == len(own)
    assert found.standard_error == pytest.approx(clustered(influence_on_gain(own)), rel=1e-9)
    effective = own["pairs"].sum() ** 2 / np.square(own["pairs"]).sum()
    assert found.effective_clusters == pytest.approx(effective, rel=1e-9) and effective < len(own)
    half = t.ppf(0.975, effective - 1) * found.standard_error
    assert found.interval == pytest.approx((found.value - half, found.value + half), abs=1e-12)


def test_compare_within_users_and_requests_equals_the_definition(influences: Any, wide: pd.DataFrame) -> None:
    for found in compare(influences, ALL_PAIRS):
        rankings = rankings_of(wide, COMPARISONS[found.comparison_id])
        everything = sum(ranking.control.size for ranking in rankings)
        assert found.pairs == everything
        for gain, share, of_request in (
            (found.within_user, found.within_pair_share.value, False),
            (found.within_request, found.request_pair_share, True),
        ):
            own = own_pairs(rankings, of_request)
            check_gain(gain, own)
            assert share == pytest.approx(own["pairs"].sum() / everything, abs=1e-15)
        assert found.within_pair_share.standard_error == pytest.approx(error_of_own_share(rankings), rel=1e-6)
        # a user of several days is one cluster, and some users have no pair of a request
        assert found.users >= found.within_user.clusters > found.within_request.clusters


def check_lis(found: Any, rankings: list[Ranking]) -> None:
    control, leaked = aucs(rankings)
    pairs = sum(ranking.control.size for ranking in rankings)
    assert float(found.u2_control / (2 * pairs)) == pytest.approx(control, abs=1e-12)
    assert float(found.u2_leaked / (2 * pairs)) == pytest.approx(leaked, abs=1e-12)
    assert found.auc.control == pytest.approx(control, abs=1e-12)
    assert found.auc.leaked == pytest.approx(leaked, abs=1e-12)
    assert found.lis == pytest.approx(leaked - control, abs=1e-12)
    psi = influence_on_lis(rankings)
    assert found.users == found.auc.clusters == len(psi)
    assert found.standard_error == pytest.approx(clustered(psi), rel=1e-9)
    # counts are of impressions, of which each stands once however many controls rank it
    assert found.positives == sum(len(ranking.up) for ranking in rankings)
    assert found.negatives == sum(len(ranking.down) for ranking in rankings)
    assert found.pairs == pairs


def test_compare_with_several_controls_subtracts_their_mean(influences: Any, wide: pd.DataFrame) -> None:
    crossed = [pair("crossed", arm, control=control) for control in ("a", "a2") for arm in ("b", "c")]
    listed = {"controls": CONTROLS, "crossed": crossed, "replicates": COMPARISONS["replicates"]}
    found = compare(influences, [row for pairs in listed.values() for row in pairs])
    for one, pairs in zip(found, listed.values(), strict=True):
        check_lis(one, rankings_of(wide, pairs))


# Two draws of the control in one fold and three in the other: a fold still weighs its pairs P x N.
UNEVEN = [
    pair("uneven", "b", fold=fold, control=control)
    for fold, own in ((0, ("a", "a2")), (1, ("a", "a2", "a3")))
    for control in own
]


def test_compare_with_more_controls_in_one_fold_weighs_folds_by_their_pairs(
    influences: Any, wide: pd.DataFrame
) -> None:
    (found,) = compare(influences, UNEVEN)
    check_lis(found, rankings_of(wide, UNEVEN))


def test_within_user_with_more_controls_in_one_fold_equals_the_definition(influences: Any, wide: pd.DataFrame) -> None:
    (found,) = compare(influences, UNEVEN)
    check_gain(found.within_user, own_pairs(rankings_of(wide, UNEVEN)))


def test_compare_with_an_arm_without_requests_is_refused(spark: Any, wide: pd.DataFrame) -> None:
    """Pairs of requests that only one arm has are no pairs that two arms order."""
    scores = as_scores(spark, wide, ["a", "b"])
    with pytest.raises(InputError, match="the arms cover different impressions"):
        compared(scores.withColumn("request", F.expr("if(arm = 'b', null, request)")), [pair("one", "b")])


@pytest.mark.parametrize("request_column", ["absent", "null"])
def test_compare_without_requests_leaves_within_request_empty(
    spark: Any, wide: pd.DataFrame, request_column: str
) -> None:
    scores = as_scores(spark, wide, ["a", "b"])
    unknown = scores.drop("request") if request_column == "absent" else scores.withColumn("request", F.lit(None))
    if request_column == "null":
        unknown = unknown.withColumn("request", F.col("request").cast("bigint"))
    (found,) = compared(unknown, [pair("one", "b")])
    assert found.within_request is None
    assert found.request_pair_share == 0
    check_gain(found.within_user, own_pairs(rankings_of(wide, [pair("one", "b")])))


def test_within_user_error_agrees_with_a_bootstrap_of_users(influences: Any, wide: pd.DataFrame) -> None:
    random = np.random.default_rng(11)
    for found in compare(influences, [*over_all("b", "b"), *over_all("c", "c")]):
        own = own_pairs(rankings_of(wide, over_all("", found.comparison_id)))
        gained, pairs = (own["leaked"] - own["control"]).to_numpy(), own["pairs"].to_numpy()
        drawn = random.integers(0, len(own), (4000, len(own)))
        draws = gained[drawn].sum(1) / pairs[drawn].sum(1)
        assert found.within_user.standard_error == pytest.approx(np.std(draws), rel=0.10)


def by_loop(rows: pd.DataFrame) -> pd.DataFrame:
    """Both parts by a loop over the users' rows of each group."""
    parts = []
    for _, own in rows.groupby([*CELL, "leaked_arm", "control_arm", "user_id"]):
        change = own["leaked"].to_numpy() - own["control"].to_numpy()
        for number in range(len(own) if len(own) > 1 else 0):
            row = own.iloc[number]
            others = np.delete(change, number).mean()
            arms = {
                part_arm("user_part", row["leaked_arm"], row["control_arm"]): row["control"] + others,
                part_arm("item_part", row["leaked_arm"], row["control_arm"]): row["control"] + change[number] - others,
            }
            if row["emits_leaked"]:
                arms[row["leaked_arm"]] = row["leaked"]
            if row["emits_control"]:
                arms[row["control_arm"]] = row["control"]
            parts += [(*row[[*CELL, "user_id", "impression_id", "label"]], *one) for one in arms.items()]
    return pd.DataFrame(parts, columns=[*CELL, "user_id", "impression_id", "label", "arm", "logit"])


def paired(spark: Any, wide: pd.DataFrame, arms: list[tuple[str, str, bool, bool]]) -> Any:
    """Rows as ``split_scores`` reads them, for each (leaked arm, control arm, whether either is emitted)."""
    keys = [*CELL, "user_id", "impression_id", "label", "request"]
    rows = [
        (leaked, control, *emits, *[None if value is pd.NA else value for value in row])
        for leaked, control, *emits in arms
        for row in wide[[*keys, control, leaked]].astype(object).itertuples(index=False)
    ]
    return spark.createDataFrame(
        rows,
        "leaked_arm string, control_arm string, emits_control boolean, emits_leaked boolean, evaluated_date string, "
        "fold int, user_id string, impression_id string, label tinyint, request bigint, control double, leaked double",
    )


def test_split_scores_of_several_pairs_equal_a_loop(spark: Any, wide: pd.DataFrame) -> None:
    some = paired(spark, wide.head(500), [("b", "a", True, True), ("c", "a", False, True), ("b", "a2", True, False)])
    found = split_scores(some, CELL).toPandas()
    expected = by_loop(some.toPandas())
    order = ["arm", "impression_id", *CELL]
    # the leaked arm b stands beside two controls, and is ranked once
    found, expected = (frame.sort_values([*order, "logit"], ignore_index=True) for frame in (found, expected))
    assert len(found) == len(expected) and set(expected["arm"]) >= {"a", "a2", "b", "c"}
    for name in (*order, "user_id", "label"):
        assert found[name].tolist() == expected[name].tolist(), name
    assert found["logit"].to_numpy() == pytest.approx(expected["logit"].to_numpy(), abs=1e-9)
    request = wide.set_index("impression_id")["request"]
    kept = found["request"].astype("Int64").to_numpy(object)
    assert [None if one is pd.NA else one for one in kept] == [
        None if request[one] is pd.NA else request[one] for one in found["impression_id"]
    ]


def split_and_compare(spark: Any, wide: pd.DataFrame, leaked: str) -> dict[str, Any]:
    arms = {
        "leaked": leaked, "user": part_arm("user_part", leaked, "a"), "item": part_arm("item_part", leaked, "a"),
    }  # fmt: skip
    scores = split_scores(paired(spark, wide, [(leaked, "a", True, True)]), CELL)
    found = compared(scores, [row for name, arm in arms.items() for row in over_all(name, arm)])
    return {comparison.comparison_id: comparison for comparison in found}


def test_parts_of_a_user_intercept_are_the_user_alone(spark: Any, wide: pd.DataFrame) -> None:
    rate = wide.groupby("user_id")["label"].transform("mean")
    moved = wide.assign(b=wide["a"] + np.round(32 * rate) / 16)
    (whole,) = compared(as_scores(spark, moved, ["a", "b"]), over_all("whole", "b"))
    assert whole.auc.interval[0] > 0
    for gain in (whole.within_user, whole.within_request):
        assert (gain.value, gain.standard_error) == (0.0, 0.0)
    parts = split_and_compare(spark, moved, "b")
    # every sum is exact here: the mean of a user's other rows is the intercept itself
    assert parts["user"].u2_leaked == parts["leaked"].u2_leaked
    assert parts["user"].lis == pytest.approx(whole.lis, rel=0.10)
    assert (parts["item"].lis, parts["item"].standard_error) == (0.0, 0.0)


def test_parts_of_an_item_intercept_are_within_users(spark: Any, wide: pd.DataFrame) -> None:
    moved = wide.assign(b=wide["a"] + wide["appeal"])
    (whole,) = compared(as_scores(spark, moved, ["a", "b"]), over_all("whole", "b"))
    assert whole.within_user.value > 0 and whole.within_user.interval[0] > 0
    parts = split_and_compare(spark, moved, "b")
    assert parts["item"].auc.interval[0] > 0
    # a user's other rows know nothing of the row's item; they hold less of what the row itself has more of, so that
    # within a user they order the rows the other way round
    assert parts["item"].lis > 3 * abs(parts["user"].lis)
    assert parts["user"].within_user.value < 0


def test_equal_arms_differ_by_exactly_nothing_in_every_part(spark: Any, wide: pd.DataFrame) -> None:
    parts = split_and_compare(spark, wide.assign(same=wide["a"]), "same")
    for comparison in parts.values():
        assert comparison.u2_leaked == comparison.u2_control
        assert (comparison.lis, comparison.standard_error) == (0.0, 0.0)
        gain = comparison.within_user
        assert (gain.value, gain.standard_error, gain.interval) == (0.0, 0.0, (0.0, 0.0))
    gain = parts["leaked"].within_request
    assert (gain.value, gain.standard_error, gain.interval) == (0.0, 0.0, (0.0, 0.0))


def test_compare_of_shuffled_rows_and_their_parts_is_the_same_bits(spark: Any, wide: pd.DataFrame) -> None:
    uneven = wide.assign(**{arm: wide[arm] / 3 + wide["item"] / 7 for arm in ARMS})
    leaked = ["b", "c", *[part_arm(part, arm, "a") for part in ("user_part", "item_part") for arm in ("b", "c")]]
    of_parts = [row for arm in leaked for row in over_all(arm, arm)]
    results = []
    for rows, partitions, at_once in ((uneven, 1, 10**6), (uneven.sample(frac=1, random_state=2), 5, 700)):
        whole = influence(as_scores(spark, rows).repartition(partitions), GROUPS, rows_per_partition=at_once)
        some = paired(spark, rows, [("b", "a", True, True), ("c", "a", False, True)]).repartition(partitions)
        parts = influence(split_scores(some, CELL), GROUPS, rows_per_partition=at_once)
        results.append((compare(whole.repartition(partitions), ALL_PAIRS), compare(parts, of_parts)))
        whole.unpersist(), parts.unpersist()
    assert results[0] == results[1]
