"""Every error that a person may see says what to do about it."""

from __future__ import annotations

import ast
from pathlib import Path

import lis_spark
from lis_spark import errors

PACKAGE = Path(lis_spark.__file__).parent
NAMES = {name for name, one in vars(errors).items() if isinstance(one, type) and issubclass(one, errors.LisError)}


def test_every_error_has_a_remedy() -> None:
    found, without = 0, []
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in NAMES:
                found += 1
                keywords = {keyword.arg for keyword in node.keywords}
                if not keywords & {"remedy", None}:  # ** carries one on
                    without.append(f"{file.relative_to(PACKAGE)}:{node.lineno}")
    assert found > 100 and not without
