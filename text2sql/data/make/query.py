"""A query as its clauses, and the draft of an example."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

from text2sql.data.make.domain import Domain, Table
from text2sql.sql.tokens import quote_string

Value = str | int | float | None
Row = dict[str, Value]
Rows = dict[str, list[Row]]


@dataclass(frozen=True, slots=True)
class Query:
    """A SELECT statement by its clauses, printed in the style of the data set."""

    select: str
    source: str
    where: str = ""
    group: str = ""
    having: str = ""
    order: str = ""
    limit: int = 0

    def __str__(self) -> str:
        """Return the SQL."""
        parts = [f"SELECT {self.select} FROM {self.source}"]
        for keyword, clause in (
            ("WHERE", self.where),
            ("GROUP BY", self.group),
            ("HAVING", self.having),
            ("ORDER BY", self.order),
        ):
            if clause:
                parts.append(f"{keyword} {clause}")
        if self.limit:
            parts.append(f"LIMIT {self.limit}")
        return " ".join(parts)

    def cut(self) -> str | None:
        """Return a query for the sort keys up to one row past the limit; the last two keys must differ.

        Without a limit it returns all sort keys, which must all differ, so that the order is unique.
        """
        if not self.order:
            return None
        key = self.order.removesuffix(" DESC").removesuffix(" ASC")
        return str(replace(self, select=key, limit=self.limit + 1 if self.limit else 0))


@dataclass(frozen=True, slots=True)
class Draft:
    """A question and its query, not yet checked against the database.

    Attributes:
        question: The question.
        sql: The gold query.
        tables: The tables that the query reads.
        cut: The query of ``Query.cut``, when the example is ordered.
    """

    question: str
    sql: str
    tables: tuple[str, ...]
    cut: str | None = None


@dataclass(frozen=True, slots=True)
class View:
    """The input of a shape: the domain and its rows."""

    domain: Domain
    rows: Rows

    def some_row(self, rng: Random, table: Table) -> Row:
        """Return a random row of the table."""
        return rng.choice(self.rows[table.name])


def literal(value: object) -> str:
    """Return the SQL literal of a value."""
    if isinstance(value, str):
        return quote_string(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def draft(question: str, query: Query, *tables: Table) -> Draft:
    """Return the draft of a question answered by one SELECT statement."""
    return Draft(question, str(query), tuple(table.name for table in tables), query.cut())
