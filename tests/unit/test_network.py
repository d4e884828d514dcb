"""The dense parts against naive NumPy versions of their formulas."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch

from lis_spark.ranker.network import Attention, CrossLayer, FmMlp, Inputs, dense_part
from lis_spark.ranker.plans import CountSpec
from tests.ranker_worlds import LENGTH, WIDTH, make_ranker, naive_attention, naive_dense

ROWS, FEATURES, COUNTED = 6, 3, 2
COUNTS = CountSpec(features=("user", "item"), label="click", prior=5.0)


def random_inputs(seed: int = 0) -> Inputs:
    """Row 0 has no history at all, row 1 no clicks, the others some places filled."""
    generator = np.random.default_rng(seed)
    masks = generator.random((2, ROWS, LENGTH)) < 0.6
    masks[:, 2:, 0] = True
    masks[:, 0] = False
    masks[0, 1] = False
    histories = generator.normal(size=(2, ROWS, LENGTH, WIDTH)).astype(np.float32)
    features = generator.normal(size=(ROWS, FEATURES, WIDTH)).astype(np.float32)
    numbers = generator.normal(size=(ROWS, 1 + 3 * COUNTED)).astype(np.float32)
    vectors, mask = np.zeros((ROWS, 0), np.float32), np.zeros(ROWS, np.float32)
    return Inputs(*[torch.from_numpy(value) for value in (features, *histories, *masks, numbers, vectors, mask)])


def weights_of(module: torch.nn.Module) -> dict[str, np.ndarray]:
    return {name: value.detach().numpy() for name, value in module.state_dict().items()}


def test_attention_is_a_softmax_over_the_filled_places() -> None:
    torch.manual_seed(1)
    attention = Attention(WIDTH)
    inputs = random_inputs()
    target = inputs.features[:, 1]
    found = attention(target, inputs.clicks, inputs.click_mask).detach().numpy()
    weights = weights_of(attention)
    arrays = [value.numpy() for value in (target, inputs.clicks, inputs.click_mask)]
    expected = naive_attention(*arrays, weights["query.weight"], weights["key.weight"])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert (found[:2] == 0).all() and (found[2:] != 0).any(axis=1).all()


def test_places_that_are_not_filled_do_not_count() -> None:
    torch.manual_seed(1)
    attention = Attention(WIDTH)
    inputs = random_inputs()
    garbage = torch.where(inputs.click_mask.unsqueeze(2), inputs.clicks, torch.tensor(100.0))
    found = attention(inputs.features[:, 1], garbage, inputs.click_mask)
    assert torch.equal(found, attention(inputs.features[:, 1], inputs.clicks, inputs.click_mask))


def test_an_empty_history_gives_no_nan_and_no_gradient(tmp_path: Path) -> None:
    network = dense_part(make_ranker(tmp_path), seed=3)
    inputs = random_inputs()
    inputs.clicks.requires_grad_(True)
    inputs.skips.requires_grad_(True)
    logits = network(inputs)
    logits.sum().backward()
    assert torch.isfinite(logits).all()
    assert all(torch.isfinite(parameter.grad).all() for parameter in network.parameters())
    for history, mask in ((inputs.clicks, inputs.click_mask), (inputs.skips, inputs.skip_mask)):
        assert history.grad is not None
        # the row of missing values keeps its bits only if the places that are not filled send exactly 0
        assert (history.grad[~mask] == 0).all() and (history.grad[mask] != 0).any()


def test_cross_layer_formula() -> None:
    torch.manual_seed(2)
    layer = CrossLayer(4)
    first, current = torch.randn(3, 4), torch.randn(3, 4)
    weight, bias = weights_of(layer)["linear.weight"], weights_of(layer)["linear.bias"]
    expected = [
        [
            first[r, i] * (sum(weight[i, j] * current[r, j] for j in range(4)) + bias[i]) + current[r, i]
            for i in range(4)
        ]
        for r in range(3)
    ]
    np.testing.assert_allclose(layer(first, current).detach(), expected, rtol=1e-5, atol=1e-6)


def test_history_dcn_equals_the_formulas_in_numpy(tmp_path: Path) -> None:
    network = dense_part(make_ranker(tmp_path), seed=3)
    inputs = random_inputs()
    arrays = [value.numpy().astype(np.float64) for value in (inputs.features, inputs.clicks, inputs.skips)]
    masks = [inputs.click_mask.numpy(), inputs.skip_mask.numpy()]
    expected = naive_dense(weights_of(network), *arrays, masks, target=1)
    assert expected.shape == (ROWS, 2)
    np.testing.assert_allclose(network(inputs).detach(), expected, rtol=1e-4, atol=1e-5)


def test_factorisation_machine_adds_every_pair_once(tmp_path: Path) -> None:
    network = dense_part(make_ranker(tmp_path, architecture="fm_mlp"), seed=3)
    assert isinstance(network, FmMlp)
    inputs = random_inputs()
    features = inputs.features.numpy().astype(np.float64)
    pairs = [sum(float(row[a] @ row[b]) for a, b in combinations(range(FEATURES), 2)) for row in features]
    weights = {name: value.astype(np.float64) for name, value in weights_of(network).items()}
    flat = features.reshape(ROWS, -1)
    deep = flat
    for layer in (0, 2):
        deep = np.maximum(deep @ weights[f"deep.{layer}.weight"].T + weights[f"deep.{layer}.bias"], 0)
    expected = flat @ weights["linear.weight"].T + weights["linear.bias"]
    expected += np.array(pairs)[:, None] + deep @ weights["heads.weight"].T + weights["heads.bias"]
    np.testing.assert_allclose(network(inputs).detach(), expected, rtol=1e-4, atol=1e-5)


def _drawn(network: torch.nn.Module) -> torch.nn.Module:
    """With weights of counts that are not the first ones."""
    generator = torch.Generator().manual_seed(5)
    for parameter in network.counts.parameters():  # type: ignore[union-attr]
        parameter.data = torch.randn(parameter.shape, generator=generator)
    return network


def _fields_and_logits(network: torch.nn.Module, inputs: Inputs) -> tuple[np.ndarray, np.ndarray]:
    """All fields [B, F + C, d], and what the linear part of counts adds to the logits, feature by feature."""
    weights = {name: value.astype(np.float64) for name, value in weights_of(network).items()}
    numbers, fields = inputs.numbers.numpy().astype(np.float64), [inputs.features.numpy().astype(np.float64)]
    for place in range(COUNTED):
        own = numbers[:, 1 + 3 * place : 4 + 3 * place]
        fields.append((own @ weights["counts.weight"][place] + weights["counts.bias"][place])[:, None])
    return np.concatenate(fields, axis=1), numbers @ weights["counts.linear.weight"].T


def test_counts_are_fields_and_a_linear_part_of_history_dcn(tmp_path: Path) -> None:
    network = _drawn(dense_part(make_ranker(tmp_path, counts=COUNTS), seed=3))
    inputs = random_inputs()
    fields, linear = _fields_and_logits(network, inputs)
    arrays = [fields, *[value.numpy().astype(np.float64) for value in (inputs.clicks, inputs.skips)]]
    masks = [inputs.click_mask.numpy(), inputs.skip_mask.numpy()]
    expected = naive_dense(weights_of(network), *arrays, masks, target=1) + linear
    np.testing.assert_allclose(network(inputs).detach(), expected, rtol=1e-4, atol=1e-4)


def test_counts_are_fields_and_a_linear_part_of_a_factorisation_machine(tmp_path: Path) -> None:
    network = _drawn(dense_part(make_ranker(tmp_path, architecture="fm", counts=COUNTS), seed=3))
    inputs = random_inputs()
    fields, linear = _fields_and_logits(network, inputs)
    pairs = [sum(float(row[a] @ row[b]) for a, b in combinations(range(FEATURES + COUNTED), 2)) for row in fields]
    weights = weights_of(network)
    expected = fields.reshape(ROWS, -1) @ weights["linear.weight"].T + weights["linear.bias"] + linear
    np.testing.assert_allclose(network(inputs).detach(), expected + np.array(pairs)[:, None], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("architecture", ["history_dcn", "fm", "fm_mlp"])
def test_counts_at_the_start_are_naive_bayes_of_user_and_item(tmp_path: Path, architecture: str) -> None:
    counts = COUNTS.model_copy(update={"features": ("user", "item", "category")})
    network = dense_part(make_ranker(tmp_path, architecture=architecture, counts=counts), seed=3)
    numbers = torch.randn(ROWS, 10)
    expected = numbers[:, [0]] + numbers[:, [1]] + numbers[:, [4]]
    assert torch.allclose(network.counts.linear(numbers), expected.expand(ROWS, 2))  # type: ignore[union-attr]
    assert not network.counts(numbers).any()  # type: ignore[operator]


@pytest.mark.parametrize("architecture", ["history_dcn", "fm_mlp"])
def test_the_seed_alone_decides_the_first_weights(tmp_path: Path, architecture: str) -> None:
    spec = make_ranker(tmp_path, architecture=architecture)
    torch.manual_seed(11)
    first = weights_of(dense_part(spec, 3))
    drawn = torch.rand(1)
    torch.manual_seed(11)
    assert torch.equal(torch.rand(1), drawn), "the caller's random numbers must not be used up"
    again, other = weights_of(dense_part(spec, 3)), weights_of(dense_part(spec, 4))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert any(not np.array_equal(first[name], other[name]) for name in first)
