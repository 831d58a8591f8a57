"""Names in a query written as the engine knows them, where the difference is one of places and not of meaning."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import sqlglot
from sqlglot.tokens import Token, TokenType

from text2sql.engines.dialect import Dialect

# Qualifiers that stand for the place where a schema's tables are.
OWN = frozenset(("public", "main", "memory"))


def without_qualifiers(sql: str, dialect: Dialect, qualifiers: Collection[str]) -> str:
    """The text of a query with its tables named without some schemas, in lower case, in which they lie."""
    if not any(name in sql.lower() for name in qualifiers):
        return sql
    tokens: list[Token] = sqlglot.tokenize(sql, read=dialect)
    parts, at = [], 0
    for place, token in enumerate(tokens[:-2]):
        outer = tokens[place - 1].text if place else ""
        if token.text.lower() in qualifiers and tokens[place + 1].text == "." and outer != ".":
            parts.append(sql[at : token.start])
            at = tokens[place + 1].end + 1
    return "".join(parts) + sql[at:]


def with_tables_spelt(sql: str, names: Mapping[str, str]) -> str:
    """The text of a query of MySQL's with the letter case of its tables' names that the schema has.

    Whether tables have case is a setting of the server, by the file system that it lies on; columns have none anywhere.

    Args:
        sql: The query.
        names: The tables' names as the schema spells them, by lower-case name.
    """
    tokens: list[Token] = sqlglot.tokenize(sql, read="mysql")
    parts, at = [], 0
    for token in tokens:
        known = names.get(token.text.lower())
        if known is None or known == token.text or token.token_type in (TokenType.STRING, TokenType.NUMBER):
            continue
        quoted = token.token_type == TokenType.IDENTIFIER
        parts += [sql[at : token.start], f"`{known}`" if quoted else known]
        at = token.end + 1
    return "".join(parts) + sql[at:]
