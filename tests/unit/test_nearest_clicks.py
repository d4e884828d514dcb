"""Next and previous clicks against loops over the definition of method 1.4."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lis_spark.leaks.nearest_clicks import Exclusions, UserEvents, nearest_clicks

Event = tuple[int, int, int, int, bool]  # user, minute, request, item, clicked
MINUTES_A_DAY = 100

events_of_users = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 399), st.integers(0, 40), st.integers(0, 5), st.booleans()),
    max_size=40,
)


def arrays(rows: list[Event]) -> UserEvents:
    columns = [np.array([row[place] for row in rows], np.int64) for place in range(5)]
    return UserEvents(
        user=columns[0],
        time=columns[1] * 60_000,
        day=columns[1] // MINUTES_A_DAY,
        request=columns[2],
        item=columns[3],
        clicked=columns[4].astype(bool),
    )


def by_definition(rows: list[Event], number: int, count: int, days: int, gap: int, after: bool) -> list[int]:
    user, minute, request, item, _ = rows[number]
    found = []
    for place, (other, time, asked, what, clicked) in enumerate(rows):
        distance = (time - minute) if after else (minute - time)
        far = (time // MINUTES_A_DAY - minute // MINUTES_A_DAY) * (1 if after else -1)
        if (
            clicked
            and other == user
            and (distance >= gap if gap else distance > 0)
            and far <= days - 1
            and asked != request
            and what != item
            and place != number
        ):
            found.append((distance, place if after else -place, what))
    items = [what for _, _, what in sorted(found)][:count]
    return items + [-1] * (count - len(items))


@given(events_of_users, st.integers(1, 4), st.integers(1, 3), st.sampled_from([0, 1, 30]), st.booleans())
@settings(max_examples=300)
def test_clicks_are_those_of_the_definition(rows: list[Event], count: int, days: int, gap: int, after: bool) -> None:
    rows = sorted(rows, key=lambda row: row[:2])
    exclusions = Exclusions(gap_milliseconds=gap * 60_000)
    found = nearest_clicks(arrays(rows), np.arange(len(rows)), count, days, exclusions, after=after)
    expected = [by_definition(rows, number, count, days, gap, after) for number in range(len(rows))]
    assert found.tolist() == expected


def test_each_exclusion_keeps_what_it_is_there_for_out() -> None:
    #        user, minute, request, item, clicked
    rows: list[Event] = [(0, 0, 1, 7, True), (0, 40, 1, 8, True), (0, 50, 2, 7, True), (0, 60, 3, 9, True)]
    events, asked = arrays(rows), np.array([0])

    def first(exclusions: Exclusions) -> int:
        return int(nearest_clicks(events, asked, 1, 1, exclusions, after=True)[0, 0])

    assert first(Exclusions()) == 9
    assert first(Exclusions(same_item=False)) == 7
    assert first(Exclusions(same_request=False)) == 8
    assert first(Exclusions(own_click=False, same_request=False, same_item=False)) == 7
    assert first(Exclusions(gap_milliseconds=61 * 60_000)) == -1


def test_a_user_who_clicks_one_item_a_thousand_times_costs_no_answer() -> None:
    rows: list[Event] = [(0, minute, minute, 1, True) for minute in range(1000)] + [(0, 1000, 1000, 2, True)]
    events = UserEvents(**{**vars(arrays(rows)), "day": np.zeros(len(rows), np.int64)})
    found = nearest_clicks(events, np.arange(len(rows)), 2, 1, Exclusions(), after=True)
    assert (found[:970, 0] == 2).all() and (found[:970, 1] == -1).all() and (found[-1] == -1).all()
