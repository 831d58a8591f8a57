"""The decision in an engine: databases made for the pair are loaded into it, and both queries run there.

SQLite is a scout: where both queries can be said in its dialect, they are compared there first, because it is many
times faster, and the rows on which they differ are tried in the engine at once. What counts is what the engine returns,
and nothing else: a difference that it does not show is none, and agreement is agreement in the engine.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from text2sql.engines.answers import extract_sql_in
from text2sql.engines.declared.qualifiers import read_qualifiers
from text2sql.engines.dialect import DISPLAY_NAMES, Dialect
from text2sql.engines.sandbox.engine import EngineLost, EngineMissing, close_engine, open_engine
from text2sql.engines.sandbox.schema_reader import read_engine_schema
from text2sql.engines.translation.to_sqlite import translate_to_sqlite
from text2sql.engines.trees import parse_query
from text2sql.equivalence.databases.drawing.generator import Database, Generator
from text2sql.equivalence.engine_pair import EnginePair, EnginePreparation
from text2sql.equivalence.match import (
    MAX_PREDICTION_CHARACTERS,
    SEARCH_SHARE,
    decide,
    match_pair,
    open_generator,
    too_long,
)
from text2sql.equivalence.pair import GoldFails
from text2sql.equivalence.search import CounterexampleSearch
from text2sql.equivalence.shrink import Shrinker
from text2sql.equivalence.sqlite_pair import SqlitePreparation
from text2sql.equivalence.trial import Trial
from text2sql.equivalence.verdict import Verdict
from text2sql.sql.budget import Budget
from text2sql.sql.prepare import Prepared
from text2sql.sql.sandbox import QueryFailed
from text2sql.sql.schema import TableSchema

TRANSPILED = "sqlite (transpiled)"
# Databases in the engine for a pair that SQLite cannot run.
_UNSCOUTED_DATABASES = 40
# And for one on which it has found nothing. DuckDB compares texts by their bytes and divides by zero as SQLite does:
# where it differs, one of the first four has shown it.
_SCOUTED_DATABASES: dict[Dialect, int] = {"duckdb": 7, "postgres": 12, "mysql": 12}
# And at least so many where the queries say something about time.
_TIMED_DATABASES = 12
# Seconds on the wall for each of the processor's: a server's work is not seen on this process's clock.
_WALL = 8.0


def match_in_engine(
    schema: str, gold: str, predicted: str, dialect: Dialect, *, effort: int, seed: int, timeout: float
) -> Verdict:
    """Decides in the engine of a dialect; arguments and verdict are otherwise those of `match_pair`.

    Raises:
        EngineMissing: The engine cannot be had.
    """
    if len(predicted) > MAX_PREDICTION_CHARACTERS:
        return too_long()
    engine = open_engine(dialect)
    try:
        preparation = EnginePreparation(schema, gold, predicted, seed, engine)
        verdict = decide(preparation, lambda pair: _compare(pair, max(1, effort), seed, timeout))
    except EngineLost as error:
        close_engine(dialect)
        verdict = Verdict.undecided(f"{error}.", cause="engine_lost")
    except MemoryError:
        verdict = Verdict("timeout", "The pair takes too much memory.")
    except EngineMissing:
        raise
    except (Exception, RecursionError) as error:
        close_engine(dialect)
        verdict = Verdict.undecided(f"The evaluator failed on this pair: {type(error).__name__}: {error}")
    return replace(verdict, judged_on=engine.version)


def match_transpiled(
    schema: str, gold: str, predicted: str, dialect: Dialect, *, effort: int, seed: int, timeout: float
) -> Verdict:
    """Decides on SQLite, with both queries translated: for callers that have no engine and say so."""
    qualifiers = read_qualifiers(schema, dialect)
    texts = map(qualifiers.rewrite_query, (gold, extract_sql_in(predicted, dialect)))
    trees = [parse_query(text, dialect) for text in texts]
    known = read_engine_schema(qualifiers.rewrite_schema(schema), dialect)
    gold_query, query = [
        translate_to_sqlite(known.rewrite_date_arithmetic(tree), dialect) if tree is not None else None
        for tree in trees
    ]
    if gold_query is None:
        verdict = Verdict.undecided("The gold query has no translation for SQLite.")
    elif query is None:
        verdict = Verdict("error", f"The prediction does not parse as {DISPLAY_NAMES[dialect]}.")
    else:
        verdict = match_pair(known.schema, gold_query.sql, query.sql, effort=effort, seed=seed, timeout=timeout)
    return replace(verdict, judged_on=TRANSPILED)


def _compare(pair: EnginePair, databases: int, seed: int, timeout: float) -> Verdict:
    budget = Budget(SEARCH_SHARE * timeout, _WALL)
    trial = Trial(pair, budget)
    with open_generator(pair, seed) as generator:
        # What SQLite is told of time is a translation: the databases made for that are the engine's to see.
        generator.cached_databases = max(
            _SCOUTED_DATABASES[pair.dialect], _TIMED_DATABASES if generator.is_timed else 0
        )
        scouted = None if pair.is_same_query else _scout(pair, generator, databases, timeout)
        if scouted is not None and scouted.counterexample is not None:
            verdict = _confirm(pair, trial, generator, budget, scouted, scouted.counterexample)
            if verdict is not None:
                return verdict
        # SQLite has seen the others, so that these need not be as many.
        seen = (
            scouted is not None
            and scouted.counterexample is None
            and pair.translations.exact
            and not pair.goes_beyond_sqlite
        )
        databases = min(databases, generator.cached_databases if seen else _UNSCOUTED_DATABASES)
        return CounterexampleSearch(pair, trial, generator, databases, budget, scouted=seen).verdict()


@dataclass(frozen=True)
class _Scouted:
    """What SQLite has found.

    Attributes:
        counterexample: Rows on which the translated queries differ; None if they agree.
        lenient: Whether the results agree as sets of rows, with the columns in some order.
        databases: How many databases were compared.
        informative: On how many of them the gold query returned something.
    """

    counterexample: Database | None
    lenient: bool = False
    databases: int = 0
    informative: int = 0


def _scout(pair: EnginePair, generator: Generator, databases: int, timeout: float) -> _Scouted | None:
    """Compares the translations on SQLite; None where they cannot be run there."""
    gold, predicted = pair.translations.gold, pair.translations.predicted
    if gold is None or predicted is None:
        return None
    preparation = _ScoutPreparation(pair, gold, predicted)
    try:
        scout = preparation.prepare()
        budget = Budget(SEARCH_SHARE * timeout)
        search = CounterexampleSearch(scout, Trial(scout, budget), generator, databases, budget)
        verdict = search.verdict()
    except (QueryFailed, GoldFails):
        return None
    finally:
        preparation.close()
    if verdict.status == "equivalent":
        return _Scouted(None)
    if verdict.status != "different" or search.counterexample is None:
        return None
    return _Scouted(search.counterexample, verdict.lenient, verdict.databases, verdict.informative)


class _ScoutPreparation(SqlitePreparation):
    """The translations of a pair, over the tables that its engine has.

    A translation leaves open nothing about its double quotes: where SQLite accepts it, it is ready.
    """

    def __init__(self, pair: EnginePair, gold: Prepared, predicted: Prepared) -> None:
        super().__init__(pair.schema, gold.sql, predicted.sql)
        self._pair_tables = pair.tables
        self._translated_gold, self._translated_predicted = gold, predicted

    def _visible_tables(self, names: Collection[str], *, every_column: bool) -> dict[str, TableSchema]:
        return self._pair_tables

    def prepare_gold(self) -> Prepared:
        """See `SqlitePreparation`."""
        self.open_sandbox()
        if self._check(self._translated_gold.sql) is None:
            return self._translated_gold
        return super().prepare_gold()

    def prepare_predicted(self, gold: Prepared | None) -> Prepared:
        """See `SqlitePreparation`."""
        if self._check(self._translated_predicted.sql) is None:
            return self._translated_predicted
        return super().prepare_predicted(gold)


def _confirm(
    pair: EnginePair, trial: Trial, generator: Generator, budget: Budget, scouted: _Scouted, counterexample: Database
) -> Verdict | None:
    """The verdict where the engine differs as SQLite does; None if it does not, or fails there."""
    trial.load(counterexample)
    rows = {name: pair.sandbox.stored(pair.tables[name]) for name in counterexample}
    while generator.drop_orphans(rows):
        pass
    shrinker = Shrinker(pair, trial, generator, budget)
    if not shrinker.differs(rows):
        return None
    try:
        witness, reason = shrinker.witness(rows)
    except QueryFailed:
        return None
    return Verdict.different(
        reason,
        witness,
        lenient=scouted.lenient,
        databases=scouted.databases + 1,
        informative=scouted.informative + 1,
    )
