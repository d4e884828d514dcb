"""Protocol append on the finished small run: the ID table of tomorrow, the next clicks, the neighbours of Swing."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import functions as F
from sklearn.metrics import roc_auc_score

from lis_spark import cli
from lis_spark.config import RunConfig
from lis_spark.errors import InputError
from lis_spark.lake import Lake
from lis_spark.lis.results.compare import compared_leaks
from lis_spark.lis.results.decision import ONE_SEED
from lis_spark.lis.results.measure import results_of
from lis_spark.lis.swap import train
from lis_spark.pipeline import run_steps
from lis_spark.vectors import unpack
from tests.e2e.conftest import small_config, small_overrides
from tests.e2e.readme import of_readme
from tests.e2e.test_changes import versions

T, WINDOW = dt.date(2022, 4, 30), 2
RATES = (
    "{kind: sql, name: click_rates, query: 'SELECT item_id, avg(label_click) AS click_rate FROM impressions WHERE date "
    "< :as_of AND NOT (fold = :excluded_fold AND date >= :held_out_from) GROUP BY item_id'}"
)
NOISE = (
    "{kind: sql, name: noise, horizon_days: 1, control: shuffled, query: 'SELECT item_id, transform(sequence(0, 3), "
    "place -> float(pmod(xxhash64(item_id, place), 1009))) AS noise FROM items'}"
)
LEAKS = (
    f"[{{kind: id_table}}, {{kind: next_click, name: next_3, clicks: 3}}, {{kind: similar_items}}, {RATES}, {NOISE}]"
)
GRAPHS = "graphs=[{name: swing, min_user_items: 2, window_days: 3}]"
CONTROLS = "content: {shuffles: 2, projections: 16}"
APPEND = f"append={{leaks: {LEAKS}, window_days: {WINDOW}, horizons: [1], port_columns: 8, {CONTROLS}}}"
# strata of an append measurement are looked at in test_align.py, those of a substitution in test_main_job.py
WHOLE = ["evaluation.update_count_edges=[]", "evaluation.item_age_edges=[]"]
STEPS = ["graph", "train", "append", "measure", "compare", "report"]


@pytest.mark.slow("retrains some forty arms")
def test_leaks_are_measured_by_retrained_arms(
    spark: Any,
    copied: RunConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("lis_spark.session.get_session", lambda *_, **__: spark)
    config = small_config(tmp_path, tmp_path / "source", APPEND, GRAPHS, *WHOLE)
    done = {result.step: result for result in run_steps(spark, config, STEPS)}
    days = [T - dt.timedelta(days=back) for back in range(WINDOW, -1, -1)]
    lake = Lake(spark, config, measurement=True)
    counts = {row["date"]: row["count"] for row in lake.read("training_rows").groupBy("date").count().collect()}
    window, on_the_day = sum(counts[day] for day in days), counts[T]
    # features: naive and honest table, leaked and control; clicks of either kind; four graphs; rates; noise
    # scores: six arms of tables and clicks, six of graphs, four of rates, noise and its wrong order; of each of the
    # five leaks what content predicts, and that in two wrong orders; of each the check in the wrong order
    arms = 6 + 6 + 4 + 2 + 5 * 3 + 4 * 2 + 1
    assert done["append"].rows_written == window * (4 + 2 + 4 + 4 + 1) + on_the_day * arms
    assert done["train"].partitions_written == 2 * (WINDOW + 1), "one chain for each fold, from T - w to T + 1"
    # the README's line finds all of it done, and says how the leaks stand to each other
    before = versions(spark, config)
    words = [word.replace("kuairand_compare", "kuairand_small") for word in of_readme("lis-spark compare")]
    capsys.readouterr()
    assert cli.main([*words, *small_overrides(tmp_path, tmp_path / "source"), APPEND, GRAPHS, *WHOLE]) == 0
    assert versions(spark, config) == before
    said = capsys.readouterr()
    assert all(f"{step.replace('_', '-')}: nothing to do" in said.err for step in STEPS[:4])
    assert "next_3" in said.out and "click_rates" in said.out

    scores = lake.read("scores").where("step = 'append'").toPandas()
    rows = {
        (row["leak"], row["variant"]): row
        for row in results_of(Lake(spark, config))
        if row["protocol"] == "append" and row["stratum"] == "all"
    }
    similar = {("similar_items", variant) for variant in ("naive", "honest", "known_graph", "shuffled_graph")}
    rates = {("click_rates", "naive"), ("click_rates", "honest"), ("noise", "honest")}
    content = {key for key in rows if key[1] == "content"}
    assert {leak for leak, _ in content} == {"id_table", "next_3", "similar_items", "click_rates", "noise"}
    for leak, _ in content:
        rows.pop((leak, "content"))
        rows.pop((leak, "row_shuffled"))
    assert set(rows) == {("id_table", "naive"), ("id_table", "honest"), ("next_3", "honest")} | similar | rates
    by_arm = {arm: part.set_index("impression_id") for arm, part in scores.groupby("arm")}
    for (leak, variant), row in rows.items():
        if leak in ("similar_items", "noise"):
            continue
        control = f"append|control_{variant}|{1 if leak == 'next_3' else 0}|port|-1|{leak}"
        leaked = f"append|{variant}|1|port|-1|{leak}"
        auc = [roc_auc_score(by_arm[arm]["label"], by_arm[arm]["logit"]) for arm in (control, leaked)]
        assert [row["auc_control"], row["auc_leaked"]] == pytest.approx(auc, abs=1e-12)
        assert row["lis"] == pytest.approx(auc[1] - auc[0], abs=1e-12) and row["swap_scope"] is None
        assert row["standard_error"] > 0 and row["users"] == by_arm[leaked]["user_id"].nunique()
    assert rows["id_table", "naive"]["ci_low"] > 0, "the table has memorised the labels that are scored"
    assert rows["id_table", "naive"]["lis"] > rows["id_table", "honest"]["lis"]
    own = rows["similar_items", "honest"]
    assert own["auc_control"] == rows["similar_items", "known_graph"]["auc_leaked"], "the graph of T in both"
    assert 0 < own["coverage"] < 1
    judged = {row["verdict"] for (_, variant), row in rows.items() if variant == "honest"}
    assert judged == {ONE_SEED}, "what another training would change is in no interval"
    shuffled = by_arm["append|control_row_shuffled_honest|1|port|-1|noise"]
    auc = roc_auc_score(shuffled["label"], shuffled["logit"])
    assert rows["noise", "honest"]["auc_control"] == pytest.approx(auc, abs=1e-12), "its own vectors in the wrong order"
    assert rows["noise", "honest"]["coverage"] > 0.9
    same = by_arm["append|control_graph|0|port|-1|similar_items"]["logit"]
    assert same.equals(by_arm["append|known_graph|0|port|-1|similar_items"]["logit"]), "one training for both"
    _check_tables(spark, config, days)
    _check_clicks(lake, rows["next_3", "honest"]["coverage"], days)
    _check_comparison(lake, config, by_arm, rows)
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "next_3" in page and "id_table" in page and "Leaks compared" in page
    few = f"append={{leaks: [{RATES}, {NOISE}], window_days: {WINDOW}, horizons: [1], port_columns: 8}}"
    _check_fewer_leaks(spark, config, small_config(tmp_path, tmp_path / "source", few, GRAPHS, *WHOLE))


def _check_fewer_leaks(spark: Any, wide: RunConfig, narrow: RunConfig) -> None:
    """A configuration of fewer leaks on the lake that one of more has filled, then that one again: both end right."""
    figures = ("lis", "standard_error", "u2_control", "u2_leaked", "lis_within_user", "lis_user_part")

    def measured(config: RunConfig) -> dict[tuple[str, str], list[Any]]:
        rows = [row for row in results_of(Lake(spark, config)) if row["stratum"] == "all"]
        own = [row for row in rows if row["protocol"] == "append" and row["variant"] in ("naive", "honest")]
        return {(row["leak"], row["variant"]): [row[name] for name in figures] for row in own}

    before, compared = measured(wide), {row["leak"]: row for row in compared_leaks(Lake(spark, wide))}
    run_steps(spark, narrow, STEPS)
    found = measured(narrow)
    assert set(found) == {("click_rates", "naive"), ("click_rates", "honest"), ("noise", "honest")}
    assert found == {key: before[key] for key in found}, "to the bit"
    assert {row["leak"] for row in compared_leaks(Lake(spark, narrow))} == {"click_rates", "noise"}
    run_steps(spark, wide, STEPS)
    assert measured(wide) == before
    again = {row["leak"]: row for row in compared_leaks(Lake(spark, wide))}
    assert set(again) == set(compared)
    for leak, row in again.items():
        assert all(row[name] == compared[leak][name] for name in ("lis_honest", "rank_lowest", "tied_with", "verdict"))


def _check_comparison(
    lake: Lake, config: RunConfig, by_arm: dict[str, pd.DataFrame], rows: dict[tuple[str, str], Any]
) -> None:
    """One row a leak with the scores of the measurements, its content score, its cost and its ties."""
    compared = {row["leak"]: row for row in compared_leaks(Lake(lake.spark, config))}
    assert set(compared) == {"id_table", "next_3", "similar_items", "click_rates", "noise"}
    for (leak, variant), row in rows.items():
        if variant in ("naive", "honest"):
            found = [compared[leak][f"lis_{variant}{end}"] for end in ("", "_ci_low", "_ci_high")]
            assert found == pytest.approx([row["lis"], row["ci_low"], row["ci_high"]], abs=1e-12), (leak, variant)
    for leak, row in compared.items():
        auc = {
            name: roc_auc_score(by_arm[arm]["label"], by_arm[arm]["logit"])
            for name in ("content", "control_content_0", "control_content_1")
            for arm in [f"append|{name}|1|port|-1|{leak}"]
        }
        expected = auc["content"] - (auc["control_content_0"] + auc["control_content_1"]) / 2
        assert row["lis_content"] == pytest.approx(expected, abs=1e-12)
        assert row["lis_content_ci_low"] < expected < row["lis_content_ci_high"]
        assert row["leak_rows"] > 0 and row["leak_bytes"] > 1000 and row["leak_seconds"] > 0
        assert all(leak in compared[other]["tied_with"] for other in row["tied_with"]), "a tie has two sides"
    share = compared["id_table"]["own_label_share"]
    assert share == pytest.approx(1 - compared["id_table"]["lis_honest"] / compared["id_table"]["lis_naive"], abs=1e-12)
    assert compared["next_3"]["own_label_share"] is None and compared["next_3"]["lis_naive"] is None
    for row in compared.values():
        assert 1 <= row["rank_lowest"] <= row["rank_highest"] <= len(compared)
        assert row["reason"] and row["verdict"] == ONE_SEED
        shuffled = [roc_auc_score(by_arm[arm]["label"], by_arm[arm]["logit"]) for arm in _wrong_order(row["leak"])]
        assert row["lis_row_shuffled"] == pytest.approx(shuffled[1] - shuffled[0], abs=1e-12)


def _wrong_order(leak: str) -> tuple[str, str]:
    """The arms of a leak's check in the wrong order: its control, and the leak."""
    if leak == "noise":
        return "append|control_row_shuffled_honest|1|port|-1|noise", "append|row_shuffled|1|port|-1|noise"
    return f"append|control_row_shuffled|1|port|-1|{leak}", f"append|row_shuffled|1|port|-1|{leak}"


def _check_tables(spark: Any, config: RunConfig, days: list[dt.date]) -> None:
    """Honest rows of every day of the window come from the chain that never saw the fold from T - w on."""
    lake = Lake(spark, config, measurement=True)
    snapshots = lake.read("embedding_snapshots").toPandas()
    for table, column, through in (("leaked_features", "leaked_vector", 1), ("control_features", "control_vector", 0)):
        rows = lake.read(table).where("leak = 'id_table'").toPandas()
        assert sorted(rows["date"].unique()) == days and set(rows["evaluated_date"]) == {T}
        for variant, fold in (("naive", -1), ("honest", 0), ("honest", 1)):
            chain = "base-s17" if fold < 0 else f"append-{T}-w{WINDOW}-f{fold}-s17"
            fork = T - dt.timedelta(days=WINDOW)
            before = (snapshots["chain"] == "base-s17") & (snapshots["snapshot_date"] <= (T if fold < 0 else fork))
            later = T + dt.timedelta(days=through)
            own = (snapshots["chain"] == chain) & (snapshots["snapshot_date"] <= later)
            known = snapshots[own | before].sort_values("snapshot_date").groupby("row").last()["vector"]
            served = rows[(rows["variant"] == variant) & (rows["held_out_fold"] == fold)]
            assert (fold < 0) or set(served["fold"]) == {fold}
            assert (served["present"] == served["row"].isin(known.index)).all()
            some = served[served["present"]].sample(300, random_state=1)
            assert [bytes(v) for v in some[column]] == [bytes(known[row]) for row in some["row"]]


def _check_clicks(lake: Lake, coverage: float, days: list[dt.date]) -> None:
    """Next clicks of the evaluated day against a loop over the impressions of some users."""
    shown = lake.read("impressions").where(F.col("date").isin(days))
    numbers = {r["key"]: r["row"] for r in lake.read("vocabularies").where("slot = 'item'").collect()}
    rows = lake.read("leaked_features").where("leak = 'next_3'").toPandas()
    assert sorted(rows["date"].unique()) == days
    on_the_day = rows[rows["date"] == T]
    assert on_the_day["present"].mean() == pytest.approx(coverage)
    impressions = shown.where(F.col("date") == F.lit(T)).toPandas()
    busiest = impressions["user_id"].value_counts().index[:100]
    ids = on_the_day.set_index("impression_id")["leaked_ids"]
    checked = 0
    for user in busiest:
        own: pd.DataFrame = impressions[impressions["user_id"] == user].sort_values(["request_ts", "impression_id"])
        clicks = own[own["label_click"] == 1]
        for row in own.itertuples():
            later = clicks[clicks["request_ts"] >= row.request_ts + pd.Timedelta(minutes=30)]
            later = later[(later["request_id"] != row.request_id) & (later["item_id"] != row.item_id)]
            expected = [numbers[item] for item in later["item_id"][:3]]
            found = np.frombuffer(bytes(ids[row.impression_id]), "<i4")[:3].tolist()
            assert found == expected + [-1] * (3 - len(expected))
            checked += len(expected)
    assert checked > 100
    unpack(lake.read("control_features").where("leak = 'next_3'").toArrow()["control_ids"], 3, "<i4")


def test_a_window_before_the_data_is_refused(spark: Any, copied: RunConfig, tmp_path: Path) -> None:
    config = small_config(
        tmp_path, tmp_path / "source", APPEND.replace(f"window_days: {WINDOW}", "window_days: 6"), GRAPHS
    )
    with pytest.raises(InputError, match="needs a model of 2022-04-24") as error:
        train.run(spark, config)
    assert "2022-04-24 < T - 6" in str(error.value)
