"""What is left of a query once its names and literals are taken out: queries of one shape have the same syntax.

77,115 queries of sql-create-context have 4,900 shapes. What depends on the syntax alone is found once for each of them.
"""

from __future__ import annotations

import re

from sqlglot.dialects.sqlite import SQLite

_PART = re.compile(
    r"""
    \s+
    | (?P<string> "(?:[^"]|"")*" | '(?:[^']|'')*' )
    | (?P<number> \d+(?:\.\d+)?(?![\w.]) )
    | (?P<word> [A-Za-z_]\w* )
    | (?P<sign> <= | >= | <> | != | == | \|\| | [-+*/%=<>(),.;] )
    """,
    re.VERBOSE | re.ASCII,
)
# Comments and JSON's arrows are more than the signs that they are made of.
_SELDOM = ("--", "/*", "->")
# Words behind which an operand stands. Behind any other word, a name may be a word of the grammar: NULLS LAST.
_BEFORE_OPERANDS = frozenset(
    {"SELECT", "DISTINCT", "FROM", "JOIN", "WHERE", "AND", "OR", "NOT", "ON", "BY", "HAVING", "AS", "BETWEEN", "LIKE"}
    | {"IN", "CASE", "WHEN", "THEN", "ELSE"}
)


def _reserved() -> frozenset[str]:
    """Words that sqlglot's grammar knows where they stand by themselves; functions stand before a parenthesis."""
    known = set(SQLite.Tokenizer.KEYWORDS)
    for name in dir(SQLite.Parser):
        table = getattr(SQLite.Parser, name)
        if name.isupper() and name != "FUNCTIONS" and isinstance(table, (dict, set, frozenset)):
            known.update(key for key in table if isinstance(key, str))
    return frozenset(word for key in known for word in key.upper().split())


_RESERVED = _reserved()


def shape_of(query: str) -> str | None:
    """The shape of a query, itself a query; None where nothing is said of it, as of one with comments.

    A name stays as it is where it may be a word of the grammar: unless an operand has to stand there, and before a
    parenthesis, a literal or another name.
    """
    parts: list[str] = []
    kinds: list[str] = []
    place = 0
    for found in _PART.finditer(query):
        kind = found.lastgroup
        if found.start() != place:
            return None
        place = found.end()
        if kind is None:
            continue
        text = found[0]
        if kind == "word":
            text = text.upper()
            kind = "reserved" if text in _RESERVED else "name"
        parts.append(text)
        kinds.append(kind)
    if place != len(query) or any(sign in query for sign in _SELDOM):
        return None
    generic = []
    before = before_kind = ""
    for text, kind, after, after_kind in zip(parts, kinds, [*parts[1:], ""], [*kinds[1:], ""], strict=False):
        operand = (before_kind == "sign" and before != ")") or before in _BEFORE_OPERANDS
        if kind == "name" and operand and after != "(" and after_kind not in ("name", "string", "number"):
            generic.append("name")
        else:
            generic.append({"string": text[0] * 2, "number": "0"}.get(kind, text))
        before, before_kind = text, kind
    return " ".join(generic)
