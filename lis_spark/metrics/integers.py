"""Exact sums of 64-bit integers and of their products, in NumPy, as Python integers of any size (method 2.2)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]

# 2^22 x 2^22 x 2^18 rows stay below 2^63
_LIMB_BITS, _BLOCK_ROWS = 22, 2**18


def exact_dot(left: IntArray, right: IntArray) -> int:
    """The sum of products of two int64 arrays as a Python integer: exact, whatever its size."""
    return bounded_dot(left, right, _largest(left) * _largest(right))


def bounded_dot(left: IntArray, right: IntArray, largest_product: int) -> int:
    """The same of arrays whose products are known to be no larger: in 64 bits where the sum fits, else by digits."""
    if largest_product * len(left) < 2**63:
        return int(np.dot(left, right))
    total = 0
    for start in range(0, len(left), _BLOCK_ROWS):
        block = slice(start, start + _BLOCK_ROWS)
        for left_place, left_limb in enumerate(_limbs(left[block])):
            for right_place, right_limb in enumerate(_limbs(right[block])):
                total += int(np.dot(left_limb, right_limb)) << (_LIMB_BITS * (left_place + right_place))
    return total


def exact_sum(values: IntArray) -> int:
    """The sum of an int64 array as a Python integer."""
    return exact_dot(values, np.ones_like(values))


def _largest(values: IntArray) -> int:
    """The largest size of an int64 array's values."""
    return max(-int(values.min(initial=0)), int(values.max(initial=0)))


def row_sizes(values: IntArray) -> list[int]:
    """The largest size of the values of each row of a matrix."""
    lows, highs = values.min(axis=1, initial=0).tolist(), values.max(axis=1, initial=0).tolist()
    return [max(-low, high) for low, high in zip(lows, highs, strict=True)]


def row_sums(values: IntArray) -> list[int]:
    """The sums of the rows of a matrix as Python integers."""
    if _largest(values) * values.shape[1] < 2**63:
        return [int(total) for total in values.sum(axis=1)]
    return [exact_sum(row) for row in values]


def _limbs(values: IntArray) -> list[IntArray]:
    """Digits of base 2^22, least first; the last one carries the sign."""
    digits = []
    low, high = int(values.min()), int(values.max())
    while low < -(2 ** (_LIMB_BITS - 1)) or high >= 2 ** (_LIMB_BITS - 1):
        digits.append(values & (2**_LIMB_BITS - 1))
        values, low, high = values >> _LIMB_BITS, low >> _LIMB_BITS, high >> _LIMB_BITS
    return [*digits, values]
