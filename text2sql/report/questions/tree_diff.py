"""Gold query and prediction compared by their syntax trees, as text in which every piece says what became of it.

The trees are matched by sqlglot's change distiller (B. Fluri et al., *Change Distilling*, IEEE TSE 2007), so that a
condition that stands elsewhere, or in other letter case, is not a difference.
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

# What became of a piece: in the gold query alone, in the prediction alone, another value, at another place.
Change = Literal["", "missing", "extra", "changed", "moved"]
_CHANGES: tuple[Change, ...] = ("", "missing", "extra", "changed", "moved")
# Signs of the private use area, which hardly a query has: where a node begins, with the place in `_CHANGES`, and ends.
_BEGIN, _END = "\ue000", "\ue001"
_MARK = re.compile(f"({_BEGIN}.|{_END})", re.DOTALL)
# Characters of a query above which its tree is not compared: the work grows with the square.
_LONGEST = 8000
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
        remark: What is to be said of the comparison: that the trees are the same, or why there is none.
    """

    gold: list[Piece]
    predicted: list[Piece]
    remark: str = ""


def compare_trees(schema: str, gold: str, predicted: str) -> TreeDiff:
    """Compare two queries by their trees; one that does not parse is shown as it is, and the remark says so.

    Args:
        schema: ``CREATE TABLE`` statements: what is no column in double quotes is a string.
        gold: The gold query.
        predicted: The query of the answer.
    """
    as_written = ([Piece(gold, "")], [Piece(predicted, "")])
    if max(len(gold), len(predicted)) > _LONGEST:
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
    """Note on each node what became of it; how many changes there are."""
    # Names are compared in one letter case, as SQLite does, and shown in their own.
    shown: dict[int, exp.Expr] = {}
    one, other = _folded(source, shown), _folded(target, shown)
    edits = [edit for edit in diff(one, other, list(_counterparts(one, other))) if not isinstance(edit, Keep)]
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
        # Where what is around it has been replaced, that is the change, and it stands where it stood.
        if not all(node.parent is not None and node.parent.meta.get(_KEY) for node in nodes):
            for node in nodes:
                node.meta.setdefault(_KEY, "moved")
    return len(edits)


def _folded(tree: exp.Expr, shown: dict[int, exp.Expr]) -> exp.Expr:
    """A copy of a tree with its names in one letter case; `shown` has for each node of it the tree's own."""
    copy = tree.copy()
    shown |= {id(node): own for node, own in zip(copy.walk(), tree.walk(), strict=True)}
    for name in copy.find_all(exp.Identifier):
        name.set("this", name.name.lower())
        name.set("quoted", False)
    return copy


def _counterparts(source: exp.Expr, target: exp.Expr) -> Iterator[tuple[exp.Expr, exp.Expr]]:
    """The outermost queries and their clauses: however different, one stands for the other."""
    if type(source) is not type(target):
        return
    yield source, target
    if isinstance(source, exp.SetOperation) and isinstance(target, exp.SetOperation):
        yield from _counterparts(source.left, target.left)
        yield from _counterparts(source.right, target.right)
    for key in ("from_", "where", "group", "having", "order", "limit"):
        own, other = source.args.get(key), target.args.get(key)
        if isinstance(own, exp.Expr) and isinstance(other, exp.Expr):
            yield own, other


class _Marking(SQLiteGenerator):
    """Writes a tree with a mark around whatever is not as what it stands in."""

    def sql(self, expression: str | exp.Expr | None, key: str | None = None, comment: bool = True) -> str:
        text = super().sql(expression, key, comment)
        # With a key the same method is called for what stands there.
        if key or not text or not isinstance(expression, exp.Expr):
            return text
        change = _change_of(expression)
        around = _change_of(expression.parent) if expression.parent is not None else ""
        return text if change == around else f"{_BEGIN}{_CHANGES.index(change)}{text}{_END}"


def _change_of(node: exp.Expr) -> Change:
    # Names have no edit of their own: their column or table has it.
    while isinstance(node, exp.Identifier) and _KEY not in node.meta and node.parent is not None:
        node = node.parent
    found: Change = node.meta.get(_KEY, "")
    return found


def _pieces(tree: exp.Expr) -> list[Piece]:
    text = _Marking(dialect="sqlite", pretty=True, comments=False).generate(tree)
    return list(_joined(_split(text)))


def _split(text: str) -> Iterator[Piece]:
    stack: list[Change] = [""]
    for part in _MARK.split(text):
        if part.startswith(_BEGIN):
            stack.append(_CHANGES[int(part[1])])
        elif part == _END:
            stack.pop()
        elif part:
            yield Piece(part, stack[-1])


def _joined(pieces: Iterator[Piece]) -> Iterator[Piece]:
    """Neighbours that share what became of them as one; space at the ends of a piece is nobody's."""
    kept: list[Piece] = []
    for piece in pieces:
        if kept and (kept[-1].change == piece.change or not piece.text.strip()):
            kept[-1] = Piece(kept[-1].text + piece.text, kept[-1].change)
        else:
            kept.append(piece)
    for piece in kept:
        yield from _without_margins(piece)


def _without_margins(piece: Piece) -> Sequence[Piece]:
    if not piece.change:
        return [piece]
    core = piece.text.strip()
    before, _, after = piece.text.partition(core)
    return [part for part in (Piece(before, ""), Piece(core, piece.change), Piece(after, "")) if part.text]
