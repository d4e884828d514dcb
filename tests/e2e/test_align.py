"""Encoders by the verbs: aligned on a small simulated world, applied to all of its items; and on titles alone."""

from __future__ import annotations

import datetime as dt
import io
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark.sql import functions as F
from sklearn.metrics import roc_auc_score

from lis_spark import cli
from lis_spark.alignment import represent, step
from lis_spark.alignment.embedded_model import save_embedded
from lis_spark.alignment.examples import preference_rows
from lis_spark.alignment.inference import ItemEncoder
from lis_spark.alignment.targets import targets_of
from lis_spark.config import RunConfig, load_config, parse_config
from lis_spark.config.encoder import EmbeddedModelConfig
from lis_spark.errors import ConfigError, InputError
from lis_spark.lake import Lake
from lis_spark.lis.append.rows import export_append_rows
from lis_spark.lis.plan.append_arms import append_features
from lis_spark.lis.plan.append_feature import AppendFeature, of_seeds
from lis_spark.lis.plan.evaluation import resolve
from lis_spark.lis.plan.ladder import RUNGS
from lis_spark.lis.results.compare import compared_outcomes
from lis_spark.lis.results.diagnosis import diagnoses_of
from lis_spark.lis.results.measure import results_of
from lis_spark.lis.swap.features import VECTOR_COLUMN
from lis_spark.pipeline import run_steps
from lis_spark.ranker.plans import PortSpec
from lis_spark.ranker.vector_files import find_rows, read_vectors
from tests.e2e.conftest import ALIGNMENT, ALIGNMENT_DATE, ROOT
from tests.e2e.readme import of_readme
from tests.encoder_worlds import SMALL

pytestmark = pytest.mark.slow("aligns encoders on a world of its own")
SETTINGS = f"embedded: {json.dumps(SMALL)}, title_tokens: 16, dimension: %d, evaluate_every: 10, batch_size: 64"
WIDTH = 11  # wider than the ID table, whose rungs are filled up
# of items of the sixth day, so that a later ranker may be trained on with what encoders say
CHOSEN = "preference={name: early, as_of: 2026-01-07, min_updates: 5, tail_share: 0.5, validation_share: 0.3}"
# `aligned` with more steps, so that it goes on
ENCODERS = (
    f"encoders=[{{name: aligned, {SETTINGS % WIDTH}, steps: %d}}, "
    f"{{name: unaligned, {SETTINGS % WIDTH}, objective: none}}, "
    + ", ".join(
        f"{{name: of_{leak}, leak: {leak}, leak_days: 1, {SETTINGS % WIDTH}, steps: 10}}"
        for leak in ("id_table", "rates", "noise")
    )
    + "]"
)
APPEND = "append={window_days: 2, horizons: [1], %s leaks: [%s]}"
SHOWN = "content: {columns: [title, image], projections: 32, shuffles: 2},"
LADDER = f"{SHOWN} ladder: {{unaligned: components, aligned: aligned, noise_draws: 2}},"
RATES = (
    "{kind: sql, name: rates, query: 'SELECT item_id, avg(label_click) AS click_rate FROM impressions WHERE date < "
    ":as_of AND NOT (fold = :excluded_fold AND date >= :held_out_from) GROUP BY item_id'}"
)
NOISE = (
    "{kind: sql, name: noise, horizon_days: 1, control: shuffled, is_noise: true, query: 'SELECT item_id, "
    "transform(sequence(0, 3), place -> float(pmod(xxhash64(item_id, place), 1009))) AS noise FROM items'}"
)
LEAKS = (
    f"{{kind: id_table}}, {RATES}, {NOISE}, "
    + "".join(
        f"{{kind: representation, name: z_{leak}, encoder: of_{leak}, draws: 2}}, "
        for leak in ("id_table", "rates", "noise")
    )
    + "{kind: representation, name: aligned, encoder: aligned, draws: 2, above: [components]}, "
    "{kind: representation, name: components, encoder: unaligned, draws: 2}"
)


@dataclass
class Aligned:
    """A world whose items are represented by two encoders, and what the verbs said on the way."""

    overrides: list[str]
    first: dict[str, dict[str, Any]]
    encoders: dict[str, dict[str, Any]]
    said: dict[str, str]

    @property
    def config(self) -> RunConfig:
        return load_config(ALIGNMENT, self.overrides)


@contextmanager
def commands(spark: Any, overrides: list[str]) -> Iterator[Callable[..., str]]:
    """Runs a verb as the README has it, on the small world; returns what it said."""

    def run(verb: str, *more: str) -> str:
        words = [verb, "--config", str(ALIGNMENT)] if verb in ("curate", "report") else of_readme(f"lis-spark {verb}")
        said = io.StringIO()
        with redirect_stderr(said), redirect_stdout(said):
            assert cli.main([*words, *overrides, *more]) == 0, said.getvalue()
        return said.getvalue()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lis_spark.session.get_session", lambda *_, **__: spark)
        yield run


@pytest.fixture(scope="module")
def aligned(spark: Any, alignment_world: list[str]) -> Aligned:
    """Curated, aligned in two goes, represented."""
    base = [*alignment_world, CHOSEN, APPEND % (LADDER, LEAKS), "launch.processes=2"]
    config = load_config(ALIGNMENT, [*base, ENCODERS % 40])
    with pytest.raises(InputError, match="there are no preference items"):
        step.run(spark, config)
    said = {}
    with commands(spark, base) as command:
        command("curate", ENCODERS % 20)
        with pytest.raises(InputError, match="there is no such encoder"):
            represent.run(spark, config)
        said["first"] = command("align", ENCODERS % 20)
        rows = Lake(spark, config).read("encoders").collect()
        first = {row["name"]: row.asDict() for row in rows}
        said["align"] = command("align", ENCODERS % 40)
        said["represent"] = command("represent", ENCODERS % 40)
    rows = Lake(spark, config).read("encoders").collect()
    return Aligned([*base, ENCODERS % 40], first, {row["name"]: row.asDict() for row in rows}, said)


def test_items_of_a_world_are_aligned(spark: Any, aligned: Aligned) -> None:
    assert "aligned: mean recall" in aligned.said["first"]
    rows = Lake(spark, aligned.config).read("preference_items").where("name = 'early'")
    sides = rows.groupBy("split").count().collect()
    counts = {row["split"]: row["count"] for row in sides}
    first, again = aligned.first, aligned.encoders
    assert set(first) == {"aligned", "unaligned", "of_id_table", "of_rates", "of_noise"}
    for row in first.values():
        assert (row["train_items"], row["gallery"]) == (counts["train"], counts["validation"])
        assert row["chance"] == pytest.approx(np.mean([min(1, cut / row["gallery"]) for cut in (1, 5, 10)]))
        assert row["preference"] == "early" and row["dimension"] == WIDTH
    assert (first["aligned"]["steps"], first["unaligned"]["steps"]) == (20, 0)
    assert [one["step"] for one in json.loads(first["aligned"]["curve"])] == [0, 10, 20]
    # more steps go on from the last; what has no steps stays as it is
    assert again["unaligned"] == first["unaligned"]
    curve = json.loads(again["aligned"]["curve"])
    assert [one["step"] for one in curve] == [0, 10, 20, 30, 40]
    assert curve[:3] == json.loads(first["aligned"]["curve"])
    assert curve[4]["loss"] < curve[1]["loss"]


def test_items_of_a_world_are_represented(spark: Any, aligned: Aligned) -> None:
    config = aligned.config
    items = Lake(spark, config).read("items").select("item_id", "title", "image").toPandas().set_index("item_id")
    assert f"aligned: {len(items):,} items encoded" in aligned.said["represent"]
    assert re.search(r" \d+ items at once, beside \d\.\d MB of weights in each worker", aligned.said["represent"])
    vectors = _vectors(spark, config, "aligned")
    assert set(vectors) == set(items.index)
    assert np.linalg.norm(np.stack(list(vectors.values())), axis=1) == pytest.approx(1, abs=1e-5)
    some = items.sample(20, random_state=1)
    encoder = ItemEncoder(Path(aligned.encoders["aligned"]["path"]))
    expected = encoder.encode(some["title"].tolist(), some["image"].tolist())
    np.testing.assert_allclose(np.stack([vectors[item] for item in some.index]), expected, atol=1e-5)
    # components of the items that others are trained on: each apart from the others, the largest first
    chosen = Lake(spark, config).read("preference_items").where("split = 'train'").select("item_id").collect()
    vectors = _vectors(spark, config, "unaligned")
    covariance = np.cov(np.stack([vectors[row["item_id"]] for row in chosen]).T)
    assert (np.diff(np.diag(covariance)) < 0).all()
    np.testing.assert_allclose(covariance, np.diag(np.diag(covariance)), atol=1e-3 * covariance[0, 0])


def test_targets_are_what_a_leak_said_then(spark: Any, aligned: Aligned) -> None:
    """White over the items that are trained on, and made of the table, or of the clicks, up to one day later."""
    config = aligned.config
    lake = Lake(spark, config, measurement=True)
    end = dt.date(2026, 1, 8)
    snapshots = lake.read("embedding_snapshots").where("chain = 'base-s17' AND slot = 'item'").toPandas()
    known = (
        snapshots[snapshots["snapshot_date"] <= end].sort_values("snapshot_date").groupby("item_id")["vector"].last()
    )
    shown = lake.read("training_rows").where(F.col("date") < F.lit(end)).toPandas()
    rates = shown.groupby("item_id")["label_click"].mean()
    for name in ("id_table", "rates"):
        encoder = next(one for one in config.encoders if one.leak == name)
        with targets_of(lake, encoder, preference_rows(lake, "early")) as found:
            rows = found.toPandas().set_index("item_id")
        targets = np.stack([np.frombuffer(target, "<f4") for target in rows["target"]]).astype(float)
        train = ~rows["is_validation"].to_numpy()
        of_both = lake.read("preference_items").where("split != 'left_out'")
        assert 0 < train.sum() < len(rows) == of_both.count()
        np.testing.assert_allclose(np.cov(targets[train].T, ddof=0), np.eye(targets.shape[1]), atol=1e-3)
        if name == "id_table":
            said = np.stack([np.frombuffer(vector, "<f4") for vector in known[rows.index]]).astype(float)
            left = _left_over(targets, said)
        else:  # its place in the bins tells the rate
            left = _left_over(rates[rows.index].to_numpy()[:, None], targets)
        assert np.abs(left).max() < 1e-3, name


def _left_over(values: np.ndarray, said: np.ndarray) -> np.ndarray:
    """What no linear map of ``said`` tells."""
    inputs = np.column_stack([said, np.ones(len(said))])
    return values - inputs @ np.linalg.lstsq(inputs, values, rcond=None)[0]


def _vectors(spark: Any, config: Any, encoder: str) -> dict[str, np.ndarray]:
    rows = Lake(spark, config).read("representations").where(F.col("encoder") == encoder).collect()
    assert len(rows) == len({row["item_id"] for row in rows})
    return {row["item_id"]: np.frombuffer(row["vector"], "<f4") for row in rows}


@dataclass
class Measured:
    """What the ranker makes of the representations: the lake with its scores, and what a reader is shown."""

    config: RunConfig
    lake: Lake
    printed: str
    page: str


@pytest.fixture(scope="module")
def measured(spark: Any, aligned: Aligned) -> Measured:
    """AIS and the ladder, by one run of the verb."""
    config = aligned.config
    run_steps(spark, config, ("train", "features", "score"))
    with commands(spark, aligned.overrides) as command:
        printed = command("measure-ais")
        run_steps(spark, config, ("compare",))
        printed += command("report")
    page = (Path(config.output_path) / "report.html").read_text(encoding="utf-8")
    return Measured(config, Lake(spark, config, measurement=True), printed, page)


def test_what_representations_are_worth_is_that_of_the_scores(spark: Any, measured: Measured) -> None:
    """AIS against the mean of the draws, against another representation, on items unseen in alignment: by hand."""
    printed, lake = measured.printed, measured.lake
    assert "the ranker on items that it was not aligned on: AIS" in printed and "unseen in alignment" in printed
    scores = lake.read("scores").where("step = 'append'").toPandas()
    wide = scores.pivot(index="impression_id", columns="arm", values="logit")
    known = scores.drop_duplicates("impression_id").set_index("impression_id").loc[wide.index]
    of_preference = lake.read("preference_items").where("name = 'early'").toPandas()["item_id"]  # of every split
    shown = lake.read("training_rows").where(f"date = DATE'{ALIGNMENT_DATE}'").toPandas()
    unseen = ~shown.set_index("impression_id").loc[wide.index, "item_id"].isin(set(of_preference))
    assert 100 < (~unseen).sum() < len(unseen) - 100

    def auc(arm: str, rows: Any) -> float:
        return float(roc_auc_score(known.loc[rows, "label"], wide.loc[rows, arm]))

    rows = [row for row in results_of(lake) if row["leak"] in ("aligned", "components")]
    found = {(row["leak"], row["variant"], row["stratum"]): row for row in rows}
    for stratum, members in (("all", unseen | ~unseen), ("alignment:unseen", unseen), ("alignment:seen", ~unseen)):
        arms = {name: f"append|representation|0|port|-1|{name}" for name in ("aligned", "components")}
        for name, arm in arms.items():
            draws = [auc(f"append|control_row_shuffled_{draw}|0|port|-1|{name}", members) for draw in (0, 1)]
            row = found[name, "representation", stratum]
            assert row["lis"] == pytest.approx(auc(arm, members) - np.mean(draws), abs=1e-12)
            assert row["ci_low"] < row["lis"] < row["ci_high"] and row["verdict"] is None
            assert draws[0] != draws[1], "two orders"
        above = found["aligned", "above_components", stratum]
        expected = auc(arms["aligned"], members) - auc(arms["components"], members)
        assert above["lis"] == pytest.approx(expected, abs=1e-12)
    assert found["aligned", "representation", "all"]["coverage"] == 1.0


def test_lis_stands_beside_ais(measured: Measured) -> None:
    """Three data sets with an encoder each: their scores are those of the measurements, and three pairs are too few."""
    found = compared_outcomes(measured.lake)
    assert found is not None and [row["leak"] for row in found["outcomes"]] == ["id_table", "rates", "noise"]
    rows = {(row["leak"], row["variant"], row["stratum"]): row for row in results_of(measured.lake)}
    for one in found["outcomes"]:
        leak = one["leak"]
        assert one["is_noise"] == (leak == "noise")
        for score, place in (
            ("ais", (f"z_{leak}", "representation", "alignment:unseen")),
            ("lis", (leak, "honest", "all")),
            ("lis_unseen", (leak, "honest", "alignment:unseen")),
            ("lis_content", (leak, "content", "all")),
        ):
            assert one[score] == pytest.approx(rows[place]["lis"], abs=1e-12)
            assert one[f"{score}_standard_error"] == pytest.approx(rows[place]["standard_error"], rel=1e-6)
    assert "not testable; AIS tells" in measured.printed and "at least 10 are needed" in measured.printed
    assert "Did LIS tell beforehand what an encoder gets?" in measured.page


def test_measure_ais_of_fewer_encoders_on_a_lake_that_more_have_filled_ends_right(
    spark: Any, measured: Measured, aligned: Aligned
) -> None:
    """Curate, align, represent and measure by a configuration with fewer encoders and leaks, then by the wide one."""
    fewer = (
        f"encoders=[{{name: aligned, {SETTINGS % WIDTH}, steps: 40}}, "
        f"{{name: unaligned, {SETTINGS % WIDTH}, objective: none}}]"
    )
    representations = (
        "{kind: representation, name: aligned, encoder: aligned, draws: 2, above: [components]}, "
        "{kind: representation, name: components, encoder: unaligned, draws: 2}"
    )
    narrow = [*aligned.overrides, APPEND % ("", representations), fewer]
    figures = ("lis", "standard_error", "u2_leaked", "coverage")

    def rows_of(config: RunConfig) -> dict[tuple[str, ...], list[Any]]:
        rows = [row for row in results_of(Lake(spark, config, measurement=True)) if row["protocol"] == "append"]
        return {
            (row["leak"], row["variant"], row["stratum"], row["seed"]): [row[name] for name in figures] for row in rows
        }

    before = rows_of(measured.config)
    with commands(spark, narrow) as command:
        for verb in ("curate", "align", "represent"):
            assert "nothing to do" in command(verb), f"{verb} finds what the wide configuration has made"
        command("measure-ais")
    found = rows_of(load_config(ALIGNMENT, narrow))
    assert {key[0] for key in found} == {"aligned", "components"}
    assert found == {key: before[key] for key in found}, "to the bit"
    with commands(spark, [*aligned.overrides, "preference.name=others", "preference.tail_share=0.5"]) as command:
        assert "nothing to do" not in command("curate"), "another preference is another partition"
    with commands(spark, aligned.overrides) as command:
        for verb in ("curate", "align", "represent"):
            assert "nothing to do" in command(verb), f"{verb} is not of the other preference"
        command("measure-ais")
    assert rows_of(measured.config) == before


def test_the_ladder_stands_beside_one_id_vector(spark: Any, measured: Measured, tmp_path: Path) -> None:
    """Rungs, steps and ratios from the logits; what each port is given, from the tables that it comes from."""
    for text in (f"The ladder of {ALIGNMENT_DATE}, all items", "reached by alignment", "memorised labels"):
        assert text in measured.printed and text in measured.page
    lake = measured.lake
    scores = lake.read("scores").where("step = 'append' AND arm LIKE '%|ladder'").toPandas()
    wide = scores.pivot(index="impression_id", columns="arm", values="logit")
    label = scores.drop_duplicates("impression_id").set_index("impression_id").loc[wide.index, "label"]
    auc = {name.split("|")[1]: roc_auc_score(label, wide[name]) for name in wide.columns}
    noise = np.mean([auc.pop(f"control_noise_{draw}") for draw in (0, 1)])
    assert set(auc) == {f"rung_{name}" for name in (*RUNGS, "stronger_port")}
    found = {(row["variant"], row["stratum"]): row for row in results_of(lake) if row["leak"] == "ladder"}
    for name in RUNGS:
        assert found[f"rung_{name}", "all"]["lis"] == pytest.approx(auc[f"rung_{name}"] - noise, abs=1e-12)
    for below, above in pairwise(RUNGS):
        step = auc[f"rung_{above}"] - auc[f"rung_{below}"]
        assert found[f"step_{above}", "all"]["lis"] == pytest.approx(step, abs=1e-12)
    told = {row["stratum"]: row for row in diagnoses_of(lake, results_of(lake))}["all"]
    honest = found["rung_honest", "all"]
    assert (told["eta"] is None) == (honest["ci_low"] <= 0), "undefined where the interval of what is below touches 0"
    if told["eta"] is not None:
        assert told["eta"] == pytest.approx((auc["rung_aligned"] - noise) / (auc["rung_honest"] - noise), abs=1e-9)
    _check_rungs(spark, measured.config, tmp_path)


def _check_rungs(spark: Any, config: Any, folder: Path) -> None:
    """What a rung's port reads: the honest ID vector of T, what the rung is named after, and noise up to one width."""
    lake = Lake(spark, config, measurement=True)
    date = config.evaluation.dates[0]
    features, plan = of_seeds(append_features(config, date), config.seeds), resolve(lake)
    days, ports = export_append_rows(lake, plan, date, [date], features, folder / "rows")
    rows = spark.read.parquet(*days[date].files).toPandas().set_index("impression_id")

    def honest(table: str, column: str) -> Any:
        found = lake.read(table).where("leak = 'id_table' AND variant = 'honest'").toPandas()
        return found[found["date"] == date].set_index("impression_id")[column].reindex(rows.index)

    _check_owned(lake, rows, list(zip(features, ports, strict=True)))
    z = {row["item_id"]: row["vector"] for row in lake.read("representations").where("encoder = 'aligned'").collect()}

    def matrix(vectors: Any, width: int) -> np.ndarray:
        """Zeros where there is none."""
        nothing = bytes(4 * width)
        packed = b"".join(bytes(one) if isinstance(one, (bytes, bytearray)) else nothing for one in vectors)
        return np.frombuffer(packed, "<f4").reshape(-1, width)

    d, future = config.ranker.dimension, matrix(honest("leaked_features", "leaked_vector"), config.ranker.dimension)
    own = matrix(honest("control_features", "control_vector"), d)
    assert own.any(1).mean() > 0.5 and 0.5 < future.any(1).mean() < 1
    said = {"rung_aligned": matrix(rows["item_id"].map(z), WIDTH), "rung_honest": future, "control_noise_1": None}
    for name, second in said.items():
        place = next(n for n, feature in enumerate(features) if feature.arm.variant == name)
        width = 0 if second is None else second.shape[1]
        assert ports[place].widths == tuple(part for part in (d, width, WIDTH - width) if part)
        found, _ = owned_vectors(ports[place], rows)
        assert (found[:, :d] == own).all()
        if second is not None:
            assert (found[:, d : d + width] == second).all()
        noise = found[:, d + width :]
        if noise.shape[1]:
            present = future.any(1)
            assert not noise[~present].any(), "nothing stands for what is not there"
            items, first = np.unique(rows["item_id"][present], return_index=True)
            assert len(np.unique(noise[present], axis=0)) == len(items), "one draw for an item"
            assert len(items) > 100 and noise[present][first].mean() == pytest.approx(0, abs=0.15)
            assert noise[present][first].std() == pytest.approx(1, abs=0.15)


def owned_vectors(port: PortSpec, rows: Any) -> tuple[np.ndarray, np.ndarray]:
    """Vectors that a port looks up by the rows' numbers, and for which rows there is one: zeros where there is none."""
    known, vectors = read_vectors(str(port.table), port.width)
    places = find_rows(known, rows[port.column].to_numpy())
    return np.concatenate([vectors, np.zeros((1, port.width), np.float32)])[places], places < len(known)


def _check_owned(lake: Lake, rows: Any, arms: list[tuple[AppendFeature, PortSpec | None]]) -> None:
    """What the ranks look up by an item's number is what the feature tables hold of each single impression."""
    checked = set()
    for feature, port in arms:
        if port is None or port.table is None or feature.made != "as_is" or feature.beside is not None:
            continue
        column = str(VECTOR_COLUMN[str(feature.table)])
        chosen = (F.col("leak") == feature.leak.name) & (F.col("variant") == feature.variant)
        table = lake.read(str(feature.table)).where(chosen & (F.col("horizon_days") == feature.horizon_days))
        expected = (
            table.select("impression_id", column).toPandas().set_index("impression_id")[column].reindex(rows.index)
        )
        vectors, found = owned_vectors(port, rows)
        assert found.tolist() == expected.notna().tolist() and found.any()
        assert vectors[found].tobytes() == b"".join(bytes(one) for one in expected[found])
        checked.add((feature.leak.name, feature.variant))
    assert {name for name, _ in checked} >= {"id_table", "aligned"} and len(checked) > 4, checked


def test_preference_data_whose_items_are_gone_changes_no_bit(spark: Any, aligned: Aligned, measured: Measured) -> None:
    """Every row is masked, and the ranker has the bits of one without a port."""
    gone = APPEND % ("", "{kind: representation, name: raw, preference: gone}")
    of_gone = [*aligned.overrides, CHOSEN.replace("early", "gone"), "encoders=[]"]
    config = load_config(ALIGNMENT, [*of_gone, gone])
    lake = Lake(spark, config, measurement=True)
    rows = lake.read("preference_items").where("name = 'early'").drop("lis_fingerprint")
    away = rows.withColumns({"item_id": F.concat(F.lit("gone "), "item_id"), "name": F.lit("gone")})
    lake.write_partitions("preference_items", away.localCheckpoint(), {("gone",): "gone"})
    run_steps(spark, config, ("append", "measure"))
    rows = [row for row in results_of(Lake(spark, config, measurement=True)) if row["leak"] == "raw"]
    whole = next(row for row in rows if row["stratum"] == "all")
    assert whole["lis"] == 0.0 and whole["u2_control"] == whole["u2_leaked"] and whole["coverage"] == 0.0
    logits = Lake(spark, config, measurement=True).read("scores").where("step = 'append'").toPandas()
    of_arm = {arm.split("|")[1]: part.set_index("impression_id")["logit"] for arm, part in logits.groupby("arm")}
    assert set(of_arm) == {"control_none", "representation"}
    assert of_arm["control_none"].sort_index().equals(of_arm["representation"].sort_index())


def test_only_what_is_new_or_changed_is_encoded_again(spark: Any, aligned: Aligned) -> None:
    config = aligned.config
    items = sorted(row["item_id"] for row in Lake(spark, config).read("items").select("item_id").collect())
    vectors = _vectors(spark, config, "aligned")
    with commands(spark, aligned.overrides) as command:
        assert "align: nothing to do" in command("align")
        assert "represent: nothing to do" in command("represent")
        with _one_item_changed(spark, config, items[3], items[4]):
            said = command("represent")
            now = _vectors(spark, config, "aligned")
    assert f"aligned: 1 items encoded, {len(items) - 2:,} as they were" in said
    assert set(vectors) - set(now) == {items[4]}
    assert {item for item in now if now[item].tobytes() != vectors[item].tobytes()} == {items[3]}

    head = Path(aligned.encoders["aligned"]["path"]) / "head.safetensors"
    kept = head.read_bytes()
    head.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    with pytest.raises(InputError, match="files are not those that were written"):
        represent.run(spark, config, force=True)
    head.write_bytes(kept)
    with pytest.raises(ConfigError, match="no encoder is configured"):
        step.run(spark, load_config(ALIGNMENT, [*aligned.overrides, "append=null", "encoders=[]"]))


def test_encoders_of_every_kind_go_the_same_way(spark: Any, aligned: Aligned, tmp_path: Path) -> None:
    """A model from a folder, features that stay as they are, and the objectives with targets as they are."""
    save_embedded(tmp_path / "model", ["gabi zube", "nika"], EmbeddedModelConfig(**SMALL), 3)
    few = "steps: 10, evaluate_every: 5, batch_size: 64"
    encoders = (
        f"encoders=[{{name: of_folder, model: {tmp_path / 'model'}, tuning: lora, freeze_vision: true, "
        f"title_tokens: 16, dimension: {WIDTH}, {few}}}, "
        f"{{name: of_features, kind: frozen, dimension: {WIDTH}, {few}}}, "
        + ", ".join(f"{{name: by_{one}, objective: {one}, {SETTINGS % WIDTH}, steps: 10}}" for one in ("cosine", "mse"))
        + "]"
    )
    base = [one for one in aligned.overrides if not one.startswith(("encoders=", "append="))]
    with commands(spark, [*base, "append=null", encoders]) as command:
        command("align")
        command("represent")
        assert "align: nothing to do" in command("align")
        weights = tmp_path / "model" / "model.safetensors"
        save_embedded(tmp_path / "model", ["gabi zube", "nika"], EmbeddedModelConfig(**SMALL), 4)
        assert weights.is_file() and "of_folder: mean recall" in command("align"), "other weights lie in the folder"
    config = load_config(ALIGNMENT, [*base, "append=null", encoders])
    rows = {row["name"]: row for row in Lake(spark, config).read("encoders").collect()}
    items = Lake(spark, config).read("items").count()
    of_targets = rows["by_mse"]["dimension"]
    assert of_targets in (7, 8), "the ID vector's, less popularity where that is left out"
    for name, kind, objective, dimension, is_unit in (
        ("of_folder", "internvl", "contrastive", WIDTH, True),
        ("of_features", "frozen", "contrastive", WIDTH, True),
        ("by_cosine", "internvl", "cosine", of_targets, True),
        ("by_mse", "internvl", "mse", of_targets, False),
    ):
        row = rows[name]
        assert (row["kind"], row["objective"], row["dimension"], row["steps"]) == (kind, objective, dimension, 10)
        vectors = np.stack(list(_vectors(spark, config, name).values()))
        assert vectors.shape == (items, dimension) and len(np.unique(vectors, axis=0)) > items / 2
        lengths = np.linalg.norm(vectors, axis=1)
        assert np.allclose(lengths, 1, atol=1e-5) == is_unit, name


@contextmanager
def _one_item_changed(spark: Any, config: Any, changed: str, gone: str) -> Iterator[None]:
    """Another title for one item, and one item less, as an ingest of other items would leave them; then as before."""
    lake = Lake(spark, config)
    items = lake.read("items").drop("lis_fingerprint").where(F.col("item_id") != gone)
    title = F.when(F.col("item_id") == changed, F.lit("gabi gabi zube")).otherwise(F.col("title"))
    lake.write_partitions("items", items.withColumn("title", title).localCheckpoint(), {(): "changed"})
    try:
        yield
    finally:
        lake.take_back("items")


def test_items_that_show_a_title_alone_go_the_same_way(spark: Any, tmp_path: Path) -> None:
    """Films of MovieTweetings, twelve days of them, to what their titles gain the ranker."""
    overrides = [
        *(f"lake.path={tmp_path / 'lake'}", f"lake.work_path={tmp_path / 'work'}", f"output_path={tmp_path / 'out'}"),
        *(f"source.path={ROOT / 'data' / 'movietweetings_100k'}", "launch.processes=1", "seeds=[17]"),
        *("ingest.start_date=2013-03-01", "ingest.end_date=2013-03-12", "evaluation.dates=[2013-03-12]"),
        *("evaluation.horizons=[0, 1]", "evaluation.variants=[naive]", "evaluation.refit={horizons: [1]}"),
        *("preference.min_updates=3", "preference.as_of=2013-03-10"),
        f"encoders=[{{name: titles, {SETTINGS % 8}, steps: 20}}]",
        APPEND % ("", "{kind: representation, name: titles, encoder: titles, draws: 2}"),
    ]
    config = load_config(ROOT / "conf" / "movietweetings_align.yaml", overrides)
    steps = ("ingest", "vocabulary", "training-rows", "train", "curate", "align", "represent")
    run_steps(spark, config, (*steps, "features", "score", "append", "measure"))
    lake = Lake(spark, config)
    (row,) = lake.read("encoders").collect()
    assert row["steps"] == 20 and row["gallery"] > 20
    titled = lake.read("items").where("title IS NOT NULL").count()
    assert lake.read("representations").count() == titled > 1000
    note = json.loads((Path(row["path"]) / "encoder.json").read_text(encoding="utf-8"))
    assert note["with_images"] is False, "no room is kept for images that nobody has"
    lake = Lake(spark, config, measurement=True)
    found = {row["stratum"]: row for row in results_of(lake) if row["leak"] == "titles"}
    shown = lake.read("training_rows").where("date = DATE'2013-03-12'").count()
    scored = lake.read("scores").where("step = 'append'").groupBy("arm").count().collect()
    assert len(scored) == 1 + 2 and {row["count"] for row in scored} == {shown} and found["all"]["coverage"] == 1.0
    sides = [found[f"alignment:{side}"]["share_of_impressions"] for side in ("seen", "unseen")]
    assert sum(sides) == pytest.approx(1) and min(sides) > 0.1
    for stratum in ("all", "alignment:seen", "alignment:unseen"):
        assert found[stratum]["ci_low"] < found[stratum]["lis"] < found[stratum]["ci_high"]


def test_the_widths_that_a_ranker_takes_are_enforced(config_data: dict[str, Any]) -> None:
    chosen = {"preference": {"min_updates": 1, "tail_share": 0.5}}
    with pytest.raises(ConfigError, match="less than 100"):
        parse_config({**config_data, **chosen, "encoders": [{"name": "wide", "dimension": 100}]})
    with pytest.raises(ConfigError, match="they are aligned on preference items"):
        parse_config({**config_data, "encoders": [{"name": "alone"}]})
    leak = {"kind": "representation", "name": "one", "encoder": "one"}
    for wrong, told in (
        ({"encoder": "two"}, "one wants 'two', there is"),
        ({"preference": "ids"}, "one: give either encoder or preference"),
        ({"above": ["another"]}, "one is to be above another"),
    ):
        data = {**config_data, **chosen, "encoders": [{"name": "one"}], "append": {"leaks": [{**leak, **wrong}]}}
        with pytest.raises(ConfigError, match=told):
            parse_config(data)
    data = {**config_data, **chosen, "encoders": [{"name": "one"}], "append": {"leaks": [leak]}}
    with pytest.raises(ConfigError, match="one knows labels up to 2022-05-03, of days that the ranker is trained on"):
        parse_config(data)
    data["preference"] = {**data["preference"], "as_of": "2022-04-28"}
    parse_config(data)
    leaks = [{"kind": "id_table"}, leak]
    data |= {"encoders": [{"name": "one", "leak": "id_table", "leak_days": 3}], "append": {"leaks": leaks}}
    with pytest.raises(ConfigError, match="one knows labels up to 2022-05-01"):
        parse_config(data)
    for encoder, told in (
        ({"leak": "clicks"}, "one wants the leak 'clicks'; .* are .'id_table'."),
        ({"leak_days": 3}, "leak_days: it goes with leak"),
        ({"leak": "id_table", "objective": "none"}, "objective none has no targets"),
    ):
        with pytest.raises(ConfigError, match=told):
            parse_config({**data, "encoders": [{"name": "one", **encoder}]})
    rates = {"kind": "sql", "name": "rates", "horizon_days": 7, "control": "shuffled"}
    rates["query"] = "SELECT item_id, avg(label_click) AS rate FROM impressions GROUP BY item_id"
    late = {**data, "append": {"leaks": [rates, leak]}, "encoders": [{"name": "one", "leak": "rates"}]}
    with pytest.raises(ConfigError, match="reads labels of all days, those that are scored among them"):
        parse_config(late)
    with pytest.raises(ConfigError, match="they are of internvl, kind is frozen"):
        parse_config({**config_data, **chosen, "encoders": [{"kind": "frozen", "tuning": "lora"}]})
