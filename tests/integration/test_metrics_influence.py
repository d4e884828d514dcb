"""Influence and totals on Spark against scikit-learn, naive NumPy, other partitionings and bad scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import functions as F
from sklearn.metrics import log_loss, roc_auc_score

from lis_spark.errors import InputError, StepFailed
from lis_spark.metrics import influence, totals
from lis_spark.metrics import influence as package_influence
from lis_spark.metrics.influence import MEASURES, with_units

GROUPS = ("evaluated_date", "arm", "fold")
SCHEMA = "evaluated_date string, arm string, fold int, user_id string, impression_id string, label tinyint, logit float"


def scored_impressions(rows: int = 6000, levels: int = 40, seed: int = 0) -> pd.DataFrame:
    """Three arms of different sizes on two days, logits rounded so that most rows are tied."""
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "evaluated_date": random.choice(["2022-05-01", "2022-05-02"], rows, p=[0.8, 0.2]),
            "arm": random.choice(["control", "naive|1", "naive|3"], rows, p=[0.6, 0.3, 0.1]),
            "fold": 0,
            "user_id": [f"user {user}" for user in (random.random(rows) ** 2 * 150).astype(int)],
            "impression_id": [f"i{row}" for row in range(rows)],
            "label": (random.random(rows) < 0.25).astype(np.int8),
        }
    )
    noise = random.normal(size=rows) + frame["label"]
    frame["logit"] = (np.round(noise * levels / 8) * 8 / levels - 1).astype(np.float32)
    return frame


def by_key(frame: Any) -> dict[tuple[Any, ...], tuple[int, ...]]:
    rows = frame.collect()
    found = {tuple(row[name] for name in (*GROUPS, "user_id")): tuple(row[name] for name in MEASURES) for row in rows}
    assert len(found) == len(rows)
    return found


def naive_influence(rows: pd.DataFrame) -> dict[tuple[Any, ...], tuple[int, ...]]:
    """Every pair of a group, compared one with the other."""
    found = {}
    for group, members in rows.groupby(list(GROUPS)):
        label, logit = members["label"].to_numpy(), members["logit"].to_numpy()
        user = members["user_id"].to_numpy()
        wins = 2 * (logit[:, None] > logit[None, :]) + (logit[:, None] == logit[None, :])
        wins = wins * ((label[:, None] == 1) & (label[None, :] == 0))
        probability = 1 / (1 + np.exp(-logit.astype(np.float64)))
        loss = -np.log(np.where(label == 1, probability, 1 - probability))
        for name in set(user):
            mine = user == name
            found[(*group, name)] = (
                int(label[mine].sum()),
                int((1 - label[mine]).sum()),
                int(wins[mine].sum()),
                int(wins[:, mine].sum()),
                int(wins[np.ix_(mine, mine)].sum()),
                loss[mine].sum(),
                probability[mine].sum(),
            )
    return found


def test_integers_equal_counting_every_pair_under_any_partitioning_and_order(spark: Any) -> None:
    rows = scored_impressions()
    expected = naive_influence(rows)
    first = None
    for partitions in (1, 2, 7):
        shuffled = rows.sample(frac=1, random_state=partitions)
        scores = spark.createDataFrame(shuffled, SCHEMA).repartition(partitions)
        result = influence(scores, GROUPS, rows_per_partition=-(-len(rows) // partitions))
        found = by_key(result)
        result.unpersist()
        first = first or found
        # the same integers, log loss and probability included
        assert found == first
    assert first is not None and first.keys() == expected.keys()
    for key, values in expected.items():
        assert first[key][:5] == values[:5]
        assert np.array(first[key][5:7]) / 2**32 == pytest.approx(values[5:], abs=1e-7)
        assert first[key][7:] == (0, 0), "no request is known"


def test_totals_are_scikit_learns_auc_with_heavy_ties(spark: Any) -> None:
    rows = scored_impressions(levels=8)
    result = influence(spark.createDataFrame(rows, SCHEMA), GROUPS, rows_per_partition=1500)
    found = totals(result, GROUPS)
    assert len(found) == 6
    loss = result.groupBy(*GROUPS).agg(F.sum("log_loss_units").alias("loss"), F.sum("probability_units").alias("p"))
    sums = {tuple(row[name] for name in GROUPS): (row["loss"] / 2**32, row["p"] / 2**32) for row in loss.collect()}
    for group, members in rows.groupby(list(GROUPS)):
        total = found[tuple(group)]
        auc = total["u2"] / (2 * total["positives"] * total["negatives"])
        assert auc == pytest.approx(roc_auc_score(members["label"], members["logit"]), abs=1e-12)
        probability = 1 / (1 + np.exp(-members["logit"].astype(np.float64)))
        assert sums[tuple(group)][0] / len(members) == pytest.approx(log_loss(members["label"], probability), abs=1e-9)
        assert sums[tuple(group)][1] == pytest.approx(probability.sum(), abs=1e-6)
    result.unpersist()


def one_group(spark: Any, rows: list[tuple[Any, ...]], logit: str = "float") -> Any:
    schema = f"arm string, user_id string, impression_id string, label tinyint, logit {logit}"
    return spark.createDataFrame([("a", *row) for row in rows], schema)


def test_minus_zero_ties_with_zero_and_infinities_have_their_place(spark: Any) -> None:
    infinity = float("inf")
    logits = [(1, -0.0), (0, 0.0), (1, infinity), (0, infinity), (0, -infinity), (1, -1e30)]
    rows = [("u", f"i{number}", label, logit) for number, (label, logit) in enumerate(logits)]
    for partitions in (1, 3):
        result = influence(one_group(spark, rows), ["arm"], rows_per_partition=6 // partitions)
        (found,) = result.collect()
        result.unpersist()
        # positives: -0.0 beats -inf and ties 0.0; inf beats two and ties one; -1e30 beats -inf
        assert found["u2_positives"] == found["u2_negatives"] == found["u2_within_user"] == (2 + 1) + (4 + 1) + 2
        # an infinite loss counts as 1000 nats, here twice (a negative at +inf, a positive at -1e30)
        assert found["log_loss_units"] / 2**32 == pytest.approx(2000 + 2 * np.log(2), abs=1e-8)
        assert found["probability_units"] / 2**32 == pytest.approx(0.5 + 0.5 + 1 + 1, abs=1e-8)


def test_a_double_keeps_the_order_of_a_double(spark: Any) -> None:
    rows = [("u", "a", 1, 1.0 + 2**-50), ("u", "b", 0, 1.0)]
    for logit, expected in (("double", 2), ("float", 1)):
        result = influence(one_group(spark, rows, logit), ["arm"])
        assert [row["u2_positives"] for row in result.collect()] == [expected]
        result.unpersist()


def test_units_of_extreme_logits_are_numbers(spark: Any) -> None:
    logits = [0.0, 3.0, -3.0, 40.0, -40.0, 800.0, -800.0, 1e300, float("inf"), float("-inf")]
    rows = [(label, logit) for label in (0, 1) for logit in logits]
    found = with_units(spark.createDataFrame(rows, "label tinyint, logit double")).collect()
    for row in found:
        sign = -1 if row["label"] else 1
        assert row["log_loss_units"] / 2**32 == pytest.approx(
            min(np.logaddexp(0, sign * row["logit"]), 1000), abs=2**-32
        )
        expected = 1 / (1 + np.exp(-np.float64(np.clip(row["logit"], -700, 700))))
        assert row["probability_units"] / 2**32 == pytest.approx(expected, abs=2**-32)


def test_ids_may_be_integers_and_group_values_null(spark: Any) -> None:
    scores = spark.createDataFrame(
        [(None, 7, "i1", 1, 0.5), (None, 7, "i2", 0, 0.25), ("d", 8, "i3", 1, 0.5)],
        "evaluated_date string, user_id bigint, impression_id string, label int, logit float",
    )
    result = influence(scores, ["evaluated_date"])
    found = {(row["evaluated_date"], row["user_id"]): row["u2_positives"] for row in result.collect()}
    result.unpersist()
    assert found == {(None, 7): 2, ("d", 8): 0}


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (("u3", "bad impression", 1, float("nan")), "logit is NaN in 1 of 4 scores"),
        (("u3", "bad impression", 1, None), "logit is null in 1 of 4 scores"),
        (("u3", "bad impression", 2, 0.5), "label is not 0 or 1 in 1 of 4 scores"),
        (("u3", "bad impression", None, 0.5), "label is not 0 or 1 in 1 of 4 scores"),
        ((None, "bad impression", 1, 0.5), "user_id is null in 1 of 4 scores"),
    ],
)
def test_a_row_that_cannot_be_ranked_is_named(spark: Any, row: tuple[Any, ...], problem: str) -> None:
    good = [("u1", "i1", 1, 0.5), ("u1", "i2", 0, 0.5), ("u2", "i3", 0, 1.5)]
    with pytest.raises(InputError) as raised:
        influence(one_group(spark, [*good, row]), ["arm"], table="my_scores")
    message = str(raised.value)
    assert problem in message
    assert "impression_id bad impression" in message
    assert "arm=a (1 rows)" in message
    assert "my_scores" in message


def test_the_sample_of_bad_rows_is_bounded(spark: Any) -> None:
    rows = [("u", f"i{number:03d}", number % 2, float("nan")) for number in range(100)]
    with pytest.raises(InputError, match="NaN in 100 of 100") as raised:
        influence(one_group(spark, rows), ["arm"])
    assert str(raised.value).count("impression_id") == 5


def test_scores_without_a_column_without_rows_or_of_another_type_are_refused(spark: Any) -> None:
    scores = one_group(spark, [("u", "i", 1, 0.5)])
    with pytest.raises(InputError, match="columns are missing: fold, label"):
        influence(scores.drop("label"), ["arm", "fold"])
    with pytest.raises(InputError, match="there are no scores"):
        influence(scores.limit(0), ["arm"])
    with pytest.raises(InputError, match="logit is not a float"):
        influence(scores.withColumn("logit", F.col("logit").cast("decimal(10,2)")), ["arm"])


def test_scores_that_change_between_readings_are_refused(spark: Any, tmp_path: Any, monkeypatch: Any) -> None:
    module = __import__("sys").modules[package_influence.__module__]
    counted = module.counted_groups

    def counted_earlier(scores: Any, group_columns: Any, table: str) -> Any:
        rows = counted(scores, group_columns, table)
        return [type(row)(**{**row.asDict(), "positives": row["positives"] + 1}) for row in rows]

    monkeypatch.setattr(module, "counted_groups", counted_earlier)
    with pytest.raises(StepFailed, match="changed while they were ranked"):
        influence(one_group(spark, [("u", "i", 1, 0.5), ("u", "j", 0, 0.5)]), ["arm"])


def test_nothing_stays_cached_but_the_result(spark: Any) -> None:
    def cached() -> int:
        return spark.sparkContext._jsc.getPersistentRDDs().size()

    before = cached()
    result = influence(one_group(spark, [("u", "i", 1, 0.5), ("u", "j", 0, 0.5)]), ["arm"])
    assert cached() == before + 1
    result.unpersist(blocking=True)
    assert cached() == before


def test_sides_that_differ_are_refused(spark: Any) -> None:
    result = influence(one_group(spark, [("u", "i", 1, 0.5), ("u", "j", 0, 0.5)]), ["arm"])
    assert totals(result, ["arm"]) == {("a",): {"positives": 1, "negatives": 1, "u2": 1}}
    with pytest.raises(StepFailed, match="do not count the same pairs"):
        totals(result.withColumn("u2_negatives", F.col("u2_negatives") + 1), ["arm"])
    result.unpersist()
