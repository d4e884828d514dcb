"""The nested ladder: which arms it has and what each is compared with; what a reader is told of it."""

from __future__ import annotations

import datetime as dt
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import pytest

from lis_spark.config import parse_config
from lis_spark.errors import ConfigError
from lis_spark.lis.plan.append_arms import append_features
from lis_spark.lis.plan.comparisons import plan_measurements
from lis_spark.lis.plan.ladder import RUNGS
from lis_spark.report.context import ReportContext
from lis_spark.report.ladder_table import ladder_views, print_ladders
from lis_spark.report.page import render
from lis_spark.report.step_figure import draw_ladder
from tests.report_rows import printed

T = dt.date(2022, 5, 3)


@pytest.fixture
def data(config_data: dict[str, Any]) -> dict[str, Any]:
    said = [{"kind": "representation", "name": name, "encoder": name, "draws": 2} for name in ("aligned", "plain")]
    return {
        **config_data,
        "preference": {"min_updates": 1, "tail_share": 0.5, "as_of": "2022-04-30"},
        "ranker": {"dimension": 8},
        "encoders": [{"name": "aligned", "dimension": 8}, {"name": "plain", "dimension": 8, "objective": "none"}],
        "append": {
            "leaks": [{"kind": "id_table"}, *said],
            "horizons": [1, 7],
            "content": {"columns": ["title", "image"]},
            "ladder": {"unaligned": "plain", "aligned": "aligned", "noise_draws": 2},
        },
    }


def test_every_rung_reads_its_own_vector_beside_the_same_one(data: dict[str, Any]) -> None:
    config = parse_config(data)
    ladder = [feature for feature in append_features(config, T) if feature.arm.leak == "ladder"]
    read = {f.arm.variant: (f.table, f.leak.name, f.variant, f.horizon_days, f.made, f.beside) for f in ladder}
    future = ("leaked_features", "id_table")
    assert read == {
        "control_noise_0": (*future, "honest", 7, "gaussian", "id_table"),
        "control_noise_1": (*future, "honest", 7, "gaussian", "id_table"),
        "rung_unaligned": ("control_features", "plain", "representation", 0, "as_is", "id_table"),
        "rung_aligned": ("control_features", "aligned", "representation", 0, "as_is", "id_table"),
        "rung_content": (*future, "honest", 7, "content", "id_table"),
        "rung_honest": (*future, "honest", 7, "as_is", "id_table"),
        "rung_naive": (*future, "naive", 7, "as_is", "id_table"),
        "rung_stronger_port": ("control_features", "aligned", "representation", 0, "as_is", "id_table"),
    }
    assert {f.arm.variant: f.port_hidden for f in ladder if f.port_hidden} == {"rung_stronger_port": 64}
    assert all(feature.beside is None for feature in append_features(config, T) if feature not in ladder)


def test_rungs_are_compared_with_noise_and_with_the_rung_below(data: dict[str, Any]) -> None:
    config = parse_config(data)
    arms = [feature.arm for feature in append_features(config, T)]
    found = {m.variant: m for m in plan_measurements(config.evaluation, 17, T, arms) if m.leak == "ladder"}
    names = {arm.variant: arm.name for arm in arms if arm.leak == "ladder"}
    noise = (names["control_noise_0"], names["control_noise_1"])
    expected = {f"rung_{name}": (f"rung_{name}", noise) for name in RUNGS}
    for below, above in pairwise(RUNGS):
        expected[f"step_{above}"] = (f"rung_{above}", (names[f"rung_{below}"],))
    expected["rung_stronger_port"] = ("rung_stronger_port", noise)
    expected["lost_in_use"] = ("rung_stronger_port", (names["rung_aligned"],))
    expected["content_above_unaligned"] = ("rung_content", (names["rung_unaligned"],))
    assert {variant: (m.arms[0].variant, m.controls) for variant, m in found.items()} == expected


def test_the_aligned_encoder_is_compared_with_others_beside_the_same_vector(data: dict[str, Any]) -> None:
    leaks = [*data["append"]["leaks"], {"kind": "representation", "name": "early", "encoder": "plain", "draws": 2}]
    ladder = {**data["append"]["ladder"], "others": ["early"]}
    config = parse_config({**data, "append": {**data["append"], "leaks": leaks, "ladder": ladder}})
    features = {f.arm.variant: f for f in append_features(config, T) if f.arm.leak == "ladder"}
    early = features["rung_other_early"]
    assert (early.leak.name, early.table, early.beside) == ("early", "control_features", "id_table")
    arms = [feature.arm for feature in features.values()]
    found = {m.variant: m for m in plan_measurements(config.evaluation, 17, T, arms)}
    above = found["aligned_above_early"]
    assert (above.arms[0].variant, above.controls) == ("rung_aligned", (early.arm.name,))
    assert found["rung_other_early"].controls == found["rung_aligned"].controls
    lines = [*rows(), {**rows()[0], "variant": "aligned_above_early", "lis": 0.02, "ci_low": 0.01, "ci_high": 0.03}]
    lost = {**rows()[0], "variant": "lost_in_use", "lis": 0.004, "ci_low": 0.002, "ci_high": 0.006}
    (view,) = ladder_views([*lines, lost], [])
    assert "A stronger port makes +0.0040 (95 % CI +0.0020 to +0.0060) more of the same vectors" in view.answer
    (view,) = ladder_views([*lines, {**lost, "ci_low": -0.001}], [])
    assert "That anything is lost in use is not shown: a stronger port makes +0.0040" in view.answer
    assert view.answer.endswith("it is +0.0200 (95 % CI +0.0100 to +0.0300) above early.")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"ladder": {"unaligned": "plain", "aligned": "missing"}}, "it wants 'missing', leaks has"),
        ({"ladder": {"unaligned": "plain", "aligned": "aligned", "others": ["plain"]}}, "stands on it once"),
        ({"content": None}, "what content predicts of the future is a rung"),
        ({"content": {}}, "what encoders are not shown is not left to their training"),
        ({"content": {"columns": ["title", "tags"]}}, "what encoders are not shown"),
        ({"content": {"columns": ["title"], "context": ["duration_ms"]}}, "what encoders are not shown"),
        ({"ladder": {"unaligned": "plain", "aligned": "aligned", "id_table": "plain"}}, "it wants 'plain', leaks has"),
    ],
)
def test_a_ladder_without_a_rung_is_refused(data: dict[str, Any], changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        parse_config({**data, "append": {**data["append"], **changes}})


def rows(stratum: str = "all", share: float = 0.5) -> list[dict[str, Any]]:
    """Rungs at .01, .03, .04, .08, .10 over noise."""
    values = dict(zip(RUNGS, (0.01, 0.03, 0.04, 0.08, 0.10), strict=True))
    lines = {f"rung_{name}": value for name, value in values.items()}
    for below, above in pairwise(RUNGS):
        lines[f"step_{above}"] = values[above] - values[below]
    return [
        {"leak": "ladder", "variant": variant, "lis": lis, "ci_low": lis - 0.01, "ci_high": lis + 0.01}
        | {"evaluated_date": "2022-05-03", "stratum": stratum, "seed": "17", "share_of_impressions": share}
        for variant, lis in lines.items()
    ]


def test_the_drawing_has_a_bar_a_step_and_what_is_lost_in_use_where_the_aligned_rung_ends() -> None:
    lost = {**rows()[0], "variant": "lost_in_use", "lis": 0.004, "ci_low": 0.002, "ci_high": 0.006}
    for lines, bars in ((rows(), 5), ([*rows(), lost], 6), ([*rows(), {**lost, "lis": None}], 5)):
        (view,) = ladder_views(lines, [])
        drawn = ElementTree.fromstring(str(draw_ladder(view, "one")))
        found = [
            (float(bar.attrib["x"]), float(bar.attrib["x"]) + float(bar.attrib["width"])) for bar in drawn.iter("rect")
        ]
        assert len(found) == bars
        for (_, end), (start, _) in pairwise(found[:5]):
            assert start == pytest.approx(end, abs=0.11)
        a_hundredth = found[0][1] - found[0][0]  # the first step
        for (start, end), step in zip(found, (0.01, 0.02, 0.01, 0.04, 0.02, 0.004), strict=False):
            assert end - start == pytest.approx(a_hundredth * step / 0.01, abs=0.3)
        if bars == 6:
            assert found[5][0] == pytest.approx(found[1][1], abs=0.11), "from the end of the aligned rung"
            assert any("lost in use, of what is reached: +0.0040" in one.text for one in drawn.iter("title"))


def test_a_reader_is_told_what_is_reached_and_where_the_rest_is() -> None:
    told = {"efficiency": 2 / 3, "efficiency_ci_low": 0.4, "efficiency_ci_high": 0.9}
    told |= {"eta": 0.375, "eta_ci_low": 0.2, "eta_ci_high": 0.5, "evaluated_date": T, "stratum": "all", "seed": "17"}
    cold = {"efficiency": None, "eta": 1.5, "eta_ci_low": 1.1, "eta_ci_high": 1.9}
    cold |= {"evaluated_date": T, "stratum": "update_count:<10", "seed": "17"}
    everything = [*rows(), *rows("update_count:<10"), *rows("update_count:>=300"), *rows("alignment:unseen")]
    views = ladder_views(everything, [told, cold])
    assert [view.items for view in views] == [
        "all items",
        "items unseen in alignment",
        "items with <10 training examples",
    ]
    assert views[0].answer == (
        "2022-05-03, all items: Alignment reaches 67 % (95 % CI 40 % to 90 %) of what content holds beyond an encoder "
        "without it. The encoder gives 38 % (95 % CI 20 % to 50 %) of what the future would give (eta)."
    )
    assert [round(rung.step["lis"], 3) for rung in views[0].rungs] == [0.01, 0.02, 0.01, 0.04, 0.02]
    assert "its efficiency is undefined" in views[2].answer and "150 %" in views[2].answer
    assert views[2].answer.endswith("It knows items that the future's ID vector has not learned.")
    assert "eta is undefined" in views[1].answer
    means = [{**row, "seed": "mean", "lis": 2 * row["lis"]} for row in rows()]
    over = {**told, "efficiency": 1.23, "efficiency_ci_low": 1.08, "efficiency_ci_high": 1.38}
    assert "no upper bound here" in ladder_views(rows(), [over])[0].answer and "no upper" not in views[0].answer
    (of_seeds,) = ladder_views([*rows(), *means], [told, {**told, "seed": "mean", "efficiency": 0.5}])
    assert of_seeds.diagnosis["efficiency"] == 0.5 and of_seeds.rungs[0].over_noise["lis"] == 0.02
    (of_all,) = ladder_views([*rows(), *rows("alignment:unseen", 1.0)], [])
    assert of_all.items == "all items", "all are unseen: the same ladder is not told twice"
    assert ladder_views(rows()[:-1], []) == [], "a ladder that lacks a rung says nothing"


def test_a_ladder_without_intervals_is_told_and_drawn_all_the_same() -> None:
    nothing = {"ci_low": None, "ci_high": None}
    lost = {**rows()[0], "variant": "lost_in_use", "lis": 0.004}
    told = {"evaluated_date": T, "stratum": "all", "seed": "17"}
    for name in ("eta", "efficiency"):
        told |= {name: 1.375, f"{name}_ci_low": None, f"{name}_ci_high": None}
    views = ladder_views([{**row, **nothing} for row in (*rows(), lost)], [told])
    assert views[0].answer == (
        "2022-05-03, all items: Alignment reaches 138 % (no interval) of what content holds beyond an encoder without "
        "it. The encoder gives 138 % (no interval) of what the future would give (eta). That anything is lost in use "
        "is not shown: a stronger port makes +0.0040 (no interval) of the same vectors."
    )
    shown = printed(lambda console: print_ladders(console, views))
    assert "+0.0100 " in shown and "±" not in shown
    drawn = ElementTree.fromstring(str(draw_ladder(views[0], "one")))
    assert len(list(drawn.iter("rect"))) == 6
    assert not [line for line in drawn.iter("line") if line.attrib["class"] == "axis"], "no interval, no line of it"
    page = render([], ReportContext("run", "a world", ladders=views))
    assert "no interval" in page and "None" not in page


def test_print_ladders_has_half_of_each_interval_and_fits() -> None:
    shown = printed(lambda console: print_ladders(console, ladder_views(rows("update_count:<10"), [])))
    assert "+0.0400±0.0100" in shown and "items with <10 training examples" in shown
    assert max(map(len, shown.splitlines())) <= 120
