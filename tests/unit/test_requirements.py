"""What `make demo` installs is all that the package imports: the tests' own environment holds more."""

from __future__ import annotations

import ast
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

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


def test_the_runtime_lock_installs_what_the_package_imports() -> None:
    installed = locked(ROOT / "requirements" / "runtime.lock")
    modules = imported(ROOT / "lis_spark") | imported(ROOT / "jobs")
    assert {"pyspark", "torch", "numpy"} <= modules
    distributions = packages_distributions()
    missing = {
        module
        for module in modules
        if not {canonicalize_name(name) for name in distributions.get(module, ())} & installed
    }
    assert not missing
