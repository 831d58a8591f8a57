"""Guesses which queries SQLite may compile for seconds, into gigabytes.

The compiler substitutes a common table expression wherever it is named, with all its columns, and an expression
wherever its alias is named. A short query can grow exponentially: fifteen expressions that each name the previous one
twice take 600 characters. No limit of SQLite stops that (older versions do not call the progress handler while they
compile), so such queries are compiled only in a process with limits of the operating system.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from text2sql.sql.tokens import Token, fold, tokenize

# Characters of a query above which it is not analysed.
_MAX_CHARACTERS = 10_000
_MAX_SUBQUERIES = 16
# Estimated copies of expressions after substitution.
_MAX_COPIES = 5_000.0


# Cached because each query runs on many databases.
@lru_cache(maxsize=64)
def may_explode(sql: str) -> bool:
    """Whether a query is long, has many subqueries, or refers to its own definitions many times.

    The estimate is cautious, yet holds for none of the gold queries of Spider, BIRD and sql-create-context.
    """
    if len(sql) > _MAX_CHARACTERS:
        return True
    if sql.count("(") < 3:
        return False
    tokens = tokenize(sql)
    subquery_indexes = [index for index in range(len(tokens) - 1) if _opens_query(tokens, index)]
    definitions = Counter(name for index in subquery_indexes if (name := _cte_name(tokens, index)))
    definitions.update(
        fold(tokens[index + 1].name)
        for index, token in enumerate(tokens[:-1])
        if token.keyword == "AS" and tokens[index + 1].text != "("
    )
    # Qualifiers are not counted: they copy nothing.
    occurrences = Counter(
        fold(token.name)
        for index, token in enumerate(tokens)
        if token.kind in ("word", "dquoted", "quoted") and tokens[min(index + 1, len(tokens) - 1)].text != "."
    )
    copies = 1.0
    for name, count in definitions.items():
        copies *= max(1.0, (occurrences[name] - count) / count) ** count
        if copies > _MAX_COPIES:
            return True
    return len(subquery_indexes) > _MAX_SUBQUERIES


def _opens_query(tokens: Sequence[Token], index: int) -> bool:
    return tokens[index].text == "(" and tokens[index + 1].keyword in ("SELECT", "WITH", "VALUES")


def _cte_name(tokens: Sequence[Token], index: int) -> str:
    """The name of the common table expression whose query opens at `index`; empty if it is none."""
    previous = index - 1
    while previous > 0 and tokens[previous].keyword in ("AS", "NOT", "MATERIALIZED"):
        previous -= 1
    if previous == index - 1:
        return ""
    if tokens[previous].text == ")":
        while previous > 0 and tokens[previous].text != "(":
            previous -= 1
        previous -= 1
    return fold(tokens[previous].name) if previous >= 0 else ""
