"""Recognises statements that do more than read in text that may be no SQL at all."""

from __future__ import annotations

import re
from collections.abc import Sequence

from text2sql.sql.tokens import Token

# SQLite's keywords (https://sqlite.org/lang_keywords.html) but for those that are ordinary words of a sentence and
# begin no clause, so that a line of prose is not taken for SQL.
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
_DONE = r"[ \t]*(?:;|\r?\n|\Z|--|/\*|`)"
# Statements, with enough of what follows the first words that a sentence is not taken for one.
_WRITE = re.compile(
    rf"""\b(?:
      INSERT\s+(?:OR\s+\w+\s+)?INTO\s+{_NAME}\s*(?:\(|AS\b|VALUES\b|SELECT\b|WITH\b|DEFAULT\b)
    | REPLACE\s+INTO\s+{_NAME}
    | UPDATE\s+(?:OR\s+\w+\s+)?{_NAME}(?:\s+AS\s+\w+)?\s+SET\s+[({{]?\s*{_NAME}\s*[=,]
    | DELETE\s+FROM\s+{_NAME}(?:{_DONE}|\s*(?:WHERE|AS|RETURNING|ORDER|LIMIT|INDEXED)\b)
    | DROP\s+(?:TABLE|VIEW|INDEX|TRIGGER|DATABASE|SCHEMA)\s+(?:IF\s+EXISTS\s+)?{_NAME}
      (?:{_DONE}|\s*(?:,|CASCADE|RESTRICT))
    | ALTER\s+TABLE\s+{_NAME}\s+(?:ADD|DROP|RENAME|ALTER|MODIFY)\b
    | CREATE\s+(?:OR\s+REPLACE\s+)?(?:TEMP\s+|TEMPORARY\s+|UNIQUE\s+|VIRTUAL\s+)?(?:TABLE|VIEW|INDEX|TRIGGER)\s+
      (?:IF\s+NOT\s+EXISTS\s+)?{_NAME}\s*(?:\(|(?:AS|ON|USING|BEFORE|AFTER|INSTEAD|DELETE|UPDATE|INSERT)\b)
    | TRUNCATE\s+(?:TABLE\s+)?{_NAME}{_DONE}
    | ATTACH\s+(?:DATABASE\s+)?{_NAME}\s+AS\b
    | DETACH\s+(?:DATABASE\s+)?{_NAME}{_DONE}
    | PRAGMA\s+{_NAME}(?:\s*[=(]|{_DONE})
    | VACUUM(?:\s+INTO\s+{_NAME})?{_DONE}
    | REINDEX(?:\s+{_NAME})?{_DONE}
    | ANALYZE(?:\s+{_NAME})?{_DONE}
    | BEGIN(?:\s+(?:DEFERRED|IMMEDIATE|EXCLUSIVE))?(?:\s+(?:TRANSACTION|WORK))?{_DONE}
    | (?:COMMIT|ROLLBACK)(?:\s+(?:TRANSACTION|WORK))?(?:\s+TO\s+(?:SAVEPOINT\s+)?{_NAME})?{_DONE}
    | END(?:\s+TRANSACTION{_DONE}|\s*;)
    | SAVEPOINT\s+{_NAME}{_DONE}
    | RELEASE\s+(?:SAVEPOINT\s+)?{_NAME}{_DONE}
    | (?:GRANT|REVOKE)\s+[\w, ]{{1,80}}\s+ON\b
    | MERGE\s+INTO\b
    | EXPLAIN\s+(?:QUERY\s+PLAN\s+)?(?:SELECT|WITH|VALUES|INSERT|UPDATE|DELETE)\b
    | SET\s+{_NAME}\s*=
    | USE\s+{_NAME}\s*;
    | (?:CALL|EXEC|EXECUTE)\s+{_NAME}\s*[(;]
    )""",
    re.IGNORECASE | re.VERBOSE,
)
# The schema as a model repeats it before its query.
_DECLARATION = re.compile(
    r"CREATE\s+(?:UNIQUE\s+)?(?:TABLE|INDEX)\s.*[(]\Z|CREATE\s+VIEW\s.*AS\Z|CREATE\s.*ON\Z", re.I | re.S
)
_ITEM = re.compile(r"(?:\A|\n)[ \t]*\d+[.)]\Z")
_VERBS = {"DELETE": ("FROM",), "INSERT": ("INTO", "OR"), "REPLACE": ("INTO",)}


def opens_statement(text: str, at: int) -> bool:
    """Whether a statement may begin there: at the start of the text or of a line, or after a colon or semicolon.

    Quote marks, opening parentheses, asterisks, a comment's end and the number of a list item may stand in between.
    """
    begun = False
    while at and text[at - 1] in " \t\r\n\f\v>*(":
        begun = begun or text[at - 1] in "\n>"
        at -= 1
    if begun or at == 0 or text[at - 1] in ";:" or text[:at].endswith("*/", max(0, at - 2)):
        return True
    item = _ITEM.search(text, max(0, at - 8), at)
    return item is not None and (item.start() == 0 or text[item.start()] == "\n")


def write_in_text(text: str, *, declarations: bool = False, opening: bool = False) -> str:
    """The beginning of the first statement in a text that does more than read; empty if there is none.

    Args:
        text: Any text at all.
        declarations: Whether plain CREATE TABLE, VIEW and INDEX are passed over, as a schema that is repeated.
        opening: Whether only the start of the text is looked at.
    """
    if opening:
        match = _WRITE.match(text)
        return match.group() if match else ""
    for match in _WRITE.finditer(text):
        if opens_statement(text, match.start()) and not (declarations and _DECLARATION.match(match.group())):
            return " ".join(match.group().split())
    return ""


def write_in_tokens(text: str, tokens: Sequence[Token]) -> str:
    """The same for the tokens of one statement: what is in quotes or comments does not count."""
    for index, token in enumerate(tokens[:-1]):
        before = tokens[index - 1].text if index else "("
        if before not in ("(", ")"):
            continue
        following = [other.keyword for other in tokens[index + 1 : index + 4]]
        if following[0] in _VERBS.get(token.keyword, ()) or (token.keyword == "UPDATE" and "SET" in following):
            return text[token.start : tokens[index + 1].end]
    return ""
