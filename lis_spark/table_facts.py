"""What is known of versions of tables, which never change: asked once in a process, or learned from our own commit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from lis_spark.partitions import PartitionKey
from lis_spark.table_log import Commit

COLUMNS = "columns"
FILES = "files"
FINGERPRINTS = "fingerprints"
MOST_ANSWERS = 2000  # of a process that goes on for weeks; the oldest are asked anew
T = TypeVar("T")


@dataclass(frozen=True)
class TableVersion:
    """A version of a table.

    Args:
        table: its identifier.
        number: of the version.
        newest: number and time of the table's newest version, for two tables may lie in one place after each other.
    """

    table: str
    number: int
    newest: tuple[int, object]


_ANSWERS: dict[tuple[TableVersion, str], object] = {}


def answer(version: TableVersion, question: str, compute: Callable[[], T]) -> T:
    """What ``compute`` says, which is called where the question has no answer yet."""
    if (version, question) not in _ANSWERS:
        remember(version, question, compute())
    return _ANSWERS[version, question]  # type: ignore[return-value]


def remember(version: TableVersion, question: str, found: object) -> None:
    """An answer that needs no asking."""
    _ANSWERS[version, question] = found
    while len(_ANSWERS) > MOST_ANSWERS:
        _ANSWERS.pop(next(iter(_ANSWERS)), None)  # threads write tables beside each other


def anything_known(version: TableVersion) -> bool:
    """Whether a commit upon the version would teach something."""
    return any((version, question) in _ANSWERS for question in (FILES, FINGERPRINTS))


def learn(
    before: TableVersion,
    after: TableVersion,
    commit: Commit,
    *,
    folder: str,
    keys: Sequence[str],
    fingerprints: Mapping[PartitionKey, str],
) -> None:
    """What the table holds after a commit that replaced partitions, from what was known before it.

    Args:
        before: the version that it was made upon.
        after: the version that it made.
        commit: what its log says.
        folder: of the table.
        keys: columns of the table's partition key.
        fingerprints: of the partitions that were replaced, those too that no row was written for.
    """
    files, known = (_ANSWERS.get((before, question)) for question in (FILES, FINGERPRINTS))
    if isinstance(files, list) and (now := commit.files_after(files, folder)) is not None:
        remember(after, FILES, now)
    written = commit.partitions_with_rows(keys)
    if isinstance(known, dict) and written is not None:
        kept = {key: value for key, value in known.items() if key not in fingerprints}
        remember(after, FINGERPRINTS, kept | {key: fingerprints[key] for key in written})
