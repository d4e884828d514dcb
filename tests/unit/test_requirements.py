"""What `make demo` and the wheel install is all that the package imports: the tests' own environment holds more."""

from __future__ import annotations

import ast
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
OWN = {"lis_spark", "tests"}


def imported(folder: Path) -> set[str]:
    """Top-level modules that are imported anywhere below a folder, in functions too."""
    found = set()
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.split(".")[0])
    return found - set(sys.stdlib_module_names) - OWN


def locked(file: Path) -> set[str]:
    """Distributions that a lock file installs on this machine."""
    lines = (line.rstrip(" \\") for line in file.read_text(encoding="utf-8").splitlines() if line[:1].isalnum())
    requirements = map(Requirement, lines)
    return {canonicalize_name(one.name) for one in requirements if one.marker is None or one.marker.evaluate()}


def of_wheel(file: Path) -> set[str]:
    """Distributions that the wheel brings: the literal list of a setup.py, and what these ask for themselves."""
    nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    (listed,) = [node for node in nodes if isinstance(node, ast.keyword) and node.arg == "install_requires"]
    brought: set[str] = set()
    asked = [Requirement(line) for line in ast.literal_eval(listed.value)]
    while asked:
        one = asked.pop()
        name = canonicalize_name(one.name)
        if name not in brought and (one.marker is None or one.marker.evaluate({"extra": ""})):
            brought.add(name)
            with suppress(PackageNotFoundError):  # the locks leave out what an optional part of a library asks for
                asked += [Requirement(line) for line in requires(name) or ()]
    return brought


@pytest.mark.parametrize(
    "installed",
    [locked(ROOT / "requirements" / "runtime.lock"), of_wheel(ROOT / "setup.py")],
    ids=["runtime lock", "wheel"],
)
def test_what_the_package_imports_is_installed(installed: set[str]) -> None:
    modules = imported(ROOT / "lis_spark") | imported(ROOT / "jobs")
    assert {"pyspark", "torch", "numpy"} <= modules
    distributions = packages_distributions()
    missing = {
        module
        for module in modules
        if not {canonicalize_name(name) for name in distributions.get(module, ())} & installed
    }
    assert not missing
