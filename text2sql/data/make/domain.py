"""The vocabulary in which a domain is written down: tables, columns, and the words people use for them.

Every domain is data made with the constructors at the end of this module. Alternatives in a string are separated
by ``|``; in the words of a condition ``{}`` stands for the value, and a leading ``^`` puts the words before the noun
(``"^{}"`` gives "Fantasy books", ``"in the {} genre"`` gives "books in the Fantasy genre").
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

Kind = Literal["key", "ref", "label", "category", "number", "year", "date", "flag", "code"]
Split = Literal["train", "test"]

#: Stands for "a person's name" in a label; rows.py composes first and last names.
PEOPLE = ("<people>",)

_SQL_TYPES: dict[Kind, str] = {
    "key": "INTEGER",
    "ref": "INTEGER",
    "label": "TEXT",
    "category": "TEXT",
    "number": "INTEGER",
    "year": "INTEGER",
    "date": "DATE",
    "flag": "INTEGER",
    "code": "TEXT",
}


@dataclass(frozen=True, slots=True)
class Column:
    """One column: what it stores and how people speak of it.

    Attributes:
        name: The identifier in SQL.
        kind: What the column is for; it decides which question shapes may use it.
        phrases: Noun phrases for the column, singular ("price").
        values: The pool of a label or category; the pattern of a code (``#`` is a digit); what a flag has for true and
            for false where that is not 1 and 0.
        low: Least value of a number or year; first year of a date.
        high: Greatest value of a number or year; last year of a date.
        step: Distance between two values of a number; a fraction makes the column REAL.
        where: Words for "has this value" (category) or "is true" (flag).
        unless: Words for "is false" (flag).
        more: Words for ">" besides the generic ones.
        less: Words for "<" besides the generic ones.
        most: Words before the noun for the greatest value ("most expensive").
        least: Words before the noun for the least value ("cheapest").
        unit: What a number counts ("pages"), for "with more than 300 pages".
        verb: Participles of a date or year ("published"), for "published in 2001".
        total: Whether a sum of the values means something.
        missing: Words for "is NULL"; a column with such words is sparse.
        present: Words for "is not NULL".
        target: The table that a ref points to.
        by: Words from the referring row to the target ("written by").
        did: Participle after "have" from the target to the referring rows ("written").
        role: What the target is to the referring row ("author").
        stored: What a date or flag is in the engine: ISO text or 0 and 1, a date, a point in time, a boolean.
    """

    name: str
    kind: Kind
    phrases: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    low: float = 0
    high: float = 0
    step: float = 1
    where: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()
    more: tuple[str, ...] = ()
    less: tuple[str, ...] = ()
    most: tuple[str, ...] = ()
    least: tuple[str, ...] = ()
    unit: str = ""
    verb: tuple[str, ...] = ()
    total: bool = False
    missing: tuple[str, ...] = ()
    present: tuple[str, ...] = ()
    target: str = ""
    by: tuple[str, ...] = ()
    did: tuple[str, ...] = ()
    role: str = ""
    stored: Literal["text", "date", "time", "boolean"] = "text"

    @property
    def sparse(self) -> bool:
        """Whether some rows have no value here."""
        return bool(self.missing)

    @property
    def sql_type(self) -> str:
        """The type in the ``CREATE TABLE`` statement."""
        return "REAL" if self.kind == "number" and self.step != int(self.step) else _SQL_TYPES[self.kind]


@dataclass(frozen=True, slots=True)
class Table:
    """One table.

    Attributes:
        name: The identifier in SQL.
        nouns: (singular, plural) pairs for one row.
        size: How many rows to make.
        columns: The columns, in order.
        strict: Whether the engine wants every column that is shown in GROUP BY, though the key is there.
    """

    name: str
    nouns: tuple[tuple[str, str], ...]
    size: int
    columns: tuple[Column, ...]
    strict: bool = False

    @property
    def key(self) -> str:
        """The name of the column that other tables refer to."""
        return next((column.name for column in self.columns if column.kind == "key"), "")

    @property
    def is_person(self) -> bool:
        """Whether a row is a person ("who") rather than a thing ("that")."""
        return self.label is not None and self.label.values == PEOPLE

    @property
    def label(self) -> Column | None:
        """The column that names a row, if there is one."""
        return next((column for column in self.columns if column.kind == "label"), None)

    @property
    def handle(self) -> Column | None:
        """The column by which people refer to a row: its label, else its own code."""
        codes = (column for column in self.of_kind("code") if column.values != PEOPLE)
        return self.label or next(codes, None)

    def of_kind(self, *kinds: Kind, sparse: bool = False) -> list[Column]:
        """Return the columns of the given kinds, without sparse ones unless asked for."""
        return [column for column in self.columns if column.kind in kinds and (sparse or not column.sparse)]

    def ddl(self, present: Iterable[str]) -> str:
        """Return the compact ``CREATE TABLE`` statement.

        Args:
            present: Names of the tables that are shown with this one; a reference to any other would dangle, so it
                is left out.
        """
        shown = set(present)
        parts = []
        for column in self.columns:
            text = f"{column.name} {column.sql_type}"
            if column.kind == "key":
                text += " PRIMARY KEY"
            elif column.kind == "ref" and column.target in shown:
                text += f" REFERENCES {column.target}(id)"
            parts.append(text)
        return f"CREATE TABLE {self.name} ({', '.join(parts)})"


@dataclass(frozen=True, slots=True)
class Bridge:
    """A many-to-many relation, spelled out: rows of ``left`` meet rows of ``right`` through rows of ``via``.

    Attributes:
        left: Table whose rows are asked for.
        via: Table that refers to both.
        right: Table whose rows select them.
        words: After the noun of ``left``; ``{}`` is a row of ``right``: "who have seen {}".
    """

    left: str
    via: str
    right: str
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Domain:
    """A small database and the split that it belongs to."""

    name: str
    split: Split
    tables: tuple[Table, ...]
    bridges: tuple[Bridge, ...] = ()

    def table(self, name: str) -> Table:
        """Return the table with this name."""
        return next(table for table in self.tables if table.name == name)


#: Nouns that stay as they are in the plural.
_UNCOUNTABLE = frozenset(
    {"species", "experience", "pay", "rainfall", "stock", "mileage", "attendance", "weather", "enrollment"}
)
_TAIL = re.compile(r"(?<=\S) (of|in|per|on|for|sold|opened|owned)\b.*$")


def plural(noun: str) -> str:
    """Return the plural of a regular English noun phrase; its head stands before an "of", "in", ... or at the end."""
    tail = _TAIL.search(noun)
    head = noun[: tail.start()] if tail else noun
    if head.split()[-1] in _UNCOUNTABLE:
        return noun
    if head.endswith("y") and head[-2:-1] not in "aeiou":
        many = head[:-1] + "ies"
    else:
        many = head + ("es" if head.endswith(("s", "x", "ch", "sh", "z")) else "s")
    return many + noun[len(head) :]


def _split(text: str) -> tuple[str, ...]:
    return tuple(part for part in text.split("|") if part)


def table(name: str, nouns: str, size: int, *columns: Column) -> Table:
    """Make a table with an ``id`` key; a noun with an irregular plural is written ``person/people``."""
    pairs = []
    for noun in _split(nouns):
        singular, _, irregular = noun.partition("/")
        pairs.append((singular, irregular or plural(singular)))
    return Table(name, tuple(pairs), size, (Column("id", "key", ("id",)), *columns))


def label(name: str, phrases: str, values: str | tuple[str, ...]) -> Column:
    """Make the column that names a thing; its values are unique within the table."""
    return Column(name, "label", _split(phrases), _split(values) if isinstance(values, str) else values)


def person(name: str = "name", phrases: str = "name|full name") -> Column:
    """Make the column that names a person."""
    return Column(name, "label", _split(phrases), PEOPLE)


def someone(name: str, phrases: str) -> Column:
    """Make a column with the name of a person that does not name the row: the host of a show."""
    return Column(name, "code", _split(phrases), PEOPLE)


def cat(name: str, phrases: str, values: str | tuple[str, ...], where: str = "") -> Column:
    """Make a category: few values, many rows for each."""
    pool = _split(values) if isinstance(values, str) else values
    return Column(name, "category", _split(phrases), pool, where=_split(where))


def num(
    name: str,
    phrases: str,
    low: float,
    high: float,
    step: float = 1,
    *,
    more: str = "",
    less: str = "",
    most: str = "",
    least: str = "",
    unit: str = "",
    total: bool = False,
) -> Column:
    """Make a number that can be compared and averaged, and added up if ``total``."""
    return Column(
        name,
        "number",
        _split(phrases),
        low=low,
        high=high,
        step=step,
        more=_split(more),
        less=_split(less),
        most=_split(most),
        least=_split(least),
        unit=unit,
        total=total,
    )


def year(name: str, phrases: str, low: int, high: int, verb: str = "", most: str = "", least: str = "") -> Column:
    """Make a calendar year stored as an integer."""
    return Column(
        name,
        "year",
        _split(phrases),
        low=low,
        high=high,
        verb=_split(verb),
        most=_split(most),
        least=_split(least),
    )


def date(name: str, phrases: str, low: int, high: int, verb: str = "", most: str = "", least: str = "") -> Column:
    """Make an ISO date between the first day of year ``low`` and the last day of year ``high``."""
    return replace(year(name, phrases, low, high, verb, most, least), kind="date")


def flag(name: str, where: str, unless: str) -> Column:
    """Make a 0/1 column."""
    return Column(name, "flag", where=_split(where), unless=_split(unless))


def code(name: str, phrases: str, pattern: str) -> Column:
    """Make a text that identifies or reaches a row: a plate, a phone number."""
    return Column(name, "code", _split(phrases), (pattern,))


def ref(name: str, target: str, by: str, did: str, role: str = "") -> Column:
    """Make a foreign key; see the attributes of ``Column`` for its words."""
    return Column(name, "ref", target=target, by=_split(by), did=_split(did), role=role)


def sparse(column: Column, missing: str, present: str) -> Column:
    """Let some rows have no value in the column, with words for either case."""
    return replace(column, missing=_split(missing), present=_split(present))


def cross(first: str, second: str, joint: str = " ") -> tuple[str, ...]:
    """Return every "first second" pair: a cheap pool of plausible titles."""
    return tuple(f"{one}{joint}{two}" for one in _split(first) for two in _split(second))
