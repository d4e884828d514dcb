"""Exact ranks in NumPy against scikit-learn, DeLong from its definition, and counting pair by pair."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import roc_auc_score

from lis_spark.metrics import exact_auc, order_key
from lis_spark.metrics.ranks import pair_counts, rank_range


def naive_counts(segments: np.ndarray, logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Pair by pair: 2 for a pair in order, 1 for a tie, credited to either row."""
    counts = np.zeros(len(logits), np.int64)
    for i in range(len(logits)):
        for j in range(len(logits)):
            if segments[i] == segments[j] and labels[i] == 1 and labels[j] == 0:
                value = 2 * int(logits[i] > logits[j]) + int(logits[i] == logits[j])
                counts[i] += value
                counts[j] += value
    return counts


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(data=st.data())
def test_order_key_orders_as_the_floats_do(dtype: type, data: st.DataObject) -> None:
    width = 32 if dtype is np.float32 else 64
    numbers = st.floats(width=width, allow_nan=False) | st.sampled_from([0.0, -0.0, np.inf, -np.inf])
    logits = np.array(data.draw(st.lists(numbers, min_size=1, max_size=30)), dtype)
    keys = order_key(logits)
    assert keys.dtype == (np.int32 if dtype is np.float32 else np.int64)
    assert ((keys[:, None] < keys[None, :]) == (logits[:, None] < logits[None, :])).all()
    assert ((keys[:, None] == keys[None, :]) == (logits[:, None] == logits[None, :])).all()


def test_order_key_knows_subnormals_zeros_and_infinities() -> None:
    tiny = np.float32(1e-45)
    logits = np.array([-np.inf, -1, -tiny, -0.0, 0.0, tiny, 1, np.inf], np.float32)
    keys = order_key(logits)
    assert keys[3] == keys[4] == 0
    assert (np.diff(np.delete(keys, 3).astype(np.int64)) > 0).all()


def test_order_key_refuses_nan_and_other_types() -> None:
    with pytest.raises(ValueError, match="NaN"):
        order_key(np.array([0.0, np.nan]))
    with pytest.raises(ValueError, match="float32 or float64"):
        order_key(np.array([1, 2]))


@settings(max_examples=200)
@given(
    st.integers(1, 60).flatmap(
        lambda size: st.tuples(
            hnp.arrays(np.int64, size, elements=st.integers(0, 3)),
            hnp.arrays(np.int64, size, elements=st.integers(-3, 3)),
            hnp.arrays(np.int64, size, elements=st.integers(0, 1)),
        )
    )
)
def test_pair_counts_equal_counting_pair_by_pair(rows: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    segments, keys, labels = rows
    order = np.lexsort((keys, segments))
    segments, keys, labels = segments[order], keys[order], labels[order]
    assert (pair_counts(segments, keys, labels) == naive_counts(segments, keys, labels)).all()


@settings(max_examples=200)
@given(st.integers(2, 300), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_exact_auc_equals_scikit_learn_with_heavy_ties(rows: int, levels: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.permutation(np.arange(rows) % 2)
    logits = (random.integers(-levels, levels + 1, rows) / 7).astype(np.float32)
    auc = exact_auc(labels, logits)
    assert isinstance(auc, Fraction)
    assert float(auc) == pytest.approx(roc_auc_score(labels, logits), abs=1e-12)


def test_exact_auc_refuses_one_class() -> None:
    with pytest.raises(ValueError, match="3 positives and 0 negatives"):
        exact_auc(np.ones(3, np.int8), np.zeros(3, np.float32))


def test_a_double_is_not_narrowed() -> None:
    labels, logits = np.array([0, 1]), np.array([1.0, 1.0 + 2**-40])
    assert exact_auc(labels, logits) == 1
    assert exact_auc(labels, logits.astype(np.float32)) == Fraction(1, 2)


def test_psi_from_the_integers_is_delong_by_its_definition() -> None:
    """With every row its own cluster, the variance of psi is DeLong's, up to K/(K-1) against its own corrections."""
    random = np.random.default_rng(5)
    labels = (random.random(80) < 0.3).astype(np.int64)
    logits = np.round(random.normal(size=80) + labels, 1)
    positives, negatives = logits[labels == 1], logits[labels == 0]
    wins = (positives[:, None] > negatives) + 0.5 * (positives[:, None] == negatives)
    auc, p, n = wins.mean(), len(positives), len(negatives)
    expected = np.zeros(80)
    expected[labels == 1] = (wins.mean(1) - auc) / p
    expected[labels == 0] = (wins.mean(0) - auc) / n
    order = np.argsort(logits, kind="stable")
    counts = np.empty(80, np.int64)
    counts[order] = pair_counts(np.zeros(80, np.int64), order_key(logits)[order], labels[order])
    psi = (counts - counts[labels == 1].sum() * np.where(labels == 1, 1 / p, 1 / n)) / (2 * p * n)
    assert psi == pytest.approx(expected, abs=1e-15)
    # DeLong's own variance: S10 / P + S01 / N with the sample variances of either side
    delong = wins.mean(1).var(ddof=1) / p + wins.mean(0).var(ddof=1) / n
    corrected = (psi[labels == 1] ** 2).sum() * p / (p - 1) + (psi[labels == 0] ** 2).sum() * n / (n - 1)
    assert corrected == pytest.approx(delong, rel=1e-12)


def test_a_range_is_summed_by_group_and_user_in_any_row_order() -> None:
    random = np.random.default_rng(1)
    rows = 500
    columns = {
        "group_id": random.integers(0, 3, rows).astype(np.int32),
        "user_codes": random.integers(0, 20, rows).astype(np.int32),
        "label": random.integers(0, 2, rows).astype(np.int8),
        "logit": (random.integers(-4, 5, rows) / 4).astype(np.float32),
        "log_loss_units": random.integers(0, 2**34, rows),
        "probability_units": random.integers(0, 2**32, rows),
    }
    sums = rank_range(**columns)
    counts = naive_counts(columns["group_id"], columns["logit"], columns["label"])
    own = naive_counts(columns["group_id"] * 100 + columns["user_codes"], columns["logit"], columns["label"])
    seen = 0
    for place, (group, user) in enumerate(zip(sums["group_id"], sums["user_codes"], strict=True)):
        mine = (columns["group_id"] == group) & (columns["user_codes"] == user)
        positive = mine & (columns["label"] == 1)
        seen += mine.sum()
        assert sums["positives"][place] == positive.sum()
        assert sums["negatives"][place] == mine.sum() - positive.sum()
        assert sums["u2_positives"][place] == counts[positive].sum()
        assert sums["u2_negatives"][place] == counts[mine & ~positive].sum()
        assert sums["u2_within_user"][place] == own[positive].sum()
        assert sums["log_loss_units"][place] == columns["log_loss_units"][mine].sum()
        assert sums["probability_units"][place] == columns["probability_units"][mine].sum()
    assert seen == rows
    shuffled = random.permutation(rows)
    again = rank_range(**{name: values[shuffled] for name, values in columns.items()})
    keyed = sorted(zip(*[sums[name] for name in sums], strict=True))
    assert keyed == sorted(zip(*[again[name] for name in sums], strict=True))
