"""Verifies made questions and queries on the database before they are kept."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict

from sqlglot import exp
from sqlglot.errors import SqlglotError

from text2sql.data.make.conditions import MONTHS
from text2sql.data.make.query import Draft
from text2sql.engines.dialect import Dialect
from text2sql.engines.user_databases.connection import Database, Limits
from text2sql.equivalence.engine_match import match_transpiled
from text2sql.equivalence.match import DEFAULT_EFFORT, match_pair
from text2sql.sql.budget import TIMEOUT
from text2sql.sql.sandbox import QueryFailed, Result
from text2sql.sql.trees import parse_in

# Characters of a question.
_MAX_QUESTION_CHARACTERS = 240
# Rows of a useful answer.
_MAX_ROWS = 500
# Limits of the query that verifies a draft.
LIMITS = Limits(seconds=10.0, rows=_MAX_ROWS + 1)
_NUMBER_WORDS = {"1": "one", "2": "two", "3": "three", "4": "four", "5": "five", "10": "ten"}


class Rejected(Exception):
    """A made question is not kept; the message is one of a few reasons, which are counted."""


class Verifier:
    """Verifies questions and queries on one database, each against all that were kept before.

    Args:
        database: An open connection.
        context: The database's schema.
    """

    def __init__(self, database: Database, context: str) -> None:
        self._database, self._context = database, context
        self._questions: set[str] = set()
        self._queries: set[str] = set()
        self._queries_by_signature: defaultdict[tuple[str, frozenset[str]], list[str]] = defaultdict(list)

    def remember(self, question: str, sql: str, digest: str) -> None:
        """Adds a question with its query to those that are kept."""
        self._questions.add(_normalized(question))
        self._queries.add(_normalized(sql))
        self._queries_by_signature[self._signature(sql, digest)].append(sql)

    def verify(self, draft: Draft) -> str:
        """Runs a draft's query, and compares the draft with those that are kept.

        Returns:
            The digest of its rows.

        Raises:
            Rejected: The draft is not kept.
            UserError: The connection is lost.
        """
        if len(draft.question) > _MAX_QUESTION_CHARACTERS:
            raise Rejected("too long")
        if _normalized(draft.question) in self._questions or _normalized(draft.sql) in self._queries:
            raise Rejected("there already")
        if not mentions_values(draft.question, draft.sql, self._database.location.dialect):
            raise Rejected("the question leaves a value out")
        result = self._run(draft.sql)
        _check_rows(draft.sql, result)
        self._check_order(draft, result)
        digest = digest_of(result)
        self._check_distinct(draft.sql, digest)
        return digest

    def _signature(self, sql: str, digest: str) -> tuple[str, frozenset[str]]:
        return digest, frozenset(tables_of(sql, self._database.location.dialect))

    def _run(self, sql: str) -> Result:
        try:
            return self._database.run(sql, LIMITS)
        except QueryFailed as error:
            raise Rejected("does not run" if error.kind == "error" else f"is {error.kind}") from error

    def _check_order(self, draft: Draft, result: Result) -> None:
        """Rejects ties in an order that is asked for, and a limit that cuts nothing off."""
        if draft.cut is None:
            return
        keys = self._run(draft.cut).rows
        if len({*keys}) < len(keys):
            raise Rejected("ties in the order")
        if "LIMIT" in draft.sql and len(keys) <= len(result.rows):
            raise Rejected("a limit that cuts nothing off")

    def _check_distinct(self, sql: str, digest: str) -> None:
        """Rejects a query that is equivalent to a kept one; only those with the same rows and tables are compared."""
        dialect = self._database.location.dialect
        for other in self._queries_by_signature[self._signature(sql, digest)]:
            if are_equivalent(self._context, other, sql, dialect):
                raise Rejected("means the same as another")


def are_equivalent(context: str, one: str, other: str, dialect: Dialect) -> bool:
    """Whether the evaluator considers two queries of a schema equivalent.

    Queries of another dialect are translated to SQLite first, which is good enough to reject repetitions, not to score.
    """
    if dialect == "sqlite":
        return match_pair(context, one, other).status == "equivalent"
    verdict = match_transpiled(context, one, other, dialect, effort=DEFAULT_EFFORT, seed=0, timeout=TIMEOUT)
    return verdict.status == "equivalent"


def mentions_values(question: str, sql: str, dialect: Dialect) -> bool:
    """Whether a question mentions every value of its query."""
    try:
        tree = parse_in(sql, dialect)
    except (SqlglotError, RecursionError, ValueError):
        return False
    text = f" {_normalized(question)} "
    return all(_is_mentioned(literal, text) for literal in tree.find_all(exp.Literal))


def _is_mentioned(literal: exp.Literal, question: str) -> bool:
    value = str(literal.this).strip("%").lower()
    if not value.strip() or (not literal.is_string and value in ("0", "1")) or value == "%y":
        # A limit of one row, a flag, or a date format needs no mention.
        return True
    if day := re.fullmatch(r"(\d{4})-(?:(\d{2})-?(\d{2})?)?", value):
        years = {day[1], str(int(day[1]) - 1), str(int(day[1]) + 1)}
        month = MONTHS[int(day[2]) - 1].lower() if day[2] and 1 <= int(day[2]) <= 12 else ""
        return value in question or any(year in question for year in years) or (bool(month) and month in question)
    digits = value.removesuffix(".0")
    return digits in question or f" {_NUMBER_WORDS.get(digits, digits)} " in question


def _check_rows(sql: str, result: Result) -> None:
    """Rejects results that are too long, empty, all NULL, or a count of zero."""
    if result.overflow or len(result.rows) > _MAX_ROWS:
        raise Rejected("too many rows")
    if not any(value is not None for row in result.rows for value in row):
        raise Rejected("empty")
    if sql.upper().startswith("SELECT COUNT(") and [*result.rows] == [(0,)]:
        raise Rejected("empty")


def digest_of(result: Result) -> str:
    """A digest of a result's rows that does not depend on their order."""
    lines = sorted(repr(row) for row in result.rows)
    return hashlib.sha256("\n".join([str(len(result.columns)), *lines]).encode()).hexdigest()[:16]


def _normalized(text: str) -> str:
    return " ".join(text.lower().split())


def tables_of(sql: str, dialect: Dialect) -> tuple[str, ...]:
    """The lower-case names of the tables that a query reads."""
    try:
        tree = parse_in(sql, dialect)
    except (SqlglotError, RecursionError, ValueError):
        return ()
    return tuple(dict.fromkeys(table.name.lower() for table in tree.find_all(exp.Table)))
