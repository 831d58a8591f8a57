"""Texts for queries that read one part of a delimited text: SPLIT_PART, SUBSTRING_INDEX, FIND_IN_SET, split functions.

Some of the texts agree in the part that is read, up to case and spaces, and differ in all others, with as many
delimiters as that part needs; others have it in another position.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlglot import exp

from text2sql.engines.values.regular_expressions import boundary_texts as matched_by
from text2sql.sql.tokens import fold
from text2sql.sql.trees import literal_value
from text2sql.sql.values import Value

_SPLIT_NODES = (exp.Split, exp.StringToArray, exp.RegexpSplit)
# Functions that sqlglot has no class for, and whether they split at a regular expression.
_SPLIT_NAMES = {"STRING_TO_TABLE": False, "REGEXP_SPLIT_TO_ARRAY": True, "REGEXP_SPLIT_TO_TABLE": True}
# The function that finds a part in a comma-separated text.
_FIND_FUNCTION = "FIND_IN_SET"
_FIND_DELIMITER = exp.Literal.string(",")
_ELEMENT_NAMES = ("LIST_EXTRACT", "LIST_ELEMENT", "ARRAY_EXTRACT")
# The last position that texts are made for.
_MAX_POSITION = 12
# Literals of the query that become parts.
_MAX_LITERALS = 6
# Texts for one expression that reads a part.
_MAX_TEXTS = 90
# Those of them that are changed to satisfy the query's conditions.
_MAX_CONDITIONED = 15
_LETTERS = "acxbd"
# The positions if all parts are read, or if the position is not a literal.
_DEFAULT_POSITIONS = (2, 1, -1)


@dataclass(frozen=True)
class _PartAccess:
    """An access to a part: the delimited expression, the delimiter, and 1-based positions (negative from the end)."""

    text: exp.Expr
    delimiter: str
    positions: tuple[int, ...]


def split_texts(tree: exp.Expr) -> dict[str, list[Value]]:
    """For each column whose parts a query reads, by lower-case name, texts on which that part matters."""
    result: dict[str, list[Value]] = {}
    for node in tree.find_all(exp.SplitPart, exp.SubstringIndex, *_SPLIT_NODES, exp.Anonymous, exp.StrPosition):
        access = _part_access(node)
        columns = list(access.text.find_all(exp.Column)) if access is not None else []
        if access is None or len(columns) != 1:
            continue
        candidates, misplaced = _candidate_parts(node, access.delimiter)
        texts = list(_texts_with_parts(access, candidates, misplaced))
        # A part of a part is placed within the outer one.
        for inner in access.text.walk():
            inner_access = _part_access(inner)
            texts = list(_texts_with_parts(inner_access, texts, ())) if inner_access is not None else texts
        texts += _satisfying_conditions(tree, fold(columns[0].name), access, texts[:_MAX_CONDITIONED])
        known = result.setdefault(fold(columns[0].name), [])
        known += [text for text in dict.fromkeys(texts) if text not in known][:_MAX_TEXTS]
    return result


def _satisfying_conditions(tree: exp.Expr, column: str, access: _PartAccess, texts: Sequence[str]) -> list[str]:
    """The texts changed to satisfy a LIKE of the query, or its comparison of another part."""
    result: list[str] = []
    for like in tree.find_all(exp.Like, exp.ILike):
        pattern = literal_value(like.expression)
        if isinstance(pattern, str) and isinstance(like.this, exp.Column) and fold(like.this.name) == column:
            result += [pattern.replace("%", text, 1).replace("%", "") for text in texts]
    for call in tree.find_all(exp.Anonymous) if access.delimiter == _FIND_DELIMITER.name else ():
        wanted = literal_value(call.expressions[0]) if _finds_part(call) else None
        if isinstance(wanted, str) and any(fold(part.name) == column for part in call.find_all(exp.Column)):
            # Two parts of one text, in either order.
            result += [
                access.delimiter.join(pair) for text in texts if text for pair in ((text, wanted), (wanted, text))
            ]
    for equal in tree.find_all(exp.EQ):
        other, wanted = _part_access(equal.this), literal_value(equal.expression)
        if other is None or other.delimiter != access.delimiter or not isinstance(wanted, str):
            continue
        for position in {*other.positions} - {*access.positions}:
            result += [
                access.delimiter.join(_replace_part(text.split(access.delimiter), position, wanted)) for text in texts
            ]
    return result


def _replace_part(parts: list[str], position: int, part: str) -> list[str]:
    index = position - 1 if position > 0 else position + len(parts)
    return [*parts[:index], part, *parts[index + 1 :]] if 0 <= index < len(parts) else [*parts, part]


def _part_access(node: exp.Expr) -> _PartAccess | None:
    """The access of a function call; None if it reads no part, or if the delimiter is not a literal."""
    text, delimiter, is_regular_expression = node.this, node.expression, isinstance(node, exp.RegexpSplit)
    if isinstance(node, exp.SplitPart):
        position, delimiter = node.args.get("part_index"), node.args.get("delimiter")
    elif isinstance(node, exp.SubstringIndex):
        position, delimiter = node.args.get("count"), node.args.get("delimiter")
    # LEFT needs no texts: SQLite itself evaluates conditions on it.
    elif isinstance(node, exp.StrPosition) and isinstance(node.find_ancestor(exp.Func), exp.Right):
        position, delimiter = None, node.args.get("substr")
    elif _finds_part(node):
        _, text, position, delimiter = *node.expressions, None, _FIND_DELIMITER
    elif isinstance(node, exp.Anonymous) and node.name.upper() in _SPLIT_NAMES and len(node.expressions) > 1:
        text, delimiter, *_ = node.expressions
        position, is_regular_expression = _element_index(node), _SPLIT_NAMES[node.name.upper()]
    elif isinstance(node, _SPLIT_NODES):
        position = _element_index(node)
    else:
        return None
    text_delimiter = literal_value(delimiter) if delimiter is not None else None
    if not isinstance(text_delimiter, str) or not text_delimiter:
        return None
    if is_regular_expression:
        text_delimiter = next(iter(matched_by(text_delimiter, whole=True)), "")
    number = literal_value(position) if position is not None else None
    places = (number,) if isinstance(number, int) and 0 < abs(number) <= _MAX_POSITION else _DEFAULT_POSITIONS
    return _PartAccess(text, text_delimiter, places) if text_delimiter else None


def _finds_part(node: exp.Expr) -> bool:
    return isinstance(node, exp.Anonymous) and node.name.upper() == _FIND_FUNCTION and len(node.expressions) == 2


def _element_index(node: exp.Expr) -> exp.Expr | None:
    """The 1-based index of the list element that is read; None if all are, or if it is not a literal."""
    parent = node.parent
    while isinstance(parent, exp.Paren):
        parent = parent.parent
    if isinstance(parent, exp.Bracket) and len(parent.expressions) == 1:
        # sqlglot counts from 0, from either end.
        index = literal_value(parent.expressions[0])
        return exp.convert(index + 1) if isinstance(index, int) else None
    if isinstance(parent, exp.Anonymous) and parent.name.upper() in _ELEMENT_NAMES and len(parent.expressions) > 1:
        return parent.expressions[1]
    return None


def _candidate_parts(node: exp.Expr, delimiter: str) -> tuple[list[str], list[str]]:
    """Candidates for the part: those that the query asks for and near ones; and those that may also be misplaced."""
    cast = node.find_ancestor(exp.Cast, exp.TryCast, exp.Select)
    if isinstance(cast, exp.Cast) and cast.to.this in exp.DataType.NUMERIC_TYPES:
        # Anything but a number would be an error.
        return ["7", "07", "70", "9", "10", "100"], []
    comparison = node.find_ancestor(exp.Predicate) or _outermost(node)
    # The delimiters in a comparison are not what the query looks for.
    accesses = [
        call for call in comparison.find_all(exp.Func) if not _finds_part(call) and _part_access(call) is not None
    ]
    delimiters = {id(part) for call in accesses for part in call.args.values()}
    literals = [part for part in comparison.find_all(exp.Literal) if id(part) not in delimiters]
    texts = [value for part in literals if isinstance(value := literal_value(part), str) and value != delimiter]
    wanted = list(dict.fromkeys([*texts[:_MAX_LITERALS], _letters(delimiter)[1]]))
    near = [text for part in (wanted[0], wanted[-1]) for text in (part.swapcase(), f"{part} ", f" {part}")]
    return [*wanted, *near, ""], wanted


def _outermost(node: exp.Expr) -> exp.Expr:
    """The outermost function around a call: a list function may look for a part in a split text."""
    while isinstance(node.parent, (exp.Func, exp.Paren)) and not isinstance(node.parent, (exp.Connector, exp.AggFunc)):
        node = node.parent
    return node


def _letters(delimiter: str) -> list[str]:
    """At least three letters or digits that are not in the delimiter."""
    free = [letter for letter in _LETTERS if letter not in fold(delimiter)]
    return free if len(free) > 2 else ["1", "2", "3"]


def _texts_with_parts(access: _PartAccess, parts: Sequence[str], others: Sequence[str]) -> Iterator[str]:
    """Texts with `parts` in the position that is read, and with `others` elsewhere."""
    first, _, second = _letters(access.delimiter)[:3]
    for position in access.positions:
        preceding = abs(position) - 1
        forms: list[tuple[list[str], list[str]]] = [([first] * preceding, []), ([second] * preceding, [second])]
        forms.append(([second] * preceding, []))
        counts = sorted({0, max(preceding - 1, 0), preceding + 1} - {preceding})
        elsewhere: list[tuple[list[str], list[str]]] = [([first] * number, []) for number in counts]
        forms_with_parts = [(form, parts) for form in forms] + [(form, others) for form in [*elsewhere, ([], [first])]]
        for (before, behind), candidates in forms_with_parts:
            for part in candidates:
                pieces = [*before, part, *behind]
                yield access.delimiter.join(pieces if position > 0 else reversed(pieces))
