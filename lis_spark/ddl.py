"""Reads the DDL files of ``schemas/``: one table a file, with column comments and named CHECK constraints.

Delta takes constraints at creation only as table properties, so ``CONSTRAINT name CHECK (...)`` lines are turned into
``delta.constraints.name``; the same lines serve to name the rule that a refused row broke.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lis_spark.errors import ConfigError

_CONSTRAINT = re.compile(r"^\s*CONSTRAINT\s+(\w+)\s+CHECK\s*\((.*)\)\s*,?\s*$", re.IGNORECASE)
_KEY = re.compile(r"^--\s*KEY\s*\(([^)]*)\)", re.IGNORECASE | re.MULTILINE)
_PROPERTY = re.compile(r"^--\s*PROPERTY\s+(\S+)\s*=\s*(\S+)", re.MULTILINE)
_COLUMN = re.compile(
    r"^\s+(\w+)\s+([A-Z]\w*(?:[<(].*?[>)])?)(\s+NOT NULL)?\s+COMMENT\s+('(?:[^'\\]|\\.)*')", re.MULTILINE
)
_PARTITIONS = re.compile(r"PARTITIONED BY\s*\(([^)]*)\)", re.IGNORECASE)


@dataclass(frozen=True)
class TableDefinition:
    """One table of ``schemas/``: its statement, rules (name -> SQL condition), key columns and ``-- PROPERTY`` lines.

    The key names what is written, replaced and fingerprinted as one. It is the table's partition columns, or what a
    ``-- KEY (...)`` line says where folders of their own would hold too little: the rest of the key is then kept apart
    by Delta's file statistics.
    """

    name: str
    statement: str
    rules: dict[str, str]
    key_columns: tuple[str, ...]
    table_properties: dict[str, str]

    def optional_columns(self, columns: Mapping[str, str]) -> dict[str, str]:
        """Column that may be null -> its definition, ``TYPE COMMENT 'text'``: what an older table can be given.

        Args:
            columns: placeholder of the file -> column definitions, see :meth:`create_statement`.
        """
        found = _COLUMN.findall(self._filled(columns))
        return {name: f"{kind} COMMENT {comment}" for name, kind, required, comment in found if not required}

    def _filled(self, columns: Mapping[str, str]) -> str:
        text = self.statement
        for placeholder, definitions in columns.items():
            text = text.replace(f"{{{placeholder}}},", f"{definitions}," if definitions else "")
        return text

    def create_statement(self, identifier: str, columns: Mapping[str, str]) -> str:
        """The CREATE TABLE statement for one place.

        Args:
            identifier: ``delta.`/path``` or ``catalog.schema.table``.
            columns: placeholder of the file -> column definitions that depend on the configuration, for instance
                ``{"label_columns": "label_click TINYINT COMMENT '...'"}``.
        """
        text = self._filled(columns).replace("{table}", identifier)
        properties = {
            "delta.enableDeletionVectors": "false",  # petastorm reads files, not the log
            **{f"delta.constraints.{name}": condition for name, condition in self.rules.items()},
            **self.table_properties,
        }
        if self.name.startswith("leaked_"):
            properties["lis.leaked"] = "true"
        listed = ", ".join(
            f"'{key}' = '{value.replace(chr(39), chr(92) + chr(39))}'" for key, value in properties.items()
        )
        return f"{text}\nTBLPROPERTIES ({listed})"


def resource_folder(name: str) -> Path:
    """Folder ``schemas`` or ``conf``: inside the installed package, or beside it in a checkout."""
    here = Path(__file__).resolve().parent
    for folder in (here / f"_{name}", here.parent / name):
        if folder.is_dir():
            return folder
    raise ConfigError(f"the package was installed without its folder {name}/", remedy="build the wheel with setup.py")


@cache
def table_definition(name: str) -> TableDefinition:
    """The definition of a table.

    Raises:
        ConfigError: there is no such table.
    """
    file = resource_folder("schemas") / f"{name}.sql"
    if not file.is_file():
        known = sorted(path.stem for path in file.parent.glob("*.sql"))
        raise ConfigError(
            "there is no such table",
            table=name,
            expected=", ".join(known),
            remedy="correct the name",
        )
    text = file.read_text(encoding="utf-8")
    rules: dict[str, str] = {}
    kept: list[str] = []
    for line in text.splitlines():
        if line.lstrip().startswith("--"):
            continue
        match = _CONSTRAINT.match(line)
        if match:
            rules[match.group(1)] = match.group(2)
        else:
            kept.append(line)
    statement = re.sub(r",(\s*\)\s*USING)", r"\1", "\n".join(kept), flags=re.IGNORECASE)
    partitions = _KEY.search(text) or _PARTITIONS.search(statement)
    columns = tuple(part.strip() for part in partitions.group(1).split(",")) if partitions else ()
    return TableDefinition(name, statement, rules, columns, dict(_PROPERTY.findall(text)))
