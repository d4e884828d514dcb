"""Preference data of a small simulated world by the verb: what is kept, its targets, and its side of the split."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import functions as F
from scipy.linalg import orthogonal_procrustes

from lis_spark import cli
from lis_spark.config import RunConfig, load_config
from lis_spark.errors import InputError
from lis_spark.lake import Lake
from lis_spark.pipeline import run_steps
from lis_spark.preference import step
from lis_spark.preference.curation import balance
from lis_spark.vectors import unpack
from tests.e2e.conftest import ALIGNMENT, ALIGNMENT_DATE, SMALL, small_config, small_overrides
from tests.e2e.readme import of_readme

CHOSEN = "preference={min_updates: 30, max_items: %d}"
RELIABLE = "preference={tail_share: 0.5, reliability: %s}"


@pytest.mark.slow("trains a world, or halves of the users, of its own")
def test_learned_items_become_preference_data(
    spark: Any,
    alignment_world: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("lis_spark.session.get_session", lambda *_, **__: spark)
    base = alignment_world
    command = ["curate", "--config", str(ALIGNMENT), *base, CHOSEN % 200]
    assert cli.main(command) == 0
    said = capsys.readouterr().err
    assert "200 kept" in said

    config = load_config(ALIGNMENT, [*base, CHOSEN % 200])
    lake = Lake(spark, config, measurement=True)
    rows = lake.read("preference_items").where("name = 'ids'").toPandas().set_index("item_id")
    shown = lake.read("training_rows").where(f"date < DATE'{ALIGNMENT_DATE}'").toPandas()
    counts = shown["item_id"].value_counts()
    assert len(rows) == 200 and rows["update_count"].min() >= 30
    assert (rows["update_count"] == counts[rows.index]).all()
    # targets: a linear map of the vectors of M_T, white over the items that are trained on
    of_base = f"chain = 'base-s17' AND slot = 'item' AND snapshot_date <= DATE'{ALIGNMENT_DATE}'"
    snapshots = lake.read("embedding_snapshots").where(of_base).toPandas()
    vectors = snapshots.sort_values("snapshot_date").groupby("item_id")["vector"].last()[rows.index]
    x = np.stack([np.frombuffer(v, "<f4") for v in vectors]).astype(float)
    targets = np.stack([np.frombuffer(v, "<f4") for v in rows["target"]]).astype(float)
    train = (rows["split"] == "train").to_numpy()
    np.testing.assert_allclose(np.cov(targets[train].T, ddof=0), np.eye(targets.shape[1]), atol=1e-3)
    inputs = np.column_stack([x, np.ones(len(x))])
    left = targets - inputs @ np.linalg.lstsq(inputs[train], targets[train], rcond=None)[0]
    assert np.abs(left).max() < 1e-3
    # the split: by birth, and no near-duplicates on both sides; the world knows which items copy which
    assert set(rows["split"]) >= {"train", "validation"}
    assert rows[train]["born_date"].max() < rows[rows["split"] == "validation"]["born_date"].min()
    copies = lake.read("truth_items").where("duplicate_of IS NOT NULL").toPandas().set_index("item_id")["duplicate_of"]
    both = [(item, of) for item, of in copies.items() if item in rows.index and of in rows.index]
    together = [rows.loc[item, "duplicate_of"] == rows.loc[of, "duplicate_of"] for item, of in both]
    assert len(both) >= 5 and np.mean(together) > 0.9
    own_source = {item: copies.get(item, item) for item in rows.index}
    grouped = rows[rows["duplicate_of"] != rows.index]
    assert np.mean([own_source[item] == own_source[row.duplicate_of] for item, row in grouped.iterrows()]) > 0.9
    # the report: against the tags counted here
    (report,) = [row.asDict() for row in lake.read("curations").where("name = 'ids'").collect()]
    tags = {row["item_id"]: row["tags"].split(",") for row in lake.read("items").collect()}
    eligible = counts[counts >= 30].index
    for when, items in (("before", eligible), ("after", rows.index)):
        sizes = np.unique([tag for item in items for tag in tags[item]], return_counts=True)[1]
        expected = balance({int(size): int((sizes == size).sum()) for size in sizes})
        for name in ("entries", "entropy", "largest_share", "gini"):
            assert report[f"{name}_{when}"] == pytest.approx(getattr(expected, name))
    assert report["entropy_after"] > report["entropy_before"] and report["gini_after"] < report["gini_before"]
    assert report["eligible_items"] == len(eligible) and report["learned_items"] == len(counts)

    tenths, above = json.loads(report["keep_rate_by_decile"]), 0
    assert len(tenths) == 10 and sum(tenth["items"] for tenth in tenths) == len(eligible)
    for tenth in tenths:
        own = counts[(counts >= 30) & (counts > above) & (counts <= tenth["highest_count"])].index
        assert tenth["items"] == len(own) > 0 and tenth["kept"] == pytest.approx(own.isin(rows.index).mean())
        above = tenth["highest_count"]
        assert f"{tenth['kept']:.0%} up to {above:,}" in said

    # the same again finds it done; a smaller budget keeps a part of it
    before = lake.version("preference_items")
    assert cli.main(command) == 0 and lake.version("preference_items") == before
    assert "curate: nothing to do" in capsys.readouterr().err
    assert cli.main([*command[:-1], CHOSEN % 60]) == 0
    kept = Lake(spark, config).read("preference_items").where("name = 'ids'")
    smaller = kept.toPandas()
    assert len(smaller) == 60 and set(smaller["item_id"]) < set(rows.index)
    assert unpack(kept.toArrow()["target"], targets.shape[1]).shape[0] == 60

    with pytest.raises(InputError, match="no item is eligible") as error:
        step.run(spark, load_config(ALIGNMENT, [*base, "preference={min_updates: 99999, tail_share: .2}"]))
    assert "99,999 or more" in str(error.value) and "preference.min_updates" in str(error.value)
    with pytest.raises(InputError, match="a column of entries is not there"):
        step.run(spark, load_config(ALIGNMENT, [*base, CHOSEN % 60, "preference.entry_columns=[genre]"]))
    with pytest.raises(InputError, match="there is no table of that day") as error:
        step.run(spark, load_config(ALIGNMENT, [*base, CHOSEN % 60, "preference.as_of=2026-03-01"]))
    assert "base-s17, 2026-03-01" in str(error.value)
    _check_reliability(spark, _without_counts(spark, base, tmp_path), shown)


def _without_counts(spark: Any, base: list[str], folder: Path) -> list[str]:
    """The same world with a ranker that knows no counts: its young vectors hold popularity, in which halves agree."""
    config = load_config(ALIGNMENT, base)
    shutil.copytree(str(config.lake.path), folder / "lake")
    places = [f"lake.path={folder / 'lake'}", f"lake.work_path={folder / 'work'}"]
    overrides = [*base, *places, "counts.features=[]", "ranker.steps_a_day=1"]
    run_steps(spark, load_config(ALIGNMENT, overrides), ("training-rows", "train"))
    return overrides


def _check_reliability(spark: Any, base: list[str], shown: pd.DataFrame) -> None:
    """Theta from two halves of the users: what each has trained on, and how well they agree, by a loop."""
    config = load_config(ALIGNMENT, [*base, RELIABLE % 0.0001])
    lake = Lake(spark, config, measurement=True)
    folds = config.evaluation.folds
    snapshots = (
        lake.read("embedding_snapshots").where(f"slot = 'item' AND snapshot_date <= DATE'{ALIGNMENT_DATE}'").toPandas()
    )
    halves = []
    for half in (0, 1):
        rows = snapshots[snapshots["chain"] == f"half-{ALIGNMENT_DATE}-{half}-s17"].sort_values("snapshot_date")
        table = rows.groupby("item_id").last()
        own = shown[shown["user_fold"].isin(range(half * (folds // 2), (half + 1) * (folds // 2)))]
        counts = own["item_id"].value_counts().reindex(table.index, fill_value=0)
        assert (table["update_count"] == counts).all() and counts.sum() == len(own)
        halves.append(table[table["update_count"] > 0])
    both = halves[0].index.intersection(halves[1].index)
    x, y = (np.stack([np.frombuffer(v, "<f4") for v in half["vector"]]).astype(float) for half in halves)
    places = [half.index.get_indexer(both) for half in halves]
    counts = [half.loc[both, "update_count"].to_numpy() for half in halves]
    warm = (counts[0] > 10) & (counts[1] > 10)
    parity = F.pmod(F.xxhash64("row", F.lit("rotation")), F.lit(2)).alias("side")
    sides = lake.read("embedding_snapshots").where("slot = 'item'").select("item_id", parity).distinct().toPandas()
    side = sides.set_index("item_id")["side"].loc[both].to_numpy()
    x, y = x[places[0]], y[places[1]]
    turned = np.empty_like(x)
    for one in (0, 1):  # by a map that was fitted on the other items
        fit = warm & (side != one)
        turned[side == one] = x[side == one] @ orthogonal_procrustes(x[fit], y[fit])[0]
    bins = np.floor(2 * np.log2((counts[0] + counts[1]) / 2)).astype(int)
    both_halves = [turned, y]
    for vectors in both_halves:
        for one_bin in np.unique(bins):
            vectors[bins == one_bin] -= vectors[bins == one_bin].mean(0)
    step.run(spark, config)
    (row,) = lake.read("curations").where("agreement_by_count IS NOT NULL").collect()
    curve = json.loads(row["agreement_by_count"])
    starts = [round(2 * np.log2(one["count"])) for one in curve]
    for one, start, end in zip(curve, starts, [*starts[1:], np.inf], strict=True):
        members = (bins >= start) & (bins < end)
        left, right = (vectors[members].ravel() for vectors in both_halves)
        assert one["items"] == members.sum()
        assert one["correlation"] == pytest.approx(np.corrcoef(left, right)[0, 1], abs=1e-4)
    # one example says nothing; eight or more do, by three errors of a correlation of so many numbers of 8 a vector
    many = [one for one in curve if one["count"] >= 8]
    items = sum(one["items"] for one in many)
    agreed = sum(one["items"] * one["correlation"] for one in many) / items
    assert abs(curve[0]["correlation"]) < 0.1 and agreed > 3 / np.sqrt(8 * items) > 0.04
    assert row["min_updates"] in [one["count"] for one in curve]
    with pytest.raises(InputError, match="two halves of the users agree") as error:
        step.run(spark, load_config(ALIGNMENT, [*base, RELIABLE % 0.999]))
    assert "or more:" in str(error.value)
    with pytest.raises(InputError, match="are not trained"):
        step.run(spark, load_config(ALIGNMENT, [*base, RELIABLE % 0.5, "preference.as_of=2026-01-09"]))


@pytest.mark.slow("trains a world, or halves of the users, of its own")
def test_real_items_that_show_neither_title_nor_image_are_curated_by_their_tags(
    spark: Any,
    copied: RunConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("lis_spark.session.get_session", lambda *_, **__: spark)
    words = [str(SMALL) if word == "conf/kuairand_demo.yaml" else word for word in of_readme("lis-spark curate")]
    chosen = [*words[words.index(str(SMALL)) + 1 :], "preference.validation_share=0.2"]
    assert cli.main([*words, *small_overrides(tmp_path, tmp_path / "source"), chosen[-1]]) == 0
    config = small_config(tmp_path, tmp_path / "source", *chosen)
    rows = Lake(spark, config).read("preference_items").toPandas()
    (report,) = [row.asDict() for row in Lake(spark, config).read("curations").collect()]
    assert len(rows) == report["kept_items"] > 100
    assert f"{len(rows):,} kept" in capsys.readouterr().err
    assert (rows["duplicate_of"] == rows["item_id"]).all() and report["duplicate_items"] == 0
    assert report["kept_items"] < report["eligible_items"] and report["t"] is not None
    assert report["entropy_after"] > report["entropy_before"]
    # the first day of the validation items is the latest that gives them their share: a day is on one side
    held = rows[rows["split"] == "validation"]["born_date"]
    assert len(held) >= 0.2 * len(rows) > (held > held.min()).sum()
    assert rows[rows["split"] == "train"]["born_date"].max() < held.min()
    assert step.run(spark, config).partitions_skipped == 1
