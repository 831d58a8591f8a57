"""A pair of queries that is ready to be compared: both accepted by the sandbox in which they will run.

`text2sql.equivalence.preparation.open_pair` begins a preparation; its `prepare` returns a `PreparedPair`.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol, TypeVar

from sqlglot import exp

from text2sql.equivalence import ties
from text2sql.equivalence.databases.reading.compiler import EngineColumnFacts
from text2sql.equivalence.sandbox import Sandbox
from text2sql.equivalence.syntax import Syntax
from text2sql.sql.extract import Answer
from text2sql.sql.prepare import Prepared
from text2sql.sql.sandbox import QueryFailed
from text2sql.sql.schema import Schema, TableSchema
from text2sql.sql.values import Value


class GoldFails(Exception):
    """The gold query does not run: nothing can be decided."""


@dataclass
class PairNotes:
    """What was done to make the queries run, for the reason of the verdict.

    Attributes:
        made_up: The tables and columns that the gold query reads and its schema lacks, such as ``column age``.
        unused_database: Why the real database takes no part in the verdict; None if it does, or there is none.
        quoted_keywords: Names of the gold query that had to be quoted, because SQLite takes them for keywords.
        ignores_quoted_case: Whether the schema's names in quotes are taken for names without.
    """

    made_up: list[str] = field(default_factory=list)
    unused_database: str | None = None
    quoted_keywords: Collection[str] = ()
    ignores_quoted_case: bool = False

    def sentences(self) -> list[str]:
        """One sentence for each thing that was done."""
        sentences = []
        if self.made_up:
            sentences.append(f"Not in the schema, made up for the gold query: {', '.join(self.made_up)}.")
        if self.unused_database:
            sentences.append(f"The real database takes no part: {self.unused_database}.")
        if self.quoted_keywords:
            sentences.append(
                f"Quoted, because SQLite takes them for keywords: {', '.join(sorted(self.quoted_keywords))}."
            )
        if self.ignores_quoted_case:
            sentences.append("The schema's names in quotes are taken for names without, as the gold query has them.")
        return sentences


# Values by the lower-case name of a column.
ColumnValues = Mapping[str, Sequence[Value]]


# What makes one of several rows, so that one spelling of a text stands for others.
_GROUPING = (exp.Distinct, exp.Group, exp.SetOperation, exp.Min, exp.Max)


@dataclass(frozen=True, kw_only=True)
class PreparedPair:
    """Schema, gold query and prediction, ready to run in a sandbox.

    Attributes:
        gold: The gold query.
        predicted: The prediction.
        schema: The schema, completed by what the gold query reads.
        tables: The tables that either query may read, by lower-case name, with the columns that it may see; those that
            the databases need as well are added later.
        sandbox: A sandbox with these tables.
        syntax: The dialect in which both are run.
        prepare_query: Makes another query of the dialect ready; raises `QueryFailed` where it is not accepted.
        rng: Shuffles rows, and breaks ties.
        tie_breaker: What the sandbox calls to break ties.
        notes: What was done to make the queries run.
        column_facts: What an engine says of columns beyond what SQLite's types say.
        max_gold_failures: Databases on which the gold query may fail before it is given up.
    """

    gold: Prepared
    predicted: Prepared
    schema: Schema
    tables: dict[str, TableSchema]
    sandbox: Sandbox
    syntax: Syntax
    prepare_query: Callable[[str], Prepared]
    rng: random.Random
    tie_breaker: ties.TieBreaker
    notes: PairNotes
    column_facts: EngineColumnFacts = field(default_factory=EngineColumnFacts)
    max_gold_failures: int = 6

    def check(self, sql: str) -> QueryFailed | None:
        """Compiles a query; returns why it failed, None if it did not."""
        return check_query(self.sandbox, sql)

    def with_predicted(self, predicted: Prepared) -> PreparedPair:
        """The same pair with another query in the prediction's place, one that `prepare_query` has returned."""
        return replace(self, predicted=predicted)

    @property
    def is_parsed(self) -> bool:
        """Whether databases can be made for both queries; of two queries that read the same that does not matter."""
        return self.gold.sql == self.predicted.sql or (self.gold.tree is not None and self.predicted.tree is not None)

    @property
    def groups_collated_texts(self) -> bool:
        """Whether texts of several spellings are one, so that which of them stands for a group is open."""
        collated = any(column.collation for table in self.tables.values() for column in table.columns.values())
        return collated and any(tree.find(*_GROUPING) is not None for tree in self._trees)

    @cached_property
    def is_same_query(self) -> bool:
        """Whether both are the same query, written alike: by their text, or by their normal form."""
        gold, predicted = self.gold, self.predicted
        if gold.tree is None or predicted.tree is None:
            return False
        if gold.sql == predicted.sql:
            return True
        # The normal form keeps all literals, and takes long to find.
        if _literals(gold.tree) != _literals(predicted.tree):
            return False
        return self.syntax.canonical(gold.tree) == self.syntax.canonical(predicted.tree)

    def order_plan(self, tree: exp.Expr) -> ties.OrderPlan | None:
        """How the gold query is run so that its ties can be seen."""
        return ties.plan_order(tree, self.syntax)

    @property
    def sqlite_trees(self) -> list[exp.Expr]:
        """The trees that databases are made for, in SQLite's dialect; only the gold query's if both read the same."""
        return self._trees[:1] if self.gold.sql == self.predicted.sql else self._trees

    @property
    def dialect_trees(self) -> list[exp.Expr]:
        """The same trees in the dialect that the queries are written in."""
        return self.sqlite_trees

    @property
    def _trees(self) -> list[exp.Expr]:
        return [query.tree for query in (self.gold, self.predicted) if query.tree is not None]


P_co = TypeVar("P_co", bound=PreparedPair, covariant=True)


class PairPreparation(Protocol[P_co]):
    """Schema, gold query and prediction as they were given, on the way to a `PreparedPair`.

    Attributes:
        answer: What the prediction's text holds.
        predicted_text: The query in it; empty if there is none.
        notes: What was done so far to make the queries run.
    """

    answer: Answer
    predicted_text: str
    notes: PairNotes

    @property
    def refusal(self) -> str:
        """Why the answer is refused before anything of it is compiled; empty if it is not."""

    def prepare_gold(self) -> Prepared:
        """Prepares the gold query in a fresh sandbox.

        Raises:
            GoldFails: It does not run.
        """

    def prepare(self) -> P_co:
        """Prepares both queries.

        Raises:
            GoldFails: The gold query does not run.
            QueryFailed: The prediction is not accepted.
        """

    def close(self) -> None:
        """Closes the sandbox, that of the prepared pair too."""


def check_query(sandbox: Sandbox, sql: str) -> QueryFailed | None:
    """Compiles a query; returns why it failed, None if it did not."""
    try:
        sandbox.check(sql)
    except QueryFailed as failure:
        return failure
    return None


def _literals(tree: exp.Expr) -> Counter[tuple[str, bool]]:
    return Counter((str(literal.this), bool(literal.is_string)) for literal in tree.find_all(exp.Literal))


def encodable(text: str) -> str:
    """A text that SQLite can read: without NUL, and with the replacement sign for half a surrogate pair."""
    return text.replace("\x00", " ").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
