"""What the main job leaves on real data, held against definitions computed anew in NumPy, pandas and scikit-learn."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from scipy.stats import rankdata, t
from sklearn.metrics import roc_auc_score

from lis_spark.lake import Lake
from lis_spark.lis.results.decision import VERDICTS
from lis_spark.progress import described
from lis_spark.vectors import unpack
from tests.e2e.conftest import SmallRun

T = dt.date(2022, 4, 30)
CONTROL = "swap|control|0|none|-1"


@pytest.fixture(scope="module")
def results(small_run: SmallRun) -> list[dict[str, Any]]:
    file = Path(small_run.config.output_path) / "lis_results.json"
    return json.loads(file.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def scores(spark: Any, small_run: SmallRun) -> pd.DataFrame:
    """impression_id x arm -> logit, with user, fold and label."""
    frame = Lake(spark, small_run.config, measurement=True).read("scores").toPandas()
    wide = frame.pivot(index="impression_id", columns="arm", values="logit")
    known = frame[frame["arm"] == CONTROL].set_index("impression_id")[["user_id", "fold", "label", "slot_row"]]
    return wide.join(known)


def row_of(results: list[dict[str, Any]], variant: str, horizon: int, scope: str = "both", stratum: str = "all") -> Any:
    """The one row of a measurement by substitution."""
    (row,) = [
        row
        for row in results
        if (row["protocol"], row["variant"], row["horizon_days"], row["swap_scope"], row["stratum"])
        == ("swap", variant, horizon, scope, stratum)
    ]
    return row


def user_influence(scores: pd.DataFrame, arm: str) -> pd.Series:
    """psi_u of one ranking by its definition (method 2.2)."""
    positive = (scores["label"] == 1).to_numpy()
    logits = scores[arm].to_numpy().astype(np.float64)
    below = rankdata(logits)
    psi = np.empty(len(scores))
    positives, negatives = positive.sum(), (~positive).sum()
    # ranks with ties at their mean: what is left after the ranks among one's own class are the pairs with the other
    above_negatives = (below[positive] - rankdata(logits[positive])) / negatives
    above_positives = 1 - (below[~positive] - rankdata(logits[~positive])) / positives
    auc = above_negatives.mean()
    psi[positive] = (above_negatives - auc) / positives
    psi[~positive] = (above_positives - auc) / negatives
    return pd.Series(psi, index=scores.index).groupby(scores["user_id"]).sum()


def test_naive_lis_and_its_error_are_those_of_the_definitions(
    results: list[dict[str, Any]], scores: pd.DataFrame
) -> None:
    for scope in ("both", "target"):
        leaked = f"swap|naive|3|{scope}|-1"
        row = row_of(results, "naive", 3, scope)
        auc = {arm: roc_auc_score(scores["label"], scores[arm]) for arm in (CONTROL, leaked)}
        assert row["auc_control"] == pytest.approx(auc[CONTROL], abs=1e-12)
        assert row["auc_leaked"] == pytest.approx(auc[leaked], abs=1e-12)
        assert row["lis"] == pytest.approx(auc[leaked] - auc[CONTROL], abs=1e-12)
        psi = user_influence(scores, leaked) - user_influence(scores, CONTROL)
        error = np.sqrt(len(psi) / (len(psi) - 1) * (psi**2).sum())
        assert row["standard_error"] == pytest.approx(error, rel=1e-9)
        assert row["users"] == len(psi)
        half = t.ppf(0.975, len(psi) - 1) * error
        assert row["ci_low"] == pytest.approx(row["lis"] - half, abs=1e-9)


@pytest.mark.parametrize("variant", ["honest", "skip_own_t", "naive_matched"])
def test_models_of_folds_are_never_pooled_into_one_ranking(
    results: list[dict[str, Any]], scores: pd.DataFrame, variant: str
) -> None:
    """AUC = sum of U2_f / sum of 2 P_f N_f; with two folds the matched chain of a fold is that of the other."""
    row = row_of(results, variant, 3)
    pairs = {}
    weighted = {CONTROL: 0.0, "leaked": 0.0}
    psi = pd.Series(dtype=float)
    for fold, members in scores.groupby("fold"):
        chain = 1 - fold if variant == "naive_matched" else fold
        arm = f"swap|{variant}|3|both|{chain}"
        positives = members["label"].sum()
        pairs[fold] = positives * (len(members) - positives)
        for name, column in ((CONTROL, CONTROL), ("leaked", arm)):
            weighted[name] += pairs[fold] * roc_auc_score(members["label"], members[column])
        difference = pairs[fold] * (user_influence(members, arm) - user_influence(members, CONTROL))
        psi = psi.add(difference, fill_value=0.0)
    total = sum(pairs.values())
    assert row["lis"] == pytest.approx((weighted["leaked"] - weighted[CONTROL]) / total, abs=1e-12)
    assert row["auc_control"] == pytest.approx(weighted[CONTROL] / total, abs=1e-12)
    psi /= total
    assert row["standard_error"] == pytest.approx(np.sqrt(len(psi) / (len(psi) - 1) * (psi**2).sum()), rel=1e-9)


@pytest.mark.parametrize(("variant", "horizon"), [("naive", 3), ("honest", 3)])
def test_splits_of_a_run_equal_a_naive_version(
    results: list[dict[str, Any]], scores: pd.DataFrame, variant: str, horizon: int
) -> None:
    """Within users over their pairs; the user part is the mean change of the user's other impressions of the day."""
    row = row_of(results, variant, horizon)
    arms = [arm for arm in scores.columns if str(arm).startswith(f"swap|{variant}|{horizon}|both|")]
    leaked = scores[arms].bfill(axis=1).iloc[:, 0].to_numpy(np.float64)
    frame = scores.assign(control=scores[CONTROL].astype(np.float64), leaked=leaked)
    frame["change"] = frame["leaked"] - frame["control"]
    own = frame.groupby("user_id")["change"]
    several = frame[own.transform("size") > 1].copy()
    sums = own.transform("sum")[several.index] - several["change"]
    several["others"] = sums / (own.transform("size")[several.index] - 1)
    several["user_part"] = several["control"] + several["others"]
    several["item_part"] = several["leaked"] - several["others"]
    assert row["several_rows_share"] == pytest.approx(len(several) / len(frame), abs=1e-12)
    by_fold = variant == "honest"
    for part, column in (
        ("user_part", "lis_user_part"),
        ("item_part", "lis_item_part"),
        ("leaked", "lis_several_rows"),
    ):
        gain, weight = 0.0, 0
        for _, members in several.groupby("fold") if by_fold else [(0, several)]:
            positives = int(members["label"].sum())
            pairs = positives * (len(members) - positives)
            gain += pairs * (
                roc_auc_score(members["label"], members[part]) - roc_auc_score(members["label"], members["control"])
            )
            weight += pairs
        assert row[column] == pytest.approx(gain / weight, abs=2e-6), "ties of rounded changes are the difference"
    ordered, pairs = 0.0, 0
    for _, members in frame.groupby("user_id"):
        positives = int(members["label"].sum())
        own_pairs = positives * (len(members) - positives)
        if own_pairs:
            aucs = [roc_auc_score(members["label"], members[arm]) for arm in ("leaked", "control")]
            ordered, pairs = ordered + own_pairs * (aucs[0] - aucs[1]), pairs + own_pairs
    assert row["lis_within_user"] == pytest.approx(ordered / pairs, abs=1e-12)
    assert row["lis_within_user_ci_low"] < row["lis_within_user"] < row["lis_within_user_ci_high"]


def test_the_parts_of_the_naive_score_add_up(results: list[dict[str, Any]]) -> None:
    honest, naive = row_of(results, "honest", 3), row_of(results, "naive", 3)
    assert honest["lis"] + honest["later_events"] + honest["evaluated_labels"] == pytest.approx(naive["lis"], abs=1e-12)
    skipped = row_of(results, "skip_own_t", 3)
    assert honest["later_events"] == pytest.approx(skipped["lis"] - honest["lis"], abs=1e-12)
    assert honest["evaluated_labels_ci_low"] < honest["evaluated_labels"] < honest["evaluated_labels_ci_high"]
    first = row_of(results, "honest", 1)
    assert first["evaluated_labels"] == pytest.approx(row_of(results, "naive", 1)["lis"] - first["lis"], abs=1e-12)
    assert first["later_events"] is None


def test_the_identity_is_the_integer_zero_on_its_own_way(results: list[dict[str, Any]], scores: pd.DataFrame) -> None:
    identities = [row for row in results if row["horizon_days"] == 0 and row["variant"] in ("naive", "honest")]
    assert {(row["variant"], row["swap_scope"]) for row in identities} == {
        (variant, scope) for variant in ("naive", "honest") for scope in ("both", "target", "history")
    }
    for row in identities:
        assert row["u2_control"] == row["u2_leaked"] and row["lis"] == 0.0 and row["standard_error"] == 0.0
    own = scores["swap|naive|0|both|-1"].to_numpy().astype(np.float32).view(np.int32)
    assert (own == scores[CONTROL].to_numpy().astype(np.float32).view(np.int32)).all()


def test_own_label_share_and_drift_stand_beside_the_honest_score(results: list[dict[str, Any]]) -> None:
    honest, matched = row_of(results, "honest", 3), row_of(results, "naive_matched", 3)
    assert matched["ci_low"] > 0
    assert honest["own_label_share"] == pytest.approx(1 - honest["lis"] / matched["lis"], abs=1e-12)
    assert honest["own_label_share_ci_low"] < honest["own_label_share"] < honest["own_label_share_ci_high"]
    assert honest["drift_penalty"] == row_of(results, "label_shuffled", 3)["lis"]
    assert honest["verdict"] in VERDICTS and honest["reason"]
    controls = {"skip_own_t", "skip_t", "label_shuffled", "backward", "row_permuted"}
    assert controls <= {row["variant"] for row in results}
    assert all(row["verdict"] is None for row in results if row["variant"] in controls)


@pytest.mark.parametrize(
    ("protocol", "variant", "horizon", "scope", "control"),
    [
        ("swap", "naive", 1, "history", CONTROL),
        ("swap", "backward", -1, "both", CONTROL),
        ("swap", "skip_t", 3, "both", CONTROL),
        ("swap", "label_shuffled", 1, "both", CONTROL),
        ("swap", "row_permuted", 3, "both", CONTROL),
        ("swap", "slot_permuted", 0, "tab", CONTROL),
        ("whole", "whole", 3, "both", CONTROL),
        ("swap+refit", "naive", 3, "both", CONTROL.replace("swap", "swap+refit")),
    ],
)
def test_each_row_is_that_of_its_scores(
    results: list[dict[str, Any]],
    scores: pd.DataFrame,
    protocol: str,
    variant: str,
    horizon: int,
    scope: str,
    control: str,
) -> None:
    asked = {"protocol": protocol, "variant": variant, "horizon_days": horizon, "swap_scope": scope, "stratum": "all"}
    (row,) = [row for row in results if asked.items() <= row.items()]
    leaked = scores[f"{protocol}|{variant}|{horizon}|{scope}|-1"]
    auc = [roc_auc_score(scores["label"], logits) for logits in (scores[control], leaked)]
    assert [row["auc_control"], row["auc_leaked"]] == pytest.approx(auc, abs=1e-12)
    assert row["lis"] == pytest.approx(auc[1] - auc[0], abs=1e-12) and row["ci_low"] < row["lis"] < row["ci_high"]


def test_scopes_name_the_place_where_the_table_is_swapped(results: list[dict[str, Any]], scores: pd.DataFrame) -> None:
    """Each is an arm of its own; with an empty history there is nothing for scope `history` to move."""
    assert {row["swap_scope"] for row in results if row["variant"] == "naive"} == {"both", "target", "history"}
    logits = {scope: scores[f"swap|naive|3|{scope}|-1"] for scope in ("both", "target", "history")}
    moved = {scope: (one != scores[CONTROL]).mean() for scope, one in logits.items()}
    assert 0 < moved["history"] < moved["both"] and moved["target"] > 0.9
    assert (logits["both"] != logits["target"]).any() and (logits["both"] != logits["history"]).any()


def test_hashes_in_the_table_are_those_of_the_states_on_disk(spark: Any, small_run: SmallRun) -> None:
    rows = Lake(spark, small_run.config).read("model_snapshots").collect()
    kept = 0
    for row in rows:
        files = sorted(Path(row["path"]).glob("state-*.safetensors"))
        if files:  # a fork from which nobody starts keeps the state of its last day alone
            assert row["sha256"] == ",".join(hashlib.sha256(file.read_bytes()).hexdigest() for file in files)
            kept += 1
        assert (Path(row["path"]).parent.name, Path(row["path"]).name) == (row["chain"], str(row["date"]))
    assert kept >= 8, "of the base every day"


def test_the_name_of_a_block_is_that_of_the_block_around_it_again(spark: Any) -> None:
    def name() -> str | None:
        return spark.sparkContext.getLocalProperty("spark.job.description")

    with described(spark, "outer"):
        with described(spark, "inner"):
            assert name() == "inner"
        assert name() == "outer"
    assert name() is None


def test_strata_rank_among_themselves(
    spark: Any, small_run: SmallRun, results: list[dict[str, Any]], scores: Any
) -> None:
    rows = Lake(spark, small_run.config).read("training_rows").where(f"date < '{T}'")
    counts = rows.groupBy("row_item").count().toPandas().set_index("row_item")["count"]
    updates = scores["slot_row"].map(counts).fillna(0)
    edges = [0, *small_run.config.evaluation.update_count_edges, np.inf]
    shares, shown = 0.0, 0
    for low, high in pairwise(edges):
        members = scores[(updates >= low) & (updates < high)]
        name = f"update_count:<{high}" if low == 0 else f"update_count:{low}-{high - 1}"
        row = row_of(results, "naive", 3, stratum=f"update_count:>={low}" if high == np.inf else name)
        expected = [roc_auc_score(members["label"], members[arm]) for arm in (CONTROL, "swap|naive|3|both|-1")]
        assert [row["auc_control"], row["auc_leaked"]] == pytest.approx(expected, abs=1e-12)
        assert row["share_of_impressions"] == pytest.approx(len(members) / len(scores))
        shares += row["share_of_impressions"]
        honest, matched = (row_of(results, name, 3, stratum=row["stratum"]) for name in ("honest", "naive_matched"))
        if honest["own_label_share"] is None:
            assert matched["ci_low"] is None or matched["ci_low"] <= 0
        else:
            assert honest["own_label_share"] == pytest.approx(1 - honest["lis"] / matched["lis"], abs=1e-12)
            assert honest["own_label_share_ci_low"] < honest["own_label_share"] < honest["own_label_share_ci_high"]
            shown += 1
    assert shares == pytest.approx(1) and shown >= 3


def test_leaked_rows_hold_the_vector_of_the_later_table(spark: Any, small_run: SmallRun) -> None:
    lake = Lake(spark, small_run.config, measurement=True)
    snapshots = lake.read("embedding_snapshots").toPandas()
    leaked = lake.read("leaked_features").toPandas()
    rows = lake.read("training_rows").where(f"date = '{T}'").toPandas()
    for variant, horizon, fold in (("naive", 3, -1), ("honest", 1, 0), ("honest", 3, 1), ("naive_matched", 3, 0)):
        chain = "base-s17" if variant == "naive" else f"honest-{T}-f{fold}-s17"
        later = T + dt.timedelta(days=horizon)
        of_chain = (snapshots["chain"] == chain) & (snapshots["snapshot_date"] <= later)
        before_fork = (snapshots["chain"] == "base-s17") & (snapshots["snapshot_date"] <= T)
        known = snapshots[of_chain | before_fork].sort_values("snapshot_date").groupby("row").last()
        served = {
            "naive": rows,
            "honest": rows[rows["user_fold"] == fold],
            "naive_matched": rows[rows["user_fold"] != fold],
        }[variant]
        found = leaked[
            (leaked["variant"] == variant) & (leaked["horizon_days"] == horizon) & (leaked["held_out_fold"] == fold)
        ].set_index("impression_id")
        assert sorted(found.index) == sorted(served["impression_id"])
        for impression, item_row in zip(served["impression_id"], served["row_item"], strict=True):
            line = found.loc[impression]
            assert line["present"] == (item_row in known.index)
            if line["present"]:
                assert bytes(line["leaked_vector"]) == bytes(known.loc[item_row, "vector"])
                assert line["snapshot_date"] == later and line["source_date"] == later - dt.timedelta(days=1)


def test_feature_rows_are_clustered_by_item(spark: Any, small_run: SmallRun) -> None:
    """Rows of one vector lie beside each other, and Parquet stores it once for them."""
    files = Lake(spark, small_run.config, measurement=True).read("leaked_features").inputFiles()
    assert files
    for name in files:
        file = pq.ParquetFile(name.removeprefix("file://").removeprefix("file:"))
        table = file.read(["variant", "horizon_days", "chain", "row", "leaked_vector"])
        keys = table.select(["variant", "horizon_days", "chain", "row"]).to_pandas()
        runs = int((keys != keys.shift()).any(axis=1).sum())
        assert runs == len(keys.drop_duplicates()) < len(keys)
        group = file.metadata.row_group(0)
        (column,) = [group.column(n) for n in range(group.num_columns) if "vector" in group.column(n).path_in_schema]
        assert "PLAIN_DICTIONARY" in column.encodings or "RLE_DICTIONARY" in column.encodings
        vectors = len(table["leaked_vector"].slice(0, group.num_rows).unique())
        width = 4 * small_run.config.ranker.dimension + 4
        assert column.total_uncompressed_size < vectors * width + 3 * group.num_rows


def test_honest_chains_never_saw_the_evaluated_fold_and_naive_ones_did(spark: Any, small_run: SmallRun) -> None:
    """By the counters of the table: updates between T and T+3 are everybody else's impressions, or lack those of T."""
    lake = Lake(spark, small_run.config)
    rows = lake.read("training_rows").toPandas()
    snapshots = lake.read("embedding_snapshots").toPandas()
    last = T + dt.timedelta(days=3)
    window = rows[(rows["date"] >= T) & (rows["date"] < last)]
    before = rows[rows["date"] < T].groupby("row_item").size()
    for variant, fold in product(("honest", "skip_own_t"), (0, 1)):
        chain = snapshots[snapshots["chain"] == f"{variant}-{T}-f{fold}-s17"]
        counted = chain.sort_values("snapshot_date").groupby("row")["update_count"].last()
        lacks = (window["user_fold"] == fold) & ((variant == "honest") | (window["date"] == T))
        trained = window[~lacks].groupby("row_item").size()
        expected = before.reindex(counted.index, fill_value=0) + trained.reindex(counted.index, fill_value=0)
        assert (counted == expected).all() and len(counted)


def test_coverage_is_the_share_of_impressions_whose_item_had_been_learned(
    spark: Any, small_run: SmallRun, results: list[dict[str, Any]]
) -> None:
    rows = Lake(spark, small_run.config).read("training_rows").toPandas()
    evaluated = rows[rows["date"] == T]
    for horizon in (0, 1, 3):
        learned = set(rows[rows["date"] < T + dt.timedelta(days=horizon)]["row_item"])
        expected = evaluated["row_item"].isin(learned).mean()
        assert row_of(results, "naive", horizon)["coverage"] == pytest.approx(expected)
    known = set(rows[rows["date"] < T]["row_item"])
    others = {fold: set(evaluated[evaluated["user_fold"] != fold]["row_item"]) for fold in (0, 1)}
    covered = [
        row in known or row in others[fold]
        for row, fold in zip(evaluated["row_item"], evaluated["user_fold"], strict=True)
    ]
    assert row_of(results, "honest", 1)["coverage"] == pytest.approx(np.mean(covered))


def test_the_json_holds_what_a_reader_of_it_needs(results: list[dict[str, Any]]) -> None:
    needed = {
        "protocol",
        "leak",
        "variant",
        "swap_scope",
        "evaluated_date",
        "horizon_days",
        "auc_control",
        "auc_leaked",
        "lis",
        "standard_error",
        "ci_low",
        "ci_high",
        "lis_gauc",
        "coverage",
        "own_label_share",
        "verdict",
        "table_versions",
        "config_fingerprint",
    }
    for row in results:
        assert needed <= set(row)
        assert {"scores", "training_rows", "leaked_features", "control_features"} <= set(row["table_versions"])
    assert {row["protocol"] for row in results} == {"swap", "swap+refit", "whole", "baseline"}


def test_the_page_says_which_step_read_which_version(spark: Any, small_run: SmallRun) -> None:
    page = (Path(small_run.config.output_path) / "report.html").read_text(encoding="utf-8")
    lines = set(re.findall(r"<tr><td>([a-z_ ]+)</td><th scope=\"row\">(\w+)</th><td>(\w+)</td></tr>", page))
    lake = Lake(spark, small_run.config)
    for step, table in (("vocabulary", "impressions"), ("training_rows", "impressions"), ("train", "training_rows")):
        assert (step, table, str(lake.version(table))) in lines, sorted(lines)
    assert {("these scores", "scores"), ("these scores", "leaked_features")} <= {line[:2] for line in lines}


def test_the_vectors_of_a_snapshot_are_those_of_the_model_on_disk(spark: Any, small_run: SmallRun) -> None:
    from safetensors.numpy import load_file

    folder = Path(small_run.config.lake.work_path) / "chains" / "base-s17" / str(T)
    (state,) = folder.glob("state-*.safetensors")
    weights = load_file(state)["table.item.weights"]
    lake = Lake(spark, small_run.config)
    rows = lake.read("embedding_snapshots").where(f"chain = 'base-s17' AND snapshot_date = '{T}' AND is_base").toArrow()
    vectors = unpack(rows["vector"], small_run.config.ranker.dimension)
    assert len(vectors) > 1000
    assert (vectors.view(np.int32) == weights[rows["row"].to_numpy() + 1].view(np.int32)).all()
