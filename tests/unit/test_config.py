"""The configuration: shipped files are valid, unknown keys are refused with the nearest valid one."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lis_spark.config import RankerConfig, fingerprint, load_config, load_read_out, parse_config
from lis_spark.ddl import resource_folder
from lis_spark.errors import ConfigError

CONF = Path(__file__).resolve().parents[2] / "conf"


@pytest.mark.parametrize("path", sorted(CONF.rglob("*.yaml")), ids=lambda path: path.name)
def test_every_shipped_configuration_is_valid_and_says_how_to_run_it(path: Path) -> None:
    config = load_read_out(path) if path.name.startswith("read_out_") else load_config(path)
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# ") and path.name in first, "a configuration opens with the command that runs it"
    assert config.run_name == path.stem
    assert resource_folder("conf") == CONF


@pytest.mark.parametrize(
    ("key", "nearest"), [("run_nam", "run_name"), ("evaluation.horizon", "horizons"), ("lake.paht", "path")]
)
def test_a_misspelt_key_names_the_nearest_valid_one(config_data: dict[str, Any], key: str, nearest: str) -> None:
    node = config_data
    *parents, last = key.split(".")
    for parent in parents:
        node = node[parent]
    node[last] = "x"
    with pytest.raises(ConfigError, match=f"{key}: unknown key; did you mean '{nearest}'"):
        parse_config(config_data)


def test_overrides_are_typed_and_checked(tmp_path: Path) -> None:
    path = CONF / "kuairand_demo.yaml"
    config = load_config(path, ["seeds=[1, 2]", "evaluation.dates=[2022-05-01]", "ranker.hidden=[8]"])
    assert config.seeds == (1, 2)
    assert config.evaluation.dates == (dt.date(2022, 5, 1),)
    for override, message in [
        ("seeds", "not of the form key=value"),
        ("ranker.batch_size=0", "ranker.batch_size"),
        ("run_name.x=1", "goes through a key that holds no mapping"),
        ("time_zone=Asia/Shangai", "did you mean Asia/Shanghai"),
        ("evaluation.horizons=[1]", "identity control"),
        ("launch.ranks_per_chain=3", "multiple of launch.ranks_per_chain"),
    ]:
        with pytest.raises(ConfigError, match=message):
            load_config(path, [override])


def test_no_file_and_no_yaml_are_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such configuration file"):
        load_config(tmp_path / "absent.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [1", encoding="utf-8")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_config(broken)


@given(st.dictionaries(st.text(max_size=5), st.integers() | st.text() | st.lists(st.integers()), max_size=5))
def test_a_fingerprint_depends_on_content_and_not_on_order(data: dict[str, Any]) -> None:
    again = dict(reversed(list(data.items())))
    assert fingerprint(data) == fingerprint(again)
    assert fingerprint(data) != fingerprint({**data, "another key": 1})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"evaluation": {"swap_refit": True, "refit": {"horizons": [3]}}},
            r"evaluation.refit.horizons: \(3,\) are not all among",
        ),
        ({"evaluation": {"variants": ["honest", "row_permuted"]}}, "row_permuted needs the table of naive"),
        ({"evaluation": {"slot": "user"}}, "the histories do not hold the table 'user'; leave out `history`"),
        ({"evaluation": {"slot": "author"}}, "no feature uses the table 'author'"),
        ({"evaluation": {"horizons": [1, 2]}}, "horizon 0 is the identity control"),
        ({"evaluation": {"label": "like"}}, "'like' is not one of labels"),
        ({"launch": {"processes": 3, "ranks_per_chain": 2}}, "must be a multiple of launch.ranks_per_chain"),
        ({"time_zone": "Asia/Shangai"}, "did you mean Asia/Shanghai"),
    ],
)
def test_what_does_not_fit_together_is_refused(config_data: dict[str, Any], changes: dict, said: str) -> None:
    for key, value in changes.items():
        config_data[key] = {**config_data.get(key, {}), **value} if isinstance(value, dict) else value
    with pytest.raises(ConfigError, match=said):
        parse_config(config_data)


def test_a_table_of_two_features_cannot_be_swapped(config_data: dict[str, Any]) -> None:
    config_data["features"].append({"name": "previous", "column": "previous_item", "slot": "item"})
    with pytest.raises(ConfigError, match="share the table"):
        parse_config(config_data)


def test_results_do_not_depend_on_where_the_lake_lies(config_data: dict[str, Any]) -> None:
    here = parse_config(config_data)
    config_data["lake"] = {"path": "elsewhere", "work_path": "there"}
    config_data["source"] = {**config_data["source"], "path": "a_copy"}
    assert parse_config(config_data).fingerprint == here.fingerprint
    config_data["evaluation"]["decision_threshold"] = 0.002
    assert parse_config(config_data).fingerprint != here.fingerprint


@pytest.mark.parametrize("batch", [1, 64, 512])
def test_young_rows_learn_at_one_pace_whatever_the_batch(batch: int) -> None:
    """torch's Adagrad on gradients of the summed and of the mean loss: one path, where the accumulator is converted."""
    settings = RankerConfig(initial_accumulator=0.1, batch_size=batch)
    mean, summed = torch.zeros(8, requires_grad=True), torch.zeros(8, requires_grad=True)
    optimizers = (
        torch.optim.Adagrad([mean], lr=0.1, initial_accumulator_value=settings.table_accumulator, eps=0),
        torch.optim.Adagrad([summed], lr=0.1, initial_accumulator_value=0.1, eps=0),
    )
    generator = torch.Generator().manual_seed(batch)
    for _ in range(5):
        gradient = torch.randn(8, generator=generator)
        mean.grad, summed.grad = gradient / batch, gradient
        for optimizer in optimizers:
            optimizer.step()
    torch.testing.assert_close(mean, summed, rtol=1e-5, atol=1e-6)
