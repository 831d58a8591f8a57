"""Guesses which queries SQLite may compile for seconds, into gigabytes.

Its compiler puts a common table expression in anew wherever it is named, with all its columns, and an expression
wherever its alias is. The length of a query says nothing about that: fifteen expressions that each name the one before
twice are 600 characters. No limit of SQLite's ends it (older versions do not call the progress handler while they
compile), so such queries are compiled only in a process that the system limits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from text2sql.sql.tokens import Token, fold, tokenize

_LONG = 10_000
_SUBQUERIES = 16
_COPIES = 5_000.0


# Each query runs on many databases.
@lru_cache(maxsize=64)
def may_explode(sql: str) -> bool:
    """Whether a query is long, has many queries inside it, or names again and again what it defines.

    It errs on the side of caution, and yet means none of the gold queries of Spider, BIRD and sql-create-context.
    """
    if len(sql) > _LONG:
        return True
    if sql.count("(") < 3:
        return False
    tokens = tokenize(sql)
    inner = [index for index in range(len(tokens) - 1) if _opens_query(tokens, index)]
    defined = Counter(name for index in inner if (name := _defined_before(tokens, index)))
    defined.update(
        fold(tokens[index + 1].name)
        for index, token in enumerate(tokens[:-1])
        if token.keyword == "AS" and tokens[index + 1].text != "("
    )
    # A qualifier copies nothing.
    named = Counter(
        fold(token.name)
        for index, token in enumerate(tokens)
        if token.kind in ("word", "dquoted", "quoted") and tokens[min(index + 1, len(tokens) - 1)].text != "."
    )
    copies = 1.0
    for name, count in defined.items():
        copies *= max(1.0, (named[name] - count) / count) ** count
        if copies > _COPIES:
            return True
    return len(inner) > _SUBQUERIES


def _opens_query(tokens: Sequence[Token], index: int) -> bool:
    return tokens[index].text == "(" and tokens[index + 1].keyword in ("SELECT", "WITH", "VALUES")


def _defined_before(tokens: Sequence[Token], index: int) -> str:
    """The name of the common table expression whose query opens there; empty if it is none."""
    at = index - 1
    while at > 0 and tokens[at].keyword in ("AS", "NOT", "MATERIALIZED"):
        at -= 1
    if at == index - 1:
        return ""
    if tokens[at].text == ")":
        while at > 0 and tokens[at].text != "(":
            at -= 1
        at -= 1
    return fold(tokens[at].name) if at >= 0 else ""
