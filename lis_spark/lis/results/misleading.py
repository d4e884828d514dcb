"""The known ways in which LIS misleads, looked for beside the leak that shows them (method 1.8, 2.3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Row = Mapping[str, Any]
# Of a leak in the wrong order against its control in the wrong order.
ALIKE, UNLIKE, NOT_RESOLVED = "as it should be", "unlike its control", "not resolved"
# From this share on a gain is said to be mostly between users.
MOSTLY = 0.75


def warnings(
    row: Row,
    content: Row | None,
    by_horizon: Mapping[int, float],
    rises: bool,
    threshold: float,
    presence: Row | None = None,
    in_wrong_order: Row | None = None,
) -> list[str]:
    """What a reader must know before LIS is taken for what an encoder would gain.

    Args:
        row: of ``lis_results``: the score that decides, at the longest horizon.
        content: that of LIS_content, where it was measured.
        by_horizon: the score that decides at each n.
        rises: whether the score at the longest n is above that at the shortest, with the interval of the difference.
        threshold: absolute AUC that counts.
        presence: of similar items, a graph of T + n with the wrong neighbours against no graph.
        in_wrong_order: of the leak in the wrong order against its control in the wrong order.
    """
    found = of_capacity(in_wrong_order, threshold) if in_wrong_order is not None else []
    gains = is_above_zero(row)
    if content is not None and content["ci_low"] is not None:
        found += _of_content(row, content, gains, threshold)
    if len(by_horizon) > 1 and rises:
        listed = ", ".join(f"n = {n}: {value:+.4f}" for n, value in sorted(by_horizon.items()))
        found.append(f"a longer horizon raises LIS ({listed}) and need not raise what an encoder gains")
    if presence is not None and is_above_zero(presence) and gains:
        found.append(
            f"presence: with the wrong neighbours a graph of T + n still gains {presence['lis']:+.4f} over none; that "
            "an item stands in it says that it was clicked"
        )
    if gains and row["lis"] >= threshold:
        found += between_users(row)
    return found


def wrong_order(value: float, row: Row, bounds: str, threshold: float) -> str:
    """Whether a leak and its control have the same capacity: without what their order knows they must not differ.

    Args:
        value: the change of AUC in the wrong order.
        row: with its 95 % interval, whose columns begin with ``bounds``.
        bounds: see ``row``.
        threshold: absolute AUC that counts.

    Returns:
        :data:`ALIKE` where the interval lies within the threshold of 0, :data:`UNLIKE` where the change is larger and
        its interval keeps off 0, :data:`NOT_RESOLVED` else.
    """
    low, high = row[f"{bounds}_low"], row[f"{bounds}_high"]
    if low is None:
        return NOT_RESOLVED
    if -threshold < low and high < threshold:
        return ALIKE
    return UNLIKE if abs(value) > threshold and (low > 0 or high < 0) else NOT_RESOLVED


def of_capacity(row: Row, threshold: float) -> list[str]:
    """Says so where a leak and its control differ by more than the threshold without what their order knows."""
    if wrong_order(row["lis"], row, "ci", threshold) != UNLIKE:
        return []
    low, high = row["ci_low"], row["ci_high"]
    return [
        f"{UNLIKE}: in the wrong order it changes AUC by {row['lis']:+.4f} ({low:+.4f} to "
        f"{high:+.4f}) over its control in the wrong order, which must be within {threshold:.4f}: the two do not have "
        "the same capacity"
    ]


def between_users(row: Row) -> list[str]:
    """Says how much of a gain is between users, where that is most of it."""
    whole, part = row["lis_several_rows"], row["lis_user_part"]
    if not whole or part is None or whole <= 0 or part / whole < MOSTLY:
        return []
    share = min(part / whole, 1.0)
    item = f", the item part {row['lis_item_part']:+.4f}" if row["lis_item_part"] is not None else ""
    order = ""
    if row["lis_within_user"] is not None and row["lis_within_user_ci_low"] is not None:
        order = (
            f"; within users LIS is {row['lis_within_user']:+.4f} ({row['lis_within_user_ci_low']:+.4f} to "
            f"{row['lis_within_user_ci_high']:+.4f})"
        )
    return [
        f"between users: what a row's user explains without the row itself gives {part:+.4f}, {100 * share:.0f} % of "
        f"the gain{item}{order}"
    ]


def is_above_zero(row: Row) -> bool:
    """Whether the interval of a score is above 0."""
    return row["ci_low"] is not None and row["ci_low"] > 0


def _of_content(row: Row, content: Row, gains: bool, threshold: float) -> list[str]:
    found = []
    if gains and content["ci_low"] > row["lis"]:
        found.append(
            f"noise in its rows: what content predicts of them scores {content['lis']:+.4f}, more than they do; an "
            "encoder averages such noise away, so LIS says too little"
        )
    elif not gains and is_above_zero(content):
        found.append(
            f"more than LIS: what content predicts scores {content['lis']:+.4f} where the leak itself is not told from "
            "0"
        )
    if gains and row["lis"] >= threshold and content["ci_low"] <= 0:
        found.append(
            f"not in the content: of {row['lis']:+.4f} content predicts {content['lis']:+.4f} "
            f"({content['ci_low']:+.4f} to {content['ci_high']:+.4f}); an encoder of content may gain nothing"
        )
    return found
