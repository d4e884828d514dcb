"""What a run would take, from its plan: lines of encoders, and preference data of a day that has no table."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from lis_spark.analyze import check_preference
from lis_spark.config import parse_config
from lis_spark.errors import InputError
from lis_spark.forecast import forecast_steps, forecast_table
from lis_spark.sources.days import Day

DAYS = {dt.date(2022, 4, 25) + dt.timedelta(days=n): Day(accepted=1000) for n in range(10)}


@pytest.fixture
def data(config_data: dict[str, Any]) -> dict[str, Any]:
    encoders = [
        {"name": "aligned", "steps": 100, "batch_size": 64},
        {"name": "plain", "objective": "none", "dimension": 16},
    ]
    return {**config_data, "preference": {"min_updates": 1, "tail_share": 0.5}, "encoders": encoders}


def test_encoders_are_lines_of_their_own(data: dict[str, Any], config_data: dict[str, Any]) -> None:
    table = forecast_table(forecast_steps(parse_config(data), DAYS, 500))
    columns = [list(column.cells) for column in table.columns]
    lines = {step: [column[place] for column in columns[1:]] for place, step in enumerate(columns[0])}
    assert lines["align (1 encoders, at most)"][:2] == ["6,400", "0"], "100 steps of 64 items; one is not trained"
    assert lines["represent (2 encoders)"][:3] == ["1,000", "1,000", "0.1 MB"], "32 numbers of 4 bytes at most"
    steps = [one.step for one in forecast_steps(parse_config(config_data), DAYS, None)]
    assert not [step for step in steps if "encoders" in step]


def test_a_day_without_a_table_is_told_before_the_run(data: dict[str, Any]) -> None:
    first, last = min(DAYS), max(DAYS)
    data["preference"] = {**data["preference"], "as_of": "2022-04-28"}
    check_preference(parse_config(data), first, last)
    early = {**data, "preference": {**data["preference"], "as_of": "2022-04-25"}}
    with pytest.raises(InputError, match=r"no table of 2022-04-25, which preference\.as_of asks for"):
        check_preference(parse_config(early), first, last)
    leak = {"append": {"leaks": [{"kind": "id_table"}]}}
    late = {**data, **leak, "encoders": [{"name": "one", "leak": "id_table", "leak_days": 20}]}
    with pytest.raises(InputError, match=r"2022-05-18, which encoders.leak_days of one asks for") as error:
        check_preference(parse_config(late), first, last)
    assert "2022-04-26 to 2022-05-05" in str(error.value)
