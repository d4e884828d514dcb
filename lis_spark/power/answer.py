"""What a plan says in words: could the configured run show what counts, and what would (method 2.5)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from lis_spark.lis.results.decision import FEWEST_OF_A_CLASS, FEWEST_USERS
from lis_spark.power.options import PARTS_OF_THRESHOLD

# A plan as JSON data, see :meth:`lis_spark.power.plan.PowerPlan.plain`, and the parts of it.
Plan = Mapping[str, Any]


def answer(plan: Plan) -> str:
    """Whether the configured run could show what counts, and what would."""
    together = next(one for one in plan["expectations"] if one["date"] is None)
    if together["lis"] is None:
        return f"Too few: no verdict can be made. {mend_floor(together['size'], plan['user_share'])}"
    threshold, expected = plan["threshold"], between(together["lis"])
    first, wanted = plan["options"][0], threshold / PARTS_OF_THRESHOLD
    sentences = [f"The honest LIS is expected to within {expected} (95 %), where {threshold:.4f} counts"]
    if first["reaches"]:
        share = plan["share_for_lis"]
        is_more = share is not None and share < first["user_share"]
        less = f"; {_share(share)} would do" if is_more else ""
        sentences[0] += f": enough for a standard error of {wanted:.5f}{less}."
    else:
        sentences[0] += f": for a standard error of {wanted:.5f} {_ways(plan['options'], 'standard error')}."
    sentences.append(_order(plan, together, first))
    if plan["needs_seeds"]:
        sentences.append(
            "Arms are trained under one seed, so nothing will be judged: give three seeds or more, or "
            "evaluation.sigma_seed."
        )
    return " ".join(sentences)


def _order(plan: Plan, together: Plan, first: Plan) -> str:
    if together["within_user"] is None:
        return "No order within users can be told: too few users have impressions of both classes."
    expected = f"Within users it is expected to within {between(together['within_user'])}"
    if first["resolves"]:
        return f"{expected}: a gain of {plan['threshold']:.4f} would be resolved."
    ways = _ways(plan["options"], "order within users")
    return f"{expected}: to resolve a gain of {plan['threshold']:.4f} {ways}."


def _ways(options: Sequence[Plan], aim: str) -> str:
    first = options[0]
    ways = [one for one in options if one["aim"] == aim and one["users"] is not None]
    if not ways:
        return "no number of users or dates is enough with these seeds"
    parts = []
    for one in ways:
        what = {"share of users": _share(one["user_share"]), "more dates": f"{one['dates']:,} dates"}
        seeds = f" with {one['seeds']} training seeds" if one["seeds"] != first["seeds"] else ""
        parts.append(what.get(one["way"], f"{one['users']:,} users") + seeds)
    dates = f"{first['dates']} date{'s' * (first['dates'] > 1)}"
    return f"it takes {' or '.join(parts)} (configured: {first['users']:,} users on {dates})"


def _share(share: float) -> str:
    return f"a share of {share:.2f} of the users (evaluation.user_share)"


def between(ends: Sequence[float]) -> str:
    """Half an interval as text; two where data sets differ."""
    low, high = (f"{end:.4f}" for end in ends)
    return f"±{low}" if low == high else f"±{low} to ±{high}"


def mend_floor(size: Plan, user_share: float) -> str:
    """What is missing for an interval, and what to do.

    Args:
        size: counts of the evaluated users.
        user_share: of all users, that are evaluated.
    """
    counts = (
        ("users", size["users"], FEWEST_USERS),
        ("positives", size["positives"], FEWEST_OF_A_CLASS),
        ("negatives", size["negatives"], FEWEST_OF_A_CLASS),
    )
    missing = [f"{found:,} of at least {needed} {name}" for name, found, needed in counts if found < needed]
    times = math.ceil(max(needed / max(found, 1) for _, found, needed in counts))
    share = "raise evaluation.user_share, or " if user_share < 1 else ""
    remedy = f"{share}evaluate {times} times as many dates together (evaluation.dates), or days with more users"
    return f"There are {', '.join(missing)}: {remedy}."


def date_lines(plan: Plan) -> list[tuple[str, str, bool]]:
    """Name, line and whether it is too few, of each evaluated date, and of all together where there are several."""
    lines = [one for one in plan["expectations"] if one["fold"] is None]
    chosen = lines if len(lines) > 2 else lines[1:]
    return [
        (
            f"evaluated {one['date']}" if one["date"] else "all evaluated dates",
            date_line(one, plan["threshold"], plan["user_share"]),
            one["lis"] is None,
        )
        for one in chosen
    ]


def date_line(one: Plan, threshold: float, user_share: float) -> str:
    """What one date could show, in one line."""
    size = one["size"]
    counts = f"{size['users']:,} users, {size['positives']:,} positives, {size['negatives']:,} negatives"
    if user_share < 1:
        counts += f" (a share of {user_share:g})"
    if one["lis"] is None:
        return f"too few for a verdict: {counts}. {mend_floor(size, user_share)}"
    within = "too few users" if one["within_user"] is None else between(one["within_user"])
    return f"{counts}: LIS expected to within {between(one['lis'])}, within users {within}; {threshold:.4f} counts"
