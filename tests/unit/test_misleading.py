"""The known ways in which LIS misleads, each named where it is to be seen and nowhere else."""

from __future__ import annotations

from typing import Any

import pytest

from lis_spark.lis.results.misleading import warnings

THRESHOLD = 0.001


def a_row(value: float, error: float = 0.0005, **changes: Any) -> dict[str, Any]:
    """A score whose gain lies in the items, unless a change says otherwise."""
    row: dict[str, Any] = {"lis": value, "ci_low": value - 1.96 * error, "ci_high": value + 1.96 * error}
    row |= {"lis_several_rows": value, "lis_user_part": 0.1 * value, "lis_item_part": 0.9 * value}
    row |= {"lis_within_user": value, "lis_within_user_ci_low": value / 2, "lis_within_user_ci_high": value * 2}
    return row | changes


@pytest.mark.parametrize(
    ("lis", "content", "horizons", "rises", "expected"),
    [
        (a_row(0.01), a_row(0.009), {1: 0.009, 7: 0.01}, False, []),
        (a_row(0.002), a_row(0.01), {}, False, ["noise in its rows"]),
        (a_row(0.01), a_row(0.0001), {}, False, ["not in the content"]),
        (a_row(0.0001), a_row(0.004), {}, False, ["more than LIS"]),
        (a_row(0.01), a_row(0.009), {1: 0.004, 7: 0.01}, True, ["a longer horizon raises LIS"]),
        (a_row(0.01, lis_user_part=0.0095), None, {}, False, ["between users"]),
        (a_row(0.0005, 0.0001, lis_user_part=0.0005), None, {}, False, []),  # below what counts
        (a_row(-0.01), a_row(0.0001), {}, False, []),
        (a_row(0.01, ci_low=None, ci_high=None), a_row(0.01, ci_low=None, ci_high=None), {}, False, []),
        (a_row(0.01), None, {}, False, []),
    ],
)
def test_warnings_each_way_is_named_where_it_shows(
    lis: dict[str, Any], content: dict[str, Any] | None, horizons: dict[int, float], rises: bool, expected: list[str]
) -> None:
    found = warnings(lis, content, horizons, rises, THRESHOLD)
    assert [text.split(":")[0].split(" (")[0] for text in found] == expected


def test_warnings_a_gain_between_users_names_its_share_and_its_order() -> None:
    row = a_row(0.01, lis_user_part=0.0091, lis_item_part=0.0008, lis_within_user=0.0001)
    (told,) = warnings(row, None, {}, False, THRESHOLD)
    assert "gives +0.0091, 91 % of the gain, the item part +0.0008; within users LIS is +0.0001" in told


def test_warnings_a_graph_with_the_wrong_neighbours_gains_by_who_stands_in_it() -> None:
    (told,) = warnings(a_row(0.004), None, {}, False, THRESHOLD, a_row(0.0037))
    assert told.startswith("presence: with the wrong neighbours a graph of T + n still gains +0.0037 over none")
    assert warnings(a_row(0.004), None, {}, False, THRESHOLD, a_row(0.0001)) == []


@pytest.mark.parametrize(("in_wrong_order", "is_told"), [(0.004, True), (-0.004, True), (0.0009, False)])
def test_warnings_a_leak_in_the_wrong_order_must_be_as_its_control(in_wrong_order: float, is_told: bool) -> None:
    found = warnings(a_row(0.0), None, {}, False, THRESHOLD, in_wrong_order=a_row(in_wrong_order))
    assert [
        way.startswith(f"unlike its control: in the wrong order it changes AUC by {in_wrong_order:+.4f}")
        for way in found
    ] == ([True] if is_told else [])
