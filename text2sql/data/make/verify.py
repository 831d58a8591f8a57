"""What a made question with its query must prove on the database before it is kept."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict

import sqlglot
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

# Characters of a question; rows of an answer that anybody wants; what checking one may take.
_LONGEST, _MOST = 240, 500
LIMITS = Limits(seconds=10.0, rows=_MOST + 1)
_NUMBER_WORDS = {"1": "one", "2": "two", "3": "three", "4": "four", "5": "five", "10": "ten"}


class Rejected(Exception):
    """A made question that is not kept; the text says why, in words that can be counted."""


class Verifier:
    """Checks questions with their queries on one database, each against all that were kept before.

    Args:
        database: Open.
        context: Its schema.
    """

    def __init__(self, database: Database, context: str) -> None:
        self._database, self._context = database, context
        self._questions: set[str] = set()
        self._queries: set[str] = set()
        self._alike: defaultdict[tuple[str, frozenset[str]], list[str]] = defaultdict(list)

    def remember(self, question: str, sql: str, digest: str) -> None:
        """Count a question with its query among those that are kept."""
        self._questions.add(_folded(question))
        self._queries.add(_folded(sql))
        self._alike[self._kind(sql, digest)].append(sql)

    def prove(self, draft: Draft) -> str:
        """Run a draft, and compare it with what is kept.

        Returns:
            The digest of its rows.

        Raises:
            Rejected: It is not worth keeping.
            UserError: The connection is lost.
        """
        if len(draft.question) > _LONGEST:
            raise Rejected("too long")
        if _folded(draft.question) in self._questions or _folded(draft.sql) in self._queries:
            raise Rejected("there already")
        if not says_values(draft.question, draft.sql, self._database.location.dialect):
            raise Rejected("the question leaves a value out")
        result = self._run(draft.sql)
        _check_rows(draft.sql, result)
        self._check_order(draft, result)
        digest = digest_of(result)
        self._check_distinct(draft.sql, digest)
        return digest

    def _kind(self, sql: str, digest: str) -> tuple[str, frozenset[str]]:
        return digest, frozenset(tables_of(sql, self._database.location.dialect))

    def _run(self, sql: str) -> Result:
        try:
            return self._database.run(sql, LIMITS)
        except QueryFailed as error:
            raise Rejected("does not run" if error.kind == "error" else f"is {error.kind}") from error

    def _check_order(self, draft: Draft, result: Result) -> None:
        """An order that is asked for must be the only one, and a limit must cut something off, between two keys."""
        if draft.cut is None:
            return
        keys = self._run(draft.cut).rows
        if len({*keys}) < len(keys):
            raise Rejected("ties in the order")
        if "LIMIT" in draft.sql and len(keys) <= len(result.rows):
            raise Rejected("a limit that cuts nothing off")

    def _check_distinct(self, sql: str, digest: str) -> None:
        """Two queries that mean the same return the same here, and read the same tables: only such are judged."""
        dialect = self._database.location.dialect
        for other in self._alike[self._kind(sql, digest)]:
            if means_the_same(self._context, other, sql, dialect):
                raise Rejected("means the same as another")


def means_the_same(context: str, one: str, other: str, dialect: Dialect) -> bool:
    """Whether the evaluator finds no difference between two queries of a schema.

    For another dialect both are translated to SQLite's first: good enough to keep near repetitions out, not to score.
    """
    if dialect == "sqlite":
        return match_pair(context, one, other).status == "equivalent"
    verdict = match_transpiled(context, one, other, dialect, effort=DEFAULT_EFFORT, seed=0, timeout=TIMEOUT)
    return verdict.status == "equivalent"


def says_values(question: str, sql: str, dialect: Dialect) -> bool:
    """Whether a question says every value of its query: a reader could write the query back from it."""
    try:
        tree = sqlglot.parse_one(sql, read=dialect)
    except (SqlglotError, RecursionError, ValueError):
        return False
    text = f" {_folded(question)} "
    return all(_said(literal, text) for literal in tree.find_all(exp.Literal))


def _said(literal: exp.Literal, question: str) -> bool:
    value = str(literal.this).strip("%").lower()
    if not value.strip() or (not literal.is_string and value in ("0", "1")) or value == "%y":
        # One row, a flag, or the format of a date: said by the words around them.
        return True
    if day := re.fullmatch(r"(\d{4})-(?:(\d{2})-?(\d{2})?)?", value):
        years = {day[1], str(int(day[1]) - 1), str(int(day[1]) + 1)}
        month = MONTHS[int(day[2]) - 1].lower() if day[2] and 1 <= int(day[2]) <= 12 else ""
        return value in question or any(year in question for year in years) or (bool(month) and month in question)
    plain = value.removesuffix(".0")
    return plain in question or f" {_NUMBER_WORDS.get(plain, plain)} " in question


def _check_rows(sql: str, result: Result) -> None:
    """An answer worth asking for: some rows, not all NULL, not a count of nothing, and not too many."""
    if result.overflow or len(result.rows) > _MOST:
        raise Rejected("too many rows")
    if not any(value is not None for row in result.rows for value in row):
        raise Rejected("empty")
    if sql.upper().startswith("SELECT COUNT(") and [*result.rows] == [(0,)]:
        raise Rejected("empty")


def digest_of(result: Result) -> str:
    """A digest of rows, the same in every order."""
    lines = sorted(repr(row) for row in result.rows)
    return hashlib.sha256("\n".join([str(len(result.columns)), *lines]).encode()).hexdigest()[:16]


def _folded(text: str) -> str:
    return " ".join(text.lower().split())


def tables_of(sql: str, dialect: Dialect) -> tuple[str, ...]:
    """Names of the tables that a query reads, in lower case."""
    try:
        tree = sqlglot.parse_one(sql, read=dialect)
    except (SqlglotError, RecursionError, ValueError):
        return ()
    return tuple(dict.fromkeys(table.name.lower() for table in tree.find_all(exp.Table)))
