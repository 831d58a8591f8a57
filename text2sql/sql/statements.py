"""Recognises statements that do more than read, in any text."""

from __future__ import annotations

import re
from collections.abc import Sequence

from text2sql.sql.tokens import Token

# SQLite's keywords (https://sqlite.org/lang_keywords.html) except for ordinary English words that start no clause, so
# that a line of prose is not taken for SQL.
KEYWORDS = frozenset(
    [
        "ADD",
        "ALL",
        "ALTER",
        "AND",
        "AS",
        "ASC",
        "ATTACH",
        "BEGIN",
        "BETWEEN",
        "BY",
        "CASE",
        "CAST",
        "COLLATE",
        "COMMIT",
        "CREATE",
        "CROSS",
        "DELETE",
        "DESC",
        "DETACH",
        "DISTINCT",
        "DROP",
        "ELSE",
        "END",
        "ESCAPE",
        "EXCEPT",
        "EXISTS",
        "EXPLAIN",
        "FETCH",
        "FILTER",
        "FROM",
        "FULL",
        "GLOB",
        "GRANT",
        "GROUP",
        "HAVING",
        "IN",
        "INNER",
        "INSERT",
        "INTERSECT",
        "INTO",
        "IS",
        "ISNULL",
        "JOIN",
        "LEFT",
        "LIKE",
        "LIMIT",
        "MATCH",
        "MERGE",
        "NATURAL",
        "NOT",
        "NOTNULL",
        "NULL",
        "OFFSET",
        "ON",
        "OR",
        "ORDER",
        "OUTER",
        "OVER",
        "PARTITION",
        "PRAGMA",
        "QUALIFY",
        "RECURSIVE",
        "REGEXP",
        "REINDEX",
        "RELEASE",
        "REPLACE",
        "RETURNING",
        "REVOKE",
        "RIGHT",
        "ROLLBACK",
        "SAVEPOINT",
        "SELECT",
        "SET",
        "THEN",
        "TRUNCATE",
        "UNION",
        "UPDATE",
        "USING",
        "VACUUM",
        "VALUES",
        "WHEN",
        "WHERE",
        "WINDOW",
        "WITH",
        "ANALYZE",
    ]
)

_NAME = r"""(?:"[^"\n]*"|`[^`\n]*`|\[[^\]\[\n]*\]|'[^'\n]*'|[\w.$]+)"""
_END_OF_STATEMENT = r"[ \t]*(?:;|\r?\n|\Z|--|/\*|`)"
# Statements with as many tokens as it takes to tell them from sentences.
_WRITE = re.compile(
    rf"""\b(?:
      INSERT\s+(?:OR\s+\w+\s+)?INTO\s+{_NAME}\s*(?:\(|AS\b|VALUES\b|SELECT\b|WITH\b|DEFAULT\b)
    | REPLACE\s+INTO\s+{_NAME}
    | UPDATE\s+(?:OR\s+\w+\s+)?{_NAME}(?:\s+AS\s+\w+)?\s+SET\s+[({{]?\s*{_NAME}\s*[=,]
    | DELETE\s+FROM\s+{_NAME}(?:{_END_OF_STATEMENT}|\s*(?:WHERE|AS|RETURNING|ORDER|LIMIT|INDEXED)\b)
    | DROP\s+(?:TABLE|VIEW|INDEX|TRIGGER|DATABASE|SCHEMA)\s+(?:IF\s+EXISTS\s+)?{_NAME}
      (?:{_END_OF_STATEMENT}|\s*(?:,|CASCADE|RESTRICT))
    | ALTER\s+TABLE\s+{_NAME}\s+(?:ADD|DROP|RENAME|ALTER|MODIFY)\b
    | CREATE\s+(?:OR\s+REPLACE\s+)?(?:TEMP\s+|TEMPORARY\s+|UNIQUE\s+|VIRTUAL\s+)?(?:TABLE|VIEW|INDEX|TRIGGER)\s+
      (?:IF\s+NOT\s+EXISTS\s+)?{_NAME}\s*(?:\(|(?:AS|ON|USING|BEFORE|AFTER|INSTEAD|DELETE|UPDATE|INSERT)\b)
    | TRUNCATE\s+(?:TABLE\s+)?{_NAME}{_END_OF_STATEMENT}
    | ATTACH\s+(?:DATABASE\s+)?{_NAME}\s+AS\b
    | DETACH\s+(?:DATABASE\s+)?{_NAME}{_END_OF_STATEMENT}
    | PRAGMA\s+{_NAME}(?:\s*[=(]|{_END_OF_STATEMENT})
    | VACUUM(?:\s+INTO\s+{_NAME})?{_END_OF_STATEMENT}
    | REINDEX(?:\s+{_NAME})?{_END_OF_STATEMENT}
    | ANALYZE(?:\s+{_NAME})?{_END_OF_STATEMENT}
    | BEGIN(?:\s+(?:DEFERRED|IMMEDIATE|EXCLUSIVE))?(?:\s+(?:TRANSACTION|WORK))?{_END_OF_STATEMENT}
    | (?:COMMIT|ROLLBACK)(?:\s+(?:TRANSACTION|WORK))?(?:\s+TO\s+(?:SAVEPOINT\s+)?{_NAME})?{_END_OF_STATEMENT}
    | END(?:\s+TRANSACTION{_END_OF_STATEMENT}|\s*;)
    | SAVEPOINT\s+{_NAME}{_END_OF_STATEMENT}
    | RELEASE\s+(?:SAVEPOINT\s+)?{_NAME}{_END_OF_STATEMENT}
    | (?:GRANT|REVOKE)\s+[\w, ]{{1,80}}\s+ON\b
    | MERGE\s+INTO\b
    | EXPLAIN\s+(?:QUERY\s+PLAN\s+)?(?:SELECT|WITH|VALUES|INSERT|UPDATE|DELETE)\b
    | SET\s+{_NAME}\s*=
    | USE\s+{_NAME}\s*;
    | (?:CALL|EXEC|EXECUTE)\s+{_NAME}\s*[(;]
    )""",
    re.IGNORECASE | re.VERBOSE,
)
# Comments and parentheses may precede the first word of a query.
_QUERY = re.compile(r"(?:[\s(]|--[^\n]*\n|/\*(?:(?!\*/)[\s\S])*\*/)*+(?:SELECT|WITH|VALUES)\b", re.IGNORECASE)
# The schema as a model repeats it before its query.
_DECLARATION = re.compile(
    r"CREATE\s+(?:UNIQUE\s+)?(?:TABLE|INDEX)\s.*[(]\Z|CREATE\s+VIEW\s.*AS\Z|CREATE\s.*ON\Z", re.I | re.S
)
_ITEM = re.compile(r"(?:\A|\n)[ \t]*\d+[.)]\Z")
_VERBS = {"DELETE": ("FROM",), "INSERT": ("INTO", "OR"), "REPLACE": ("INTO",)}


def is_query(sql: str) -> bool:
    """Whether a text starts with a query."""
    return _QUERY.match(sql) is not None


def opens_statement(text: str, position: int) -> bool:
    """Whether a statement may start at a position: at the start of the text or a line, or after a colon or semicolon.

    Quote marks, opening parentheses, asterisks, a comment's end and the number of a list item may stand in between.
    """
    starts_line = False
    while position and text[position - 1] in " \t\r\n\f\v>*(":
        starts_line = starts_line or text[position - 1] in "\n>"
        position -= 1
    if (
        starts_line
        or position == 0
        or text[position - 1] in ";:"
        or text[:position].endswith("*/", max(0, position - 2))
    ):
        return True
    item = _ITEM.search(text, max(0, position - 8), position)
    return item is not None and (item.start() == 0 or text[item.start()] == "\n")


def find_write(text: str, *, declarations: bool = False, opening: bool = False) -> str:
    """The start of the first statement in a text that does more than read; empty if there is none.

    Args:
        text: Any text at all.
        declarations: Whether to skip plain CREATE TABLE, VIEW and INDEX, as in a repeated schema.
        opening: Whether to check the start of the text only.
    """
    if opening:
        match = _WRITE.match(text)
        return match.group() if match else ""
    for match in _WRITE.finditer(text):
        if opens_statement(text, match.start()) and not (declarations and _DECLARATION.match(match.group())):
            return " ".join(match.group().split())
    return ""


def find_write_in_tokens(text: str, tokens: Sequence[Token]) -> str:
    """Like `find_write` for the tokens of one statement: quoted text and comments do not count."""
    for index, token in enumerate(tokens[:-1]):
        previous = tokens[index - 1].text if index else "("
        if previous not in ("(", ")"):
            continue
        following = [other.keyword for other in tokens[index + 1 : index + 4]]
        if following[0] in _VERBS.get(token.keyword, ()) or (token.keyword == "UPDATE" and "SET" in following):
            return text[token.start : tokens[index + 1].end]
    return ""
