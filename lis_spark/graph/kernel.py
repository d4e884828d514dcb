"""Similar items of the items of one block: Swing and the cosine of ItemCF, compiled (method 3).

Swing: s(i,j) = sum over unordered pairs u < v of users of both i and j of w_u w_v / (alpha + |I_u & I_v|), after Yang
et al., "Large Scale Product Graph Construction for Recommendation in E-commerce", 2020, with the user weights of the
systems that ship it. For each item the pairs are walked once through an inverted index of its users' lists, which
costs the sum over j of the squared number of common users and no |U_i| x |U_i| matrix.

Sums run over users in the order that the caller gives, so the same order gives the same bits, and s(i,j) has those of
s(j,i) where no user of either is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int32]
Offsets = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class UserLists:
    """The users whose lists a block needs, in the order in which sums run.

    ``items[offsets[u]:offsets[u + 1]]`` are the items of user u, each once; ``weights`` [users] are Swing's w_u. Items
    are numbers in the order of their ids: ties of a score are broken by it.
    """

    offsets: Offsets
    items: Ints
    weights: Floats


@dataclass(frozen=True)
class Members:
    """Source items of a block with their users: ``users[offsets[s]:offsets[s + 1]]``, ascending places in the lists."""

    items: Ints
    offsets: Offsets
    users: Ints


@dataclass(frozen=True)
class Neighbours:
    """Of each source item, best first: neighbour (-1 where there are fewer than k), score, and number of common users.

    All of shape [source items, k].
    """

    items: Ints
    scores: Floats
    common_users: Ints


def swing(
    lists: UserLists, members: Members, *, alpha: float, neighbours: int, min_common_users: int = 1
) -> Neighbours:
    """The ``neighbours`` best of each source item by Swing; a score of 0 makes no neighbour.

    Args:
        lists: the users of all source items.
        members: the source items and their users.
        alpha: added to the number of common items of a pair of users.
        neighbours: k.
        min_common_users: |U_i & U_j| below this makes no neighbour.
    """
    local, names = _numbered(lists.items)
    source = _places(names, members.items)
    found = _swing(
        lists.offsets,
        local,
        lists.weights,
        source,
        members.offsets,
        members.users,
        len(names),
        float(alpha),
        neighbours,
        min_common_users,
    )
    return _named(names, *found)


def cosine(
    lists: UserLists,
    members: Members,
    item_users: npt.NDArray[np.int64],
    *,
    neighbours: int,
    min_common_users: int = 1,
) -> Neighbours:
    """The best of each source item by |U_i & U_j| / sqrt(|U_i| |U_j|): ItemCF.

    Args:
        lists: the users of all source items.
        members: the source items and their users.
        item_users: |U_j| of each place of ``lists.items``: the number of users whose lists hold the item.
        neighbours: k.
        min_common_users: fewer common users make no neighbour.
    """
    local, names = _numbered(lists.items)
    degrees = np.zeros(len(names), np.int64)
    degrees[local] = item_users
    source = _places(names, members.items)
    found = _cosine(
        lists.offsets,
        local,
        degrees,
        source,
        members.offsets,
        members.users,
        neighbours,
        min_common_users,
    )
    return _named(names, *found)


def _numbered(items: Ints) -> tuple[Ints, Ints]:
    """Each place's number among the distinct items, and the items in that order, which is that of their own numbers."""
    names, local = np.unique(items, return_inverse=True)
    return local.astype(np.int32), names


def _places(names: Ints, items: Ints) -> Ints:
    return np.searchsorted(names, items).astype(np.int32)


def _named(names: Ints, items: Ints, scores: Floats, common: Ints) -> Neighbours:
    known = np.where(items >= 0, names[np.maximum(items, 0)], -1) if len(names) else items
    return Neighbours(known.astype(np.int32), scores, common)


@numba.njit
def _swing(  # type: ignore[no-untyped-def]
    offsets, items, weights, source, member_offsets, members, item_count, alpha, k, min_common
):
    found = np.full((len(source), k), -1, np.int32)
    scores = np.zeros((len(source), k), np.float64)
    common = np.zeros((len(source), k), np.int32)
    counts = np.zeros(item_count, np.int32)  # users of the source item who have the item
    starts = np.zeros(item_count, np.int64)
    cursors = np.zeros(item_count, np.int64)
    sums = np.zeros(item_count, np.float64)
    for s in range(len(source)):
        users = members[member_offsets[s] : member_offsets[s + 1]]
        touched, total = _count(offsets, items, users, counts)
        start = 0
        for j in touched:
            starts[j] = start
            cursors[j] = start
            sums[j] = 0.0
            start += counts[j]
        inverted = np.empty(total, np.int32)
        for a in range(len(users)):
            for place in range(offsets[users[a]], offsets[users[a] + 1]):
                j = items[place]
                inverted[cursors[j]] = a
                cursors[j] += 1
        for j in touched:
            cursors[j] = starts[j]
        together = np.zeros(len(users), np.int32)  # common items with the user at hand, the source item not counted
        pair_weight = np.empty(len(users), np.float64)
        met = np.empty(len(users), np.int32)
        for a in range(len(users)):
            u = users[a]
            number = 0
            for place in range(offsets[u], offsets[u + 1]):
                j = items[place]
                cursors[j] += 1  # past the user at hand: what follows are later users
                if j == source[s]:
                    continue
                for at in range(cursors[j], starts[j] + counts[j]):
                    b = inverted[at]
                    if together[b] == 0:
                        met[number] = b
                        number += 1
                    together[b] += 1
            for n in range(number):
                b = met[n]
                pair_weight[b] = weights[u] * weights[users[b]] / (alpha + together[b] + 1)
            for place in range(offsets[u], offsets[u + 1]):
                j = items[place]
                if j == source[s]:
                    continue
                for at in range(cursors[j], starts[j] + counts[j]):
                    sums[j] += pair_weight[inverted[at]]
            for n in range(number):
                together[met[n]] = 0
        filled = 0
        for j in touched:
            if j != source[s] and counts[j] >= min_common and sums[j] > 0:
                filled = _insert(found[s], scores[s], common[s], filled, j, sums[j], counts[j])
        for j in touched:
            counts[j] = 0
    return found, scores, common


@numba.njit
def _cosine(offsets, items, degrees, source, member_offsets, members, k, min_common):  # type: ignore[no-untyped-def]
    found = np.full((len(source), k), -1, np.int32)
    scores = np.zeros((len(source), k), np.float64)
    common = np.zeros((len(source), k), np.int32)
    counts = np.zeros(len(degrees), np.int32)
    for s in range(len(source)):
        users = members[member_offsets[s] : member_offsets[s + 1]]
        touched, _ = _count(offsets, items, users, counts)
        filled = 0
        for j in touched:
            if j != source[s] and counts[j] >= min_common:
                score = counts[j] / np.sqrt(np.float64(len(users)) * np.float64(degrees[j]))
                filled = _insert(found[s], scores[s], common[s], filled, j, score, counts[j])
        for j in touched:
            counts[j] = 0
    return found, scores, common


@numba.njit
def _count(offsets, items, users, counts):  # type: ignore[no-untyped-def]
    """Adds the users' lists to ``counts``; returns the items that they hold, and the length of the lists."""
    total = 0
    for u in users:
        total += offsets[u + 1] - offsets[u]
    touched = np.empty(total, np.int32)
    number = 0
    for u in users:
        for place in range(offsets[u], offsets[u + 1]):
            j = items[place]
            if counts[j] == 0:
                touched[number] = j
                number += 1
            counts[j] += 1
    return touched[:number], total


@numba.njit
def _insert(items, scores, common, filled, item, score, users):  # type: ignore[no-untyped-def]
    """Puts an item into the best k: higher scores first, then smaller items; returns how many there are."""
    k = len(items)
    if filled == k and (score < scores[k - 1] or (score == scores[k - 1] and item > items[k - 1])):
        return filled
    place = min(filled, k - 1)
    while place > 0 and (scores[place - 1] < score or (scores[place - 1] == score and items[place - 1] > item)):
        items[place] = items[place - 1]
        scores[place] = scores[place - 1]
        common[place] = common[place - 1]
        place -= 1
    items[place] = item
    scores[place] = score
    common[place] = users
    return min(filled + 1, k)
