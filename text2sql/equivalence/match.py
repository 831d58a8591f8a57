"""The decision: do two queries mean the same on every database of a schema?

Databases made for the pair are tried until the queries differ on one; agreement counts once the gold query has
returned something on several of them. The same arguments give the same verdict, whatever the machine's load: queries
are limited by SQLite's instruction count first and by the clock only as a last resort.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

from text2sql.equivalence.databases.domains import Domains
from text2sql.equivalence.databases.drawing.generator import Generator
from text2sql.equivalence.databases.probe import ConditionProbe
from text2sql.equivalence.databases.reading.compiler import compile_plan
from text2sql.equivalence.pair import GoldFails, PairPreparation, PreparedPair
from text2sql.equivalence.real_database import match_on_file
from text2sql.equivalence.search import CounterexampleSearch
from text2sql.equivalence.sqlite_pair import SqlitePreparation
from text2sql.equivalence.trial import Trial
from text2sql.equivalence.verdict import Verdict
from text2sql.sql.budget import TIMEOUT, Budget
from text2sql.sql.sandbox import QueryFailed
from text2sql.sql.schema import Schema

# Databases that are made for a pair.
DEFAULT_EFFORT = 40
MAX_PREDICTION_CHARACTERS = 200_000
# Share of the time for a pair: the rest is for making the witness small and for the verdict.
SEARCH_SHARE = 0.75
# Characters of a further query of an answer that a reason shows.
_MAX_SHOWN_QUERY = 60

P = TypeVar("P", bound=PreparedPair)


def match_pair(
    schema: str | Schema,
    gold: str,
    predicted: str,
    database: str | None = None,
    *,
    effort: int = DEFAULT_EFFORT,
    seed: int = 0,
    timeout: float = TIMEOUT,
) -> Verdict:
    """Decides in this process; arguments and verdict are those of `execution_match`.

    SQLite may take minutes to compile a query that `complexity.may_explode` finds, and cannot be stopped meanwhile.
    """
    try:
        return _match(schema, gold, predicted, database, max(1, effort), seed, Budget(SEARCH_SHARE * timeout))
    except sqlite3.Error as error:
        return Verdict.undecided(f"The schema cannot be filled with rows: {error}.")
    except MemoryError:
        return Verdict("timeout", "The pair takes too much memory.")
    except (Exception, RecursionError) as error:
        return Verdict.undecided(f"The evaluator failed on this pair: {type(error).__name__}: {error}")


def _match(
    schema: str | Schema, gold: str, predicted: str, database: str | None, databases: int, seed: int, budget: Budget
) -> Verdict:
    if len(predicted) > MAX_PREDICTION_CHARACTERS:
        return too_long()
    preparation = SqlitePreparation(schema, gold, predicted, seed, database)

    def compare(pair: PreparedPair) -> Verdict:
        trial = Trial(pair, budget)
        verdict = match_on_file(pair, trial, database, budget) if database is not None else None
        if verdict is not None:
            return verdict
        with open_generator(pair, seed) as generator:
            return CounterexampleSearch(pair, trial, generator, databases, budget).verdict()

    return replace(decide(preparation, compare), unused_database=preparation.notes.unused_database)


def too_long() -> Verdict:
    """The verdict on a prediction of more than `MAX_PREDICTION_CHARACTERS`."""
    return Verdict("error", f"The prediction is longer than {MAX_PREDICTION_CHARACTERS:,} characters.")


def decide(preparation: PairPreparation[P], compare: Callable[[P], Verdict]) -> Verdict:
    """The verdict on a pair, which is prepared, compared and closed; its reason holds the pair's notes.

    Args:
        preparation: Just opened.
        compare: Compares the two queries once they are prepared.
    """
    verdict = _prepare_and_compare(preparation, compare)
    if preparation.answer.others and verdict.status == "equivalent":
        verdict = _not_the_only_query(verdict, preparation.answer.others[0])
    notes = preparation.notes.sentences()
    return replace(verdict, reason=f"{verdict.reason} ({' '.join(notes)})") if notes else verdict


def _prepare_and_compare(preparation: PairPreparation[P], compare: Callable[[P], Verdict]) -> Verdict:
    if preparation.refusal:
        return Verdict("refused", f"The prediction is refused: {preparation.refusal}.")
    if not preparation.predicted_text:
        return Verdict("error", "The prediction holds no SQL query.")
    try:
        return compare(preparation.prepare())
    except QueryFailed as failure:
        return Verdict.failed(failure)
    except GoldFails as failure:
        return Verdict.undecided(f"The gold query cannot be used: {failure}.", cause="gold_failed")
    finally:
        preparation.close()


def _not_the_only_query(verdict: Verdict, other: str) -> Verdict:
    """The verdict for an answer whose first query is right and not the only one: not strictly an answer at all."""
    shown = other if len(other) <= _MAX_SHOWN_QUERY else f"{other[: _MAX_SHOWN_QUERY - 3]}..."
    reason = f"The first query of the answer is equivalent to the gold query, but another query follows it: {shown}"
    return replace(verdict, status="error", reason=reason, strict=False, proof=None)


@contextmanager
def open_generator(pair: PreparedPair, seed: int) -> Iterator[Generator]:
    """Makes databases for a prepared pair; the tables that these need are added to the pair's."""
    plan = compile_plan(pair.schema, pair.sqlite_trees, pair.column_facts, pair.dialect_trees)
    for name in plan.tables:
        pair.tables.setdefault(name, pair.schema.tables[name])
    probe = ConditionProbe()
    try:
        yield Generator(plan, pair.tables, Domains(plan, pair.tables, probe), seed)
    finally:
        probe.close()
