"""Texts for queries that read one part of several between marks: SPLIT_PART, SUBSTRING_INDEX, FIND_IN_SET, split texts.

Among them are such as agree in the part that is read, up to case and spaces, and differ in all others, with as many
marks as it takes to have that part; and such as have it in another place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlglot import exp

from text2sql.engines.values.regular_expressions import texts as matched_by
from text2sql.sql.tokens import fold
from text2sql.sql.trees import literal_value
from text2sql.sql.values import Value

_LISTS = (exp.Split, exp.StringToArray, exp.RegexpSplit)
# Functions that sqlglot has no class for, by whether what they split at is a regular expression.
_LIST_NAMES = {"STRING_TO_TABLE": False, "REGEXP_SPLIT_TO_ARRAY": True, "REGEXP_SPLIT_TO_TABLE": True}
# Looks for a part in a text of parts between commas.
_SET_NAME, _SET_MARK = "FIND_IN_SET", exp.Literal.string(",")
_ELEMENT_NAMES = ("LIST_EXTRACT", "LIST_ELEMENT", "ARRAY_EXTRACT")
# The last place that texts are made for, and the literals that are parts.
_LAST, _MOST = 12, 6
# The texts of one part that is read, and those of them that are made to meet conditions.
_MOST_TEXTS, _MOST_FILLED = 90, 15
_LETTERS = "acxbd"
# Where all parts are read, or nobody knows which.
_ANY_PLACE = (2, 1, -1)


@dataclass(frozen=True)
class _Reading:
    """A part that is read: of which expression, between which marks, and its places, negative ones from the end."""

    text: exp.Expr
    mark: str
    places: tuple[int, ...]


def split_texts(tree: exp.Expr) -> dict[str, list[Value]]:
    """By lower-case name of a column whose parts a query reads, texts on which that part matters."""
    found: dict[str, list[Value]] = {}
    for node in tree.find_all(exp.SplitPart, exp.SubstringIndex, *_LISTS, exp.Anonymous, exp.StrPosition):
        reading = _reading(node)
        columns = list(reading.text.find_all(exp.Column)) if reading is not None else []
        if reading is None or len(columns) != 1:
            continue
        parts, others = _parts(node, reading.mark)
        made = list(_texts(reading, parts, others))
        # A part of a part stands where the outer one does.
        for inner in reading.text.walk():
            within = _reading(inner)
            made = list(_texts(within, made, ())) if within is not None else made
        made += _meeting_conditions(tree, fold(columns[0].name), reading, made[:_MOST_FILLED])
        known = found.setdefault(fold(columns[0].name), [])
        known += [text for text in dict.fromkeys(made) if text not in known][:_MOST_TEXTS]
    return found


def _meeting_conditions(tree: exp.Expr, column: str, reading: _Reading, made: Sequence[str]) -> list[str]:
    """Such of the texts as a LIKE lets pass, or a comparison of another part, where a query asks for either."""
    found: list[str] = []
    for like in tree.find_all(exp.Like, exp.ILike):
        pattern = literal_value(like.expression)
        if isinstance(pattern, str) and isinstance(like.this, exp.Column) and fold(like.this.name) == column:
            found += [pattern.replace("%", text, 1).replace("%", "") for text in made]
    for call in tree.find_all(exp.Anonymous) if reading.mark == _SET_MARK.name else ():
        asked = literal_value(call.expressions[0]) if _finds_part(call) else None
        if isinstance(asked, str) and any(fold(part.name) == column for part in call.find_all(exp.Column)):
            # Two parts of one text, in either order.
            found += [reading.mark.join(pair) for text in made if text for pair in ((text, asked), (asked, text))]
    for equal in tree.find_all(exp.EQ):
        other, asked = _reading(equal.this), literal_value(equal.expression)
        if other is None or other.mark != reading.mark or not isinstance(asked, str):
            continue
        for place in {*other.places} - {*reading.places}:
            found += [reading.mark.join(_with(text.split(reading.mark), place, asked)) for text in made]
    return found


def _with(parts: list[str], place: int, part: str) -> list[str]:
    at = place - 1 if place > 0 else place + len(parts)
    return [*parts[:at], part, *parts[at + 1 :]] if 0 <= at < len(parts) else [*parts, part]


def _reading(node: exp.Expr) -> _Reading | None:
    """What a function reads; None for one that reads no part, or where the mark is not written out."""
    text, mark, regular = node.this, node.expression, isinstance(node, exp.RegexpSplit)
    if isinstance(node, exp.SplitPart):
        place, mark = node.args.get("part_index"), node.args.get("delimiter")
    elif isinstance(node, exp.SubstringIndex):
        place, mark = node.args.get("count"), node.args.get("delimiter")
    # Of what stands on the left of a mark, SQLite says itself which texts meet.
    elif isinstance(node, exp.StrPosition) and isinstance(node.find_ancestor(exp.Func), exp.Right):
        place, mark = None, node.args.get("substr")
    elif _finds_part(node):
        _, text, place, mark = *node.expressions, None, _SET_MARK
    elif isinstance(node, exp.Anonymous) and node.name.upper() in _LIST_NAMES and len(node.expressions) > 1:
        text, mark, *_ = node.expressions
        place, regular = _element(node), _LIST_NAMES[node.name.upper()]
    elif isinstance(node, _LISTS):
        place = _element(node)
    else:
        return None
    written = literal_value(mark) if mark is not None else None
    if not isinstance(written, str) or not written:
        return None
    if regular:
        written = next(iter(matched_by(written, whole=True)), "")
    number = literal_value(place) if place is not None else None
    places = (number,) if isinstance(number, int) and 0 < abs(number) <= _LAST else _ANY_PLACE
    return _Reading(text, written, places) if written else None


def _finds_part(node: exp.Expr) -> bool:
    return isinstance(node, exp.Anonymous) and node.name.upper() == _SET_NAME and len(node.expressions) == 2


def _element(node: exp.Expr) -> exp.Expr | None:
    """Which element of a list is taken, the first being 1; None where all are, or it is not written out."""
    parent = node.parent
    while isinstance(parent, exp.Paren):
        parent = parent.parent
    if isinstance(parent, exp.Bracket) and len(parent.expressions) == 1:
        # For sqlglot the first is 0, from either end.
        place = literal_value(parent.expressions[0])
        return exp.convert(place + 1) if isinstance(place, int) else None
    if isinstance(parent, exp.Anonymous) and parent.name.upper() in _ELEMENT_NAMES and len(parent.expressions) > 1:
        return parent.expressions[1]
    return None


def _parts(node: exp.Expr, mark: str) -> tuple[list[str], list[str]]:
    """What may stand in the part: as the query asks for it and nearly so, and that may stand elsewhere, too."""
    cast = node.find_ancestor(exp.Cast, exp.TryCast, exp.Select)
    if isinstance(cast, exp.Cast) and cast.to.this in exp.DataType.NUMERIC_TYPES:
        # Anything but a number would be an error.
        return ["7", "07", "70", "9", "10", "100"], []
    compared = node.find_ancestor(exp.Predicate) or _outermost(node)
    # The marks of a comparison are not what is looked for.
    read = [
        reader for reader in compared.find_all(exp.Func) if not _finds_part(reader) and _reading(reader) is not None
    ]
    marks = {id(part) for reader in read for part in reader.args.values()}
    literals = [part for part in compared.find_all(exp.Literal) if id(part) not in marks]
    texts = [value for part in literals if isinstance(value := literal_value(part), str) and value != mark]
    asked = list(dict.fromkeys([*texts[:_MOST], _letters(mark)[1]]))
    near = [text for part in (asked[0], asked[-1]) for text in (part.swapcase(), f"{part} ", f" {part}")]
    return [*asked, *near, ""], asked


def _outermost(node: exp.Expr) -> exp.Expr:
    """The outermost function around one: of a split text a list function may look for a part."""
    while isinstance(node.parent, (exp.Func, exp.Paren)) and not isinstance(node.parent, (exp.Connector, exp.AggFunc)):
        node = node.parent
    return node


def _letters(mark: str) -> list[str]:
    """Letters that are not in the mark; there are always three for marks that queries have."""
    free = [letter for letter in _LETTERS if letter not in fold(mark)]
    return free if len(free) > 2 else ["1", "2", "3"]


def _texts(reading: _Reading, parts: Sequence[str], others: Sequence[str]) -> Iterator[str]:
    """Texts with some parts in the place that is read, and with others elsewhere."""
    first, _, second = _letters(reading.mark)[:3]
    for place in reading.places:
        ahead = abs(place) - 1
        forms: list[tuple[list[str], list[str]]] = [([first] * ahead, []), ([second] * ahead, [second])]
        forms.append(([second] * ahead, []))
        counts = sorted({0, max(ahead - 1, 0), ahead + 1} - {ahead})
        elsewhere: list[tuple[list[str], list[str]]] = [([first] * number, []) for number in counts]
        placed = [(form, parts) for form in forms] + [(form, others) for form in [*elsewhere, ([], [first])]]
        for (before, behind), own in placed:
            for part in own:
                listed = [*before, part, *behind]
                yield reading.mark.join(listed if place > 0 else reversed(listed))
