"""What other rows of a user say, pairs of a request, sums of products and codes of keys, against loops."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lis_spark.arrow_batches import key_codes
from lis_spark.metrics.joint import exact_gram
from lis_spark.metrics.parts import leave_one_out, part_arm
from lis_spark.metrics.requests import REQUEST_MEASURES, sum_requests

UNIT = 2.0**-32
OWNERS = st.integers(0, 4)
LOGITS = st.sampled_from([-np.inf, -2.5, -1e-46, -0.0, 0.0, 1e-46, 2.5, np.inf])
REQUESTS = st.sampled_from([-(2**63), -1, 0, 1, 2**53, 2**53 + 1, 2**63 - 1])
REQUEST_ROWS = st.lists(st.tuples(OWNERS, REQUESTS, st.integers(0, 1), LOGITS), min_size=1, max_size=40)
BELOW_2_60 = st.integers(-(2**60) + 1, 2**60 - 1) | st.integers(-3, 3)


def dense(owners: Sequence[int]) -> np.ndarray:
    return np.unique(np.array(owners, np.int64), return_inverse=True)[1].astype(np.int64)


def mean_of_others(owners: np.ndarray, change: Sequence[Fraction]) -> dict[int, Fraction]:
    """Row -> mean change of the other rows of its owner, where there are any."""
    others = {
        row: [change[other] for other in range(len(owners)) if owners[other] == owners[row] and other != row]
        for row in range(len(owners))
    }
    return {row: sum(values, Fraction(0)) / len(values) for row, values in others.items() if values}


@given(st.lists(st.tuples(OWNERS, st.floats(-1e4, 1e4)), max_size=30))
def test_leave_one_out_of_any_changes_is_the_mean_of_the_others(rows: list[tuple[int, float]]) -> None:
    owners, change = dense([row[0] for row in rows]), np.array([row[1] for row in rows], np.float64)
    kept, _, found = leave_one_out(owners, change)
    expected = mean_of_others(owners, [Fraction(value) for value in change.tolist()])
    assert kept.tolist() == list(expected)
    # each change is rounded to a multiple of 2^-32, half of one away at the most
    for value, exact in zip(found.tolist(), expected.values(), strict=True):
        assert abs(Fraction(value) - exact) <= UNIT


@given(st.lists(st.tuples(OWNERS, st.integers(-(2**46), 2**46)), max_size=30), st.randoms(use_true_random=False))
def test_leave_one_out_of_multiples_is_exact_in_any_order(rows: list[tuple[int, int]], random: Any) -> None:
    owners, units = dense([row[0] for row in rows]), [row[1] for row in rows]
    change = np.array(units, np.float64) * UNIT
    kept, _, found = leave_one_out(owners, change)
    expected = mean_of_others(owners, [Fraction(unit) for unit in units])
    assert found.tolist() == [float(value) * UNIT for value in expected.values()]
    order = np.array(random.sample(range(len(rows)), len(rows)), np.int64)
    shuffled_kept, _, shuffled = leave_one_out(owners[order], change[order])
    assert dict(zip(order[shuffled_kept].tolist(), shuffled.tolist(), strict=True)) == dict(
        zip(kept.tolist(), found.tolist(), strict=True)
    )


@given(st.lists(st.tuples(OWNERS, st.floats(-50, 50)), max_size=30), st.randoms(use_true_random=False))
def test_leave_one_out_of_shuffled_rows_is_the_same_bits(rows: list[tuple[int, float]], random: Any) -> None:
    owners, change = dense([row[0] for row in rows]), np.array([row[1] for row in rows], np.float64)
    order = np.array(random.sample(range(len(rows)), len(rows)), np.int64)
    kept, _, found = leave_one_out(owners, change)
    shuffled_kept, _, shuffled = leave_one_out(owners[order], change[order])
    back = np.argsort(order[shuffled_kept])
    assert order[shuffled_kept][back].tolist() == kept.tolist()
    assert shuffled[back].tolist() == found.tolist()


@pytest.mark.parametrize("change", [[2.0**31, 1.0], [2.0**30, 2.0**30, 2.0**30], [np.inf, 0.0], [1e300, -1e300]])
def test_leave_one_out_beyond_64_bits_is_refused(change: list[float]) -> None:
    with pytest.raises(OverflowError):
        leave_one_out(np.zeros(len(change), np.int64), np.array(change))


def test_part_arm_of_other_arms_or_parts_is_another_name() -> None:
    arms = [part_arm(part, *own) for part in ("user_part", "item_part") for own in (("b", "a"), ("a", "b"), ("b", "c"))]
    assert len({*arms, "a", "b", "c"}) == len(arms) + 3


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(rows=REQUEST_ROWS, random=st.randoms(use_true_random=False))
def test_sum_requests_of_any_rows_equals_a_loop_over_pairs(dtype: Any, rows: list[Any], random: Any) -> None:
    owners = dense([row[0] for row in rows])
    request, label = (np.array([row[place] for row in rows], np.int64) for place in (1, 2))
    # 1e-46 is 0 as float32, a tie there
    logit = np.array([row[3] for row in rows]).astype(dtype)
    u2, pairs = Counter[int](), Counter[int]()
    for up in np.flatnonzero(label == 1):
        for down in np.flatnonzero(label == 0):
            if owners[up] == owners[down] and request[up] == request[down]:
                pairs[int(owners[up])] += 1
                u2[int(owners[up])] += 2 * int(logit[up] > logit[down]) + int(logit[up] == logit[down])
    expected = [[counted[owner] for owner in range(owners.max() + 1)] for counted in (u2, pairs)]
    order = np.array(random.sample(range(len(rows)), len(rows)), np.int64)
    for chosen in (slice(None), order):
        found = sum_requests(owners[chosen], request[chosen], label[chosen], logit[chosen])
        assert [found[name].tolist() for name in REQUEST_MEASURES] == expected


def test_sum_requests_beyond_32_bits_is_exact() -> None:
    half = 70_000
    label = np.repeat([1, 0], half).astype(np.int8)
    logit = np.concatenate([np.ones(half - 1), [0.0], np.zeros(half)]).astype(np.float32)
    found = sum_requests(np.zeros(2 * half, np.int64), np.full(2 * half, 2**62), label, logit)
    assert [found[name].tolist() for name in REQUEST_MEASURES] == [[2 * (half - 1) * half + half], [half * half]]


def gram_by_loop(rows: list[list[int]], columns: int) -> list[list[int]]:
    return [[sum(row[left] * row[right] for row in rows) for right in range(columns)] for left in range(columns)]


@given(st.integers(1, 4).flatmap(lambda k: st.lists(st.lists(BELOW_2_60, min_size=k, max_size=k), max_size=20)))
def test_exact_gram_of_any_integers_equals_a_loop(rows: list[list[int]]) -> None:
    columns = len(rows[0]) if rows else 3
    values = np.array(rows, np.int64).reshape(len(rows), columns)
    found = exact_gram(values)
    assert found == gram_by_loop(rows, columns)
    assert all(type(value) is int for row in found for value in row)
    assert exact_gram(values[::-1]) == found


@pytest.mark.parametrize("rows", [2**12, 2**12 + 1, 2**13 + 3])
def test_exact_gram_of_the_largest_integers_over_blocks_is_exact(rows: int) -> None:
    largest = 2**60 - 1
    values = np.array([[largest, -largest, (-1) ** row * (largest - row)] for row in range(rows)], np.int64)
    expected = gram_by_loop(values.tolist(), 3)
    assert expected[0][0] == rows * largest**2
    assert exact_gram(values) == expected
    assert exact_gram(values[np.random.default_rng(1).permutation(rows)]) == expected


KEY_ROWS = st.lists(
    st.tuples(
        st.sampled_from([None, "", "a", "b", "None", "a\0"]),
        st.sampled_from([None, -(2**63), 0, 1, 2**63 - 1]),
        st.sampled_from([None, dt.date(1970, 1, 1), dt.date(2022, 5, 1)]),
        st.sampled_from([None, True, False]),
    ),
    max_size=30,
)
KEY_SCHEMA = pa.schema([("arm", pa.string()), ("seed", pa.int64()), ("date", pa.date32()), ("own", pa.bool_())])


@given(KEY_ROWS, st.integers(1, 9), st.permutations(KEY_SCHEMA.names), st.integers(0, 4))
def test_key_codes_of_any_columns_are_equal_where_all_agree(
    rows: list[Any], batch_rows: int, order: list[str], chosen: int
) -> None:
    columns = [pa.array([row[place] for row in rows], field.type) for place, field in enumerate(KEY_SCHEMA)]
    whole = pa.Table.from_arrays(columns, schema=KEY_SCHEMA)
    # as batches come: several chunks, each with a dictionary of its own
    table = pa.Table.from_batches(whole.to_batches(batch_rows), KEY_SCHEMA)
    names = order[:chosen]
    codes = key_codes(table, names)
    assert codes.dtype == np.int64 and codes.shape == (len(rows),)
    keys = [tuple(row[KEY_SCHEMA.names.index(name)] for name in names) for row in rows]
    assert set(codes.tolist()) == set(range(len(set(keys))))
    assert len(set(zip(keys, codes.tolist(), strict=True))) == len(set(keys))


def test_key_codes_of_many_distinct_columns_stay_dense() -> None:
    """Eight columns of 10,000 values each: (10^4)^8 combinations would not fit 64 bits unless codes are packed."""
    rows = np.arange(10_000)
    columns = {f"column{place}": pa.array(np.roll(rows, 1237 * place)) for place in range(8)}
    table = pa.table({**columns, "twice": pa.array(rows // 2)})
    assert sorted(key_codes(table, list(columns)).tolist()) == rows.tolist()
    doubled = pa.concat_tables([table, table])
    codes = key_codes(doubled, list(columns))
    assert codes[: len(rows)].tolist() == codes[len(rows) :].tolist()
    assert np.bincount(key_codes(table, ["twice"])).tolist() == [2] * 5_000
