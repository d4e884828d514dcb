"""The known ways in which LIS misleads, each named where it is to be seen and nowhere else."""

from __future__ import annotations

import pytest

from lis_spark.lis.results.misleading import Score, warnings


def score(value: float, error: float = 0.0005) -> Score:
    return Score(value, error, value - 1.96 * error, value + 1.96 * error)


@pytest.mark.parametrize(
    ("lis", "content", "gauc", "horizons", "rises", "expected"),
    [
        (score(0.01), score(0.009), score(0.01), {1: 0.009, 7: 0.01}, False, []),
        (score(0.002), score(0.01), score(0.002), {}, False, ["noise in its rows"]),
        (score(0.01), score(0.0001), score(0.01), {}, False, ["not in the content"]),
        (score(0.0001), score(0.004), score(0.0), {}, False, ["more than LIS"]),
        (score(0.01), score(0.009), score(0.01), {1: 0.004, 7: 0.01}, True, ["a longer horizon raises LIS"]),
        (score(0.01), None, score(0.0001), {}, False, ["popularity"]),
        (score(-0.01), score(0.0001), score(-0.01), {}, False, []),
        (score(0.01), None, None, {}, False, []),
    ],
)
def test_each_way_is_named_where_it_shows(
    lis: Score,
    content: Score | None,
    gauc: Score | None,
    horizons: dict[int, float],
    rises: bool,
    expected: list[str],
) -> None:
    by_horizon = {n: score(value) for n, value in horizons.items()}
    found = warnings(lis, content, gauc, by_horizon, rises, 0.001)
    assert [text.split(":")[0].split(" (")[0] for text in found] == expected


def test_a_graph_with_the_wrong_neighbours_gains_by_who_stands_in_it() -> None:
    (told,) = warnings(score(0.004), None, None, {}, False, 0.001, score(0.0037))
    assert told.startswith("presence: with the wrong neighbours a graph of T + n still gains +0.0037 over none")
    assert warnings(score(0.004), None, None, {}, False, 0.001, score(0.0001)) == []
