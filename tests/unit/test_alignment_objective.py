"""Losses of an encoder against loops over pairs, the mask of what is no negative, and the bounds of tau."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lis_spark.alignment.objective import Objective, same_items
from lis_spark.alignment.training import dtype_of


def batch(items: int = 7, width: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    random = np.random.default_rng(1)
    return tuple(torch.from_numpy(random.normal(size=(items, width)).astype(np.float32)) for _ in range(2))  # type: ignore[return-value]


def objective(kind: str, **changes: float) -> Objective:
    settings = {"temperature": 0.2, "cosine_weight": 0.0, "gram_weight": 0.0, **changes}
    return Objective(kind, 5, 5, seed=3, **settings)  # type: ignore[arg-type]


def unit(matrix: np.ndarray) -> np.ndarray:
    return matrix / np.linalg.norm(matrix, axis=1, keepdims=True)


def test_contrastive_loss_is_that_of_a_loop_over_pairs() -> None:
    vectors, targets = batch()
    same = torch.zeros(7, 7, dtype=torch.bool)
    same[2, 4] = same[4, 2] = True
    made = objective("contrastive", cosine_weight=0.3, gram_weight=0.7)
    assert made.target_map is not None
    z, t = unit(vectors.numpy().astype(float)), unit(targets.numpy() @ made.target_map.weight.detach().numpy().T)
    terms = []
    for asked, gallery in ((z, t), (t, z)):
        for i in range(7):
            logits = {j: asked[i] @ gallery[j] / 0.2 for j in range(7) if j == i or not same[i, j]}
            terms.append(np.log(sum(np.exp(value) for value in logits.values())) - logits[i])
    expected = np.mean(terms[:7]) / 2 + np.mean(terms[7:]) / 2
    expected += 0.3 * np.mean([1 - z[i] @ t[i] for i in range(7)])
    expected += 0.7 * sum((z[i] @ z[j] - t[i] @ t[j]) ** 2 for i in range(7) for j in range(7) if i != j) / 49
    assert made(vectors, targets, same).item() == pytest.approx(expected, rel=1e-5)


def test_fixed_targets_have_nothing_to_learn() -> None:
    """A map that learned both would make all vectors one."""
    vectors, targets = batch()
    same = torch.zeros(7, 7, dtype=torch.bool)
    z, t = vectors.numpy().astype(float), targets.numpy().astype(float)
    cosine = np.mean([1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(z, t, strict=True)])
    assert float(objective("cosine")(vectors, targets, same)) == pytest.approx(cosine, rel=1e-5)
    assert float(objective("mse")(vectors, targets, same)) == pytest.approx(((z - t) ** 2).mean(), rel=1e-5)
    assert not list(objective("cosine").parameters()) and not list(objective("mse").parameters())


def test_tau_stays_within_its_bounds() -> None:
    made = objective("contrastive")
    for value, kept in ((0.001, 0.01), (3.0, 0.5), (0.1, 0.1)):
        with torch.no_grad():
            made.log_temperature.fill_(np.log(value))
        made.clamp()
        assert float(made.temperature) == pytest.approx(kept, rel=1e-6)  # type: ignore[arg-type]


def test_no_negatives_are_the_same_item_the_same_content_and_nearly_the_same_target() -> None:
    targets = torch.tensor([[1.0, 0], [1, 0.1], [0, 1], [-1, 0], [0, 2]])
    content, items = torch.tensor([1, 2, 3, 1, 4]), torch.tensor([10, 11, 12, 13, 14])
    same = same_items(targets, content, items, 0.95)
    pairs = {(int(i), int(j)) for i, j in same.nonzero() if i < j}
    assert pairs == {(0, 1), (0, 3), (2, 4)}
    assert same.diagonal().all() and (same == same.T).all()
    again = same_items(targets, content, torch.tensor([10, 11, 10, 13, 14]), 0.95)
    assert again[0, 2] and again[2, 0]


def test_bfloat16_is_taken_where_the_hardware_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only hardware says so: the question is answered in its place, the decision is ours."""
    processor, graphics = torch.device("cpu"), torch.device("cuda")
    for has_it in (True, False):
        asked: list[bool] = []

        def answer(including_emulation: bool, has_it: bool = has_it, asked: list[bool] = asked) -> bool:
            asked.append(including_emulation)
            return has_it

        monkeypatch.setattr(torch.cuda, "is_bf16_supported", answer)
        assert dtype_of("auto", graphics) == (torch.bfloat16 if has_it else torch.float32)
        assert dtype_of("auto", processor) == torch.float32 and asked == [False], "emulation is no hardware"
    for device in (processor, graphics):
        assert dtype_of("bfloat16", device) == torch.bfloat16 and dtype_of("float32", device) == torch.float32
