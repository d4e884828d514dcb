"""Chains, feature requests and arms: forks, hold-outs, dates, what is not available and why."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from lis_spark.config import EvaluationConfig, parse_config
from lis_spark.errors import InputError
from lis_spark.lis.plan.arms import feature_requests, plan_arms
from lis_spark.lis.plan.chains import backward_horizons, half_chains, half_names, lineage, plan_chains, seed_of
from lis_spark.lis.plan.comparisons import plan_measurements
from lis_spark.lis.plan.strata import bucket_names
from lis_spark.lis.swap.score import arm_spec
from lis_spark.lis.swap.trained_models import TrainedModel, model_state


def day(text: str) -> dt.date:
    return dt.date.fromisoformat(f"2022-{text}")


FIRST, FULL, LAST = day("04-24"), day("04-25"), day("05-08")
KUAIRAND = EvaluationConfig(swap_refit=True, dates=(day("04-30"), day("05-01"), day("05-02")))


def test_the_last_horizon_just_fits() -> None:
    chains = plan_chains(KUAIRAND, [17], FIRST, LAST)
    by_variant = {variant: [c for c in chains if c.variant == variant] for variant in {c.variant for c in chains}}
    assert {variant: len(members) for variant, members in by_variant.items()} == {
        "base": 1,
        "honest": 15,
        "skip_own_t": 15,
        "skip_t": 3,
        "label_shuffled": 3,
        "replay": 2,  # of 04-30 the seven days before begin before the data
    }
    base = by_variant["base"][0]
    assert (base.fork_date, base.last_date) == (FIRST, day("05-09")), "M_{05-09} has seen 05-08, the last day"
    for chain in chains[1:]:
        assert chain.parent == base.name
        assert (chain.last_date - chain.fork_date).days == 7
        assert chain.days[0] == chain.fork_date and chain.days[-1] == chain.last_date - dt.timedelta(days=1)
    assert {c.held_out_fold for c in by_variant["honest"]} == {0, 1, 2, 3, 4}
    assert all(c.skip_days == (c.fork_date,) for c in by_variant["skip_t"])
    for chain in by_variant["skip_own_t"]:
        held_out = {day: chain.fold_held_out_on(day) for day in chain.days}
        assert held_out == {day: chain.held_out_fold if day == chain.fork_date else -1 for day in chain.days}
    for chain in by_variant["honest"]:
        assert {chain.fold_held_out_on(day) for day in chain.days} == {chain.held_out_fold}
    for chain in by_variant["replay"]:
        days = [chain.day_of_data(day) for day in chain.days]
        assert days == [chain.fork_date - dt.timedelta(days=back) for back in range(7, 0, -1)]


@pytest.mark.parametrize(
    ("last", "message", "fits"), [("05-07", "T = 2022-05-02 with n = 7 needs 2022-05-08", "n in [0, 1, 3, 5]")]
)
def test_beyond_the_data_is_refused_with_what_fits(last: str, message: str, fits: str) -> None:
    with pytest.raises(InputError) as error:
        plan_chains(KUAIRAND, [17], FIRST, day(last))
    assert message in str(error.value) and fits in str(error.value)


def test_an_evaluated_day_outside_the_data_is_refused() -> None:
    for wrong in ("04-24", "05-09"):
        with pytest.raises(InputError, match="at least one day before it"):
            plan_chains(EvaluationConfig(dates=(day(wrong),)), [17], FIRST, LAST)


def test_lineage_goes_back_through_the_fork() -> None:
    chains = plan_chains(KUAIRAND, [17], FIRST, LAST)
    assert lineage(chains, "honest-2022-05-01-f3-s17") == [
        ("base-s17", FIRST, day("05-01")),
        ("honest-2022-05-01-f3-s17", day("05-01"), day("05-08")),
    ]


def test_backward_snapshots_need_three_full_days() -> None:
    usable = {date: backward_horizons(KUAIRAND, date, FULL)[0] for date in KUAIRAND.dates}
    assert usable == {day("04-30"): [1], day("05-01"): [1, 3], day("05-02"): [1, 3]}
    missing = backward_horizons(KUAIRAND, day("04-30"), FULL)[1]
    assert [(entry.horizon_days, "2022-04-27" in entry.reason) for entry in missing] == [(-3, True)]


def test_each_impression_is_served_as_often_as_the_method_says() -> None:
    """Per horizon: naive once, honest once, matched by the four other folds' chains, the others once."""
    requests = feature_requests(KUAIRAND, 17, day("05-01"), FULL)
    served = {"all": 5, "own": 1, "others": 4}
    for horizon, expected in {
        0: {"naive": 5, "honest": 5},
        1: {"naive": 5, "honest": 5, "naive_matched": 20, "label_shuffled": 5, "replay": 5},
        7: {
            "naive": 5,
            "honest": 5,
            "naive_matched": 20,
            "label_shuffled": 5,
            "replay": 5,
            "skip_t": 5,
            "skip_own_t": 5,
        },
        -3: {"backward": 5},
    }.items():
        folds: dict[str, int] = {}
        for request in requests:
            if request.horizon_days == horizon:
                folds[request.variant] = folds.get(request.variant, 0) + served[request.served]
                assert request.snapshot_date == day("05-01") + dt.timedelta(days=horizon)
                assert request.is_leaked == (horizon > 0)
        assert folds == expected


def test_arms_and_their_comparisons() -> None:
    date = day("05-01")
    arms = plan_arms(KUAIRAND, feature_requests(KUAIRAND, 17, date, FULL), date)
    assert len({arm.name for arm in arms}) == len(arms)
    measurements = plan_measurements(KUAIRAND, 17, date, arms)
    by_key = {(m.protocol, m.variant, m.scope, m.horizon_days): m for m in measurements if m.stratum == "all"}
    for horizon in (1, 3, 5, 7):
        for variant in ("naive", "honest"):
            for scope in ("both", "target", "history"):
                assert ("swap", variant, scope, horizon) in by_key
        for variant in ("naive_matched", "label_shuffled", "row_permuted"):
            assert ("swap", variant, "both", horizon) in by_key
            assert ("swap", variant, "target", horizon) not in by_key
    matched = list(by_key["swap", "naive_matched", "both", 3].pairs(folds=5))
    assert len(matched) == 20, "on each fold the mean of four chains"
    for row in matched:
        assert row["control_arm"] == "swap|control|0|none|-1"
        assert str(row["leaked_arm"]).rsplit("|", 1)[1] != str(row["fold"])
    honest = list(by_key["swap", "honest", "both", 3].pairs(folds=5))
    assert [str(row["leaked_arm"]).rsplit("|", 1)[1] for row in honest] == [str(row["fold"]) for row in honest]
    assert [row["fold"] for row in by_key["swap", "naive", "both", 3].pairs(folds=5)] == [-1]
    refit = next(iter(by_key["swap+refit", "naive", "both", 7].pairs(folds=5)))
    assert refit["control_arm"] == "swap+refit|control|0|none|-1"
    strata = {m.stratum for m in measurements if m.variant == "honest" and m.horizon_days == 7}
    assert {"all", "update_count:<10", "update_count:>=300", "item_age:3-6"} <= strata


def test_plan_with_other_numbers_of_folds_ranks_their_arms_within_their_own_folds() -> None:
    date = day("05-01")
    evaluation = KUAIRAND.model_copy(update={"folds_sensitivity": (2, 5, 10), "dates": (date,)})
    assert evaluation.other_folds == (2, 10) and evaluation.buckets == 10
    chains = [chain for chain in plan_chains(evaluation, [17], FIRST, LAST) if chain.variant == "other_folds"]
    held_out = [(chain.folds, chain.held_out_fold) for chain in chains]
    assert held_out == [(2, 0), (2, 1), *((10, fold) for fold in range(10))]
    assert all(chain.name.endswith("-s17") and chain.fork_date == date for chain in chains)
    requests = [one for one in feature_requests(evaluation, 17, date, FULL) if one.variant == "other_folds"]
    assert {one.chain for one in requests} == {chain.name for chain in chains}
    assert {one.horizon_days for one in requests} == {7}
    for folds in (2, 10):  # each bucket of users is served once, by the chain that has not seen it
        serving = {b: [r.held_out_fold for r in requests if r.folds == folds and r.serves(b)] for b in range(10)}
        assert serving == {bucket: [bucket % folds] for bucket in range(10)}
    arms = plan_arms(evaluation, feature_requests(evaluation, 17, date, FULL), date)
    assert len({arm.name for arm in arms}) == len(arms)
    measured = {m.other_folds: m for m in plan_measurements(evaluation, 17, date, arms) if m.variant == "other_folds"}
    assert set(measured) == {2, 10} and len({one.comparison_id for one in measured.values()}) == 2
    for folds, one in measured.items():
        pairs = list(one.pairs(folds=5))
        assert [pair["fold"] for pair in pairs] == list(range(folds))
        assert {pair["stratum"] for pair in pairs} == {f"{folds} folds"}
        assert [str(p["leaked_arm"]).rsplit("|", 1)[1] for p in pairs] == [
            f"{fold} of {folds}" for fold in range(folds)
        ]
        assert {pair["control_arm"] for pair in pairs} == {"swap|control|0|none|-1"}
        assert not one.is_split


@pytest.mark.parametrize(
    ("folds", "changes", "message"),
    [
        ((1,), {}, "2 to 100 folds"),
        ((7, 9), {}, "cut users into 315 parts"),
        ((2,), {"variants": ("naive",)}, "needs variant honest"),
        ((2,), {"horizons": (0,)}, "a horizon above 0"),
    ],
)
def test_folds_sensitivity_that_cannot_be_measured_is_refused(
    folds: tuple[int, ...], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        EvaluationConfig(dates=(day("05-01"),), folds_sensitivity=folds, **changes)


def test_a_permuted_table_is_one_table_wherever_it_is_looked_up() -> None:
    """Vectors of the items that are shown, permuted among themselves, would be another permutation."""
    date, work = day("05-01"), Path("work")
    arms = plan_arms(KUAIRAND, feature_requests(KUAIRAND, 17, date, FULL), date)
    specs = {
        (arm.variant, arm.scope): arm_spec(arm, work, "models", {}, True, {})
        for arm in arms
        if arm.protocol == "swap" and arm.horizon_days == 3
    }
    permuted, naive = specs["row_permuted", "both"], specs["naive", "both"]
    assert permuted.permute_rows and permuted.target_vectors == permuted.history_vectors == naive.history_vectors
    assert not naive.permute_rows and naive.target_vectors != naive.history_vectors


def test_buckets_cover_everything_once() -> None:
    assert bucket_names("n", (10, 30)) == ["n:<10", "n:10-29", "n:>=30"]
    assert bucket_names("n", ()) == []


def test_leaked_tables_of_a_retrained_model_fork_from_a_base_of_their_own() -> None:
    retrained = EvaluationConfig(dates=KUAIRAND.dates, leak_chains="retrained")
    chains = {chain.name: chain for chain in plan_chains(retrained, [17], FIRST, LAST)}
    continued = {chain.name for chain in plan_chains(KUAIRAND, [17], FIRST, LAST)}
    assert chains.keys() & continued == {"base-s17"}, "one lake holds both without a name twice"
    anew = chains["retrained-s17"]
    assert anew.parent is None and anew.days == chains["base-s17"].days and anew.seed != 17
    for chain in chains.values():
        if chain.variant not in ("base", "retrained"):
            assert (chain.parent, chain.seed) == ("retrained-s17", anew.seed)
        assert seed_of(chain.name) == 17
    requests = feature_requests(retrained, 17, day("05-01"), FULL)
    for request in requests:
        assert (request.chain == "base-s17") == (request.horizon_days == 0), "n = 0 is the ranker's own table"
        assert request.chain in chains


def test_halves_of_the_users_share_no_fold_and_no_cold_row(config_data: dict[str, Any]) -> None:
    data = {**config_data, "preference": {"tail_share": 0.2}, "seeds": [17, 18]}
    for folds, halves in ((2, [(0,), (1,)]), (5, [(0, 1), (2, 3)])):
        data["evaluation"] = {**config_data["evaluation"], "folds": folds}
        config = parse_config(data)
        found = half_chains(config, FIRST, LAST)
        assert [chain.trained_folds for chain in found] == halves
        assert (
            tuple(chain.name for chain in found)
            == half_names(config)
            == (
                "half-2022-05-03-0-s17",
                "half-2022-05-03-1-s17",
            )
        )
        assert len({chain.seed for chain in (*found, *plan_chains(config.evaluation, [17, 18], FIRST, LAST))}) == 4
        assert all((chain.fork_date, chain.last_date, chain.parent) == (FIRST, day("05-03"), None) for chain in found)
    given = parse_config({**data, "preference": {"tail_share": 0.2, "min_updates": 10}})
    assert half_chains(given, FIRST, LAST) == []
    late = parse_config({**data, "preference": {"tail_share": 0.2, "as_of": "2022-05-10"}})
    with pytest.raises(InputError, match="there is no table of 2022-05-10"):
        half_chains(late, FIRST, LAST)


def test_a_model_that_was_not_trained_is_named() -> None:
    days = {("base-s17", "2022-05-01"): "a", ("base-s17", "2022-05-02"): "b", ("other", "2022-05-03"): "c"}
    models = {key: TrainedModel(print_, f"files of {print_}") for key, print_ in days.items()}
    state = model_state("work", "base-s17", dt.date(2022, 5, 2), models)
    assert (state.fingerprint, state.sha256) == ("b", "files of b")
    with pytest.raises(InputError, match=r"'chain': 'base-s17'(.|\n)*models of 2022-05-01 to 2022-05-02") as error:
        model_state("work", "base-s17", dt.date(2022, 5, 3), models)
    assert "lis-spark train" in str(error.value)
    with pytest.raises(InputError, match="no model of this chain"):
        model_state("work", "base-s18", dt.date(2022, 5, 2), models)
