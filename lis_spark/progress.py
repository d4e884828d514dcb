"""Progress of long work: bars in a terminal, plain lines for a scheduler, job descriptions in Spark's UI."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from pyspark.sql import SparkSession
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

console = Console(stderr=True, highlight=False)


@contextmanager
def described(spark: SparkSession, description: str) -> Iterator[None]:
    """Names the Spark jobs of a block in Spark's UI; after it they have the name of the block around it again."""
    context = spark.sparkContext
    around = context.getLocalProperty("spark.job.description")
    context.setJobDescription(description)
    try:
        yield
    finally:
        context.setJobDescription(around)  # type: ignore[arg-type]


def say(message: str) -> None:
    """One plain line, with the time when nobody sits at a terminal."""
    stamp = "" if sys.stderr.isatty() else time.strftime("%H:%M:%S ")
    console.print(f"{stamp}{message}", markup=False, soft_wrap=True)


class Bar:
    """A bar of known length; lines at every tenth where there is no terminal."""

    def __init__(self, title: str, total: int) -> None:
        self.title, self.total, self.done, self.last_tenth = title, total, 0, 0
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not sys.stderr.isatty(),
        )

    def __enter__(self) -> Bar:
        self.progress.start()
        self.task = self.progress.add_task(self.title, total=self.total)
        return self

    def __exit__(self, *error: object) -> None:
        self.progress.stop()

    def advance(self, steps: int = 1) -> None:
        """Moves the bar on."""
        self.done += steps
        self.progress.update(self.task, completed=self.done)
        tenth = 10 * self.done // max(self.total, 1)
        if not sys.stderr.isatty() and tenth > self.last_tenth:
            self.last_tenth = tenth
            say(f"{self.title}: {self.done} of {self.total}")
