"""Mean recall against a loop over pairs; a model that says the same of all items is no better than chance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lis_spark.alignment import recall as module
from lis_spark.alignment.recall import CUTS, recall


def unit(matrix: np.ndarray) -> np.ndarray:
    return (matrix / np.linalg.norm(matrix, axis=1, keepdims=True)).astype(np.float32)


def by_loops(asked: np.ndarray, gallery: np.ndarray) -> list[float]:
    ranks = []
    for i, one in enumerate(asked):
        own = one @ gallery[i]
        ranks.append(1 + sum(one @ other >= own for j, other in enumerate(gallery) if j != i))
    return [sum(rank <= cut for rank in ranks) / len(ranks) for cut in CUTS]


@given(st.integers(1, 40), st.integers(0, 10_000))
def test_shares_are_those_of_a_loop(items: int, seed: int) -> None:
    """Numbers of few digits tie often, and add up exactly in any order."""
    random = np.random.default_rng(seed)
    vectors, targets = ((random.integers(-2, 3, (items, 3)) / 4).astype(np.float32) for _ in range(2))
    found = recall(vectors, targets)
    assert list(found.content_to_id) == pytest.approx(by_loops(vectors, targets))
    assert list(found.id_to_content) == pytest.approx(by_loops(targets, vectors))
    assert found.gallery == items and found.mean == pytest.approx(np.mean(found.content_to_id + found.id_to_content))


def test_a_constant_model_is_no_better_than_chance() -> None:
    targets = unit(np.random.default_rng(2).normal(size=(600, 16)))
    constant = unit(np.tile(np.arange(1.0, 17), (600, 1)) + 1e-9)
    found = recall(constant, targets)
    assert found.content_to_id == pytest.approx([cut / 600 for cut in CUTS])
    assert found.id_to_content == (0.0, 0.0, 0.0), "all items are as near, so its own is last"
    assert found.mean <= found.chance


def test_a_perfect_model_finds_all(monkeypatch: pytest.MonkeyPatch) -> None:
    targets = unit(np.random.default_rng(3).normal(size=(300, 16)))
    found = recall(targets, targets)
    assert found.mean == 1.0 and found.chance == pytest.approx(np.mean([1, 5, 10]) / 300)
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 7)
    random = unit(np.random.default_rng(4).normal(size=(300, 16)))
    in_blocks = recall(random, targets)
    monkeypatch.undo()
    assert in_blocks == recall(random, targets)
    assert in_blocks.mean == pytest.approx(in_blocks.chance, abs=0.03)
