"""Comparisons on Spark against naive NumPy, a bootstrap of users, and bad input."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import functions as F
from scipy.stats import t

from lis_spark.errors import InputError, StepFailed
from lis_spark.metrics import combine, compare, influence
from lis_spark.metrics.influence import MEASURES

GROUPS = ("evaluated_date", "arm", "fold")
DATES = ("2022-05-01", "2022-05-02")
SCHEMA = "evaluated_date date, arm string, fold int, user_id string, impression_id string, label tinyint, logit float"


def scored(users: int = 400, folds: int = 2, seed: int = 3) -> pd.DataFrame:
    """Users of their own base rate and of their own gain, so that clusters matter; arms a, b, c and d on two days."""
    random = np.random.default_rng(seed)
    impressions = random.geometric(1 / 12, users)
    user = np.repeat(np.arange(users), impressions)
    rows = len(user)
    taste, gain = random.normal(size=users)[user], random.normal(0.3, 0.5, users)[user]
    logit = -1.2 + taste + random.normal(size=rows)
    label = (random.random(rows) < 1 / (1 + np.exp(-logit))).astype(np.int8)
    base = 0.5 * logit + random.normal(size=rows)
    arms = {"a": base, "b": base + gain * (label - 0.3)}
    arms["c"] = base + 0.3 * label + 0.3 * random.normal(size=rows)
    arms["d"] = base + 0.6 * label + 0.6 * random.normal(size=rows)
    frame = pd.DataFrame(
        {
            "evaluated_date": pd.to_datetime(np.array(DATES)[random.integers(0, 2, rows)]).date,
            "fold": user % folds,
            "user_id": [f"u{number}" for number in user],
            "impression_id": [f"i{number}" for number in range(rows)],
            "label": label,
        }
    )
    both = [frame.assign(arm=arm, logit=np.round(values, 1).astype(np.float32)) for arm, values in arms.items()]
    return pd.concat(both)[[field.split()[0] for field in SCHEMA.split(", ")]]


class Ranking:
    """One ranking by the definitions of method 2.2, all pairs side by side."""

    def __init__(self, rows: pd.DataFrame) -> None:
        self.rows = rows.sort_values("impression_id")
        self.label = self.rows["label"].to_numpy() == 1
        self.user = self.rows["user_id"].to_numpy()
        logit = self.rows["logit"].to_numpy()
        above, below = logit[self.label][:, None], logit[~self.label][None, :]
        self.wins = (above > below) + 0.5 * (above == below)
        self.auc = self.wins.mean()
        self.pairs = self.wins.size

    def psi(self) -> pd.Series:
        value = np.empty(len(self.rows))
        value[self.label] = (self.wins.mean(1) - self.auc) / self.label.sum()
        value[~self.label] = (self.wins.mean(0) - self.auc) / (~self.label).sum()
        return pd.Series(value).groupby(self.user).sum()

    def user_aucs(self) -> Iterator[tuple[str, int, float]]:
        for user, members in self.rows.groupby("user_id"):
            if members["label"].nunique() == 2:
                yield str(user), len(members), Ranking(members).auc


def clustered(psi: pd.Series) -> float:
    return float(np.sqrt(len(psi) / (len(psi) - 1) * (psi**2).sum()))


def pooled(rankings: list[Ranking]) -> tuple[float, pd.Series]:
    """AUC and psi over rankings that are weighted by their pairs and never pooled."""
    weight = sum(ranking.pairs for ranking in rankings)
    auc = sum(ranking.pairs * ranking.auc for ranking in rankings) / weight
    psi = pd.concat([ranking.pairs / weight * ranking.psi() for ranking in rankings])
    return auc, psi.groupby(level=0).sum()


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return scored()


@pytest.fixture(scope="module")
def influences(spark: Any, rows: pd.DataFrame) -> Iterator[Any]:
    frame = influence(spark.createDataFrame(rows, SCHEMA), GROUPS)
    yield frame
    frame.unpersist()


@pytest.fixture(scope="module")
def ranking(rows: pd.DataFrame) -> Callable[[str, str, int], Ranking]:
    def select(date: str, arm: str, fold: int) -> Ranking:
        wanted = (rows["evaluated_date"].astype(str) == date) & (rows["arm"] == arm) & (rows["fold"] == fold)
        return Ranking(rows[wanted])

    return select


def pair(name: str, leaked: str, date: str = DATES[0], fold: int = 0, control: str = "a") -> dict[str, Any]:
    return {
        "comparison_id": name, "evaluated_date": date, "fold": fold, "control_arm": control, "leaked_arm": leaked,
    }  # fmt: skip


def test_one_ranking_equals_the_definitions(influences: Any, ranking: Any) -> None:
    (found,) = compare(influences, [pair("one", "b")])
    control, leaked = ranking(DATES[0], "a", 0), ranking(DATES[0], "b", 0)
    assert found.positives == control.label.sum() and found.negatives == (~control.label).sum()
    assert found.pairs == control.pairs
    assert found.users == len(set(control.user))
    assert found.u2_control == 2 * control.wins.sum() and found.u2_leaked == 2 * leaked.wins.sum()
    assert found.auc.control == pytest.approx(control.auc, abs=1e-12)
    assert found.auc.leaked == pytest.approx(leaked.auc, abs=1e-12)
    assert found.lis == pytest.approx(leaked.auc - control.auc, abs=1e-12)
    assert found.standard_error == pytest.approx(clustered(leaked.psi() - control.psi()), rel=1e-9)
    assert found.auc_control_standard_error == pytest.approx(clustered(control.psi()), rel=1e-9)
    half = t.ppf(0.975, found.users - 1) * found.standard_error
    assert found.auc.interval == pytest.approx((found.lis - half, found.lis + half), abs=1e-12)
    for arm, loss, pcoc in (
        (control, found.log_loss_control, found.pcoc_control),
        (leaked, found.log_loss_leaked, found.pcoc_leaked),
    ):
        probability = 1 / (1 + np.exp(-arm.rows["logit"].to_numpy(np.float64)))
        assert loss == pytest.approx(-np.log(np.where(arm.label, probability, 1 - probability)).mean(), abs=1e-9)
        assert pcoc == pytest.approx(probability.sum() / arm.label.sum(), abs=1e-8)


def test_folds_are_weighted_by_their_pairs_and_days_share_their_users(influences: Any, ranking: Any) -> None:
    pairs = [pair("folds", "b", fold=fold) for fold in (0, 1)]
    pairs += [pair("days", "b", date, fold) for date in DATES for fold in (0, 1)]
    folds, days = compare(influences, pairs)
    for found, cells in (
        (folds, [(DATES[0], fold) for fold in (0, 1)]),
        (days, [(date, fold) for date in DATES for fold in (0, 1)]),
    ):
        auc_control, psi_control = pooled([ranking(date, "a", fold) for date, fold in cells])
        auc_leaked, psi_leaked = pooled([ranking(date, "b", fold) for date, fold in cells])
        assert found.auc.control == pytest.approx(auc_control, abs=1e-12)
        assert found.lis == pytest.approx(auc_leaked - auc_control, abs=1e-12)
        assert found.users == len(psi_control)
        assert found.standard_error == pytest.approx(clustered(psi_leaked - psi_control), rel=1e-9)
        assert found.auc_control_standard_error == pytest.approx(clustered(psi_control), rel=1e-9)
    # users come back on the second day: rows of two days are not twice as many clusters
    separate = sum(len(set(ranking(date, "a", fold).user)) for date in DATES for fold in (0, 1))
    assert days.users < separate


def test_a_difference_of_two_scores_knows_that_they_share_users(influences: Any, ranking: Any) -> None:
    cells = [(date, fold) for date in DATES for fold in (0, 1)]
    pairs = [pair(arm, arm, date, fold) for arm in ("b", "c") for date, fold in cells]
    difference, weighted = combine(influences, pairs, [{"b": 1, "c": -1}, {"c": 2}]).sums
    (_, psi_a), (auc_b, psi_b), (auc_c, psi_c) = (
        pooled([ranking(date, arm, fold) for date, fold in cells]) for arm in "abc"
    )
    auc_a = pooled([ranking(date, "a", fold) for date, fold in cells])[0]
    assert difference.value == pytest.approx(auc_b - auc_c, abs=1e-12)
    assert difference.standard_error == pytest.approx(clustered(psi_b - psi_c), rel=1e-9)
    users = len(psi_a)
    assert difference.interval[1] - difference.value == pytest.approx(
        t.ppf(0.975, users - 1) * difference.standard_error, rel=1e-9
    )
    assert weighted.value == pytest.approx(2 * (auc_c - auc_a), abs=1e-12)
    assert weighted.standard_error == pytest.approx(2 * clustered(psi_c - psi_a), rel=1e-9)
    assert combine(influences, pairs).sums == []
    with pytest.raises(InputError, match="a sum names a comparison that is not there"):
        combine(influences, pairs, [{"b": 1, "d": -1}])


def test_replicates_within_a_ranking_are_averaged(influences: Any, ranking: Any) -> None:
    # as many as the folds allow: two replicates in one ranking, three in the other
    pairs = [pair("mean", arm, fold=0) for arm in ("b", "c")] + [pair("mean", arm, fold=1) for arm in ("b", "c", "d")]
    (found,) = compare(influences, pairs)
    weight = sum(ranking(DATES[0], "a", fold).pairs for fold in (0, 1))
    lis, psi = 0.0, []
    for fold, arms in ((0, "bc"), (1, "bcd")):
        control = ranking(DATES[0], "a", fold)
        share = control.pairs / weight
        lis += share * np.mean([ranking(DATES[0], arm, fold).auc - control.auc for arm in arms])
        psi.append(share * sum(ranking(DATES[0], arm, fold).psi() - control.psi() for arm in arms) / len(arms))
    assert found.lis == pytest.approx(lis, abs=1e-12)
    assert found.standard_error == pytest.approx(clustered(pd.concat(psi)), rel=1e-9)
    u2 = [
        sum(2 * int(ranking(DATES[0], arm, fold).wins.sum() * 2) for arm in arms)
        for fold, arms in ((0, "bc"), (1, "bcd"))
    ]
    assert found.u2_leaked == Fraction(u2[0], 4) + Fraction(u2[1], 6)


def test_gauc_equals_a_loop_over_users(influences: Any, ranking: Any) -> None:
    (found,) = compare(influences, [pair("one", "b", fold=fold) for fold in (0, 1)])
    control, leaked, weights, gains = [], [], [], []
    impressions = 0
    for fold in (0, 1):
        impressions += len(ranking(DATES[0], "a", fold).rows)
        both = zip(ranking(DATES[0], "a", fold).user_aucs(), ranking(DATES[0], "b", fold).user_aucs(), strict=True)
        for (user, count, own_control), (same, _, own_leaked) in both:
            assert user == same
            control.append(own_control), leaked.append(own_leaked), weights.append(count)
            gains.append(own_leaked - own_control)
    weight = np.array(weights)
    gain = np.average(gains, weights=weight)
    psi = pd.Series(weight * (np.array(gains) - gain) / weight.sum())
    assert found.gauc_coverage == pytest.approx(weight.sum() / impressions, abs=1e-12)
    assert found.gauc.control == pytest.approx(np.average(control, weights=weight), abs=1e-9)
    assert found.gauc.leaked == pytest.approx(np.average(leaked, weights=weight), abs=1e-9)
    assert found.gauc.value == pytest.approx(gain, abs=1e-9)
    assert found.gauc.standard_error == pytest.approx(clustered(psi), rel=1e-7)


def test_equal_arms_differ_by_exactly_nothing(spark: Any, rows: pd.DataFrame) -> None:
    control = rows[(rows["arm"] == "a") & (rows["fold"] == 0)]
    scores = spark.createDataFrame(pd.concat([control, control.assign(arm="same")]), SCHEMA)
    per_user = influence(scores, GROUPS)
    (found,) = compare(per_user, [pair("zero", "same", date) for date in DATES])
    per_user.unpersist()
    assert found.u2_leaked - found.u2_control == 0
    assert (found.lis, found.standard_error, found.gauc.value, found.gauc.standard_error) == (
        0.0,
        0.0,
        0.0,
        0.0,
    )
    assert found.log_loss_leaked == found.log_loss_control


def test_the_clustered_error_agrees_with_a_bootstrap_of_users(influences: Any, ranking: Any) -> None:
    found, days = compare(
        influences,
        [pair("one", "b", fold=fold) for fold in (0, 1)]
        + [pair("days", "c", date, fold) for date in DATES for fold in (0, 1)],
    )
    random = np.random.default_rng(8)
    for comparison, arm, dates in ((found, "b", DATES[:1]), (days, "c", DATES)):
        cells = [(date, fold) for date in dates for fold in (0, 1)]
        rankings = [(ranking(*cell[:1], "a", cell[1]), ranking(*cell[:1], arm, cell[1])) for cell in cells]
        users = sorted(set().union(*[set(control.user) for control, _ in rankings]))
        place = {user: number for number, user in enumerate(users)}
        draws, controls = [], []
        for _ in range(400):
            times = np.bincount(random.integers(0, len(users), len(users)), minlength=len(users)).astype(float)
            gained = control_sum = weight = 0.0
            for control, leaked in rankings:
                count = times[[place[user] for user in control.user]]
                up, down = count[control.label], count[~control.label]
                gained += up @ (leaked.wins - control.wins) @ down
                control_sum += up @ control.wins @ down
                weight += up.sum() * down.sum()
            draws.append(gained / weight)
            controls.append(control_sum / weight)
        assert comparison.standard_error == pytest.approx(np.std(draws), rel=0.10)
        assert comparison.auc_control_standard_error == pytest.approx(np.std(controls), rel=0.10)


def test_a_ratio_knows_of_the_covariance(influences: Any, ranking: Any) -> None:
    pairs = [pair("honest", "b", date, fold) for date in DATES for fold in (0, 1)]
    pairs += [pair("matched", arm, date, fold) for date in DATES for fold in (0, 1) for arm in ("c", "d")]
    ratios = combine(
        influences, [*pairs, pair("other", "d")], ratios=[("honest", "matched"), ("matched", "honest")]
    ).ratios
    cells = [(date, fold) for date in DATES for fold in (0, 1)]
    estimates = {arm: pooled([ranking(date, arm, fold) for date, fold in cells]) for arm in "abcd"}
    honest, psi_honest = (x - y for x, y in zip(estimates["b"], estimates["a"], strict=True))
    matched = (estimates["c"][0] + estimates["d"][0]) / 2 - estimates["a"][0]
    psi_matched = (estimates["c"][1] + estimates["d"][1]) / 2 - estimates["a"][1]
    found = ratios["honest", "matched"]
    assert found is not None
    ratio = honest / matched
    error = clustered((psi_honest - ratio * psi_matched) / matched)
    assert found.value == pytest.approx(ratio, rel=1e-9)
    assert found.standard_error == pytest.approx(error, rel=1e-9)
    half = t.ppf(0.975, len(psi_honest) - 1) * error
    assert found.interval == pytest.approx((ratio - half, ratio + half), rel=1e-9)
    inverse = ratios["matched", "honest"]
    assert inverse is not None and inverse.value == pytest.approx(1 / ratio, rel=1e-9)


def test_a_ratio_over_nothing_is_null(spark: Any, rows: pd.DataFrame) -> None:
    control = rows[(rows["arm"].isin(["a", "b"])) & (rows["fold"] == 0)]
    same = control[control["arm"] == "a"].assign(arm="same")
    per_user = influence(spark.createDataFrame(pd.concat([control, same]), SCHEMA), GROUPS)
    pairs = [pair("honest", "b"), pair("nothing", "same")]
    assert combine(per_user, pairs, ratios=[("honest", "nothing")]).ratios == {("honest", "nothing"): None}
    assert combine(per_user, pairs).ratios == {}
    with pytest.raises(InputError, match="two different comparisons"):
        combine(per_user, pairs, ratios=[("honest", "naive")])
    per_user.unpersist()


def test_the_same_inputs_give_the_same_bits_in_any_order(spark: Any, rows: pd.DataFrame, influences: Any) -> None:
    pairs = [pair("days", arm, date, fold) for date in DATES for fold in (0, 1) for arm in ("b", "c")]
    shuffled = spark.createDataFrame(rows.sample(frac=1, random_state=1), SCHEMA).repartition(5)
    again = influence(shuffled, GROUPS, rows_per_partition=3000)
    assert compare(again.repartition(3), pairs) == compare(influences, pairs)
    again.unpersist()
    frame = spark.createDataFrame(pd.DataFrame(pairs))
    assert compare(influences, frame) == compare(influences, pairs)


def test_a_user_cut_by_chunks_counts_once(influences: Any, monkeypatch: Any) -> None:
    """The Python workers fork with the module's constant, so the chunk size is changed through the closure."""
    from lis_spark.metrics import moments

    pairs = [pair("days", "b", date, fold) for date in DATES for fold in (0, 1)]
    whole = compare(influences, pairs)
    chunked = moments._chunk_sums
    monkeypatch.setattr(moments, "_chunk_sums", lambda units, bundles: chunked(units, bundles, chunk_rows=37))
    assert compare(influences, pairs) == whole


def test_arms_over_different_impressions_are_refused(spark: Any, rows: pd.DataFrame) -> None:
    two = rows[rows["arm"].isin(["a", "b"]) & (rows["fold"] == 0)]
    lost = two[(two["arm"] == "b") & (two["evaluated_date"].astype(str) == DATES[0])].iloc[[0]]
    scores = two.drop(lost.index[0]) if two.index.is_unique else two[
        ~((two["arm"] == "b") & (two["impression_id"] == lost["impression_id"].item()))
    ]  # fmt: skip
    per_user = influence(spark.createDataFrame(scores, SCHEMA), GROUPS, table="scores")
    with pytest.raises(InputError) as raised:
        compare(per_user, [pair("honest", "b")])
    per_user.unpersist()
    message = str(raised.value)
    assert "the arms cover different impressions of 1 users" in message
    assert f"user {lost['user_id'].item()}:" in message
    assert "comparison honest: evaluated_date=2022-05-01, fold=0" in message
    assert "a: " in message and "b: " in message and "positives" in message


@pytest.mark.parametrize(("control", "leaked"), [("a", "nobody"), ("nobody", "b"), ("nobody", "no one")])
def test_an_arm_without_scores_is_named(influences: Any, control: str, leaked: str) -> None:
    with pytest.raises(InputError, match=r"arms have no scores: (nobody|no one)"):
        compare(influences, [pair("fine", "b"), pair("gone", leaked, control=control)])


def test_one_class_only_is_refused_by_name(spark: Any, rows: pd.DataFrame) -> None:
    some = rows[rows["arm"].isin(["a", "b"])].copy()
    some.loc[some["fold"] == 1, "label"] = 0
    per_user = influence(spark.createDataFrame(some, SCHEMA), GROUPS)
    with pytest.raises(InputError, match="one class only") as raised:
        compare(per_user, [pair("honest", "b", fold=fold) for fold in (0, 1)])
    assert "evaluated_date=2022-05-01, fold=1" in str(raised.value)
    assert "0 positives" in str(raised.value)
    per_user.unpersist()


def test_one_user_is_refused(spark: Any) -> None:
    scores = [(DATES[0], arm, 0, "u", str(row), row % 2, float(row)) for arm in "ab" for row in range(6)]
    frame = spark.createDataFrame(scores, SCHEMA.replace("evaluated_date date", "evaluated_date string"))
    per_user = influence(frame, GROUPS)
    with pytest.raises(InputError, match="one user alone"):
        compare(per_user, [pair("lonely", "b")])
    per_user.unpersist()


def compared_on_a_day(spark: Any, scores: list[tuple[Any, ...]]) -> Any:
    """The comparison of arm b with arm a of one day, in one ranking."""
    frame = spark.createDataFrame(scores, SCHEMA.replace("evaluated_date date", "evaluated_date string"))
    per_user = influence(frame, GROUPS)
    (comparison,) = compare(per_user, [pair("one", "b")])
    per_user.unpersist()
    return comparison


def test_compare_one_user_with_both_classes_has_an_order_without_an_error(spark: Any) -> None:
    scores = [(DATES[0], arm, 0, f"u{max(row, 1)}", str(row), row % 2, float(row)) for arm in "ab" for row in range(6)]
    found = compared_on_a_day(spark, scores)
    assert (found.within_user.clusters, found.within_user.standard_error) == (1, None)
    for gain in (found.auc, found.within_user):
        assert type(gain.effective_clusters) is float, "a column of doubles takes no whole number"


def test_users_of_one_class_leave_gauc_empty(spark: Any) -> None:
    scores = [(DATES[0], arm, 0, f"u{row}", str(row), row % 2, float(row)) for arm in "ab" for row in range(6)]
    found = compared_on_a_day(spark, scores)
    assert found.gauc_coverage == 0
    assert (found.gauc, found.within_user, found.within_request) == (None, None, None)


def test_sides_that_differ_are_refused(influences: Any) -> None:
    broken = influences.withColumn("u2_negatives", F.col("u2_negatives") + F.when(F.col("arm") == "b", 1).otherwise(0))
    with pytest.raises(StepFailed, match="do not count the same pairs") as raised:
        compare(broken, [pair("one", "b")])
    assert "leaked arm" in str(raised.value)


@pytest.mark.parametrize("partitions", [1, 2])
def test_sums_that_do_not_fit_are_refused(spark: Any, partitions: int) -> None:
    def huge(users: int) -> Any:
        arms = F.explode(F.array(F.lit("a"), F.lit("b"))).alias("arm")
        ones = [F.lit(1).cast("bigint").alias(name) for name in MEASURES]
        rows = spark.range(users).select(arms, F.col("id").cast("string").alias("user_id"), *ones)
        return rows.withColumns({name: F.lit(2**59) for name in ("u2_positives", "u2_negatives")})

    pairs = [{"comparison_id": "huge", "control_arm": "a", "leaked_arm": "b"}]
    before = spark.conf.get("spark.sql.shuffle.partitions")
    spark.conf.set("spark.sql.shuffle.partitions", partitions)
    try:
        (found,) = compare(huge(10), pairs)
        assert found.u2_control == 10 * 2**59
        # (2^60)^2 a user: the squares of 80 users are beyond 10^38, those of one half of them are not
        with pytest.raises(StepFailed, match=r"beyond decimal\(38,0\)"):
            compare(huge(80), pairs)
    finally:
        spark.conf.set("spark.sql.shuffle.partitions", before)


def test_pairs_that_make_no_sense_are_refused(influences: Any) -> None:
    for pairs, problem in (
        ([], "nothing to compare"),
        ([pair("x", "b"), pair("x", "b")], "twice beside one control"),
        ([pair("x", "a")], "or the control itself"),
        ([pair("x", "b"), {**pair("x", "c"), "stratum": "all"}], "other columns than the first"),
        ([{**pair("x", "b"), "stratum": "all"}], "columns are missing: stratum"),
    ):
        with pytest.raises(InputError, match=problem):
            compare(influences, pairs)
