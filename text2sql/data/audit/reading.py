"""Reads an example for the smells: the words of its question and evidence, and the parts of its query."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from sqlglot import exp
from sqlglot.errors import SqlglotError

from text2sql.data.example import Example
from text2sql.data.schema_text import stems
from text2sql.sql.ddl import parse_schema
from text2sql.sql.schema import Schema
from text2sql.sql.trees import parse_in, parse_sqlite

NUMBERS = {
    "one": "1",
    "two": "2",
    "three": "3",
    "four": "4",
    "five": "5",
    "six": "6",
    "seven": "7",
    "eight": "8",
    "nine": "9",
    "ten": "10",
    "twenty": "20",
    "hundred": "100",
    "thousand": "1000",
    "dozen": "12",
    "once": "1",
    "twice": "2",
    "first": "1",
    "second": "2",
    "third": "3",
    "fourth": "4",
    "fifth": "5",
}
_QUOTED = re.compile(r"\"([^\"]+)\"|“([^”]+)”|(?<![A-Za-z])'([^']+)'(?![A-Za-z])")
_NUMBER = re.compile(r"(?<![\w.])(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?(?![\w.]*\d)(?!(?:st|nd|rd|th) century)")
_CURRENCY = re.compile(r"(?:\b[A-Z]{2,3}S?)?\$(?=\d)|\b(?:USD|EUR|GBP|CZK)(?=\d)")
# Words that start a question's sentence, or that are capitalized without being names.
_COMMON_WORDS = frozenset(
    [
        "what",
        "which",
        "who",
        "whose",
        "whom",
        "where",
        "when",
        "why",
        "how",
        "list",
        "show",
        "give",
        "find",
        "return",
        "name",
        "count",
        "calculate",
        "tell",
        "please",
        "state",
        "provide",
        "among",
        "of",
        "in",
        "for",
        "the",
        "a",
        "an",
        "is",
        "are",
        "was",
        "were",
        "do",
        "does",
        "did",
        "can",
        "could",
        "if",
        "by",
        "and",
        "or",
        "to",
        "from",
        "on",
        "at",
        "with",
        "id",
        "ids",
        "url",
        "urls",
        "no",
        "out",
        "identify",
        "mention",
        "determine",
        "describe",
        "compare",
        "indicate",
        "compute",
        "i",
        "write",
        "enumerate",
        "display",
        "get",
        "sum",
        "average",
        "based",
        "as",
        "us",
        "american",
        "english",
        "january",
        "february",
        "march",
        "april",
        "may",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
        *("jan", "feb", "mar", "apr", "jun", "jul", "aug", "sep", "sept", "oct", "nov", "dec"),
        *("usd", "eur", "gbp"),
        "monday",
        "tuesday",
        "wednesday",
        "thursday",
        "friday",
        "saturday",
        "sunday",
    ]
)


@dataclass(frozen=True)
class Reading:
    """An example with the parts that the smells compare.

    Attributes:
        example: The example.
        tree: The syntax tree of its query.
    """

    example: Example
    tree: exp.Expr

    @cached_property
    def text(self) -> str:
        """Question and evidence, in lower case."""
        return f"{self.question} {(self.example.evidence or '').lower()}"

    @cached_property
    def question(self) -> str:
        """The question, in lower case."""
        return self.example.question.lower()

    @cached_property
    def words(self) -> frozenset[str]:
        """The words of the question, in lower case."""
        return frozenset(re.findall(r"[a-z]+", self.question))

    @cached_property
    def all_words(self) -> frozenset[str]:
        """The words of question and evidence, in lower case."""
        return frozenset(re.findall(r"\w+", self.text))

    @cached_property
    def stems(self) -> frozenset[str]:
        """The stems of the words of question and evidence."""
        return frozenset(stems(f"{self.example.question} {self.example.evidence or ''}"))

    @cached_property
    def schema(self) -> Schema:
        """The schema."""
        return parse_schema(self.example.context)

    @cached_property
    def literals(self) -> list[exp.Literal]:
        """The literals of the query, without those of limits."""
        return [node for node in self.tree.find_all(exp.Literal) if not node.find_ancestor(exp.Limit, exp.Offset)]

    @cached_property
    def literal_text(self) -> str:
        """All literals of the query, including limits, in lower case and joined."""
        return " | ".join(str(node.this).lower() for node in self.tree.find_all(exp.Literal))

    @cached_property
    def values(self) -> frozenset[str]:
        """The literals of the query in lower case, without the wildcards of LIKE."""
        return frozenset(plain_value(str(node.this)) for node in self.tree.find_all(exp.Literal))

    @cached_property
    def columns(self) -> list[exp.Column]:
        """The columns that the query names."""
        return [*self.tree.find_all(exp.Column)]

    @cached_property
    def column_names(self) -> frozenset[str]:
        """The names of the columns that the query names, in lower case."""
        return frozenset(column.name.lower() for column in self.columns)

    @cached_property
    def known_columns(self) -> frozenset[str]:
        """The columns of the schema, in lower case."""
        return frozenset(name for table in self.schema.tables.values() for name in table.columns)

    def is_key_column(self, column: str) -> bool:
        """Whether a column, in lower case, is a key or refers to one somewhere in the schema."""
        return any(
            column in table.primary_key or any(column in key.columns for key in table.foreign_keys)
            for table in self.schema.tables.values()
            if column in table.columns
        )

    def stems_of(self, name: str) -> set[str]:
        """The stems of a column's name as the schema spells it: two for ``MailStreet``."""
        return stems(self.column_spellings.get(name.lower(), name))

    @cached_property
    def column_spellings(self) -> dict[str, str]:
        """The spellings in the schema of the columns of the query's tables, by lower-case name."""
        tables = [table for key in self.tables.values() if (table := self.schema.tables.get(key)) is not None]
        return {name: column.name for table in tables for name, column in table.columns.items()}

    @cached_property
    def tables(self) -> dict[str, str]:
        """The table of each alias or table name of the query, in lower case."""
        return {node.alias_or_name.lower(): node.name.lower() for node in self.tree.find_all(exp.Table)}

    @cached_property
    def select(self) -> exp.Select | None:
        """The outermost SELECT; the first one of a set operation."""
        return self.tree if isinstance(self.tree, exp.Select) else self.tree.find(exp.Select)

    @cached_property
    def limits(self) -> list[int]:
        """The numbers of the query's limits."""
        limits = [node.expression for node in self.tree.find_all(exp.Limit)]
        return [int(node.this) for node in limits if isinstance(node, exp.Literal) and str(node.this).isdigit()]

    @cached_property
    def numbers(self) -> list[str]:
        """The numbers in the question, in digits, including years and ordinals."""
        return [match.replace(",", "") for match in _NUMBER.findall(_CURRENCY.sub(" ", self.example.question))]

    @cached_property
    def quoted_texts(self) -> list[str]:
        """The quoted texts of the question, in lower case."""
        return ["".join(match).strip().lower() for match in _QUOTED.findall(self.example.question)]

    def capitalized_words(self) -> Iterator[str]:
        """The capitalized words within the question's sentences, in lower case; most are values."""
        # An initial, as in Elizabeth A. White, does not end a sentence.
        for sentence in re.split(r"(?<=[a-z0-9)\]'\"][.?!])\s+", self.example.question):
            words = re.findall(r"[A-Za-zÀ-ÿ][\w'À-ÿ-]*", sentence)
            for word in words[1:]:
                plain = re.sub(r"'s?$", "", word)
                if plain[:1].isupper() and plain.lower() not in _COMMON_WORDS and len(plain) > 2:
                    yield plain.lower()

    def type_of(self, column: exp.Column) -> str:
        """The affinity of a column; empty if it is unknown."""
        name, table = column.name.lower(), self.tables.get(column.table.lower(), "")
        tables = [table] if table else [*self.tables.values()]
        kinds = {
            table_schema.columns[name].affinity
            for key in tables
            if (table_schema := self.schema.tables.get(key)) is not None and name in table_schema.columns
        }
        return kinds.pop() if len(kinds) == 1 else ""


def plain_value(text: str) -> str:
    """A value in lower case and without LIKE's wildcards: ``19`` for ``'%/%/19'``."""
    return (
        text.lower().rpartition("%")[2] if text.startswith("%") and not text.endswith("%") else text.lower().strip("%")
    )


def read_example(example: Example) -> Reading | None:
    """Reads an example; None if its query does not parse."""
    try:
        if example.dialect == "sqlite":
            return Reading(example, _resolve_double_quotes(parse_sqlite(example.answer), example))
        return Reading(example, parse_in(example.answer, example.dialect))
    except (SqlglotError, RecursionError, ValueError, TypeError):
        return None


def _resolve_double_quotes(tree: exp.Expr, example: Example) -> exp.Expr:
    """Replaces double-quoted names that are no columns by strings, as SQLite reads them."""
    if '"' not in example.answer:
        return tree
    known = {name for table in parse_schema(example.context).tables.values() for name in table.columns}
    known |= {node.alias.lower() for node in tree.find_all(exp.Alias, exp.TableAlias)}
    for column in [*tree.find_all(exp.Column)]:
        name = column.name
        quoted = isinstance(column.this, exp.Identifier) and column.this.quoted and f'"{name}"' in example.answer
        is_bare = isinstance(column.parent, (exp.Select, exp.Ordered, exp.Group, exp.AggFunc, exp.Distinct))
        if quoted and not column.table and not is_bare and name.lower() not in known:
            column.replace(exp.Literal.string(name))
    return tree
