"""The constraints of a schema that SQLite does not check as the engine would, so that the engine checks them itself.

SQLite checks made rows where both surely mean the same: comparisons of numbers, of days, of texts for equality. All
other CHECKs, exclusion constraints and unique indexes are read here as conditions in the engine's own dialect.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from sqlglot import exp

from text2sql.engines.declared.types import EngineType
from text2sql.engines.dialect import Dialect
from text2sql.engines.guard import guard_expression
from text2sql.engines.trees import parse_query, to_sql
from text2sql.sql.ddl import added_parts, table_statements
from text2sql.sql.sandbox import QueryFailed
from text2sql.sql.schema import TableSchema
from text2sql.sql.table_parts import closing_parenthesis, is_constraint, split_at_commas
from text2sql.sql.tokens import Token, fold, tokenize

# The two rows of a condition on pairs of rows.
FIRST_ROW, SECOND_ROW = "text2sql_a", "text2sql_b"

_NUMBERS = frozenset(("integer", "decimal", "real", "boolean", "year"))
_LOGIC = (exp.And, exp.Or, exp.Paren, exp.Column, exp.Identifier, exp.Literal, exp.Null, exp.Boolean, exp.Is, exp.EQ)
_EQUAL = (*_LOGIC, exp.In)
_ORDERED = (*_EQUAL, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE, exp.Between, exp.Not)
_ARITHMETIC = (*_ORDERED, exp.Neg, exp.Add, exp.Sub, exp.Mul)
# A moment in the form that made rows have: others compare otherwise as texts.
_FORMS = {"date": re.compile(r"\d{4}-\d\d-\d\d\Z"), "datetime": re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\Z")}
_OPERATOR = re.compile(r"[-+*/<>=~!@#%^&|?]+")
_PAIR_CONSTRAINTS = re.compile(r"\bEXCLUDE\b|\bNULLS\s+NOT\s+DISTINCT\b", re.IGNORECASE)
_NOT_DISTINCT, _NULLS_NOT_DISTINCT = "IS NOT DISTINCT FROM", ["UNIQUE", "NULLS", "NOT", "DISTINCT"]


@dataclass
class EngineConstraints:
    """The constraints of one table that its engine checks.

    Attributes:
        row_conditions: Conditions that are false of no row.
        pair_conditions: Conditions that are true of no two rows, which are called `FIRST_ROW` and `SECOND_ROW`.
    """

    row_conditions: list[str] = field(default_factory=list)
    pair_conditions: list[str] = field(default_factory=list)


def conjuncts(condition: str, dialect: Dialect) -> list[str]:
    """The conditions that make up one by AND: what SQLite lacks in one of them leaves it the others."""
    tree = parse_query(f"SELECT {condition}", dialect) if condition else None
    whole = tree.expressions[0].unnest() if isinstance(tree, exp.Select) and len(tree.expressions) == 1 else None
    if not isinstance(whole, exp.And):
        return [condition] if condition else []
    parts = [to_sql(part.unnest(), dialect) for part in whole.flatten()]
    return [small for part in parts for small in conjuncts(part, dialect)]


def _is_same_in_sqlite(condition: str, types: Mapping[str, EngineType], dialect: Dialect) -> bool:
    """Whether a condition on rows surely comes to the same in SQLite.

    Args:
        condition: In the engine's dialect.
        types: Of the columns of its table.
        dialect: The engine's.
    """
    tree = parse_query(f"SELECT {condition}", dialect)
    if not isinstance(tree, exp.Select) or len(tree.expressions) != 1:
        return False
    inner = tree.expressions[0]
    known = [types.get(fold(column.name)) for column in inner.find_all(exp.Column)]
    kinds = {kind.kind if kind is not None and not kind.is_set else "" for kind in known}
    nodes = [node for node in inner.walk() if not _is_not_null(node)]
    literals = list(inner.find_all(exp.Literal))
    if kinds <= _NUMBERS:
        return all(isinstance(node, _ARITHMETIC) for node in nodes) and not any(part.is_string for part in literals)
    if kinds == {"text"}:
        return all(isinstance(node, _EQUAL) for node in nodes) and all(part.is_string for part in literals)
    form = _FORMS.get(next(iter(kinds))) if len(kinds) == 1 else None
    ordered = all(isinstance(node, _ORDERED) for node in nodes)
    return form is not None and ordered and all(form.match(part.name) is not None for part in literals)


def _is_not_null(node: exp.Expr) -> bool:
    """Whether a node is the NOT of ``IS NOT NULL``."""
    return isinstance(node, exp.Not) and isinstance(node.this, exp.Is) and isinstance(node.this.expression, exp.Null)


def engine_conditions(conditions: Iterable[str], types: Mapping[str, EngineType], dialect: Dialect) -> list[str]:
    """Those of some conditions that SQLite may decide otherwise, as far as the guard lets them pass."""
    return [
        text for text in conditions if not _is_same_in_sqlite(text, types, dialect) and _passes_guard(text, dialect)
    ]


def _passes_guard(condition: str, dialect: Dialect) -> bool:
    try:
        guard_expression(condition, dialect)
    except QueryFailed:
        return False
    return True


def read_pair_constraints(ddl: str, table: str, schema: TableSchema, dialect: Dialect) -> EngineConstraints:
    """What no two rows of a table may have in common, and that what they are compared by can be computed of each.

    Args:
        ddl: The schema's text.
        table: The table, in lower case.
        schema: The same, read.
        dialect: The engine's.
    """
    constraints = EngineConstraints(
        pair_conditions=[text for index in schema.indexes for text in _index_condition(index, dialect)]
    )
    # No other dialect has these, and few schemas do.
    for part in _parts(ddl, table) if dialect == "postgres" and _PAIR_CONSTRAINTS.search(ddl) else ():
        constraints.pair_conditions += _constraint_condition(ddl, part, dialect)
        constraints.row_conditions += [
            f"({text}) IS NULL OR ({text}) IS NOT NULL" for text, _ in _exclusion_elements(ddl, part)
        ]
    return constraints


def _parts(ddl: str, table: str) -> Iterator[list[Token]]:
    """The parts of a table's body, and what is added to it later."""
    for statement in table_statements(ddl):
        if fold(statement.name.name) == table:
            yield from statement.parts
    yield from (part for name, part in added_parts(ddl) if name == table)


def _constraint_condition(ddl: str, part: list[Token], dialect: Dialect) -> Iterator[str]:
    """``EXCLUDE USING method (expression WITH operator, ...) WHERE (condition)``, ``UNIQUE NULLS NOT DISTINCT``."""
    words = [token.keyword for token in part]
    excluded = [_comparison(text, dialect, sign) for text, sign in _exclusion_elements(ddl, part)]
    if excluded:
        yield from _conjunction(
            [*excluded, *_where_conditions(ddl, part, closing_parenthesis(part, words.index("(")), dialect)]
        )
    elif _NULLS_NOT_DISTINCT in (words[at : at + 4] for at in range(len(words))):
        at = words.index("UNIQUE") + 4
        names = (
            split_at_commas(part[at + 1 : closing_parenthesis(part, at)]) if words[at : at + 1] == ["("] else [part[:1]]
        )
        yield from _conjunction([_comparison(name[0].text, dialect, _NOT_DISTINCT) for name in names])


def _exclusion_elements(ddl: str, part: list[Token]) -> list[tuple[str, str]]:
    """The expressions of an exclusion constraint, with their operators."""
    words = [token.keyword for token in part]
    if "EXCLUDE" not in words or "(" not in words or not is_constraint(part):
        return []
    at, found = words.index("("), list[tuple[str, str]]()
    for piece in split_at_commas(part[at + 1 : closing_parenthesis(part, at)]):
        place = max((at for at, token in enumerate(piece) if token.keyword == "WITH"), default=0)
        sign = "".join(token.text for token in piece[place + 1 :])
        # What is no sign of an operator would be another condition.
        if place and _OPERATOR.fullmatch(sign):
            found.append((ddl[piece[0].start : piece[place - 1].end], sign))
    return found


def _index_condition(text: str, dialect: Dialect) -> Iterator[str]:
    """``(expression, ...) NULLS NOT DISTINCT WHERE condition``, as it stands behind CREATE UNIQUE INDEX ON table."""
    tokens = tokenize(text)
    closed = closing_parenthesis(tokens, 0)
    behind = [token.keyword for token in tokens[closed + 1 :]]
    pieces = [text[piece[0].start : piece[-1].end] for piece in split_at_commas(tokens[1:closed])]
    sign = _NOT_DISTINCT if behind[:3] == _NULLS_NOT_DISTINCT[1:] else "="
    yield from _conjunction(
        [*(_comparison(piece, dialect, sign) for piece in pieces), *_where_conditions(text, tokens, closed, dialect)]
    )


def _where_conditions(text: str, tokens: list[Token], at: int, dialect: Dialect) -> list[str]:
    """The condition behind WHERE, of both rows."""
    places = [place for place in range(at + 1, len(tokens)) if tokens[place].keyword == "WHERE"]
    if not places or places[0] + 1 >= len(tokens):
        return []
    condition = text[tokens[places[0] + 1].start : tokens[-1].end]
    return [f"({_qualified(condition, row, dialect)})" for row in (FIRST_ROW, SECOND_ROW)]


def _conjunction(conditions: list[str]) -> Iterator[str]:
    """All of some conditions, if every one could be read."""
    if conditions and all(condition.strip("()") for condition in conditions):
        yield " AND ".join(conditions)


def _comparison(expression: str, dialect: Dialect, sign: str) -> str:
    one, other = (_qualified(expression, row, dialect) for row in (FIRST_ROW, SECOND_ROW))
    return f"({one}) {sign} ({other})" if one else ""


def _qualified(expression: str, row: str, dialect: Dialect) -> str:
    """An expression with its columns as those of one of two rows; empty where it cannot be read."""
    # Of an index, the direction says nothing about what is equal.
    text = re.sub(r"\s+(?:ASC|DESC)(?:\s+NULLS\s+(?:FIRST|LAST))?\s*\Z", "", expression, flags=re.IGNORECASE)
    try:
        tree = guard_expression(text, dialect).copy()
    except QueryFailed:
        return ""
    for column in tree.find_all(exp.Column):
        column.set("table", exp.to_identifier(row))
    return to_sql(tree.unalias(), dialect)
