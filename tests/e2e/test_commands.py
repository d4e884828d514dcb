"""The commands as a person gives them: make, lis-spark, the README, and what is said when something is missing."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lis_spark import analyze, cli
from lis_spark.config import RunConfig, load_config, load_read_out
from lis_spark.lake import Lake
from lis_spark.lis.results import slots
from lis_spark.lis.results.decision import VERDICTS
from lis_spark.lis.results.measure import results_of
from lis_spark.report.phrases import OF_LEAK
from tests.e2e.conftest import ROOT, SMALL, SmallRun, small_config, small_overrides
from tests.e2e.readme import BLOCKS, COMMANDS, README


@pytest.fixture
def bare_machine(tmp_path: Path) -> dict[str, str]:
    """An environment whose PATH has a shell and its tools, and neither Java nor a Python that fits."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("sh", "bash", "sed", "head", "test", "make", "touch", "rm", "echo", "cat", "grep"):
        found = shutil.which(name)
        if found:
            (tools / name).symlink_to(found)
    return {"PATH": str(tools), "HOME": str(tmp_path)}


def make(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)


def script(folder: Path, name: str, text: str) -> None:
    file = folder / name
    file.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    file.chmod(0o755)


def test_make_says_what_is_missing(bare_machine: dict[str, str], tmp_path: Path) -> None:
    done = make(bare_machine, "prerequisites")
    assert done.returncode != 0 and "Python 3.11 or 3.12 is missing" in done.stdout
    done = make(bare_machine, "prerequisites", f"PYTHON={sys.executable}")
    assert done.returncode != 0 and "Java 17 is missing" in done.stdout and "JAVA_HOME" in done.stdout
    for version in ("11.0.2", "25.0.1"):  # Spark 4.0 asks Java for what later ones have removed
        script(tmp_path / "bin", "java", f"echo 'openjdk version \"{version}\"' >&2")
        done = make(bare_machine, "prerequisites", f"PYTHON={sys.executable}")
        assert done.returncode != 0 and f"Java 17 is needed, Java {version[:2]} was found" in done.stdout
    for version in ("17.0.15", "21.0.7"):
        script(tmp_path / "bin", "java", f"echo 'openjdk version \"{version}\"' >&2")
        assert make(bare_machine, "prerequisites", f"PYTHON={sys.executable}").returncode == 0


def test_the_first_screen_has_the_commands_and_make_knows_them() -> None:
    first_screen = "\n".join(README.splitlines()[:25])
    for target in ("demo", "test-unit", "test", "test-all"):
        assert re.search(rf"make {target}\b(?!-)", first_screen)
        plan = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert plan.returncode == 0, plan.stderr
    shown = subprocess.run(["make", "-n", "demo"], cwd=ROOT, capture_output=True, text=True).stdout
    assert "lis-spark run --config conf/kuairand_demo.yaml" in shown


@pytest.mark.parametrize("target", [line.split()[1] for line in COMMANDS if line.startswith("make demo")])
def test_what_make_runs_is_understood(target: str) -> None:
    """Every target of the README: its lis-spark lines, with what they override."""
    plan = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, timeout=60)
    lines = [line for line in plan.stdout.replace("\\\n", " ").splitlines() if "/lis-spark " in line]
    assert lines, plan.stdout
    for line in lines:
        options = cli.parsed(shlex.split(line.partition("/lis-spark ")[2]))
        load = load_read_out if options.verb in cli.EXPERIMENT_VERBS else load_config
        load(ROOT / options.config, options.overrides)


@pytest.mark.parametrize("command", [line for line in COMMANDS if line.startswith("lis-spark ")])
def test_every_lis_spark_line_of_the_readme_is_understood(command: str) -> None:
    options = cli.parsed(shlex.split(command)[1:])
    if options.config:
        load = load_read_out if options.verb in cli.EXPERIMENT_VERBS else load_config
        load(ROOT / options.config, options.overrides)


@pytest.mark.slow("runs every verb of the README")
def test_the_lis_spark_lines_of_the_readme_run(
    spark: Any, small_run: SmallRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each line as it stands, on the small run from scratch instead of one's own, a small world, scores of ours."""
    monkeypatch.setattr("lis_spark.session.get_session", lambda *_, **__: spark)
    scores = tmp_path / "scores.parquet"
    rows = [(f"u{n % 40}", n % 2, n % 7 / 3.0, n % 5 / 2.0 + n % 2) for n in range(400)]
    spark.createDataFrame(rows, "user_id string, label int, logit_today double, logit_with_leak double").write.parquet(
        str(scores)
    )
    # the ranks read an export instead of the table's own files, and features hold references: the same bits
    other_ways = (f"lake.staging_path={tmp_path / 'staging'}", "evaluation.layout=reference")
    places = [*small_overrides(tmp_path, small_run.source), *other_ways]
    world = [f"lake.path={tmp_path / 'world'}", "source.days=2", "source.content.rendered=none"]
    # lines that train more than the small run has: that they run is looked at here, what they find elsewhere
    few_arms = ["evaluation.variants=[naive]", "evaluation.horizons=[0,1]", "evaluation.scopes=[both]"]
    few_arms += ["evaluation.swap_refit=false", "evaluation.whole=false", "evaluation.slots=false"]
    few_arms += ["evaluation.update_count_edges=[]", "evaluation.item_age_edges=[]"]
    for line in COMMANDS:
        words = shlex.split(line)
        elsewhere = {"compare", "audit", "curate", "align", "represent", "measure-ais", *cli.EXPERIMENT_VERBS}
        if words[0] != "lis-spark" or elsewhere & set(words):
            continue  # each runs where what it says is looked at: `of_readme`
        if "measure" in words:
            words = [str(scores) if word == "/data/my_scores" else word for word in words]
            words += ["--output", str(tmp_path / "own")]
        elif "simulate" in words:
            words = [word if "impressions_a_day" not in word else f"{word[:-6]}4000" for word in words] + world
        else:
            words = ["conf/kuairand_small.yaml" if "own_impressions" in word else word for word in words] + places
            more = any("seeds=" in word or word == "--force" for word in words)
            words += few_arms if more else []
        assert cli.main(words[1:]) == 0, line
        if line == "lis-spark run --config conf/own_impressions.yaml":
            _check_same_bits(spark, small_run, small_config(tmp_path, small_run.source, *other_ways))


def _check_same_bits(spark: Any, small_run: SmallRun, other: RunConfig) -> None:
    """A second run from scratch leaves the states and the results of the first, bit for bit."""
    states, results = [], []
    volatile = {"measurement_id", "created_ts", "table_versions", "config_fingerprint"}
    for config in (small_run.config, other):
        snapshots = Lake(spark, config).read("model_snapshots").select("chain", "date", "sha256").collect()
        states.append({(row["chain"], row["date"]): row["sha256"] for row in snapshots})
        rows = json.loads((Path(config.output_path) / "lis_results.json").read_text(encoding="utf-8"))
        results.append([{key: value for key, value in row.items() if key not in volatile} for row in rows])
    assert states[0] == states[1] and len(states[0]) > 10
    assert results[0] == results[1] and len(results[0]) > 50
    staging = Path(str(other.lake.staging_path))
    assert staging.is_dir() and not list(staging.iterdir()), "exports are removed"
    vectors = Lake(spark, other, measurement=True).read("leaked_features").where("leaked_vector IS NOT NULL")
    assert vectors.count() == 0


def test_the_spark_submit_line_of_the_readme_is_understood() -> None:
    (command,) = [line for line in COMMANDS if line.startswith("spark-submit ")]
    words = shlex.split(command)
    job = next(word for word in words if word.endswith(".py"))
    assert (ROOT / job).is_file() and (ROOT / words[words.index("--properties-file") + 1]).is_file()
    options = cli.parsed(["run", *words[words.index(job) + 1 :]])
    assert load_config(ROOT / options.config, options.overrides).launch.ranks_per_chain == 2


def test_every_verb_has_a_job_file_of_its_own() -> None:
    for verb in (*cli.STEP_NAMES, *cli.VERBS_OF_STEPS, "run", "analyze", "plan", "slots", "forget"):
        text = (ROOT / "jobs" / f"{verb.replace('-', '_')}.py").read_text(encoding="utf-8")
        assert f'main(["{verb}", *sys.argv[1:]])' in text


def test_the_yaml_of_the_readme_is_a_source_and_leaks() -> None:
    import yaml

    sections = [yaml.safe_load(text) for kind, text in BLOCKS if kind == "yaml"]
    overrides = [f"{key}={json.dumps(value)}" for section in sections for key, value in section.items()]
    start = load_config(ROOT / "conf" / "own_impressions.yaml")
    config = load_config(ROOT / "conf" / "own_impressions.yaml", overrides)
    assert config.source == start.source, "what the README shows is what the file has"
    assert config.append is not None
    assert [leak.name for leak in config.append.leaks] == ["id_table", "next_5", "similar_items", "click_rates"]


def test_a_table_of_ones_own_needs_no_more_than_the_configuration_that_is_shipped_for_it(
    spark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its columns, its dates: analyze has nothing to say against them, and every row is ingested."""
    monkeypatch.setattr("lis_spark.session.get_session", lambda *_, **__: spark)
    rows = spark.range(3000).selectExpr(
        *("concat('u', id % 50) AS uid", "concat('v', id % 41) AS vid", "id % 3 = 0 AS is_click"),
        # ten minutes apart, over 21 days that hold every T and its week
        *("1791849600000 + id * 600000 AS ts", "concat('r', id DIV 4) AS rid", "id % 2 AS tab"),
    )
    rows.withColumn("is_click", rows["is_click"].cast("int")).write.parquet(str(tmp_path / "impressions"))
    here = [f"source.path={tmp_path / 'impressions'}", "source.format=parquet", f"lake.path={tmp_path / 'lake'}"]
    here += [f"lake.work_path={tmp_path / 'work'}", f"output_path={tmp_path / 'out'}"]
    for verb in ("analyze", "ingest"):
        done = cli.main([verb, "--config", str(ROOT / "conf" / "own_impressions.yaml"), *here])
        told = capsys.readouterr()
        assert done == 0, f"{verb}: {told.out}{told.err}"
    config = load_config(ROOT / "conf" / "own_impressions.yaml", here)
    assert Lake(spark, config).read("impressions").count() == 3000


def test_the_python_of_the_readme_runs(spark: Any, small_run: SmallRun) -> None:
    (block,) = [text for kind, text in BLOCKS if kind == "python"]
    folder = small_run.source.parent
    names: dict[str, Any] = {
        "spark": spark,
        "config_path": SMALL,
        "overrides": small_overrides(folder, small_run.source),
    }
    exec(compile(block, "README.md", "exec"), names)
    assert names["honest"].where("stratum = 'all' AND swap_scope = 'both'").count() == 3


def test_the_notebook_shows_the_honest_scores(small_run: SmallRun) -> None:
    shown = {row["horizon_days"]: row for row in small_run.answer}
    assert sorted(shown) == [0, 1, 3] and shown[0]["lis"] == 0.0
    assert shown[3]["verdict"] in VERDICTS
    assert [result.step for result in small_run.results][-1] == "report"


def test_exit_codes_and_messages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "--config", str(SMALL), "evaluation.horizonts=[0]"]) == 2
    assert "evaluation.horizonts: unknown key; did you mean 'horizons'?" in capsys.readouterr().err
    assert cli.main(["run", "--config", str(tmp_path / "no.yaml")]) == 2
    assert cli.main(["measure"]) == 2


def test_the_configuration_beside_the_report_is_the_run_itself(
    spark: Any, small_run: SmallRun, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a person would give it, in another folder: it finds everything done."""
    saved = Path(small_run.config.output_path) / "config.yaml"
    assert load_config(saved) == small_run.config
    assert f"lis-spark run --config {saved}" in (saved.parent / "report.html").read_text(encoding="utf-8")
    monkeypatch.setattr("lis_spark.session.get_session", lambda *_, **__: spark)
    monkeypatch.chdir(saved.parent)
    assert cli.main(["run", "--config", str(saved)]) == 0
    said = capsys.readouterr()
    for step in ("ingest", "vocabulary", "training_rows", "train", "features", "score", "measure"):
        assert f"{step}: nothing to do" in said.err
    (verdict,) = {
        row["verdict"]
        for row in json.loads((saved.parent / "lis_results.json").read_text(encoding="utf-8"))
        if (row["protocol"], row["variant"], row["swap_scope"], row["stratum"]) == ("swap", "honest", "both", "all")
        and row["horizon_days"] == max(small_run.config.evaluation.horizons)
    }
    assert OF_LEAK[verdict].emphasis in " ".join(said.out.split())


def test_analyze_says_what_each_step_would_do(
    spark: Any, small_run: SmallRun, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert analyze.run(spark, small_run.config) == 0
    shown = capsys.readouterr().out
    assert "REFUSED" not in shown
    rows = sum(
        row["count"] for row in Lake(spark, small_run.config).read("impressions").groupBy("date").count().collect()
    )
    assert f"{rows:,} rows accepted, 0 would go to quarantine; 2022-04-24 to 2022-05-02 in Asia/Shanghai" in shown
    assert re.search(r"heaviest item_id: \d+ with [\d,]+ rows", shown)
    for step in ("ingest", "training-rows", "train (", "features", "score"):
        assert step in shown
    monkeypatch.setenv("COLUMNS", "400")
    further = small_config(
        small_run.source.parent, small_run.source, "evaluation.horizons=[0,9]", "evaluation.swap_refit=false"
    )
    assert analyze.run(spark, further) == 2
    refused = capsys.readouterr().out
    assert "REFUSED" in refused and "T+n lies beyond the data" in refused
    leaks = "append={leaks: [{kind: next_click}], horizons: [1], window_days: %d}"
    swing = "graphs=[{name: swing, window_days: 2}]"
    assert analyze.run(spark, small_config(small_run.source.parent, small_run.source, leaks % 2, swing)) == 0
    shown = capsys.readouterr().out
    assert "append (4 arms)" in shown, "the leak and its control, and both in the wrong order"
    assert re.search(r"swing: \d+ graphs of [\d,]+ clicks, at most [\d.e+]+ steps", shown)
    assert "graph swing (" in shown
    assert analyze.run(spark, small_config(small_run.source.parent, small_run.source, leaks % 6)) == 2
    assert "protocol append at T = 2022-04-30 needs a model of 2022-04-24" in capsys.readouterr().out


def test_analyze_refuses_what_would_fail_after_hours(
    spark: Any, small_run: SmallRun, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is too small, fewer slots than a barrier stage wants, and a cluster that gives them back."""
    monkeypatch.setenv("COLUMNS", "400")
    wide = small_config(small_run.source.parent, small_run.source, "launch.local_mode=false", "launch.processes=64")
    with monkeypatch.context() as patch:
        patch.setattr("lis_spark.analyze.shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
        assert analyze.run(spark, wide) == 2
    shown = capsys.readouterr().out
    assert shown.count("REFUSED") == 2 and "too little free space" in shown and "too few slots" in shown
    assert "what a whole run would read" not in shown
    conf = spark.sparkContext._jsc.sc().conf()
    conf.set("spark.dynamicAllocation.enabled", "true")  # a session that starts now reads it
    try:
        assert analyze.run(spark.newSession(), wide) == 2
    finally:
        conf.remove("spark.dynamicAllocation.enabled")
    assert "a barrier stage refuses dynamic allocation" in capsys.readouterr().out


def test_slots_are_ranked_by_what_the_ranker_loses(
    spark: Any, small_run: SmallRun, capsys: pytest.CaptureFixture[str]
) -> None:
    assert slots.run(spark, small_run.config) == 0
    shown = capsys.readouterr().out
    rows = results_of(Lake(spark, small_run.config, measurement=True))
    drops = {row["swap_scope"]: -row["lis"] for row in rows if row["variant"] == "slot_permuted"}
    assert set(drops) == {feature.name for feature in small_run.config.features}
    assert [slot.feature for slot in slots.rank_slots(rows)] == sorted(drops, key=lambda name: -drops[name])
    assert drops["tab"] > 0.01 and all(name in shown for name in drops)


def test_jobs_start_without_the_checkout_on_the_path(tmp_path: Path) -> None:
    job = tmp_path / "ingest.py"
    job.write_text((ROOT / "jobs" / "ingest.py").read_text(encoding="utf-8"), encoding="utf-8")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, str(job), "--config", "missing.yaml"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2 and "there is no such configuration file" in done.stderr
