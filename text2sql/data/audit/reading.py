"""What a question says and what its query does, as the smells compare them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from text2sql.data.example import Example
from text2sql.data.schema_text import stems
from text2sql.sql.ddl import parse_schema
from text2sql.sql.schema import Schema
from text2sql.sql.trees import parse_sqlite

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
_NUMBER = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?![\w.]*\d)")
# Words that begin a sentence of a question, or stand in capitals for another reason.
_COMMON = frozenset(
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
    """One example, taken apart.

    Attributes:
        example: The example.
        tree: Of its query.
    """

    example: Example
    tree: exp.Expr

    @cached_property
    def said(self) -> str:
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
    def stems(self) -> frozenset[str]:
        """The words of question and evidence, without their endings."""
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
    def texts(self) -> str:
        """All literals of the query, limits included, in lower case."""
        return " | ".join(str(node.this).lower() for node in self.tree.find_all(exp.Literal))

    @cached_property
    def columns(self) -> list[exp.Column]:
        """The columns that the query names."""
        return [*self.tree.find_all(exp.Column)]

    @cached_property
    def column_names(self) -> frozenset[str]:
        """Their names, in lower case."""
        return frozenset(column.name.lower() for column in self.columns)

    @cached_property
    def tables(self) -> dict[str, str]:
        """What each alias or name of a table stands for, in lower case."""
        return {node.alias_or_name.lower(): node.name.lower() for node in self.tree.find_all(exp.Table)}

    @cached_property
    def select(self) -> exp.Select | None:
        """The outermost SELECT; of a set operation the first."""
        return self.tree if isinstance(self.tree, exp.Select) else self.tree.find(exp.Select)

    @cached_property
    def limits(self) -> list[int]:
        """The numbers of its limits."""
        found = [node.expression for node in self.tree.find_all(exp.Limit)]
        return [int(node.this) for node in found if isinstance(node, exp.Literal) and str(node.this).isdigit()]

    @cached_property
    def numbers(self) -> list[str]:
        """The numbers that the question says, in digits; years of other centuries and ordinals among them."""
        return [match.replace(",", "") for match in _NUMBER.findall(self.example.question)]

    @cached_property
    def quoted(self) -> list[str]:
        """What the question quotes, in lower case."""
        return ["".join(match).strip().lower() for match in _QUOTED.findall(self.example.question)]

    def names(self) -> Iterator[str]:
        """Words in capitals inside the question, in lower case, which are most often values."""
        # An initial, as in Elizabeth A. White, ends no sentence.
        for sentence in re.split(r"(?<=[a-z0-9)\]'\"][.?!])\s+", self.example.question):
            words = re.findall(r"[A-Za-zÀ-ÿ][\w'À-ÿ-]*", sentence)
            for word in words[1:]:
                plain = re.sub(r"'s$", "", word)
                if plain[:1].isupper() and plain.lower() not in _COMMON and len(plain) > 2:
                    yield plain.lower()

    def type_of(self, column: exp.Column) -> str:
        """The affinity of a column, empty where it cannot be told."""
        name, table = column.name.lower(), self.tables.get(column.table.lower(), "")
        tables = [table] if table else [*self.tables.values()]
        kinds = {
            found.columns[name].affinity
            for known in tables
            if (found := self.schema.tables.get(known)) is not None and name in found.columns
        }
        return kinds.pop() if len(kinds) == 1 else ""


def read(example: Example) -> Reading | None:
    """An example, taken apart; None where its query does not parse."""
    try:
        if example.dialect == "sqlite":
            return Reading(example, parse_sqlite(example.answer))
        return Reading(example, sqlglot.parse_one(example.answer, read=example.dialect))
    except (SqlglotError, RecursionError, ValueError, TypeError):
        return None
