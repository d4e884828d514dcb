"""Answers are asked once; a process that goes on for weeks forgets the oldest and asks them anew."""

from __future__ import annotations

import pytest

from lis_spark import table_facts
from lis_spark.table_facts import FILES, FINGERPRINTS, TableVersion
from lis_spark.table_log import AddedFile, Commit

TABLE = "delta.`/lake/scores`"


def version(number: int, *, newest: int | None = None) -> TableVersion:
    return TableVersion(TABLE, number, (number if newest is None else newest, "noon"))


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_facts, "_ANSWERS", {})


def test_a_question_is_asked_once_of_a_version_and_the_oldest_answers_are_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(table_facts, "MOST_ANSWERS", 2)
    asked: list[int] = []

    def ask(number: int) -> int:
        return table_facts.answer(version(number), FILES, lambda: asked.append(number) or 10 * number)  # type: ignore[func-returns-value]

    assert [ask(1), ask(1), ask(2), ask(1)] == [10, 10, 20, 10]
    assert asked == [1, 2]
    assert [ask(3), ask(2), ask(1)] == [30, 20, 10]
    assert asked == [1, 2, 3, 1]


def test_a_table_made_anew_in_the_same_place_is_another() -> None:
    table_facts.remember(version(0, newest=4), FILES, ["old"])
    assert table_facts.answer(version(0), FILES, lambda: ["new"]) == ["new"]


def test_a_commit_teaches_what_the_next_version_holds() -> None:
    before, after = version(4), version(5)
    assert not table_facts.anything_known(before)
    table_facts.remember(before, FILES, ["/lake/scores/a", "/lake/scores/b"])
    table_facts.remember(before, FINGERPRINTS, {("1",): "old", ("2",): "old", ("3",): "old"})
    assert table_facts.anything_known(before)
    added = {"c": AddedFile({"day": "1"}, 7), "d": AddedFile({"day": "2"}, 0)}
    table_facts.learn(
        before,
        after,
        Commit(added, frozenset({"a"})),
        folder="/lake/scores",
        keys=["day"],
        fingerprints={("1",): "new", ("2",): "new"},
    )

    def refuse() -> list[str]:
        raise AssertionError("this is known")

    assert table_facts.answer(after, FILES, refuse) == ["/lake/scores/b", "/lake/scores/c", "/lake/scores/d"]
    fingerprints = table_facts.answer(after, FINGERPRINTS, lambda: {})
    assert fingerprints == {("1",): "new", ("3",): "old"}, "no row was written for day 2"
