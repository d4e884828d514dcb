"""AUC above the control shifted in time: scikit-learn's AUC, SciPy's t, and how often an honest column is accused."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t as student
from sklearn.metrics import roc_auc_score

from lis_spark.audit.movement import PRIOR_ROWS, auc_gain, auc_within_blocks, cross_fitted_auc, student_quantile


def counted(block: np.ndarray, cell: np.ndarray, label: np.ndarray, blocks: int, cells: int) -> np.ndarray:
    counts = np.zeros((blocks, cells, 2))
    np.add.at(counts, (block, cell, label), 1)
    return counts


def test_the_auc_is_scikit_learns_on_rates_of_the_other_blocks() -> None:
    rng = np.random.default_rng(2)
    block, cell = rng.integers(0, 7, 4000), rng.integers(0, 9, 4000)
    label = (rng.random(4000) < 0.1 + 0.07 * cell).astype(int)
    scores = np.empty(4000)
    for one in range(7):
        others = block != one
        for place in range(9):
            clicks, rows = label[others & (cell == place)].sum(), (others & (cell == place)).sum()
            scores[(block == one) & (cell == place)] = (clicks + PRIOR_ROWS * label.mean()) / (rows + PRIOR_ROWS)
    expected = roc_auc_score(label, scores)
    assert cross_fitted_auc(counted(block, cell, label, 7, 9)) == pytest.approx(expected, abs=1e-12)


def test_auc_within_blocks_weighs_the_auc_of_each_block_by_its_pairs() -> None:
    rng = np.random.default_rng(5)
    block, cell = rng.integers(0, 7, 4000), rng.integers(0, 9, 4000)
    label = (rng.random(4000) < 0.05 * (1 + block) + 0.05 * cell).astype(int)
    won = pairs = 0.0
    for one in range(7):
        own, others = block == one, block != one
        clicks = np.bincount(cell[others], label[others], 9) + PRIOR_ROWS * label.mean()
        rates = clicks / (np.bincount(cell[others], minlength=9) + PRIOR_ROWS)
        own_pairs = label[own].sum() * (1 - label[own]).sum()
        won += own_pairs * roc_auc_score(label[own], rates[cell[own]])
        pairs += own_pairs
    assert auc_within_blocks(counted(block, cell, label, 7, 9)) == pytest.approx(won / pairs, abs=1e-12)


def test_auc_within_blocks_of_a_value_that_is_the_same_everywhere_is_one_half() -> None:
    rng = np.random.default_rng(6)
    block = rng.integers(0, 40, 3000)
    label = (rng.random(3000) < rng.random(40)[block]).astype(int)
    counts = counted(block, np.zeros(3000, int), label, 40, 1)
    assert auc_within_blocks(counts) == 0.5 > cross_fitted_auc(counts) + 0.1
    counts[..., 1] = 0
    assert np.isnan(auc_within_blocks(counts))


def test_equal_arms_gain_nothing_and_one_class_has_no_auc() -> None:
    rng = np.random.default_rng(3)
    counts = counted(rng.integers(0, 9, 500), rng.integers(0, 4, 500), rng.integers(0, 2, 500), 9, 4)
    other = counted(rng.integers(0, 9, 500), rng.integers(0, 4, 500), rng.integers(0, 2, 500), 9, 4)
    assert auc_gain(counts, other).freedom == 8
    assert auc_gain(counts[:7], other[:7]).t == 0, "seven blocks are too few to know an error from"
    assert auc_gain(counts, counts).value == auc_gain(counts, counts).standard_error == 0
    one_class = counts.copy()
    one_class[..., 1] = 0
    assert np.isnan(cross_fitted_auc(one_class))
    assert auc_gain(one_class, one_class).t == 0


def test_what_only_one_arm_knows_is_found_and_noise_is_rarely_called_so() -> None:
    rng = np.random.default_rng(4)
    users, rows = 200, 6000
    block = rng.integers(0, users, rows) % 40
    beyond = 0
    for _ in range(200):
        label = (rng.random(rows) < 0.3).astype(int)
        noise = [counted(block, rng.integers(0, 30, rows), label, 40, 30) for _ in range(2)]
        beyond += abs(auc_gain(*noise).t) > student_quantile(0.975, 39)
    assert beyond <= 20  # 5 % of 200 are 10; more than 20 have a chance of .001
    told = counted(block, np.where(rng.random(rows) < 0.5, label, rng.integers(0, 30, rows)), label, 40, 30)
    gain = auc_gain(told, noise[0])
    assert gain.value > 0.1 and gain.t > 10
    low, high = gain.interval()
    assert low < gain.value < high


@pytest.mark.parametrize("freedom", [7, 15, 39, 1000])
@pytest.mark.parametrize("probability", [0.6, 0.975, 0.9998])
def test_quantiles_are_scipys(probability: float, freedom: int) -> None:
    assert student_quantile(probability, freedom) == pytest.approx(student.ppf(probability, freedom), rel=0.01)
