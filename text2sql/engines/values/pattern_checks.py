"""CHECKs by regular expressions, which SQLite does not have: a function of its own stands for them.

What the engines read alike is taken over into Python's expressions. An expression that is more than that is left as it
is; SQLite then does without the CHECK.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from sqlglot import exp

from text2sql.engines.dialect import Dialect
from text2sql.engines.values.regular_expressions import POSIX, divides, from_similar, matching, texts
from text2sql.sql.values import Value

# The function's name, and how many arguments it has: the text, the expression, and letters of `WHOLE` and `ANY_CASE`.
MATCHES, ARGUMENTS = "text2sql_matches", 3
WHOLE, ANY_CASE = "w", "i"

_KINDS = (exp.RegexpLike, exp.RegexpILike, exp.RegexpFullMatch, exp.SimilarTo)
# Characters of a text that is tried, and of one on which Python may try all ways to divide it: these can take for ever.
_LONGEST, _LONGEST_DIVIDED = 200, 20


def with_pattern_function(tree: exp.Expr, dialect: Dialect) -> exp.Expr:
    """A query with the function in place of the regular expressions that are written out in it."""
    tree = tree.copy()
    for node in list(tree.find_all(*_KINDS)):
        arguments = _arguments(node, dialect)
        if arguments is not None:
            call = exp.Anonymous(this=MATCHES, expressions=[node.this.copy(), *map(exp.Literal.string, arguments)])
            node.replace(call)
    return tree


def _arguments(node: exp.Expr, dialect: Dialect) -> tuple[str, str] | None:
    """The expression and the letters of a function that asks for one; None where it cannot be had."""
    pattern, flag = node.expression, node.args.get("flag")
    if not isinstance(pattern, exp.Literal) or not pattern.is_string:
        return None
    if flag is not None and flag.name not in ("c", "i"):
        return None
    similar, whole = isinstance(node, exp.SimilarTo), isinstance(node, (exp.SimilarTo, exp.RegexpFullMatch))
    # Whether MySQL looks at case is up to the collation: what holds either way holds.
    either = dialect == "mysql" and node.find_ancestor(exp.Not) is not None
    blind = isinstance(node, exp.RegexpILike) or (flag is not None and flag.name == "i") or either
    text = from_similar(pattern.name) if similar else pattern.name
    letters = (WHOLE if whole else "") + (ANY_CASE if blind else "")
    return (text, letters) if _compiled(text, blind) is not None else None


def matches(text: Value, pattern: Value, letters: Value) -> Value:
    """Whether a regular expression matches: what the function does; None where that is not found out."""
    compiled = _compiled(str(pattern), ANY_CASE in str(letters))
    longest = _LONGEST_DIVIDED if divides(str(pattern)) else _LONGEST
    if text is None or compiled is None or len(shown := str(text)) > longest:
        return None
    return int(bool(compiled.fullmatch(shown) if WHOLE in str(letters) else compiled.search(shown)))


@lru_cache(maxsize=256)
def _compiled(pattern: str, blind: bool) -> re.Pattern[str] | None:
    for name, ranges in POSIX.items():
        members = "".join(f"{re.escape(first)}-{re.escape(last)}" for first, last in ranges)
        pattern = pattern.replace(f"[:{name}:]", members)
    # Python's $ also matches before a line break at the end.
    pattern = re.sub(r"(?<!\\)\$(?=\)*\Z)", r"\\Z", pattern)
    try:
        return re.compile(pattern, re.IGNORECASE if blind else 0)
    except (re.error, RecursionError, OverflowError):
        return None


def pattern_texts(check: exp.Expr) -> Iterator[str]:
    """Texts that the regular expressions of a CHECK match, or nearly do."""
    for call in check.find_all(exp.Anonymous):
        if call.name.lower() == MATCHES and len(call.expressions) == ARGUMENTS:
            pattern, letters = (argument.name for argument in call.expressions[1:])
            yield from matching(pattern)
            yield from texts(pattern, whole=WHOLE in letters)
