"""Agreement of two halves of the users on a known truth: vectors rotated, their noise falling with the examples."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pyspark.sql import functions as F
from scipy.linalg import orthogonal_procrustes
from scipy.stats import ortho_group

from lis_spark.errors import InputError
from lis_spark.preference.reliability import agreements
from tests.integration.test_procrustes import WIDTH, T, frame_of

HALVES = ("half-0", "half-1")
ITEMS = 3000


def test_agreement_by_examples_is_that_of_a_loop_and_of_the_noise(spark: Any) -> None:
    """Vectors move from a cold row of their own to the truth and what all share: what few examples moved is noise."""
    rng = np.random.default_rng(5)
    truth = rng.normal(size=(ITEMS, WIDTH))
    counts = np.exp(rng.uniform(0, np.log(1000), (ITEMS,))).astype(np.int64)
    moved = (counts / (counts + 20))[:, None]
    halves = [moved * (truth + 3) + 0.5 * rng.normal(size=truth.shape) for _ in HALVES]
    halves[0] = halves[0] @ ortho_group.rvs(WIDTH, random_state=7)
    halves = [vectors.astype(np.float32) for vectors in halves]
    unseen = np.where(np.arange(ITEMS) % 50 == 0, 0, counts)  # some items have no example in the second half
    frame = frame_of(spark, {(HALVES[0], T): halves[0]}, counts).union(
        frame_of(spark, {(HALVES[1], T): halves[1]}, unseen)
    )
    found = agreements(frame, HALVES, T, WIDTH, 100)

    warm = np.minimum(counts, unseen) > 100
    parity = F.pmod(F.xxhash64("row", F.lit("rotation")), F.lit(2))
    sides = frame.where(F.col("chain") == HALVES[0]).select("row", parity)
    side = np.array([one for _, one in sorted(map(tuple, sides.collect()))])
    assert 0.4 < side.mean() < 0.6
    turned = halves[0].astype(float)
    for one in (0, 1):  # each item by a map that was fitted on the others
        fit = warm & (side != one)
        turned[side == one] @= orthogonal_procrustes(halves[0][fit].astype(float), halves[1][fit].astype(float))[0]
    both = unseen > 0
    place = np.floor(2 * np.log2(counts)).astype(int)
    for one, bin_ in zip(found, np.unique(place[both]), strict=True):
        members = both & (place == bin_)
        left, right = (half[members] - half[members].mean(0) for half in (turned, halves[1]))
        assert one.items == members.sum()
        assert one.correlation == pytest.approx(np.corrcoef(left.ravel(), right.ravel())[0, 1], abs=1e-5)
        expected = (moved[members] ** 2 / (moved[members] ** 2 + 0.25)).mean()
        assert one.count <= counts[members].min() and one.correlation == pytest.approx(expected, abs=0.06)
    assert sum(one.items for one in found) == both.sum()
    assert abs(found[0].correlation) < 0.06 and found[-1].correlation > 0.75
    low = both & (place == 0)
    left, right = (half[low] - half[both].mean(0) for half in (turned, halves[1]))
    cosine = (left * right).sum(1) / np.linalg.norm(left, axis=1) / np.linalg.norm(right, axis=1)
    assert cosine.mean() > 0.3, "less the mean of the table, what nothing was learned of would agree"


def test_what_only_chance_made_alike_does_not_agree(spark: Any) -> None:
    """A rotation that has seen the items finds agreement between tables that have nothing in common."""
    rng = np.random.default_rng(8)
    vectors = [rng.normal(size=(200, WIDTH)).astype(np.float32) for _ in HALVES]
    counts = np.full(200, 500)
    frame = frame_of(spark, {(half, T): one for half, one in zip(HALVES, vectors, strict=True)}, counts)
    (found,) = agreements(frame, HALVES, T, WIDTH, 100)
    first, second = (one.astype(float) - one.mean(0) for one in vectors)
    turned = first @ orthogonal_procrustes(first, second)[0]
    assert np.corrcoef(turned.ravel(), second.ravel())[0, 1] > 0.1
    assert abs(found.correlation) < 0.08


def test_bins_of_few_items_are_joined_with_those_below(spark: Any) -> None:
    rng = np.random.default_rng(6)
    vectors = rng.normal(size=(400, WIDTH)).astype(np.float32)
    counts = np.repeat([1, 2, 200, 400, 800], [10, 140, 200, 29, 21])
    frame = frame_of(spark, {(half, T): vectors for half in HALVES}, counts)
    found = agreements(frame, HALVES, T, WIDTH, 100)
    assert [(one.count, one.items) for one in found] == [(1, 150), (182, 250)]
    assert all(one.correlation == pytest.approx(1, abs=1e-6) for one in found)


def test_too_few_learned_items_are_refused(spark: Any) -> None:
    vectors = np.random.default_rng(1).normal(size=(50, WIDTH)).astype(np.float32)
    few = np.full(50, 3)
    frame = frame_of(spark, {(half, T): vectors for half in HALVES}, few)
    with pytest.raises(InputError, match="too few rows to align a table by"):
        agreements(frame, HALVES, T, WIDTH, 100)
