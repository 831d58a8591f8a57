"""Names in a query rewritten as the engine that runs it knows them; the query's meaning stays the same."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import sqlglot
from sqlglot.tokens import Token, TokenType

from text2sql.engines.dialect import Dialect

# The schemas that unqualified names refer to: PostgreSQL's, and DuckDB's for files and in memory.
DEFAULT_SCHEMAS = frozenset(("public", "main", "memory"))


def strip_qualifiers(sql: str, dialect: Dialect, qualifiers: Collection[str]) -> str:
    """The text of a query without the given qualifiers (in lower case) of its names."""
    if not any(name in sql.lower() for name in qualifiers):
        return sql
    tokens: list[Token] = sqlglot.tokenize(sql, read=dialect)
    parts, position = [], 0
    for index, token in enumerate(tokens[:-2]):
        outer = tokens[index - 1].text if index else ""
        if token.text.lower() in qualifiers and tokens[index + 1].text == "." and outer != ".":
            parts.append(sql[position : token.start])
            position = tokens[index + 1].end + 1
    return "".join(parts) + sql[position:]


def restore_table_case(sql: str, names: Mapping[str, str]) -> str:
    """The text of a MySQL query with its table names in the letter case of the schema.

    Whether table names are case-sensitive is a setting of the server (lower_case_table_names); column names never are.

    Args:
        sql: The query.
        names: The tables' names as the schema spells them, by lower-case name.
    """
    tokens: list[Token] = sqlglot.tokenize(sql, read="mysql")
    parts, position = [], 0
    for token in tokens:
        name = names.get(token.text.lower())
        if name is None or name == token.text or token.token_type in (TokenType.STRING, TokenType.NUMBER):
            continue
        quoted = token.token_type == TokenType.IDENTIFIER
        parts += [sql[position : token.start], f"`{name}`" if quoted else name]
        position = token.end + 1
    return "".join(parts) + sql[position:]
