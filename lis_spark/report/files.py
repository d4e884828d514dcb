"""Files that a person or a dashboard reads while the next run may be writing them."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, text: str) -> Path:
    """Writes a text file under a temporary name and renames it, so that a reader never sees half of it.

    Args:
        path: the file; its folder is made.
        text: UTF-8.

    Returns:
        ``path``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
    return path
