"""What the README tells its reader to type."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
# (language, text) of every block of code; commands stand in those without a language.
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    re.sub(r"\s+#.*", "", line).strip()
    for kind, block in BLOCKS
    if kind == ""
    for line in block.replace("\\\n", " ").splitlines()
    if line.strip()
]


def of_readme(start: str) -> list[str]:
    """The words of the one line that starts so, without the command's name."""
    (line,) = [line for line in COMMANDS if line.startswith(f"{start} ")]
    return shlex.split(line)[1:]
