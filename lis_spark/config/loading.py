"""YAML and ``key=value`` overrides -> a validated configuration; unknown keys refused with the nearest valid name."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from lis_spark.config.experiment import ReadOutConfig
from lis_spark.config.lake import RunOnLake
from lis_spark.config.run import RunConfig
from lis_spark.config.section import Section
from lis_spark.errors import ConfigError

Config = TypeVar("Config", bound=RunOnLake)


def load_config(path: str | Path, overrides: tuple[str, ...] | list[str] = ()) -> RunConfig:
    """Reads a YAML file, applies ``dotted.key=value`` overrides (values are YAML) and validates.

    Raises:
        ConfigError: no such file, not YAML, an unknown key (with the nearest valid one), or a value out of range.
    """
    return parse_config(_data(path, overrides), str(path))


def load_read_out(path: str | Path, overrides: tuple[str, ...] | list[str] = ()) -> ReadOutConfig:
    """The same for the configuration of an experiment's read-out."""
    return _parsed(ReadOutConfig, _data(path, overrides), str(path))


def _data(path: str | Path, overrides: tuple[str, ...] | list[str]) -> dict[str, Any]:
    file = Path(path)
    if not file.is_file():
        raise ConfigError("there is no such configuration file", found=str(path), remedy="see the folder conf/")
    try:
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(
            "the configuration is not valid YAML",
            found=f"{path}: {error}",
            remedy="mend the line that is named",
        ) from error
    if not isinstance(data, dict):
        raise ConfigError(
            "the configuration is not a mapping of keys",
            found=str(path),
            remedy="write it as key: value lines, as those in conf/",
        )
    for override in overrides:
        _apply(data, override)
    return data


def parse_config(data: dict[str, Any], origin: str = "configuration") -> RunConfig:
    """Validates plain data; see :func:`load_config`."""
    return _parsed(RunConfig, data, origin)


def _parsed(kind: type[Config], data: dict[str, Any], origin: str) -> Config:
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise ConfigError(
            f"{origin} is not a valid configuration",
            found="\n    ".join(_explain(problem) for problem in error.errors()),
            remedy="correct the keys named above; the defaults stand in lis_spark/config/",
        ) from error


def _apply(data: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise ConfigError(
            "an override is not of the form key=value",
            found=override,
            expected="a.b.c=value",
            remedy="write it without spaces around =, and quote what the shell would take apart",
        )
    node = data
    *parents, last = key.split(".")
    for parent in parents:
        if node.get(parent) is None:  # a section that was left out may stand there as null
            node[parent] = {}
        node = node[parent]
        if not isinstance(node, dict):
            raise ConfigError(
                "an override goes through a key that holds no mapping",
                found=override,
                remedy="write the whole section in the configuration, or override it as one: section={...}",
            )
    node[last] = yaml.safe_load(value)


def _explain(problem: Any) -> str:
    location = [str(part) for part in problem["loc"]]
    name = ".".join(location)
    if problem["type"] != "extra_forbidden":
        return f"{name}: {problem['msg']} (found {problem.get('input')!r})"
    near = difflib.get_close_matches(location[-1], sorted(_known_keys()), 1)
    return f"{name}: unknown key" + (f"; did you mean {near[0]!r}?" if near else "")


def _known_keys() -> set[str]:
    keys: set[str] = set()
    stack: list[type[Section]] = [Section]
    while stack:
        section = stack.pop()
        stack.extend(section.__subclasses__())
        keys.update(section.model_fields)
    return keys
