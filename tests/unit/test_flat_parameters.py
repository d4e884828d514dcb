"""Parameters side by side in one tensor: the same module, trained as if each were by itself."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from lis_spark.ranker.flat_parameters import flat_state, flatten
from lis_spark.ranker.network import Inputs, dense_part
from tests.ranker_worlds import make_ranker
from tests.unit.test_network import random_inputs


def step(module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad(set_to_none=False)
    module(random_inputs()).square().sum().backward()
    optimizer.step()


@pytest.mark.parametrize("architecture", ["history_dcn", "fm_mlp"])
def test_one_parameter_is_trained_as_all_are(tmp_path: Path, architecture: str) -> None:
    """Adam parameter by parameter, as it goes on from three steps, with and without its state."""
    module = dense_part(make_ranker(tmp_path, architecture=architecture), 3)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01, foreach=False)
    for begun in (0, 3):
        for _ in range(begun):
            step(module, optimizer)
        own = copy.deepcopy(module)
        flat = flatten(own)
        assert all(torch.equal(a, b) for a, b in zip(own.parameters(), module.parameters(), strict=True))
        of_flat = torch.optim.Adam([flat], lr=0.01, fused=True)
        known = flat_state(module, optimizer)
        assert bool(known) == bool(begun)
        of_flat.state.update({flat: known} if known else {})
        plain = copy.deepcopy(module)
        of_plain = torch.optim.Adam(plain.parameters(), lr=0.01, foreach=False)
        of_plain.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        for _ in range(4):
            step(own, of_flat)
            step(plain, of_plain)
        for name, value in plain.state_dict().items():
            torch.testing.assert_close(own.state_dict()[name], value, rtol=1e-5, atol=1e-6)
        assert any(not torch.equal(a, b) for a, b in zip(own.parameters(), module.parameters(), strict=True))


def test_a_parameter_begins_where_a_tensor_of_its_own_would(tmp_path: Path) -> None:
    module = dense_part(make_ranker(tmp_path, dimension=6, hidden=(5, 3)), 3)
    flat = flatten(module)
    assert flat.data_ptr() % 64 == 0 and len(flat) % 16 == 0
    assert all(parameter.data_ptr() % 64 == 0 for parameter in module.parameters())
    module(random_inputs_of(6)).sum().backward()
    assert flat.grad is not None and flat.grad.any()
    assert all(parameter.grad is not None and parameter.grad.data_ptr() % 64 == 0 for parameter in module.parameters())
    numbers = sum(parameter.numel() for parameter in module.parameters())
    assert int((flat != 0).sum()) <= numbers < len(flat), "what lies between is zero"


def random_inputs_of(width: int) -> Inputs:
    inputs = random_inputs()
    narrow = (inputs.features[..., :width], inputs.clicks[..., :width], inputs.skips[..., :width])
    return replace(inputs, **dict(zip(("features", "clicks", "skips"), narrow, strict=True)))
