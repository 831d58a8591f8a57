"""The columns and constraints between the parentheses of a ``CREATE TABLE``, from their tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from text2sql.sql.schema import Column, ForeignKey, TableSchema
from text2sql.sql.tokens import Token, fold

# What operators are made of, but for signs of numbers and quotients.
_SIGNS = frozenset("~!@#%^&|<>=*?")
# Words that end a column's type and begin one of its constraints.
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
    """Where a column's type ends, which begins behind its name: at its first constraint, or with it."""
    for at, token in enumerate(part[1:], 1):
        # CHARACTER begins a type (CHARACTER VARYING) as well as what follows one (CHARACTER SET).
        character_set = token.keyword == "CHARACTER" and at + 1 < len(part) and part[at + 1].keyword == "SET"
        if character_set or token.keyword in _CONSTRAINT_WORDS:
            return at
    return len(part)


def qualified_name(tokens: list[Token], at: int) -> tuple[str, int]:
    """The last part of ``schema.table``."""
    name = tokens[at].name
    at += 1
    while at + 1 < len(tokens) and tokens[at].text == ".":
        name = tokens[at + 1].name
        at += 2
    return name, at


def matching(tokens: list[Token], at: int) -> int:
    """The index of the parenthesis that closes the one at ``at``, or of the end of the text."""
    depth = 0
    for index in range(at, len(tokens)):
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
    # A column may be called "key" or "index": a constraint is followed by what belongs to it.
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
# Columns that number their rows take no NULL.
_NUMBERED = frozenset(("IDENTITY", "AUTO_INCREMENT"))
_TYPE_WORDS = frozenset(
    ["INT", "INTEGER", "VARCHAR", "CHAR", "TEXT", "REAL", "FLOAT", "DECIMAL", "NUMERIC", "DOUBLE", "NUMBER", "DATE"]
)


def _has_paren(part: list[Token]) -> bool:
    return len(part) > 2 and part[2].text == "(" and part[1].keyword not in _TYPE_WORDS


def names_in(tokens: list[Token], at: int) -> tuple[tuple[str, ...], int]:
    """A parenthesised list of names from ``at`` on, in lower case, and the index behind it."""
    while at < len(tokens) and tokens[at].text != "(":
        at += 1
    end = matching(tokens, at) if at < len(tokens) else len(tokens)
    return tuple(fold(piece[0].name) for piece in split_at_commas(tokens[at + 1 : end])), end + 1


def _parse_table_constraint(part: list[Token], table: TableSchema) -> None:
    if part[0].keyword == "CONSTRAINT":
        part = part[2:]
    kind = part[0].keyword
    if kind == "PRIMARY":
        table.primary_key = table.primary_key or names_in(part, 1)[0]
    elif kind == "UNIQUE":
        table.uniques.append(names_in(part, 1)[0])
    elif kind == "FOREIGN":
        columns, at = names_in(part, 1)
        if at < len(part) and part[at].keyword == "REFERENCES":
            _add_reference(part, at, columns, table)
    elif kind == "CHECK":
        _add_check(part, 1, table)


def _add_reference(part: list[Token], at: int, columns: tuple[str, ...], table: TableSchema) -> None:
    """``REFERENCES parent [(columns)]`` at ``at``."""
    if at + 1 >= len(part):
        return
    parent, at = qualified_name(part, at + 1)
    targets: tuple[str, ...] = ()
    if at < len(part) and part[at].text == "(":
        targets, _ = names_in(part, at)
    table.foreign_keys.append(ForeignKey(columns, fold(parent), targets))


def _add_check(part: list[Token], at: int, table: TableSchema) -> None:
    if at < len(part) and part[at].text == "(":
        end = matching(part, at)
        table.checks.append(_spelt(part[at + 1 : end]))


def _spelt(tokens: Sequence[Token]) -> str:
    """Tokens with a space between any two but the signs of one operator: ``~*`` is not ``~ *``."""
    found = ""
    for before, token in zip([None, *tokens], tokens, strict=False):
        joined = before is not None and before.end == token.start and _SIGNS.issuperset(before.text + token.text)
        found += token.text if joined or before is None else f" {token.text}"
    return found


def _parse_column(part: list[Token], table: TableSchema) -> None:
    name, words, at, end = part[0].name, [], 1, end_of_type(part)
    while at < end:
        # Length or precision are no part of the affinity.
        if part[at].text == "(":
            at = matching(part, at)
        elif part[at].kind in ("word", "dquoted", "quoted"):
            words.append(part[at].name)
        at += 1
    column = table.add(Column(name, " ".join(words)))
    while at < len(part):
        word = part[at].keyword
        if word == "PRIMARY":
            table.primary_key = table.primary_key or (fold(name),)
        elif word in _NUMBERED or [token.keyword for token in part[at : at + 2]] == ["NOT", "NULL"]:
            column.not_null = True
        elif word == "UNIQUE":
            table.uniques.append((fold(name),))
        elif word == "CHECK":
            _add_check(part, at + 1, table)
        elif word == "COLLATE" and at + 1 < len(part) and part[at + 1].keyword in _COLLATIONS:
            column.collation = part[at + 1].keyword
        elif word == "AS" and at + 1 < len(part) and part[at + 1].text == "(":
            column.generated = _spelt(part[at + 2 : matching(part, at + 1)])
        elif word == "REFERENCES":
            _add_reference(part, at, (fold(name),), table)
        at = matching(part, at) if part[at].text == "(" else at
        at += 1
