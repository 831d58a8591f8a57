"""How the comparison reads and writes queries: what depends on the dialect in which a pair is run."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass

from sqlglot import exp

from text2sql.sql.canonical import canonical
from text2sql.sql.prepare import parse
from text2sql.sql.trees import parse_sqlite, to_sqlite
from text2sql.sql.values import Value

# A function of SQLite's connection that is called anew for every row.
RANDOM_FUNCTION = "_t2s_random"


@dataclass(frozen=True)
class Syntax:
    """A dialect, for what takes queries apart and puts them together again.

    Attributes:
        parse: The tree of a query, None where it cannot be had.
        write: The text of a tree.
        canonical: The normal form of a tree, as text.
        random_value: An expression whose value is another for every row.
        agreed_value: An expression for a column that is neither grouped by nor aggregated: its value if its group
            agrees on it, a random one if not.
        is_tie: Whether two values are one to ORDER BY.
    """

    parse: Callable[[str], exp.Expr | None]
    write: Callable[[exp.Expr], str]
    canonical: Callable[[exp.Expr], str]
    random_value: Callable[[], exp.Expr]
    agreed_value: Callable[[exp.Expr], exp.Expr]
    is_tie: Callable[[Value, Value], bool] = operator.eq


def _agreed_value(column: exp.Expr) -> exp.Expr:
    name = to_sqlite(column)
    text = f"CASE WHEN MIN({name}) IS MAX({name}) AND COUNT({name}) IN (0, COUNT(*)) "
    return parse_sqlite(f"{text} THEN MIN({name}) ELSE {RANDOM_FUNCTION}() END")


SQLITE = Syntax(parse, to_sqlite, canonical, lambda: exp.Anonymous(this=RANDOM_FUNCTION), _agreed_value)
