"""The columns that follow each other in the concatenations of a query."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlglot import exp

from text2sql.sql.tokens import fold
from text2sql.sql.trees import literal_value

# Pairs of neighbouring columns of one query.
_MAX_CONCATENATIONS = 3


@dataclass(frozen=True)
class Concatenation:
    """Two columns that follow each other in a concatenation, by lower-case name.

    Attributes:
        left: The first column.
        separator: The text between them.
        right: The second column.
        results: The texts that the concatenation is compared with, if it has these two columns and nothing else.
    """

    left: str
    separator: str
    right: str
    results: tuple[str, ...] = ()


def read_concatenations(tree: exp.Expr) -> list[Concatenation]:
    """The neighbouring columns in the concatenations of a query."""
    pairs = dict.fromkeys(pair for node in tree.find_all(exp.DPipe, exp.Concat) for pair in _neighbours(node))
    return list(pairs)[:_MAX_CONCATENATIONS]


def _neighbours(node: exp.Expr) -> Iterator[Concatenation]:
    if isinstance(node.parent, exp.DPipe):
        return
    parts = list(node.flatten() if isinstance(node, exp.DPipe) else node.expressions)
    results = _compared_texts(node) if len(parts) <= 3 and not isinstance(parts[-1], exp.Literal) else ()
    left, separator = "", ""
    for part in parts:
        literal = literal_value(part.unnest())
        if literal is not None:
            separator += str(literal)
            continue
        columns = list(part.find_all(exp.Column))
        name = fold(columns[0].name) if len(columns) == 1 else ""
        if left and name and left != name:
            yield Concatenation(left, separator, name, results)
        left, separator = name, ""


def _compared_texts(node: exp.Expr) -> tuple[str, ...]:
    """The literals that a concatenation is compared with."""
    while isinstance(node.parent, exp.Paren):
        node = node.parent
    if not isinstance(node.parent, (exp.Predicate, exp.In)):
        return ()
    inside = {id(literal) for literal in node.find_all(exp.Literal)}
    outside = (literal for literal in node.parent.find_all(exp.Literal) if id(literal) not in inside)
    return tuple(value for value in map(literal_value, outside) if isinstance(value, str))
