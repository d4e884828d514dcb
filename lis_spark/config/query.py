"""One SELECT over the lake's tables, parsed before any work starts: a leak that is written in SQL (method 1.2, 1.8)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

import sqlglot
from sqlglot import exp

Key = Literal["impression", "user", "item"]
KEY_COLUMNS: dict[str, Key] = {"impression_id": "impression", "user_id": "user", "item_id": "item"}
# What a query may ask for: the first day that it must not read, the fold that it must leave out (-1: none), and the day
# from which on it must leave it out, T - w.
AS_OF, EXCLUDED_FOLD, HELD_OUT_FROM = "as_of", "excluded_fold", "held_out_from"
PARAMETERS = (AS_OF, EXCLUDED_FOLD, HELD_OUT_FROM)
# Tables that hold no event of a user, hence no label.
WITHOUT_LABELS = ("items",)
TABLES = (*WITHOUT_LABELS, "impressions", "item_graph", "truth", "truth_items", "user_days")
# Other rows at every call: the same inputs would not give the same bits.
_UNSTABLE = {
    *("rand", "random", "randn", "randstr", "uniform", "uuid", "shuffle", "monotonically_increasing_id"),
    *("current_date", "curdate", "current_timestamp", "now", "current_user", "input_file_name", "spark_partition_id"),
}


@dataclass(frozen=True)
class Query:
    """What a query reads and asks for."""

    text: str
    key: Key
    columns: tuple[str, ...]
    tables: tuple[str, ...]
    parameters: frozenset[str]

    @property
    def reads_labels(self) -> bool:
        """Whether a table that holds events of users is among its tables."""
        return not set(self.tables) <= set(WITHOUT_LABELS)


@cache  # a leak asks its query for its key, its variants and its tables, once for each arm
def parse_query(text: str) -> Query:
    """Parses one SELECT in Spark's dialect.

    Raises:
        ValueError: it is not one SELECT, reads something beside the lake's tables, asks for an unknown parameter, is
            not a function of its inputs, or its columns are not one key and named values.
    """
    try:
        statements = [statement for statement in sqlglot.parse(text, read="spark") if statement is not None]
    except sqlglot.errors.SqlglotError as error:
        raise ValueError(f"not SQL that can be read: {str(error).splitlines()[0]}") from error
    if len(statements) != 1 or not isinstance(statements[0], exp.Query):
        found = "; ".join(type(statement).__name__.upper() for statement in statements) or "nothing"
        raise ValueError(f"one SELECT is wanted, found {found}")
    statement = statements[0]
    parameters = {str(node.this) for node in statement.find_all(exp.Placeholder)}
    if unknown := sorted(parameters - set(PARAMETERS)):
        raise ValueError(f":{unknown[0]} is not known; a query may ask for {', '.join(f':{p}' for p in PARAMETERS)}")
    for function in statement.find_all(exp.Func):
        names = {name.lower() for name in (*function.sql_names(), function.name)}
        if clock := sorted(names & _UNSTABLE):
            raise ValueError(f"{clock[0]}() gives other values at every call; use xxhash64 of a key, or :{AS_OF}")
    key, columns = _columns(statement)
    return Query(text, key, columns, _tables(statement), frozenset(parameters))


def _tables(statement: exp.Query) -> tuple[str, ...]:
    """The tables that are read; names of a WITH are not among them."""
    own = {cte.alias_or_name for cte in statement.find_all(exp.CTE)}
    read = [table for table in statement.find_all(exp.Table) if table.db or table.name not in own]
    for table in read:
        if table.db or table.name not in TABLES:
            raise ValueError(
                f"{table.sql(dialect='spark')} is not one of the lake's tables: {', '.join(TABLES)}. For a table of "
                "your own there is kind: table"
            )
    return tuple(sorted({table.name for table in read}))


def _columns(statement: exp.Query) -> tuple[Key, tuple[str, ...]]:
    """The key and the names of the values."""
    names = statement.named_selects
    if "*" in names or "" in names:
        raise ValueError("name each column of the SELECT: * and expressions without AS have no name")
    keys = [name for name in names if name in KEY_COLUMNS]
    if len(keys) != 1 or len(names) < 2 or len(set(names)) < len(names):
        raise ValueError(
            f"a leak has one of the columns {', '.join(KEY_COLUMNS)}, and at least one other; found {', '.join(names)}"
        )
    return KEY_COLUMNS[keys[0]], tuple(name for name in names if name not in KEY_COLUMNS)
