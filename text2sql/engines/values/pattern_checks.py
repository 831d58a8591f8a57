"""CHECKs with regular expressions for SQLite, which has none: they call a function that Python's `re` implements.

Only expressions that Python reads as the engines do are replaced. SQLite ignores a CHECK with any other expression.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from sqlglot import exp

from text2sql.engines.dialect import Dialect
from text2sql.engines.values.regular_expressions import (
    POSIX,
    boundary_texts,
    has_ambiguous_repetition,
    matching_texts,
    similar_to_regex,
)
from text2sql.sql.values import Value

# The function's name.
FUNCTION = "text2sql_matches"
# Its arguments: the text, the pattern, and flags, which are a text of `WHOLE` and `ANY_CASE`.
ARGUMENT_COUNT = 3
# The flag for a pattern that must match the whole text.
WHOLE = "w"
# The flag for a pattern that ignores letter case.
ANY_CASE = "i"

_MATCH_NODES = (exp.RegexpLike, exp.RegexpILike, exp.RegexpFullMatch, exp.SimilarTo)
# Characters of a text that is matched.
_MAX_CHARACTERS = 200
# Characters of a text for a pattern whose matching may take exponential time (catastrophic backtracking).
_MAX_BACKTRACKED_CHARACTERS = 20


def replace_regular_expressions(tree: exp.Expr, dialect: Dialect) -> exp.Expr:
    """Replaces matches of literal regular expressions in a query by calls of the function."""
    tree = tree.copy()
    for node in list(tree.find_all(*_MATCH_NODES)):
        arguments = _arguments(node, dialect)
        if arguments is not None:
            call = exp.Anonymous(this=FUNCTION, expressions=[node.this.copy(), *map(exp.Literal.string, arguments)])
            node.replace(call)
    return tree


def _arguments(node: exp.Expr, dialect: Dialect) -> tuple[str, str] | None:
    """The pattern and the flags of a match; None where Python cannot read the pattern."""
    pattern, flag = node.expression, node.args.get("flag")
    if not isinstance(pattern, exp.Literal) or not pattern.is_string:
        return None
    if flag is not None and flag.name not in ("c", "i"):
        return None
    is_similar_to, whole = isinstance(node, exp.SimilarTo), isinstance(node, (exp.SimilarTo, exp.RegexpFullMatch))
    # Whether MySQL ignores case depends on the collation; a negated match must hold either way.
    is_negated_in_mysql = dialect == "mysql" and node.find_ancestor(exp.Not) is not None
    ignores_case = isinstance(node, exp.RegexpILike) or (flag is not None and flag.name == "i") or is_negated_in_mysql
    python_pattern = similar_to_regex(pattern.name) if is_similar_to else pattern.name
    flags = (WHOLE if whole else "") + (ANY_CASE if ignores_case else "")
    return (python_pattern, flags) if _compiled(python_pattern, ignores_case) is not None else None


def matches(text: Value, pattern: Value, flags: Value) -> Value:
    """Whether a pattern matches a text: the function's implementation; None where that would take too long."""
    compiled = _compiled(str(pattern), ANY_CASE in str(flags))
    max_characters = _MAX_BACKTRACKED_CHARACTERS if has_ambiguous_repetition(str(pattern)) else _MAX_CHARACTERS
    if text is None or compiled is None or len(subject := str(text)) > max_characters:
        return None
    return int(bool(compiled.fullmatch(subject) if WHOLE in str(flags) else compiled.search(subject)))


@lru_cache(maxsize=256)
def _compiled(pattern: str, ignores_case: bool) -> re.Pattern[str] | None:
    for name, ranges in POSIX.items():
        members = "".join(f"{re.escape(first)}-{re.escape(last)}" for first, last in ranges)
        pattern = pattern.replace(f"[:{name}:]", members)
    # Python's $ also matches before a line break at the end.
    pattern = re.sub(r"(?<!\\)\$(?=\)*\Z)", r"\\Z", pattern)
    try:
        return re.compile(pattern, re.IGNORECASE if ignores_case else 0)
    except (re.error, RecursionError, OverflowError):
        return None


def pattern_texts(check: exp.Expr) -> Iterator[str]:
    """Texts that the regular expressions of a CHECK match or nearly match."""
    for call in check.find_all(exp.Anonymous):
        if call.name.lower() == FUNCTION and len(call.expressions) == ARGUMENT_COUNT:
            pattern, flags = (argument.name for argument in call.expressions[1:])
            yield from matching_texts(pattern)
            yield from boundary_texts(pattern, whole=WHOLE in flags)
