"""Curation after MetaCLIP against its definition, one item at a time; and measures of balance by theirs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy

from lis_spark.preference.curation import balance, keep_probability, t_of_tail, thresholds

COUNTS = st.lists(st.lists(st.integers(1, 500), min_size=1, max_size=6), min_size=1, max_size=8)


def flat(counts: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([c for own in counts for c in own], float), np.array([len(own) for own in counts], np.int64)


@given(COUNTS, st.floats(0.01, 600))
def test_an_item_stays_with_the_probability_of_the_definition(counts: list[list[int]], t: float) -> None:
    expected = [1 - math.prod(1 - min(1.0, t / c) for c in own) for own in counts]
    np.testing.assert_allclose(keep_probability(t, *flat(counts)), expected, atol=1e-12)


@given(COUNTS, st.integers(0, 2**32 - 1))
def test_the_threshold_of_an_item_is_where_its_number_is_passed(counts: list[list[int]], seed: int) -> None:
    uniform = np.random.default_rng(seed).random(len(counts))
    found = thresholds(*flat(counts), uniform)
    at, above = keep_probability(found, *flat(counts)), keep_probability(found * (1 + 1e-9) + 1e-12, *flat(counts))
    assert (at <= uniform).all() and (above > uniform).all()


def test_rare_entries_are_kept_whole_and_common_ones_thinned() -> None:
    rng = np.random.default_rng(3)
    common, rare = np.full(20_000, 20_000.0), np.full(50, 50.0)
    uniform = rng.random(20_050)
    found = thresholds(np.r_[common, rare], np.ones(20_050, np.int64), uniform)
    kept = found < 200
    assert kept[20_000:].all()  # c <= t
    assert kept[:20_000].sum() == (uniform[:20_000] < 200 / 20_000).sum()
    assert kept[:20_000].mean() == pytest.approx(0.01, abs=3 * np.sqrt(0.01 * 0.99 / 20_000))
    assert (kept <= (found < 400)).all(), "what a smaller t keeps, a larger one keeps"


@given(st.dictionaries(st.integers(1, 1000), st.integers(1, 20), min_size=1, max_size=10), st.floats(0.01, 1.0))
def test_the_tail_holds_its_share_and_no_smaller_one_does(histogram: dict[int, int], share: float) -> None:
    t = t_of_tail(histogram, share)
    total = sum(size * count for size, count in histogram.items())
    held = {size: sum(s * c for s, c in histogram.items() if s <= size) / total for size in histogram}
    assert held[int(t)] >= share * (1 - 1e-9)
    assert all(held[size] < share for size in histogram if size < t)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=30))
def test_balance_is_that_of_the_definitions(sizes: list[int]) -> None:
    histogram = {size: sizes.count(size) for size in sizes}
    found, values = balance(histogram), np.array(sizes, float)
    differences = np.abs(values[:, None] - values[None, :]).sum()
    assert found.entries == len(sizes) and found.mentions == sum(sizes)
    assert found.entropy == pytest.approx(entropy(values), abs=1e-9)
    assert found.largest_share == pytest.approx(values.max() / values.sum())
    assert found.gini == pytest.approx(differences / (2 * len(sizes) ** 2 * values.mean()), abs=1e-9)


def test_nothing_is_as_even_as_nothing() -> None:
    assert balance({}).mentions == 0 and balance({3: 7}).gini == pytest.approx(0, abs=1e-12)
