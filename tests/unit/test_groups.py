"""What the suite does with the marks of its tests, and that nothing is started here."""

from __future__ import annotations

import pytest

from lis_spark.session import get_session
from tests.groups import LONGEST_FIRST, complaint, group_of, marks_of, place_of
from tests.processes import ROOT

UNIT, OTHER = "tests/unit/test_a.py::test_b", "tests/e2e/test_a.py::test_b"


def test_marks_follow_from_fixtures() -> None:
    assert marks_of(["tmp_path", "config"]) == []
    assert marks_of(["spark", "tmp_path"]) == ["spark"]
    assert marks_of(["copied", "small_run"]) == ["ranks", "spark"]


@pytest.mark.parametrize("mark", ["spark", "ranks", "cluster", "slow"])
def test_a_unit_test_that_starts_something_or_is_slow_is_refused(mark: str) -> None:
    told = complaint(UNIT, [("parametrize", ()), (mark, ("a reason",))])
    assert told is not None and UNIT in told and f"is {mark}" in told and "tests/integration" in told
    assert complaint(OTHER, [(mark, ("a reason",))]) is None


def test_a_slow_test_without_a_reason_is_refused() -> None:
    told = complaint(OTHER, [("spark", ()), ("slow", ())])
    assert told is not None and OTHER in told and "does not say why" in told


def test_a_module_is_a_group_but_for_the_world_of_the_encoders() -> None:
    assert group_of("tests.e2e.test_a", ["spark"]) == "tests.e2e.test_a"
    assert group_of("tests.e2e.test_a", ["spark", "alignment_world"]) == "alignment_world"


def test_groups_that_take_longest_are_there_and_go_first() -> None:
    modules = {".".join(file.relative_to(ROOT).with_suffix("").parts) for file in ROOT.glob("tests/*/test_*.py")}
    assert set(LONGEST_FIRST) <= {*modules, "alignment_world"}
    assert len(set(LONGEST_FIRST)) == len(LONGEST_FIRST)
    assert [place_of(group) for group in LONGEST_FIRST] == list(range(len(LONGEST_FIRST)))
    assert place_of("tests.unit.test_a") == len(LONGEST_FIRST)


def test_a_unit_test_that_asks_for_a_session_fails() -> None:
    with pytest.raises(pytest.fail.Exception, match="belongs to tests/integration"):
        get_session()
