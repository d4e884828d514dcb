"""The errors of the package: each names the table, the partition, what is wrong, and what to do about it."""

from __future__ import annotations

from typing import Any


class LisError(Exception):
    """Base of every error that is meant for the person who runs a step.

    Args:
        what_is_wrong: one sentence, in the field's terms.
        table: the table that the error is about.
        partition: the partition of it, for instance ``{"date": "2022-04-30"}``.
        found: what was there (counts, names, a bounded sample of rows).
        expected: what should have been there.
        remedy: what the reader can do now.
    """

    exit_code = 3

    def __init__(
        self,
        what_is_wrong: str,
        *,
        table: str | None = None,
        partition: Any = None,
        found: Any = None,
        expected: Any = None,
        remedy: str | None = None,
    ) -> None:
        self.what_is_wrong = what_is_wrong
        self.table = table
        self.partition = partition
        self.found = found
        self.expected = expected
        self.remedy = remedy
        parts = [what_is_wrong]
        for name, value in (
            ("table", table),
            ("partition", partition),
            ("found", found),
            ("expected", expected),
            ("what to do", remedy),
        ):
            if value is not None:
                parts.append(f"  {name}: {value}")
        super().__init__("\n".join(parts))


class InputError(LisError):
    """The input data cannot be used as it is."""

    exit_code = 2


class ConfigError(LisError):
    """The configuration cannot be used as it is."""

    exit_code = 2


class StaleError(LisError):
    """Something that the step relies on has been changed or removed since it was written."""

    exit_code = 2


class StepFailed(LisError):
    """The step itself broke; what it had finished stays, and running it again goes on from there."""

    exit_code = 3
