"""The columns and constraints between the parentheses of a ``CREATE TABLE``, from their tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from text2sql.sql.schema import Column, ForeignKey, TableSchema
from text2sql.sql.tokens import Token, fold

# The characters of operators, without signs of numbers and the slash.
_OPERATOR_CHARACTERS = frozenset("~!@#%^&|<>=*?")
# Keywords that end a column's type and start one of its constraints.
_CONSTRAINT_WORDS = frozenset(
    [
        "CONSTRAINT",
        "PRIMARY",
        "NOT",
        "NULL",
        "UNIQUE",
        "CHECK",
        "DEFAULT",
        "COLLATE",
        "REFERENCES",
        "GENERATED",
        "AS",
        "AUTOINCREMENT",
        "AUTO_INCREMENT",
        "COMMENT",
        "ON",
        "KEY",
        "CHARSET",
        "IDENTITY",
        "AFTER",
        "FIRST",
    ]
)
_TABLE_CONSTRAINTS = frozenset(("CONSTRAINT", "PRIMARY", "UNIQUE", "FOREIGN", "CHECK", "KEY", "INDEX", "EXCLUDE"))


def end_of_type(part: list[Token]) -> int:
    """The index of the token after a column's type: its first constraint, or the end."""
    for index, token in enumerate(part[1:], 1):
        # CHARACTER starts a type (CHARACTER VARYING) or follows one (CHARACTER SET).
        character_set = token.keyword == "CHARACTER" and index + 1 < len(part) and part[index + 1].keyword == "SET"
        if character_set or token.keyword in _CONSTRAINT_WORDS:
            return index
    return len(part)


def qualified_name(tokens: list[Token], index: int) -> tuple[str, int]:
    """The last part of ``schema.table``, and the index of the token after the name."""
    name = tokens[index].name
    index += 1
    while index + 1 < len(tokens) and tokens[index].text == ".":
        name = tokens[index + 1].name
        index += 2
    return name, index


def closing_parenthesis(tokens: list[Token], opening: int) -> int:
    """The index of the parenthesis that closes the one at `opening`, or of the end of the text."""
    depth = 0
    for index in range(opening, len(tokens)):
        if tokens[index].text == "(":
            depth += 1
        elif tokens[index].text == ")":
            depth -= 1
            if depth == 0:
                return index
    return len(tokens)


def split_at_commas(tokens: list[Token]) -> Iterator[list[Token]]:
    """Splits at the commas outside parentheses."""
    depth, part = 0, list[Token]()
    for token in tokens:
        if token.text == "," and depth == 0:
            if part:
                yield part
            part = []
            continue
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        part.append(token)
    if part:
        yield part


def is_constraint(part: list[Token]) -> bool:
    """Whether a comma-separated part of a table's body is a constraint, not a column."""
    first = part[0].keyword
    # A column may be named "key" or "index"; a constraint is followed by its columns or condition.
    following = part[1].keyword if len(part) > 1 else ""
    return first in _TABLE_CONSTRAINTS and (
        (first in ("PRIMARY", "FOREIGN") and following == "KEY")
        or (first in ("UNIQUE", "CHECK") and (following in ("(", "KEY", "INDEX") or _has_paren(part)))
        or (first == "CONSTRAINT" and len(part) > 3)
        or (first in ("KEY", "INDEX", "EXCLUDE") and part[-1].text == ")" and following not in _TYPE_WORDS)
    )


def parse_part(part: list[Token], table: TableSchema) -> None:
    """Adds a column or a constraint to its table."""
    if is_constraint(part):
        _parse_table_constraint(part, table)
    else:
        _parse_column(part, table)


_COLLATIONS = frozenset(("NOCASE", "RTRIM"))
# Auto-incrementing columns refuse NULL.
_AUTO_INCREMENT = frozenset(("IDENTITY", "AUTO_INCREMENT"))
_TYPE_WORDS = frozenset(
    ["INT", "INTEGER", "VARCHAR", "CHAR", "TEXT", "REAL", "FLOAT", "DECIMAL", "NUMERIC", "DOUBLE", "NUMBER", "DATE"]
)


def _has_paren(part: list[Token]) -> bool:
    return len(part) > 2 and part[2].text == "(" and part[1].keyword not in _TYPE_WORDS


def parenthesized_names(tokens: list[Token], index: int) -> tuple[tuple[str, ...], int]:
    """The names in the next parentheses from `index` on, in lower case, and the index after them."""
    while index < len(tokens) and tokens[index].text != "(":
        index += 1
    end = closing_parenthesis(tokens, index) if index < len(tokens) else len(tokens)
    return tuple(fold(piece[0].name) for piece in split_at_commas(tokens[index + 1 : end])), end + 1


def _parse_table_constraint(part: list[Token], table: TableSchema) -> None:
    if part[0].keyword == "CONSTRAINT":
        part = part[2:]
    kind = part[0].keyword
    if kind == "PRIMARY":
        table.primary_key = table.primary_key or parenthesized_names(part, 1)[0]
    elif kind == "UNIQUE":
        table.uniques.append(parenthesized_names(part, 1)[0])
    elif kind == "FOREIGN":
        columns, index = parenthesized_names(part, 1)
        if index < len(part) and part[index].keyword == "REFERENCES":
            _add_reference(part, index, columns, table)
    elif kind == "CHECK":
        _add_check(part, 1, table)


def _add_reference(part: list[Token], index: int, columns: tuple[str, ...], table: TableSchema) -> None:
    """Adds the foreign key ``REFERENCES parent [(columns)]`` at `index`."""
    if index + 1 >= len(part):
        return
    parent, index = qualified_name(part, index + 1)
    targets: tuple[str, ...] = ()
    if index < len(part) and part[index].text == "(":
        targets, _ = parenthesized_names(part, index)
    table.foreign_keys.append(ForeignKey(columns, fold(parent), targets))


def _add_check(part: list[Token], index: int, table: TableSchema) -> None:
    if index < len(part) and part[index].text == "(":
        end = closing_parenthesis(part, index)
        table.checks.append(_join_tokens(part[index + 1 : end]))


def _join_tokens(tokens: Sequence[Token]) -> str:
    """Joins tokens by spaces, except for the characters of one operator: ``~*`` is not ``~ *``."""
    text = ""
    for previous, token in zip([None, *tokens], tokens, strict=False):
        is_one_operator = (
            previous is not None
            and previous.end == token.start
            and _OPERATOR_CHARACTERS.issuperset(previous.text + token.text)
        )
        text += token.text if is_one_operator or previous is None else f" {token.text}"
    return text


def _parse_column(part: list[Token], table: TableSchema) -> None:
    name, words, index, end = part[0].name, [], 1, end_of_type(part)
    while index < end:
        # Length and precision do not affect the affinity.
        if part[index].text == "(":
            index = closing_parenthesis(part, index)
        elif part[index].kind in ("word", "dquoted", "quoted"):
            words.append(part[index].name)
        index += 1
    column = table.add(Column(name, " ".join(words)))
    while index < len(part):
        word = part[index].keyword
        if word == "PRIMARY":
            table.primary_key = table.primary_key or (fold(name),)
        elif word in _AUTO_INCREMENT or [token.keyword for token in part[index : index + 2]] == ["NOT", "NULL"]:
            column.not_null = True
        elif word == "UNIQUE":
            table.uniques.append((fold(name),))
        elif word == "CHECK":
            _add_check(part, index + 1, table)
        elif word == "COLLATE" and index + 1 < len(part) and part[index + 1].keyword in _COLLATIONS:
            column.collation = part[index + 1].keyword
        elif word == "AS" and index + 1 < len(part) and part[index + 1].text == "(":
            column.generated = _join_tokens(part[index + 2 : closing_parenthesis(part, index + 1)])
        elif word == "REFERENCES":
            _add_reference(part, index, (fold(name),), table)
        index = closing_parenthesis(part, index) if part[index].text == "(" else index
        index += 1
