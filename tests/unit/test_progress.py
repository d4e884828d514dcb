"""Bars: a line at every tenth for a scheduler, a bar that reaches its end in a terminal."""

from __future__ import annotations

import io
import re
import sys

import pytest
from rich.console import Console

from lis_spark import progress
from lis_spark.progress import Bar


@pytest.mark.parametrize(("total", "told"), [(30, list(range(3, 31, 3))), (3, [1, 2, 3]), (1, [1])])
def test_without_a_terminal_every_tenth_is_a_line(
    total: int, told: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    with Bar("training", total) as bar:
        for _ in range(total):
            bar.advance()
    lines = capsys.readouterr().err.splitlines()
    assert [re.sub(r"^\d\d:\d\d:\d\d ", "", line) for line in lines] == [f"training: {n} of {total}" for n in told]


def test_in_a_terminal_a_bar_reaches_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=screen, force_terminal=True, width=100))
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(screen, "isatty", lambda: True)
    with Bar("training", 12) as bar:
        bar.advance(5)
        bar.advance(7)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    assert "training" in shown and "12/12" in shown and "of 12" not in shown
