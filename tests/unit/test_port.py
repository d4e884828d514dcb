"""The port against wider layers written out as block matrices, and a masked row against a ranker without a port."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from lis_spark.ranker.network import Inputs, dense_part
from lis_spark.ranker.plans import PortSpec
from lis_spark.ranker.port import DcnPort, FmPort, Port, new_port
from tests.ranker_worlds import make_ranker
from tests.unit.test_network import ROWS, random_inputs

PARTS, COLUMNS = (2, 3), 4
VECTOR = sum(PARTS)
PORT = PortSpec(column="vector", widths=PARTS)
STRONGER = PortSpec(column="vector", widths=PARTS, hidden=7)


def ported_inputs(present: float = 0.5) -> Inputs:
    generator = np.random.default_rng(7)
    mask = (np.arange(ROWS) < present * ROWS).astype(np.float32)
    vectors = generator.normal(size=(ROWS, VECTOR)).astype(np.float32)
    return replace(random_inputs(), vectors=torch.from_numpy(vectors), vector_mask=torch.from_numpy(mask))


def randomised(port: Port) -> Port:
    """As after a training: no block is 0."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in port.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return port


def array(linear: nn.Linear) -> np.ndarray:
    return linear.weight.detach().numpy().astype(np.float64)


def layer_norm(part: np.ndarray, norm: nn.Module) -> np.ndarray:
    centred = part - part.mean(1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-5)
    return scaled * norm.weight.detach().numpy() + norm.bias.detach().numpy()


def test_a_port_is_a_wider_cross_network(tmp_path: Path) -> None:
    """x' = (x, e): cross layers, first deep layer and heads with matrices of (D + p) columns, in float64."""
    spec = make_ranker(tmp_path)
    dense, inputs = dense_part(spec, 3), ported_inputs()
    port = randomised(new_port(spec, PORT, COLUMNS, 4))
    assert isinstance(port, DcnPort)
    found = dense(inputs, port).detach().numpy()

    captured: list[np.ndarray] = []
    dense.deep.register_forward_pre_hook(lambda _, args: captured.append(args[0].numpy().astype(np.float64)))
    with torch.no_grad():
        dense(inputs)
    (x,) = captured
    vectors = inputs.vectors.numpy().astype(np.float64)
    normed = np.concatenate(
        [layer_norm(vectors[:, :2], port.norms[0]), layer_norm(vectors[:, 2:], port.norms[1])], axis=1
    )
    e = (normed @ array(port.enter).T + port.enter.bias.detach().numpy()) * inputs.vector_mask.numpy()[:, None]
    first = current = np.concatenate([x, e], axis=1)
    for number, layer in enumerate(dense.cross):
        weights = np.block(
            [[array(layer.linear), array(port.into[number])], [array(port.out[number]), array(port.own[number])]]
        )
        bias = np.concatenate([layer.linear.bias.detach().numpy(), port.out[number].bias.detach().numpy()])
        current = first * (current @ weights.T + bias) + current
    hidden = first @ np.block([array(dense.deep[0]), array(port.deep)]).T + dense.deep[0].bias.detach().numpy()
    for layer in dense.deep[1:]:
        if isinstance(layer, nn.ReLU):
            hidden = np.maximum(hidden, 0)
        else:
            hidden = hidden @ array(layer).T + layer.bias.detach().numpy()
    bare, own = current[:, : x.shape[1]], current[:, x.shape[1] :]
    expected = np.concatenate([bare, hidden], axis=1) @ array(dense.heads).T + dense.heads.bias.detach().numpy()
    expected += own @ array(port.heads).T
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_a_port_is_one_more_field_of_a_factorisation_machine(tmp_path: Path) -> None:
    spec = make_ranker(tmp_path).model_copy(update={"architecture": "fm"})
    dense, inputs = dense_part(spec, 3), ported_inputs()
    port = randomised(new_port(spec, PORT, COLUMNS, 4))
    assert isinstance(port, FmPort)
    found = dense(inputs, port).detach().numpy()
    with torch.no_grad():
        field = port.columns(inputs.vectors, inputs.vector_mask).numpy().astype(np.float64)
    features = np.concatenate([inputs.features.numpy().astype(np.float64), field[:, None]], axis=1)
    expected = dense.linear.bias.detach().numpy() + sum(
        (features[:, a] * features[:, b]).sum(1, keepdims=True) for a in range(4) for b in range(a)
    )
    expected = expected + features[:, :3].reshape(ROWS, -1) @ array(dense.linear).T
    with torch.no_grad():
        normed = port.normed(inputs.vectors).numpy().astype(np.float64) * inputs.vector_mask.numpy()[:, None]
    expected = expected + normed @ array(port.linear).T
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("own", [PORT, STRONGER])
@pytest.mark.parametrize("architecture", ["history_dcn", "fm", "fm_mlp"])
def test_masked_rows_have_the_bits_of_a_ranker_without_a_port(tmp_path: Path, architecture: str, own: PortSpec) -> None:
    spec = make_ranker(tmp_path).model_copy(update={"architecture": architecture})
    dense, inputs = dense_part(spec, 3), ported_inputs()
    found = dense(inputs, randomised(new_port(spec, own, COLUMNS, 4)))
    bare = dense(inputs)
    masked = inputs.vector_mask == 0
    assert torch.equal(found[masked], bare[masked]) and (found[~masked] != bare[~masked]).any(dim=1).all()
    warm = dense(inputs, new_port(spec, own, COLUMNS, 4))
    assert torch.equal(warm, bare), "a fresh port begins as the ranker that it is put on"


def test_training_on_masked_rows_alone_is_training_without_a_port(tmp_path: Path) -> None:
    spec = make_ranker(tmp_path)
    inputs = ported_inputs(present=0)
    labels = (torch.arange(ROWS) % 2).float().unsqueeze(1).expand(-1, len(spec.labels))
    trained = []
    for own in (None, PORT):
        dense = dense_part(spec, 3)
        port = None if own is None else new_port(spec, own, COLUMNS, 4)
        parameters = [*dense.parameters(), *(port.parameters() if port else [])]
        optimizer = torch.optim.Adam(parameters, lr=0.01, foreach=False)
        for _ in range(5):
            optimizer.zero_grad(set_to_none=False)
            binary_cross_entropy_with_logits(dense(inputs, port), labels, reduction="sum").backward()
            optimizer.step()
        trained.append(copy.deepcopy(dense.state_dict()))
    for name, value in trained[0].items():
        assert torch.equal(value, trained[1][name]), name


def test_a_stronger_port_has_a_hidden_layer(tmp_path: Path) -> None:
    spec, inputs = make_ranker(tmp_path), ported_inputs()
    port = randomised(new_port(spec, STRONGER, COLUMNS, 4))
    vectors = inputs.vectors.numpy().astype(np.float64)
    parts = [layer_norm(vectors[:, :2], port.norms[0]), layer_norm(vectors[:, 2:], port.norms[1])]
    assert port.hidden is not None
    inner = np.concatenate(parts, axis=1) @ array(port.hidden).T + port.hidden.bias.detach().numpy()
    expected = np.maximum(inner, 0) @ array(port.enter).T + port.enter.bias.detach().numpy()
    found = port.columns(inputs.vectors, inputs.vector_mask).detach().numpy()
    np.testing.assert_allclose(found, expected * inputs.vector_mask.numpy()[:, None], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("own", [PORT, STRONGER])
def test_every_block_of_a_port_learns(tmp_path: Path, own: PortSpec) -> None:
    for architecture in ("history_dcn", "fm"):
        spec = make_ranker(tmp_path).model_copy(update={"architecture": architecture})
        dense, inputs = dense_part(spec, 3), ported_inputs(present=1)
        port = new_port(spec, own, COLUMNS, 4)
        before = copy.deepcopy(port.state_dict())
        optimizer = torch.optim.Adam(port.parameters(), lr=0.01, foreach=False)
        labels = (torch.arange(ROWS) % 2).float().unsqueeze(1).expand(-1, len(spec.labels))
        for _ in range(3):
            optimizer.zero_grad()
            binary_cross_entropy_with_logits(dense(inputs, port), labels).backward()
            optimizer.step()
        still = [name for name, value in port.state_dict().items() if torch.equal(value, before[name])]
        assert not still, still


def test_the_port_of_a_seed_is_one_and_leaves_the_random_state_alone(tmp_path: Path) -> None:
    spec = make_ranker(tmp_path)
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    ports = [new_port(spec, PORT, COLUMNS, seed).state_dict() for seed in (4, 4, 5)]
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(ports[0][name], ports[1][name]) for name in ports[0])
    assert not torch.equal(ports[0]["enter.weight"], ports[2]["enter.weight"])
