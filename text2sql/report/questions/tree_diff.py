"""A diff of gold query and prediction by their syntax trees, as formatted text in pieces that are marked as changed.

The trees are matched by sqlglot's change distiller (B. Fluri et al., *Change Distilling*, IEEE TSE 2007), so that a
condition at another position, or in another letter case, is not a difference.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from sqlglot import exp
from sqlglot.diff import Insert, Keep, Move, Remove, Update, diff
from sqlglot.errors import SqlglotError
from sqlglot.generators.sqlite import SQLiteGenerator

from text2sql.evaluation.labels import parse_query
from text2sql.sql.ddl import parse_schema
from text2sql.sql.repair import strip_semicolon

# How a piece differs: only in the gold query, only in the prediction, with another value, at another position.
Change = Literal["", "missing", "extra", "changed", "moved"]
_CHANGES: tuple[Change, ...] = ("", "missing", "extra", "changed", "moved")
# Characters of the private use area, which queries hardly have: the begin of a node, followed by the index of its
# change in `_CHANGES`, and its end.
_BEGIN, _END = "\ue000", "\ue001"
_MARK = re.compile(f"({_BEGIN}.|{_END})", re.DOTALL)
# Characters of a query above which trees are not compared, as the time grows with the square.
_MAX_CHARACTERS = 8000
# Key of the change in a node's metadata.
_KEY = "change"


@dataclass(frozen=True)
class Piece:
    """A part of a query's text."""

    text: str
    change: Change


@dataclass(frozen=True)
class TreeDiff:
    """Both queries in pieces.

    Attributes:
        gold: The gold query, formatted.
        predicted: The prediction, formatted.
        remark: That the trees are the same, or why they were not compared; else empty.
    """

    gold: list[Piece]
    predicted: list[Piece]
    remark: str = ""


def compare_trees(schema: str, gold: str, predicted: str) -> TreeDiff:
    """Compare two queries by their syntax trees; if one does not parse, both are shown as they are, with a remark.

    Args:
        schema: ``CREATE TABLE`` statements; a name in double quotes that is none of their columns is a string.
        gold: The gold query.
        predicted: The query in the answer.
    """
    as_written = ([Piece(gold, "")], [Piece(predicted, "")])
    if max(len(gold), len(predicted)) > _MAX_CHARACTERS:
        return TreeDiff(*as_written, "The queries are too long to be compared by tree.")
    if _BEGIN in gold + predicted or _END in gold + predicted:
        return TreeDiff(*as_written, "The queries have signs of the private use area and are not compared by tree.")
    known = parse_schema(schema)
    trees = [parse_query(strip_semicolon(gold), known), parse_query(predicted, known)]
    for name, tree in zip(("gold query", "model's query"), trees, strict=True):
        if tree is None:
            return TreeDiff(*as_written, f"The {name} does not parse, so there are no trees to compare.")
    source, target = (tree for tree in trees if tree is not None)
    try:
        changes = _mark(source, target)
        return TreeDiff(_pieces(source), _pieces(target), "" if changes else "The two trees are the same.")
    except (SqlglotError, RecursionError, ValueError, AttributeError, TypeError):
        return TreeDiff(*as_written, "The queries cannot be compared by tree.")


def _mark(source: exp.Expr, target: exp.Expr) -> int:
    """Set the change of each node in its metadata, and return the number of edits."""
    # Names are compared without letter case, as in SQLite, and shown as they are written.
    shown: dict[int, exp.Expr] = {}
    folded_source, folded_target = _lower_names(source, shown), _lower_names(target, shown)
    matches = list(_counterparts(folded_source, folded_target))
    edits = [edit for edit in diff(folded_source, folded_target, matches) if not isinstance(edit, Keep)]
    moved = []
    for edit in edits:
        if isinstance(edit, Remove):
            shown[id(edit.expression)].meta[_KEY] = "missing"
        elif isinstance(edit, Insert):
            shown[id(edit.expression)].meta[_KEY] = "extra"
        elif isinstance(edit, Update):
            shown[id(edit.source)].meta[_KEY] = shown[id(edit.target)].meta[_KEY] = "changed"
        elif isinstance(edit, Move):
            moved.append((shown[id(edit.source)], shown[id(edit.target)]))
    for nodes in moved:
        # A node moved into or out of a replaced parent is not marked: the parent is.
        if not all(node.parent is not None and node.parent.meta.get(_KEY) for node in nodes):
            for node in nodes:
                node.meta.setdefault(_KEY, "moved")
    return len(edits)


def _lower_names(tree: exp.Expr, shown: dict[int, exp.Expr]) -> exp.Expr:
    """A copy of a tree with its names in lower case; `shown` gets the original of each node of the copy."""
    copy = tree.copy()
    shown |= {id(node): original for node, original in zip(copy.walk(), tree.walk(), strict=True)}
    for name in copy.find_all(exp.Identifier):
        name.set("this", name.name.lower())
        name.set("quoted", False)
    return copy


def _counterparts(source: exp.Expr, target: exp.Expr) -> Iterator[tuple[exp.Expr, exp.Expr]]:
    """The outermost queries and their clauses, which are matched however different they are."""
    if type(source) is not type(target):
        return
    yield source, target
    if isinstance(source, exp.SetOperation) and isinstance(target, exp.SetOperation):
        yield from _counterparts(source.left, target.left)
        yield from _counterparts(source.right, target.right)
    for key in ("from_", "where", "group", "having", "order", "limit"):
        clause, counterpart = source.args.get(key), target.args.get(key)
        if isinstance(clause, exp.Expr) and isinstance(counterpart, exp.Expr):
            yield clause, counterpart


class _Marking(SQLiteGenerator):
    """Generates SQL with marks around each node whose change is not that of its parent."""

    def sql(self, expression: str | exp.Expr | None, key: str | None = None, comment: bool = True) -> str:
        text = super().sql(expression, key, comment)
        # With a key, this method is called again for the child under that key.
        if key or not text or not isinstance(expression, exp.Expr):
            return text
        change = _change_of(expression)
        parent_change = _change_of(expression.parent) if expression.parent is not None else ""
        return text if change == parent_change else f"{_BEGIN}{_CHANGES.index(change)}{text}{_END}"


def _change_of(node: exp.Expr) -> Change:
    # Identifiers have no edits of their own: their column or table has them.
    while isinstance(node, exp.Identifier) and _KEY not in node.meta and node.parent is not None:
        node = node.parent
    change: Change = node.meta.get(_KEY, "")
    return change


def _pieces(tree: exp.Expr) -> list[Piece]:
    text = _Marking(dialect="sqlite", pretty=True, comments=False).generate(tree)
    return list(_merge_neighbours(_split(text)))


def _split(text: str) -> Iterator[Piece]:
    stack: list[Change] = [""]
    for part in _MARK.split(text):
        if part.startswith(_BEGIN):
            stack.append(_CHANGES[int(part[1])])
        elif part == _END:
            stack.pop()
        elif part:
            yield Piece(part, stack[-1])


def _merge_neighbours(pieces: Iterator[Piece]) -> Iterator[Piece]:
    """Merge neighbours with the same change; white space at the ends of a changed piece is not marked."""
    merged: list[Piece] = []
    for piece in pieces:
        if merged and (merged[-1].change == piece.change or not piece.text.strip()):
            merged[-1] = Piece(merged[-1].text + piece.text, merged[-1].change)
        else:
            merged.append(piece)
    for piece in merged:
        yield from _split_margins(piece)


def _split_margins(piece: Piece) -> Sequence[Piece]:
    if not piece.change:
        return [piece]
    core = piece.text.strip()
    before, _, after = piece.text.partition(core)
    return [part for part in (Piece(before, ""), Piece(core, piece.change), Piece(after, "")) if part.text]
