"""Exact sums of products of users' integers in NumPy, for one chunk of whole users (method 2.2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]

# Log loss, probabilities and per-user AUCs are summed as multiples of 2^-32: integers do not depend on their order.
UNITS = 2**32
# Products that are summed: AUC difference, AUC of the control, GAUC difference, AUC within users and within requests.
PRODUCTS = (
    "dd",
    "dp",
    "dn",
    "pd",
    "nd",
    "pp",
    "pn",
    "np",
    "nn",
    "cc",
    "cp",
    "cn",
    "pc",
    "nc",
    "gg",
    "gm",
    "mg",
    "mm",
    "ww",
    "wb",
    "bw",
    "bb",
    "rr",
    "rq",
    "qr",
    "qq",
)
_LETTERS = ("d", "c", "g", "p", "n", "m", "w", "b", "r", "q")
# Plain sums of a unit: the sides of U2 by arm, units of log loss and probability, m x AUC of the users by arm.
_BY_ARM = (
    "u2_positives",
    "u2_negatives",
    "u2_within_user",
    "u2_within_request",
    "log_loss_units",
    "probability_units",
    "g",
)
_PLAIN = ("p", "n", "m", "b", "q")
SUMS = (*_PLAIN, *[f"control_{name}" for name in _BY_ARM], *[f"leaked_{name}" for name in _BY_ARM])

# 2^22 x 2^22 x 2^18 rows stay below 2^63
_LIMB_BITS, _BLOCK_ROWS = 22, 2**18


@dataclass(frozen=True)
class Unit:
    """Positions of the rankings of one unit: the control's and those of the replicates."""

    control: int
    leaked: tuple[int, ...]


@dataclass(frozen=True)
class PairSums:
    """Sums over the users of a chunk that stand in both units, left and right, of a bundle."""

    bundle: int
    left: int
    right: int
    users: int
    users_with_both_classes: int
    users_with_request_pairs: int
    members: int
    uneven: int
    products: Mapping[str, int]
    sums: Mapping[str, int]


@dataclass(frozen=True)
class _Entries:
    """One row a user of a unit: users ascending, their letters, and the unit's plain sums."""

    users: IntArray
    letters: Mapping[str, IntArray]
    sums: Mapping[str, int]
    uneven: int


def exact_dot(left: IntArray, right: IntArray) -> int:
    """The sum of products of two int64 arrays as a Python integer: exact, whatever its size."""
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


def _limbs(values: IntArray) -> list[IntArray]:
    """Digits of base 2^22, least first; the last one carries the sign."""
    digits = []
    low, high = int(values.min()), int(values.max())
    while low < -(2 ** (_LIMB_BITS - 1)) or high >= 2 ** (_LIMB_BITS - 1):
        digits.append(values & (2**_LIMB_BITS - 1))
        values, low, high = values >> _LIMB_BITS, low >> _LIMB_BITS, high >> _LIMB_BITS
    return [*digits, values]


def pair_sums(
    rankings: npt.NDArray[np.integer],
    users: npt.NDArray[np.integer],
    measures: Mapping[str, IntArray],
    units: Sequence[Unit],
    bundles: Sequence[Sequence[int]],
) -> Iterator[PairSums]:
    """Sums the products of all pairs of units that share users, in every bundle.

    Args:
        rankings: shape (rows,), which ranking (group of the influence table) a row belongs to.
        users: shape (rows,), integers that name users.
        measures: name -> shape (rows,), the measures of the influence table.
        units: what is compared, by positions of rankings.
        bundles: positions in ``units`` whose cross products are wanted together.

    Raises:
        OverflowError: a user's sum over the replicates is beyond int64.
    """
    order = np.lexsort((users, rankings))
    bounds = np.searchsorted(rankings[order], np.arange(max(max(unit.control, *unit.leaked) for unit in units) + 2))
    slices = [order[bounds[number] : bounds[number + 1]] for number in range(len(bounds) - 1)]
    columns = {**measures, **_own_auc(measures)}
    entries: dict[int, _Entries] = {}
    for number, bundle in enumerate(bundles):
        for unit in bundle:
            if unit not in entries:
                entries[unit] = _entries(units[unit], slices, users, columns)
        yield from _bundle_sums(number, bundle, entries)


def _own_auc(measures: Mapping[str, IntArray]) -> dict[str, IntArray]:
    """m: impressions of users with both classes; g: m x the user's own AUC in units of 2^-32; b, q: doubled pairs.

    Raises:
        OverflowError: a user has 2^31 impressions or more in one ranking.
    """
    positives, negatives = measures["positives"], measures["negatives"]
    requests = measures["pairs_within_request"]
    if int((positives + negatives).max(initial=0)) >= 2**31 or int(requests.max(initial=0)) >= 2**62:
        raise OverflowError("the pairs of one user are beyond 64 bits")
    pairs = 2.0 * positives * negatives
    both = pairs > 0
    m = np.where(both, positives + negatives, 0)
    # one division and one rounding of doubles: the same bits everywhere
    auc = np.rint(measures["u2_within_user"] / np.where(both, pairs, 1) * UNITS).astype(np.int64)
    b, q = 2 * positives * negatives, 2 * requests
    return {"m": m, "g": np.where(both, auc * m, 0), "b": b, "q": q}


def _entries(
    unit: Unit, slices: Sequence[IntArray], users: npt.NDArray[np.integer], columns: Mapping[str, IntArray]
) -> _Entries:
    arms = [slices[unit.control], *[slices[number] for number in unit.leaked]]
    uneven = _uneven_users(arms, users, columns)
    if uneven:
        none = np.zeros(0, np.int64)
        return _Entries(none, dict.fromkeys(_LETTERS, none), dict.fromkeys(SUMS, 0), uneven)
    control, leaked = arms[0], arms[1:]
    summed = {name: _added([columns[name][rows] for rows in leaked]) for name in _BY_ARM}
    share = _added([columns["u2_positives"][control], columns["u2_negatives"][control]])
    leaked_share = _added([summed["u2_positives"], summed["u2_negatives"]])
    letters = {
        "p": columns["positives"][control],
        "n": columns["negatives"][control],
        "m": columns["m"][control],
        "c": share,
        "d": _added([leaked_share, *[-share] * len(leaked)]),
        "b": columns["b"][control],
        "q": columns["q"][control],
        **{
            letter: _added([summed[name], *[-columns[name][control]] * len(leaked)])
            for letter, name in (("g", "g"), ("w", "u2_within_user"), ("r", "u2_within_request"))
        },
    }
    sums = {name: exact_sum(letters[name]) for name in _PLAIN}
    sums.update({f"control_{name}": exact_sum(columns[name][control]) for name in _BY_ARM})
    sums.update({f"leaked_{name}": exact_sum(values) for name, values in summed.items()})
    return _Entries(users[control].astype(np.int64), letters, sums, 0)


def _added(parts: Sequence[IntArray]) -> IntArray:
    """Sum of arrays, refused where it could leave int64."""
    if sum(int(np.abs(part).max(initial=0)) for part in parts) >= 2**63:
        raise OverflowError("a sum of one user's influence is beyond 64 bits")
    return np.add.reduce(parts)


def _uneven_users(arms: Sequence[IntArray], users: npt.NDArray[np.integer], columns: Mapping[str, IntArray]) -> int:
    """Users whose arms do not hold the same numbers of positives, negatives and pairs of requests, each arm once."""
    names = ("positives", "negatives", "pairs_within_request")
    first = users[arms[0]]
    if bool(np.all(first[1:] > first[:-1])) and all(
        np.array_equal(first, users[arm])
        and all(np.array_equal(columns[name][arms[0]], columns[name][arm]) for name in names)
        for arm in arms[1:]
    ):
        return 0
    rows = np.concatenate(arms)
    found, place, count = np.unique(users[rows], return_inverse=True, return_counts=True)
    uneven = count != len(arms)
    for name in names:
        low, high = np.full(len(found), np.iinfo(np.int64).max), np.full(len(found), -1)
        np.minimum.at(low, place, columns[name][rows])
        np.maximum.at(high, place, columns[name][rows])
        uneven |= low != high
    return int(uneven.sum())


def _bundle_sums(number: int, bundle: Sequence[int], entries: Mapping[int, _Entries]) -> Iterator[PairSums]:
    users = np.concatenate([entries[unit].users for unit in bundle])
    places = np.repeat(np.arange(len(bundle)), [len(entries[unit].users) for unit in bundle])
    letters = {name: np.concatenate([entries[unit].letters[name] for unit in bundle]) for name in _LETTERS}
    # rows with pairs first, so that a user's first row says whether it counts for GAUC, and for requests
    order = np.lexsort((places, letters["q"] == 0, letters["m"] == 0, users))
    users, places = users[order], places[order]
    letters = {name: values[order] for name, values in letters.items()}
    is_first = np.ones(len(users), bool)
    is_first[1:] = users[1:] != users[:-1]
    distance = 0
    left = np.arange(len(users))
    while distance == 0 or len(left):
        yield from _pairs_at(number, bundle, entries, places, letters, is_first, left, distance)
        distance += 1
        left = left[left + distance < len(users)]
        left = left[users[left] == users[left + distance]]


def _pairs_at(
    number: int,
    bundle: Sequence[int],
    entries: Mapping[int, _Entries],
    places: IntArray,
    letters: Mapping[str, IntArray],
    is_first: npt.NDArray[np.bool_],
    left: IntArray,
    distance: int,
) -> Iterator[PairSums]:
    """The pairs of each user's rows that stand ``distance`` apart; 0: each row with itself."""
    codes = places[left] * len(bundle) + places[left + distance]
    left = left[np.argsort(codes, kind="stable")]
    codes = np.sort(codes)
    wanted = np.arange(len(bundle)) * (len(bundle) + 1) if distance == 0 else np.unique(codes)
    starts, ends = np.searchsorted(codes, wanted), np.searchsorted(codes, wanted, side="right")
    for code, start, end in zip(wanted, starts, ends, strict=True):
        x = left[start:end]
        y = x + distance
        unit = bundle[code // len(bundle)]
        own = entries[unit] if distance == 0 else None
        yield PairSums(
            bundle=number,
            left=unit,
            right=bundle[code % len(bundle)],
            users=int(is_first[x].sum()) if own else 0,
            users_with_both_classes=int((is_first[x] & (letters["m"][x] > 0)).sum()) if own else 0,
            users_with_request_pairs=int((is_first[x] & (letters["q"][x] > 0)).sum()) if own else 0,
            members=len(x) if own else 0,
            uneven=own.uneven if own else 0,
            products={name: exact_dot(letters[name[0]][x], letters[name[1]][y]) for name in PRODUCTS},
            sums=own.sums if own else dict.fromkeys(SUMS, 0),
        )
