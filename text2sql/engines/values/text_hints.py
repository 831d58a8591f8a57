"""Texts that tell apart uses of functions that SQLite lacks: regular expressions, lengths in bytes."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from text2sql.engines.values.regular_expressions import boundary_texts
from text2sql.engines.values.split_texts import split_texts
from text2sql.sql.tokens import fold
from text2sql.sql.trees import literal_value
from text2sql.sql.values import Value

# Texts with characters of two and of three bytes in UTF-8.
_MULTIBYTE_TEXTS = ("é", "naïve", "日本")
_LENGTHS = (exp.Length, exp.ByteLength, exp.BitLength)
_LENGTH_NAMES = ("OCTET_LENGTH", "CHARACTER_LENGTH", "STRLEN")
_COMPARISONS = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE)
# Characters of a text that is made as long as a query's literal says.
_MAX_CHARACTERS = 80
_REGULAR_EXPRESSION_NODES = (
    *(exp.RegexpLike, exp.RegexpILike, exp.RegexpFullMatch, exp.SimilarTo, exp.RegexpExtract, exp.RegexpExtractAll),
    *(exp.RegexpReplace, exp.RegexpSubstr, exp.RegexpInstr, exp.RegexpCount, exp.RegexpSplit, exp.Substring),
)
_REGULAR_EXPRESSION_NAMES = ("REGEX", "RLIKE")
# Literals of one condition that are used.
_MAX_LITERALS = 6


def text_hints(trees: Sequence[exp.Expr]) -> dict[str, list[Value]]:
    """Texts for columns, by lower-case name: matches and near matches of regular expressions, and multibyte texts."""
    hints: dict[str, list[Value]] = {}
    for tree in trees:
        for node in tree.find_all(*_REGULAR_EXPRESSION_NODES, exp.Anonymous):
            for column in _searched_columns(node):
                hints.setdefault(fold(column.name), []).extend(_boundary_values(node))
        for call in tree.find_all(*_LENGTHS, exp.Anonymous):
            if isinstance(call, exp.Anonymous) and call.name.upper() not in _LENGTH_NAMES:
                continue
            for column in call.find_all(exp.Column):
                hints.setdefault(fold(column.name), []).extend([*_MULTIBYTE_TEXTS, *_texts_of_length(call)])
        for name, values in split_texts(tree).items():
            hints.setdefault(name, []).extend(values)
    return hints


def _subject_and_pattern(node: exp.Expr) -> tuple[exp.Expr | None, exp.Expr | None]:
    """The searched text and the pattern of a call; (None, None) if it takes no regular expression."""
    if isinstance(node, exp.Anonymous):
        regular = any(name in node.name.upper() for name in _REGULAR_EXPRESSION_NAMES) and len(node.expressions) > 1
        return (node.expressions[0], node.expressions[1]) if regular else (None, None)
    # PostgreSQL's SUBSTRING takes a position or a regular expression.
    return node.this, node.args.get("start") if isinstance(node, exp.Substring) else node.expression


def _searched_columns(node: exp.Expr) -> list[exp.Column]:
    """The columns that a call searches for a literal regular expression."""
    text, pattern = _subject_and_pattern(node)
    is_literal = isinstance(pattern, exp.Literal) and pattern.is_string
    return list(text.find_all(exp.Column)) if text is not None and is_literal else []


def _boundary_values(node: exp.Expr) -> list[Value]:
    _, pattern = _subject_and_pattern(node)
    whole, similar = isinstance(node, exp.RegexpFullMatch), isinstance(node, exp.SimilarTo)
    return list(boundary_texts(pattern.name, whole=whole, similar=similar)) if pattern is not None else []


def spacing_and_accent_hints(trees: Sequence[exp.Expr]) -> dict[str, list[Value]]:
    """For columns compared with texts, by lower-case name, texts that MySQL's = equates and its LIKE does not.

    Most of MySQL's collations ignore trailing spaces and accents.
    """
    hints: dict[str, list[Value]] = {}
    for tree in trees:
        for node in tree.find_all(exp.Predicate):
            texts = [
                str(part.this).strip("%_^$") for part in node.find_all(exp.Literal) if part.is_string and part.this
            ]
            near = [near for text in texts[:_MAX_LITERALS] for near in (f"{text} ", text.translate(_ACCENTS))]
            for column in node.find_all(exp.Column) if near else ():
                hints.setdefault(fold(column.name), []).extend(near)
    return hints


def literal_hints(trees: Sequence[exp.Expr]) -> dict[str, list[Value]]:
    """For columns compared with literals, by lower-case name, the literals and their neighbours."""
    hints: dict[str, list[Value]] = {}
    for tree in trees:
        for node in tree.find_all(exp.Predicate):
            values = [value for part in node.find_all(exp.Literal) if (value := literal_value(part)) is not None]
            near = [other for value in values[:_MAX_LITERALS] for other in _neighbours(value)]
            for column in node.find_all(exp.Column) if near else ():
                hints.setdefault(fold(column.name), []).extend(near)
    return hints


def _neighbours(value: Value) -> tuple[Value, ...]:
    return (value, value + 1, value - 1) if isinstance(value, (int, float)) else (value,)


def columns_compared_differently(trees: Sequence[exp.Expr]) -> set[str]:
    """The lower-case names of columns that two queries compare by different operators, such as = and LIKE."""
    comparisons = [
        {
            (fold(column.name), type(node))
            for node in tree.find_all(exp.Predicate)
            for column in node.find_all(exp.Column)
        }
        for tree in trees
    ]
    return {name for name, _ in comparisons[0] ^ comparisons[-1]} if comparisons else set()


_ACCENTS = str.maketrans("aeioun", "áéíóúñ")


def _texts_of_length(call: exp.Expr) -> list[Value]:
    """Texts of about as many characters as a length is compared with, but of more bytes."""
    parent = call.parent
    if not isinstance(parent, _COMPARISONS):
        return []
    number = literal_value(parent.expression if parent.this is call else parent.this)
    if not isinstance(number, int) or not 1 < number <= _MAX_CHARACTERS:
        return []
    return ["a" * (number - 2) + "é", "a" * (number - 1) + "é", "é" * number]
