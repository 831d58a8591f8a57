"""How the comparison reads and writes queries: what depends on the dialect in which a pair is run."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass

from sqlglot import exp

from text2sql.sql.prepare import parse
from text2sql.sql.trees import parse_sqlite, to_sqlite
from text2sql.sql.values import Value

# A function of SQLite's connection that is called anew for every row.
SHAKE = "_t2s_shake"


@dataclass(frozen=True)
class Syntax:
    """A dialect, for what takes queries apart and puts them together again.

    Attributes:
        parse: The tree of a query, None where it cannot be had.
        write: The text of a tree.
        chance: A value that is another for every row.
        settled: What a column that is neither grouped by nor aggregated becomes: its value if its group agrees on it,
            chance if not.
        tied: Whether two values are one to ORDER BY.
    """

    parse: Callable[[str], exp.Expr | None]
    write: Callable[[exp.Expr], str]
    chance: Callable[[], exp.Expr]
    settled: Callable[[exp.Expr], exp.Expr]
    tied: Callable[[Value, Value], bool] = operator.eq


def _settled(column: exp.Expr) -> exp.Expr:
    name = to_sqlite(column)
    text = f"CASE WHEN MIN({name}) IS MAX({name}) AND COUNT({name}) IN (0, COUNT(*)) "
    return parse_sqlite(f"{text} THEN MIN({name}) ELSE {SHAKE}() END")


SQLITE = Syntax(parse, to_sqlite, lambda: exp.Anonymous(this=SHAKE), _settled)
