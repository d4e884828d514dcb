"""Which tests are run in one process, in which order, and what their marks have to say."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

# Worlds of more than one module, and what making them starts.
OF_FIXTURES: Mapping[str, tuple[str, ...]] = {
    "spark": ("spark",),
    "small_run": ("spark", "ranks"),
    "alignment_world": ("spark", "ranks"),
}
NOT_IN_UNIT = ("spark", "ranks", "cluster", "slow")
# The groups that take longest, longest first: whoever starts one of them last is waited for. Of those that begin, one
# alone makes the small run; others that need it would wait for it.
LONGEST_FIRST: tuple[str, ...] = (
    "alignment_world",
    *("tests.e2e.test_align", "tests.e2e.test_wheel"),
    *("tests.integration.test_encoder_training", "tests.integration.test_own_scores"),
    *("tests.e2e.test_append", "tests.e2e.test_world", "tests.e2e.test_closed_loop", "tests.e2e.test_changes"),
    *("tests.e2e.test_audit", "tests.e2e.test_curate", "tests.e2e.test_retrained", "tests.e2e.test_forget"),
    *("tests.e2e.test_main_job", "tests.e2e.test_commands", "tests.integration.test_read_out"),
    *("tests.integration.test_sources_bad_input", "tests.integration.test_audit", "tests.integration.test_simulate"),
)


def marks_of(fixtures: Collection[str]) -> list[str]:
    """The marks that follow from the fixtures of a test."""
    return sorted({mark for name in fixtures for mark in OF_FIXTURES.get(name, ())})


def group_of(module: str, fixtures: Collection[str]) -> str:
    """A module, or what builds on the one world of the encoders."""
    return "alignment_world" if "alignment_world" in fixtures else module


def place_of(group: str) -> int:
    """Its place in the order of the suite: those of no place keep the order of their names after the others."""
    return LONGEST_FIRST.index(group) if group in LONGEST_FIRST else len(LONGEST_FIRST)


def complaint(test: str, marks: Iterable[tuple[str, tuple[object, ...]]]) -> str | None:
    """What is wrong with the marks of a test, None where nothing is.

    Args:
        test: its name as pytest has it, beginning with its file.
        marks: the name of each of its marks, and what it was given.
    """
    for mark, said in marks:
        if "tests/unit/" in test and mark in NOT_IN_UNIT:
            return f"{test} is {mark}: unit tests start nothing and are all quick; it belongs to tests/integration"
        if mark == "slow" and not said:
            return f'{test} is slow and does not say why: pytest.mark.slow("the reason")'
    return None
