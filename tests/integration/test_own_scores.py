"""Scores of one's own: LIS with its interval from two columns of logits, and what is said of unusable ones."""

from __future__ import annotations

import html
import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from lis_spark import cli
from lis_spark.errors import InputError
from lis_spark.lis.results.own_scores import NAIVE_NOTE, measure_scores

COLUMNS = {
    "control": "logit_control",
    "leaked": "logit_leaked",
    "user": "user_id",
    "label": "label",
    "impression": "impression_id",
    "fold": "fold",
    "date": "evaluated_date",
    "request": "request_id",
}


def scores(gain: float = 0.5, users: int = 400, seed: int = 3) -> pd.DataFrame:
    """Impressions of users of unequal activity; the leaked arm sees more of the logit that makes the label."""
    generator = np.random.default_rng(seed)
    user = np.repeat(np.arange(users), generator.integers(1, 30, users))
    truth = generator.normal(size=len(user)) + generator.normal(size=users)[user]
    label = (generator.random(len(user)) < 1 / (1 + np.exp(-truth))).astype(int)
    control = np.round(0.3 * truth + generator.normal(size=len(user)), 2)
    return pd.DataFrame(
        {
            "impression_id": [f"i{number}" for number in range(len(user))],
            "user_id": user,
            "label": label,
            "logit_control": control,
            "logit_leaked": np.round(control + gain * truth, 2),
            "fold": user % 3,
            "evaluated_date": np.where(generator.random(len(user)) < 0.5, "2022-05-01", "2022-05-02"),
        }
    )


def bootstrap_error(frame: pd.DataFrame, draws: int = 400) -> float:
    """Standard deviation of the difference over samples of users with replacement."""
    generator = np.random.default_rng(11)
    groups = [members for _, members in frame.groupby("user_id")]
    differences = []
    for _ in range(draws):
        sample = pd.concat([groups[number] for number in generator.integers(0, len(groups), len(groups))])
        differences.append(
            roc_auc_score(sample["label"], sample["logit_leaked"])
            - roc_auc_score(sample["label"], sample["logit_control"])
        )
    return float(np.std(differences, ddof=1))


@pytest.mark.parametrize("place", ["delta", "parquet", "catalog"])
def test_two_columns_a_user_and_a_label_are_enough(spark: Any, tmp_path: Path, place: str) -> None:
    frame = scores()
    minimal = spark.createDataFrame(frame[["user_id", "label", "logit_control", "logit_leaked"]])
    table = str(tmp_path / "scores")
    if place == "catalog":
        table = "scores_of_my_ranker"
        minimal.createOrReplaceTempView(table)
    else:
        minimal.write.format(place).save(table)
    (row,) = measure_scores(spark, table, COLUMNS)
    expected = [roc_auc_score(frame["label"], frame[f"logit_{arm}"]) for arm in ("control", "leaked")]
    assert [row.auc_control, row.auc_leaked] == pytest.approx(expected, abs=1e-12)
    assert row.lis == pytest.approx(expected[1] - expected[0], abs=1e-12)
    assert row.variant == "naive" and row.note == NAIVE_NOTE and row.verdict == "clearly useful (naive)"
    assert row.users == frame["user_id"].nunique()
    assert row.table_versions == json.dumps({table: 0} if place == "delta" else {})
    if place == "delta":
        assert row.standard_error == pytest.approx(bootstrap_error(frame), rel=0.10)


def test_a_delta_table_is_read_by_its_log(spark: Any, tmp_path: Path) -> None:
    """Files of an older version lie in the folder and are not read."""
    table = str(tmp_path / "scores")
    for gain in (0.0, 0.5):
        spark.createDataFrame(scores(gain)).write.format("delta").mode("overwrite").save(table)
    for place in (table, f"file://{table}"):
        rows = measure_scores(spark, place, COLUMNS)
        of_dates = [row for row in rows if row.evaluated_date]
        assert sum((row.positives or 0) + (row.negatives or 0) for row in of_dates) == len(scores())
        assert {row.table_versions for row in rows} == {json.dumps({place: 1})}
    ids = {row.measurement_id for row in rows}
    spark.createDataFrame(scores(0.1)).write.format("delta").mode("overwrite").save(table)
    assert not ids & {row.measurement_id for row in measure_scores(spark, place, COLUMNS)}, "another version"


def test_a_delta_table_of_the_catalog_says_its_version(spark: Any) -> None:
    spark.createDataFrame(scores()).write.format("delta").mode("overwrite").saveAsTable("my_delta_scores")
    try:
        version = spark.sql("DESCRIBE HISTORY my_delta_scores").agg({"version": "max"}).first()[0]
        rows = measure_scores(spark, "my_delta_scores", COLUMNS)
        assert {row.table_versions for row in rows} == {json.dumps({"my_delta_scores": version})}
    finally:
        spark.sql("DROP TABLE my_delta_scores")


def test_folds_and_dates_make_it_honest_and_are_never_pooled(spark: Any, tmp_path: Path) -> None:
    frame = scores()
    table = str(tmp_path / "scores.parquet")
    spark.createDataFrame(frame).write.parquet(table)
    rows = measure_scores(spark, table, COLUMNS)
    assert [str(row.evaluated_date) for row in rows] == ["2022-05-01", "2022-05-02", "None"]
    assert [row.evaluated_dates for row in rows] == [1, 1, 2]
    for row in rows:
        day = frame[frame["evaluated_date"] == str(row.evaluated_date)] if row.evaluated_date else frame
        weighted, total = {"logit_control": 0.0, "logit_leaked": 0.0}, 0
        for _, members in day.groupby(["evaluated_date", "fold"]):
            pairs = members["label"].sum() * (1 - members["label"]).sum()
            total += pairs
            for arm in weighted:
                weighted[arm] += pairs * roc_auc_score(members["label"], members[arm])
        assert row.auc_leaked == pytest.approx(weighted["logit_leaked"] / total, abs=1e-12)
        assert row.lis == pytest.approx((weighted["logit_leaked"] - weighted["logit_control"]) / total, abs=1e-12)
        assert row.variant == "honest" and row.verdict == "clearly useful"


def test_measure_scores_a_gain_that_tells_users_apart_is_no_useful_gain(spark: Any, tmp_path: Path) -> None:
    """The leaked arm adds to each user a constant that knows the user's click rate: no order of a user changes."""
    frame = scores(users=1500)
    rate = frame.groupby("user_id")["label"].transform("mean")
    planted = frame.assign(logit_leaked=frame["logit_control"] + 2 * (rate - rate.mean()))
    spark.createDataFrame(planted).write.parquet(str(tmp_path / "users.parquet"))
    for row in measure_scores(spark, str(tmp_path / "users.parquet"), COLUMNS):
        assert row.verdict == "tells users apart" and row.lis is not None and row.lis > 0.02
        assert row.lis_within_user == pytest.approx(0, abs=1e-3)
        assert row.lis_user_part == pytest.approx(row.lis_several_rows, abs=1e-3)
        assert row.lis_item_part == pytest.approx(0, abs=1e-3)


def test_measure_scores_with_requests_equals_pairs_counted_one_by_one(spark: Any, tmp_path: Path) -> None:
    frame = scores(users=60).drop(columns=["fold", "evaluated_date"])
    frame["request_id"] = [None if number % 7 == 0 else number // 5 for number in range(len(frame))]
    table = str(tmp_path / "scores")
    spark.createDataFrame(frame).write.parquet(table)
    (row,) = measure_scores(spark, table, COLUMNS)
    won, pairs = {"logit_control": 0.0, "logit_leaked": 0.0}, 0
    for _, shown in frame.dropna(subset="request_id").groupby(["user_id", "request_id"]):
        positives, negatives = (shown[shown["label"] == label] for label in (1, 0))
        pairs += len(positives) * len(negatives)
        for arm in won:
            above = positives[arm].to_numpy()[:, None] - negatives[arm].to_numpy()[None, :]
            won[arm] += (above > 0).sum() + (above == 0).sum() / 2
    assert row.lis_within_request == pytest.approx((won["logit_leaked"] - won["logit_control"]) / pairs, abs=1e-12)
    positives = int(frame["label"].sum())
    assert row.request_pair_share == pytest.approx(pairs / (positives * (len(frame) - positives)), rel=1e-12)
    assert row.lis_within_request_ci_low is not None
    (without,) = measure_scores(spark, table, {**COLUMNS, "request": "no such column"})
    assert without.lis_within_request is None and without.lis == row.lis


def test_measure_scores_of_few_users_are_not_judged(spark: Any, tmp_path: Path) -> None:
    spark.createDataFrame(scores(users=29)).write.parquet(str(tmp_path / "few.parquet"))
    for row in measure_scores(spark, str(tmp_path / "few.parquet"), COLUMNS):
        assert row.verdict == "too few" and row.standard_error is None and row.lis is not None
        assert row.reason is not None and "an interval needs 30 users" in row.reason


def test_measure_scores_where_few_users_have_both_classes_do_not_judge_their_order(spark: Any, tmp_path: Path) -> None:
    frame = scores(users=400)
    one_row = frame.groupby("user_id").head(1)
    both = frame[frame["user_id"] < 29]
    few = pd.concat([both, one_row[one_row["user_id"] >= 29]]).assign(evaluated_date="2022-05-01")
    spark.createDataFrame(few).write.parquet(str(tmp_path / "few.parquet"))
    (row,) = measure_scores(spark, str(tmp_path / "few.parquet"), COLUMNS)
    assert row.standard_error is not None and row.within_user_users is not None and row.within_user_users < 30
    assert row.lis_within_user is not None and row.lis_within_user_standard_error is row.lis_within_user_ci_low is None
    assert row.verdict == "order not resolved" and "fewer than 30 users" in str(row.reason)


def test_equal_arms_are_the_integer_zero_and_a_loss_is_harmful(spark: Any, tmp_path: Path) -> None:
    frame = scores(gain=0.0)
    spark.createDataFrame(frame).write.parquet(str(tmp_path / "equal.parquet"))
    for row in measure_scores(spark, str(tmp_path / "equal.parquet"), COLUMNS):
        assert row.lis == 0.0 and row.u2_control == row.u2_leaked and row.verdict == "negligible"
    spark.createDataFrame(scores(gain=-0.5)).write.parquet(str(tmp_path / "worse.parquet"))
    assert {row.verdict for row in measure_scores(spark, str(tmp_path / "worse.parquet"), COLUMNS)} == {"harmful"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: f.assign(label=f["label"].where(f.index != 7, 2)), ["a label is not 0 or 1 in 1 of", "'i7'"]),
        (lambda f: f.assign(impression_id=f["impression_id"].replace("i8", "i7")), ["scored more than once", "i7 (2"]),
        (lambda f: f.rename(columns={"logit_leaked": "logit_leakt"}), ["'logit_leaked' (leaked) is missing", "leakt"]),
        (lambda f: f.assign(logit_control=f["logit_control"].astype(str)), ["is not a logit", "float or double"]),
        (lambda f: f.iloc[:0], ["the table of scores is empty"]),
        (lambda f: f[f["label"] == 1], ["one class only", "positives and 0 negatives"]),
    ],
)
def test_what_is_unusable_is_named(spark: Any, tmp_path: Path, change: Any, said: list[str]) -> None:
    frame = change(scores())
    table = str(tmp_path / "scores.parquet")
    types = spark.createDataFrame(scores().head(1)).schema if frame.empty else None
    spark.createDataFrame(frame, types).write.parquet(table)
    with pytest.raises(InputError) as error:
        measure_scores(spark, table, COLUMNS)
    text = str(error.value).replace('"', "'")
    for words in said:
        assert words in text, text
    assert "scores" in text


def test_a_score_that_is_nan_is_named_by_its_row(spark: Any, tmp_path: Path) -> None:
    table = str(tmp_path / "scores.parquet")
    nan = "if(impression_id = 'i7', double('NaN'), logit_leaked) logit_leaked"
    spark.createDataFrame(scores()).selectExpr("* except (logit_leaked)", nan).write.parquet(table)
    with pytest.raises(InputError, match="a score is NaN in 1 of") as error:
        measure_scores(spark, table, COLUMNS)
    assert '"i7"' in str(error.value) and table in str(error.value)


def test_arms_over_different_impressions_are_refused_with_a_row(spark: Any, tmp_path: Path) -> None:
    """An outer join of two arms' tables leaves nulls where an arm has not scored an impression."""
    table = str(tmp_path / "scores.parquet")
    rows = spark.createDataFrame(scores())
    holes = rows.selectExpr("* except (logit_leaked)", "if(impression_id = 'i7', null, logit_leaked) logit_leaked")
    holes.write.parquet(table)
    with pytest.raises(InputError, match="the arms cover different impressions: a score is null in 1 of") as error:
        measure_scores(spark, table, COLUMNS)
    assert '"i7"' in str(error.value) and "score these impressions in both arms" in str(error.value)


def test_the_verb_writes_report_and_rows(spark: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = str(tmp_path / "scores.parquet")
    spark.createDataFrame(scores().rename(columns={"logit_leaked": "with_leak"})).write.parquet(table)
    out = tmp_path / "out"
    arguments = ["measure", "--scores", table, "--leaked-column", "with_leak", "--output", str(out)]
    assert cli.main(arguments) == 0
    rows = json.loads((out / "lis_results.json").read_text(encoding="utf-8"))
    assert [row["evaluated_date"] for row in rows] == ["2022-05-01", "2022-05-02", None]
    assert all(row["ci_low"] < row["lis"] < row["ci_high"] and row["verdict"] == "clearly useful" for row in rows)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "useful" in page
    (again,) = set(re.findall(r"lis-spark measure --scores [^<]+", html.unescape(page)))
    assert vars(cli.parsed(shlex.split(again)[1:])) == vars(cli.parsed(arguments)), "the same measurement once more"
    assert "useful" in capsys.readouterr().out
    assert cli.main(["measure", "--scores", str(tmp_path / "nowhere.parquet"), "--output", str(out)]) == 2
    assert "nowhere.parquet" in capsys.readouterr().err
    # what cannot be used is refused, and what was measured before stays
    before = {file.name: file.read_bytes() for file in out.iterdir()}
    for name, value, told in (("nan", "double('NaN')", "a score is NaN in 1 of"), ("hole", "null", "is null in 1 of")):
        unusable = str(tmp_path / f"{name}.parquet")
        changed = f"if(impression_id = 'i7', {value}, with_leak) with_leak"
        spark.read.parquet(table).selectExpr("* except (with_leak)", changed).write.parquet(unusable)
        assert cli.main([*arguments[:2], unusable, *arguments[3:]]) == 2
        said = capsys.readouterr().err
        assert told in said and "i7" in said and unusable in said
        assert {file.name: file.read_bytes() for file in out.iterdir()} == before
