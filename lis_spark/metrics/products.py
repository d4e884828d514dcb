"""Exact sums of products of users' integers in NumPy, for one chunk of whole users (method 2.2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lis_spark.metrics.integers import IntArray, bounded_dot, row_sizes, row_sums

# Log loss, probabilities and per-user AUCs are summed as multiples of 2^-32: integers do not depend on their order.
UNITS = 2**32
# Products that are summed: AUC difference, AUC of the control, GAUC difference, AUC within users and within requests,
# share of a user's own pairs.
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
    "bp",
    "pb",
    "bn",
    "nb",
)
_LETTERS = ("d", "c", "g", "p", "n", "m", "w", "b", "r", "q")
_PLACE = {letter: place for place, letter in enumerate(_LETTERS)}
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
    """Users of a unit, ascending; their letters [letters, users]; the unit's plain sums."""

    users: IntArray
    letters: IntArray
    sums: Mapping[str, int]
    uneven: int


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
    # the same arms of one ranking stand in several comparisons: of a day, and of all days together
    known: dict[Unit, _Entries] = {}
    for number, bundle in enumerate(bundles):
        for unit in bundle:
            if units[unit] not in known:
                known[units[unit]] = _entries(units[unit], slices, users, columns)
        entries = {unit: known[units[unit]] for unit in bundle}
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
        return _Entries(np.zeros(0, np.int64), np.zeros((len(_LETTERS), 0), np.int64), dict.fromkeys(SUMS, 0), uneven)
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
    added = [letters[name] for name in _PLAIN]
    added += [*(columns[name][control] for name in _BY_ARM), *(summed[name] for name in _BY_ARM)]
    sums = dict(zip(SUMS, row_sums(np.stack(added)), strict=True))
    return _Entries(users[control].astype(np.int64), np.stack([letters[name] for name in _LETTERS]), sums, 0)


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
    letters = np.concatenate([entries[unit].letters for unit in bundle], axis=1)
    # rows with pairs first, so that a user's first row says whether it counts for GAUC, and for requests
    order = np.lexsort((places, letters[_PLACE["q"]] == 0, letters[_PLACE["m"]] == 0, users))
    users, places, letters = users[order], places[order], letters[:, order]
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
    letters: IntArray,
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
        counted = x[is_first[x]] if own else x[:0]
        yield PairSums(
            bundle=number,
            left=unit,
            right=bundle[code % len(bundle)],
            users=len(counted),
            users_with_both_classes=int((letters[_PLACE["m"], counted] > 0).sum()),
            users_with_request_pairs=int((letters[_PLACE["q"], counted] > 0).sum()),
            members=len(x) if own else 0,
            uneven=own.uneven if own else 0,
            products=_products(letters[:, x], letters[:, y] if distance else None),
            sums=own.sums if own else dict.fromkeys(SUMS, 0),
        )


def _products(left: IntArray, right: IntArray | None) -> dict[str, int]:
    """The sum of each of :data:`PRODUCTS`.

    Args:
        left: [letters, rows].
        right: the same; None: those on the left, so that dp is pd.
    """
    others = left if right is None else right
    sizes = [row_sizes(side) for side in ((left,) if right is None else (left, others))]
    found: dict[str, int] = {}
    for name in PRODUCTS:
        if right is None and name[::-1] in found:
            found[name] = found[name[::-1]]
            continue
        one, other = _PLACE[name[0]], _PLACE[name[1]]
        found[name] = bounded_dot(left[one], others[other], sizes[0][one] * sizes[-1][other])
    return found
