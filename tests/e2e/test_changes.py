"""What a finished run does when something changes: nothing, exactly the new partitions, or a refusal that names it."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import url2pathname

import pandas as pd
import pyarrow.parquet as pq
import pytest
from pyspark.sql import functions as F
from sklearn.metrics import roc_auc_score

from lis_spark.config import RunConfig
from lis_spark.errors import InputError, LisError, StaleError, StepFailed
from lis_spark.lake import Lake
from lis_spark.lis.results import measure, slots
from lis_spark.lis.swap import features, score, train
from lis_spark.pipeline import STEPS, run_steps
from lis_spark.report import step as report
from lis_spark.sources import ingest
from tests.e2e.conftest import SmallRun, rows_through, small_config

NEXT_DAY = dt.date(2022, 5, 3)
COMPUTED = [
    name
    for name in STEPS
    if name not in ("simulate", "graph", "curate", "align", "represent", "append", "compare", "experiment", "report")
]  # of a run without leaks of its own


def versions(spark: Any, config: RunConfig) -> dict[str, int | None]:
    """Table -> newest version, but for the log of runs."""
    lake = Lake(spark, config)
    return {file.stem: lake.version(file.stem) for file in Path("schemas").glob("*.sql") if file.stem != "runs"}


def job_names(spark: Any) -> dict[int, str | None]:
    """Job -> its description, as Spark's UI shows them."""
    jobs = spark.sparkContext._jsc.sc().statusStore().jobsList(spark._jvm.java.util.ArrayList())
    told = ((jobs.apply(place).jobId(), jobs.apply(place).description()) for place in range(jobs.size()))
    return {job: description.get() if description.isDefined() else None for job, description in told}


@pytest.mark.slow("goes through every step of the main job once more")
def test_a_run_that_finds_everything_done_writes_nothing(spark: Any, small_run: SmallRun) -> None:
    before = versions(spark, small_run.config)
    results = run_steps(spark, small_run.config, COMPUTED)
    assert [result.partitions_written for result in results] == [0] * len(COMPUTED)
    assert all(result.partitions_skipped > 0 for result in results)
    assert any("as the last ingest left it" in note for note in results[0].notes), "not even the source is read"
    assert versions(spark, small_run.config) == before


@pytest.mark.slow("runs the main job once more")
def test_one_more_day_runs_exactly_the_new_partitions(spark: Any, copied: RunConfig, tmp_path: Path) -> None:
    pq.write_table(rows_through(NEXT_DAY), tmp_path / "source" / "impressions.parquet")
    before, shown = versions(spark, copied), job_names(spark)
    done = {result.step: result for result in run_steps(spark, copied, COMPUTED)}
    names = {job: name for job, name in job_names(spark).items() if job > max(shown, default=-1)}
    assert len(names) > 50 and all(names.values()), "whoever looks at Spark's UI reads what is computed"
    assert not [name for name in names.values() if " at " in str(name)], "a line of our code says nothing"
    added = len(rows_through(NEXT_DAY)) - len(rows_through(NEXT_DAY - dt.timedelta(days=1)))
    assert (done["ingest"].partitions_written, done["ingest"].rows_written) == (1, added)
    assert (done["training_rows"].partitions_written, done["training_rows"].rows_written) == (1, added)
    assert (done["train"].partitions_written, done["train"].rows_written) == (1, added)
    for step in ("features", "score", "measure"):
        assert done[step].partitions_written == 0
    after = versions(spark, copied)
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {
        *("impressions", "vocabularies", "running_counts", "training_rows"),
        *("embedding_snapshots", "model_snapshots"),
    }
    newest = Lake(spark, copied).read("model_snapshots").where("chain = 'base-s17'").agg(F.max("date")).first()
    assert newest is not None and newest[0] == NEXT_DAY + dt.timedelta(days=1)


@pytest.mark.slow("runs the main job once more")
def test_a_late_day_makes_the_chain_days_after_it_stale_by_name(spark: Any, copied: RunConfig, tmp_path: Path) -> None:
    """A day that had lost some of its rows arrives whole: its chain days and all later ones are trained again."""
    file = tmp_path / "source" / "impressions.parquet"
    whole = pq.read_table(file)
    late = whole.filter(pd.Series(whole["time_ms"].to_numpy() < 1651330000000).to_numpy())  # until 04-30 22:46
    kept = whole.filter(pd.Series(whole["time_ms"].to_numpy() >= 1651340000000).to_numpy())  # from 05-01 01:33 on
    pq.write_table(late, file)
    import pyarrow as pa

    pq.write_table(pa.concat_tables([late, kept]), file)
    results = {result.step: result for result in run_steps(spark, copied, ["ingest", "vocabulary", "training-rows"])}
    assert results["ingest"].partitions_written == 2
    notes = train.run(spark, copied).notes
    assert any(note.startswith("stale and trained again: base-s17, 2022-05-01 to 2022-05-03") for note in notes)
    assert any("honest-2022-04-30-f0-s17" in note for note in notes)


@pytest.mark.slow("runs the main job once more")
def test_one_flipped_bit_of_the_identity_moves_lis_and_is_refused(spark: Any, copied: RunConfig) -> None:
    lake = Lake(spark, copied, measurement=True)
    control = lake.read("control_features")
    naive = control.where("variant = 'naive' AND horizon_days = 0 AND present")
    heaviest = naive.groupBy("row").count().orderBy(F.desc("count"), "row").first()
    assert heaviest is not None
    # bit 6 of the fourth byte is the highest of the exponent of the first number: float32 is little endian
    flipped = F.unhex(
        F.concat(
            F.substring(F.hex("control_vector"), 1, 6),
            F.lpad(
                F.hex(F.conv(F.substring(F.hex("control_vector"), 7, 2), 16, 10).cast("int").bitwiseXOR(64)), 2, "0"
            ),
            F.substring(F.hex("control_vector"), 9, 10_000),
        )
    )
    hit = (F.col("variant") == "naive") & (F.col("horizon_days") == 0) & (F.col("row") == heaviest["row"])
    changed = control.withColumn("control_vector", F.when(hit, flipped).otherwise(F.col("control_vector")))
    fingerprints = lake.fingerprints("control_features")
    lake.write_partitions("control_features", changed.drop("lis_fingerprint").localCheckpoint(), fingerprints)
    score.run(spark, copied, force=True)
    with pytest.raises(StepFailed, match="n = 0 does not give the logits") as error:
        measure.run(spark, copied, force=True)
    assert "bit for bit" in str(error.value) and "swap|naive|0|" in str(error.value)
    scores = Lake(spark, copied, measurement=True).read("scores")
    parts = F.split("arm", "[|]")
    pair = scores.where((parts[0] == "swap") & (parts[2] == "0") & parts[1].isin("control", "naive")).toPandas()
    wide = pair.pivot(index="impression_id", columns="arm", values="logit")
    rows = pair.drop_duplicates("impression_id").set_index("impression_id")["slot_row"]
    moved = wide["swap|naive|0|target|-1"] != wide["swap|control|0|none|-1"]
    assert set(rows[moved[moved].index]) == {heaviest["row"]} and moved.sum() == heaviest["count"]
    labels = pair.drop_duplicates("impression_id").set_index("impression_id")["label"].loc[wide.index]
    finite = wide.clip(-1e30, 1e30)  # a number of the item is a power of two larger than most are
    aucs = [roc_auc_score(labels, finite[f"swap|{arm}|-1"]) for arm in ("naive|0|target", "control|0|none")]
    assert aucs[0] != aucs[1], "LIS is an integer's difference from 0"


@pytest.mark.slow("runs the main job once more")
def test_force_measures_anew_and_a_file_that_is_gone_is_told_before(spark: Any, copied: RunConfig) -> None:
    lake = Lake(spark, copied, measurement=True)

    def told() -> pd.DataFrame:
        columns = ("measurement_id", "lis", "u2_leaked", "ci_low", "created_ts")
        frame = Lake(spark, copied).read("lis_results").select(*columns).toPandas()
        return frame.sort_values("measurement_id", ignore_index=True)

    first, _ = told(), measure.run(spark, copied, force=True)
    again = told()
    assert len(first) == len(again) > 50 and (again["created_ts"] > first["created_ts"]).all()
    pd.testing.assert_frame_equal(again.drop(columns="created_ts"), first.drop(columns="created_ts"))
    gone = Path(url2pathname(urlparse(lake.files("leaked_features", "true")[0]).path))
    gone.unlink()
    before = {name: lake.version(name) for name in ("influence", "lis_results")}
    with pytest.raises(StaleError, match=r"files of version \d+ are gone") as error:
        measure.run(spark, copied, force=True)
    assert "leaked_features" in str(error.value) and gone.name in str(error.value)
    assert {name: lake.version(name) for name in before} == before


def test_a_production_chain_cannot_be_trained_on_a_leaked_table_a_copy_or_a_view(
    spark: Any, copied: RunConfig, config_data: dict[str, Any], tmp_path: Path
) -> None:
    lake = Lake(spark, copied, measurement=True)
    leaked = lake.read("leaked_features").withColumn("click", F.lit(1)).withColumn("time", F.lit("2022-04-30 10:00:00"))
    leaked.write.format("delta").save(str(tmp_path / "innocent_copy"))
    spark.read.format("delta").load(str(tmp_path / "innocent_copy")).createOrReplaceTempView("innocent_view")
    columns = {"user_id": "impression_id", "item_id": "item_id", "time": "time", "labels": {"click": "click"}}
    for path, table_format in (
        (str(tmp_path / "lake" / "leaked_features"), "delta"),
        (str(tmp_path / "innocent_copy"), "delta"),
        ("innocent_view", "table"),
    ):
        mapped = columns if table_format == "table" or "copy" in path else {**columns, "time": "evaluated_date"}
        source = {"kind": "table", "path": path, "format": table_format, "columns": mapped}
        if "leaked" in path:
            source["columns"]["labels"] = {"click": "fold"}
            source["columns"]["time"] = "variant"
        spoiled = RunConfig.model_validate({**config_data, "source": source})
        with pytest.raises(LisError, match="cannot be trained on") as error:
            ingest.run(spark, spoiled)
        assert "leaked_vector" in str(error.value)
    with pytest.raises(LisError, match="may only be read to measure"):
        Lake(spark, copied).read("leaked_features")
    # the trainer looks at the table itself: a column that somebody joined to the training rows
    rows = Lake(spark, copied).read("training_rows")
    place = str(tmp_path / "lake" / "training_rows")
    joined = rows.withColumn("leaked_vector", F.lit(b"\0\0\0\0"))
    joined.write.format("delta").mode("overwrite").option("overwriteSchema", "true").save(place)
    with pytest.raises(LisError, match="cannot be trained on"):
        train.run(spark, copied, force=True)


def test_a_snapshot_of_another_width_is_refused(spark: Any, small_run: SmallRun) -> None:
    wider = small_config(small_run.source.parent, small_run.source, "ranker.dimension=12")
    before = versions(spark, small_run.config)
    with pytest.raises(InputError, match="another width") as error:
        features.run(spark, wider, force=True)
    text = str(error.value)
    assert "vectors of 8 numbers" in text and "12 numbers (ranker.dimension)" in text and "base-s17" in text
    assert versions(spark, small_run.config) == before


def test_a_horizon_beyond_the_data_names_what_fits(spark: Any, small_run: SmallRun) -> None:
    further = small_config(small_run.source.parent, small_run.source, "evaluation.horizons=[0,1,3,4]")
    before = versions(spark, small_run.config)
    with pytest.raises(InputError, match="T = 2022-04-30 with n = 4 needs 2022-05-03") as error:
        train.run(spark, further)
    assert "the last day of data is 2022-05-02" in str(error.value) and "n in [0, 1, 3]" in str(error.value)
    assert versions(spark, small_run.config) == before


@pytest.mark.slow("runs the main job once more")
def test_a_state_that_was_changed_on_disk_is_refused(spark: Any, copied: RunConfig, tmp_path: Path) -> None:
    (state,) = (tmp_path / "work" / "chains" / "base-s17" / "2022-04-30").glob("state-*.safetensors")
    content = bytearray(state.read_bytes())
    content[-1] ^= 1
    state.write_bytes(content)
    with pytest.raises(LisError, match="the state of a model was changed or removed"):
        score.run(spark, copied, force=True)


NARROW = (
    *("evaluation.variants=[naive, honest]", "evaluation.scopes=[both]", "evaluation.horizons=[0, 1]"),
    *("evaluation.swap_refit=false", "evaluation.whole=false", "evaluation.slots=false"),
    "evaluation.backward_horizons=[]",
)


@pytest.mark.slow("measures the main job twice more")
def test_measure_a_lake_that_a_wider_configuration_filled_ends_right(
    spark: Any, copied: RunConfig, tmp_path: Path
) -> None:
    """Scores of arms that a plan does not ask for are not its own: neither counted nor measured, in either order."""
    narrow = small_config(tmp_path, tmp_path / "source", *NARROW)
    figures = ("lis", "standard_error", "u2_leaked", "lis_within_user", "lis_user_part", "evaluated_labels")
    wide = {(row["variant"], row["horizon_days"], row["swap_scope"]): row for row in headline(spark, copied)}
    (done,) = run_steps(spark, narrow, ("measure",))
    assert done.partitions_written == 1 and done.rows_read == done.rows_written
    found = headline(spark, narrow)
    assert {row["variant"] for row in found} == {"naive", "honest"}
    assert {row["horizon_days"] for row in found} == {0, 1}
    for row in found:
        same = wide[row["variant"], row["horizon_days"], row["swap_scope"]]
        assert [row[name] for name in figures] == [same[name] for name in figures], "to the bit"
    _check_report_and_slots(spark, narrow, {"naive", "honest"})
    (again,) = run_steps(spark, copied, ("measure",))
    assert again.partitions_written == 1 and again.rows_read > done.rows_read
    assert len(headline(spark, copied)) == len(wide)
    _check_report_and_slots(spark, copied, {row["variant"] for row in wide.values()})


@pytest.mark.slow("runs the main job once more")
def test_run_of_a_wider_configuration_on_the_lake_of_a_narrower_one_changes_no_bit(
    spark: Any, copied: RunConfig, tmp_path: Path
) -> None:
    """One more horizon and replay chains, then the first configuration again, each through every step."""
    figures = ("lis", "standard_error", "u2_leaked", "lis_within_user", "evaluated_labels", "later_events", "reason")
    place = ("variant", "horizon_days", "swap_scope")

    def found(config: RunConfig) -> dict[tuple[Any, ...], list[Any]]:
        rows = headline(spark, config)
        return {tuple(row[name] for name in place): [row[name] for name in figures] for row in rows}

    wide = small_config(tmp_path, tmp_path / "source", "evaluation.horizons=[0, 1, 2, 3]")
    before = found(copied)
    run_steps(spark, wide, COMPUTED)
    after = found(wide)
    assert {key[1] for key in after} - {key[1] for key in before} == {2} and after.keys() > before.keys()
    for key, values in before.items():  # a verdict knows of the horizons that are read with it, the figures do not
        assert after[key][:-1] == values[:-1], key
    _check_report_and_slots(spark, wide, {key[0] for key in after})
    run_steps(spark, copied, COMPUTED)
    assert found(copied) == before
    _check_report_and_slots(spark, copied, {key[0] for key in before})


def _check_report_and_slots(spark: Any, config: RunConfig, variants: set[str]) -> None:
    """Report and slots show what this configuration asks for, whatever else the lake holds."""
    report.run(spark, config)
    rows = json.loads((Path(config.output_path) / "lis_results.json").read_text(encoding="utf-8"))
    shown = {row["variant"] for row in rows if (row["protocol"], row["stratum"]) == ("swap", "all")}
    assert shown == variants
    assert {row["horizon_days"] for row in rows} - set(config.evaluation.horizons) <= {-1}
    assert slots.run(spark, config) == 0


def test_measure_alone_on_a_lake_of_a_narrower_run_names_the_missing_scores(
    spark: Any, copied: RunConfig, tmp_path: Path
) -> None:
    """Its arms would be compared with nothing, and the rest would pass for all that was asked for."""
    wide = small_config(tmp_path, tmp_path / "source", "evaluation.horizons=[0, 1, 2, 3]")
    before = {name: Lake(spark, wide).version(name) for name in ("influence", "lis_results")}
    with pytest.raises(InputError, match=r"\d+ of \d+ arms have not scored") as error:
        measure.run(spark, wide)
    message = str(error.value)
    assert "0 scores of arm swap|naive|2|" in message and "up to score" in message
    assert {name: Lake(spark, wide).version(name) for name in before} == before


def headline(spark: Any, config: RunConfig) -> list[dict[str, Any]]:
    """Rows of the protocol swap over all impressions that belong to a configuration as the lake is now."""
    rows = measure.results_of(Lake(spark, config, measurement=True))
    return [row for row in rows if row["stratum"] == "all" and row["protocol"] == "swap"]
