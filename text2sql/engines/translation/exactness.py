"""Whether the translation of a query asks all that the query does.

Where it does not, SQLite finds nothing to tell two queries apart that the engine would, so that the engine sees more
databases itself.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlglot import exp

from text2sql.engines.dialect import Dialect
from text2sql.engines.translation.to_sqlite import loses_aggregate_order
from text2sql.sql.tokens import fold

# What sqlglot leaves out when it writes for SQLite, or what counts there where the engine has NULL.
_INEXACT_NODES = (exp.IgnoreNulls, exp.CountIf)
_FRACTIONS = frozenset(("decimal", "real"))


def is_exact(tree: exp.Expr, kinds: Mapping[str, str], dialect: Dialect) -> bool:
    """Whether a query's translation asks all that it does.

    Args:
        tree: The query in its own dialect.
        kinds: What columns hold, by lower-case name.
        dialect: That dialect.
    """
    return not loses_aggregate_order(tree) and not any(_is_inexact(node, kinds, dialect) for node in tree.walk())


def _is_inexact(node: exp.Expr, kinds: Mapping[str, str], dialect: Dialect) -> bool:
    if isinstance(node, _INEXACT_NODES):
        return True
    if isinstance(node, exp.StrPosition):
        # SQLite's instr() sees case.
        return dialect == "mysql"
    if isinstance(node, exp.Div):
        # SQLite divides whole values of a column of decimals as integers.
        return dialect == "postgres" and _reads(node, kinds, frozenset(("decimal",)))
    if isinstance(node, exp.Mod):
        return _reads(node, kinds, _FRACTIONS)
    if isinstance(node, exp.Cast):
        # The engines round where SQLite cuts off.
        return node.to.this in exp.DataType.INTEGER_TYPES and _reads(node.this, kinds, _FRACTIONS)
    if isinstance(node, exp.DateDiff):
        # Whole days lie between two dates; between moments there are parts of days.
        return _reads(node, kinds, frozenset(("datetime",)))
    return False


def _reads(node: exp.Expr, kinds: Mapping[str, str], wanted: frozenset[str]) -> bool:
    return any(kinds.get(fold(column.name)) in wanted for column in node.find_all(exp.Column))
