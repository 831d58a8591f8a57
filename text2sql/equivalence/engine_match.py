"""The decision in an engine: databases made for the pair are loaded into it, and both queries run there.

SQLite is a scout: where both queries can be said in its dialect, they are compared there first, because it is many
times faster, and the rows on which they differ are tried in the engine at once. What counts is what the engine returns,
and nothing else: a difference that it does not show is none, and agreement is agreement in the engine.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from text2sql.engines.answers import extract_sql_in
from text2sql.engines.declared.qualifiers import read_qualifiers
from text2sql.engines.dialect import DISPLAY_NAMES, Dialect
from text2sql.engines.sandbox.engine import Engine, EngineLost, EngineMissing, close_engine, open_engine
from text2sql.engines.translation.to_sqlite import translate_to_sqlite
from text2sql.engines.trees import parse_query
from text2sql.equivalence.databases.drawing.generator import Generator
from text2sql.equivalence.engine_pair import EnginePair
from text2sql.equivalence.match import (
    LONGEST,
    SEARCH,
    Search,
    decided,
    generator_of,
    judge_pair,
)
from text2sql.equivalence.pair import GoldFails, PreparedPair
from text2sql.equivalence.shrink import Shrinker
from text2sql.equivalence.trial import Trial
from text2sql.equivalence.verdict import Verdict
from text2sql.sql.budget import Budget
from text2sql.sql.prepare import Prepared
from text2sql.sql.sandbox import QueryFailed

TRANSPILED = "sqlite (transpiled)"
# Databases in the engine for a pair that SQLite cannot run, and for one on which it has found nothing. DuckDB compares
# texts by their bytes and divides by zero as SQLite does: where it differs, one of the first four has shown it.
_UNSCOUTED = 40
_SCOUTED: dict[Dialect, int] = {"duckdb": 7, "postgres": 12, "mysql": 12}
_TIMED = 12
# Seconds on the wall for each of the processor's: a server's work is not seen on this process's clock.
_WALL = 8.0


def judge_in_engine(
    schema: str, gold: str, predicted: str, dialect: Dialect, *, effort: int, seed: int, timeout: float
) -> Verdict:
    """Decides in the engine of a dialect; arguments and verdict are otherwise those of `judge_pair`.

    Raises:
        EngineMissing: The engine cannot be had.
    """
    if len(predicted) > LONGEST:
        return Verdict("error", f"The prediction is longer than {LONGEST:,} characters.")
    engine = open_engine(dialect)
    try:
        pair = EnginePair(schema, gold, predicted, seed, engine)
        verdict = decided(pair, lambda: _compared(pair, max(1, effort), seed, timeout))
        return replace(verdict, judged_on=engine.version)
    except EngineLost as error:
        close_engine(dialect)
        return Verdict("undecided", f"{error}.", judged_on=engine.version)
    except MemoryError:
        return Verdict("timeout", "The pair takes too much memory.", judged_on=engine.version)
    except EngineMissing:
        raise
    except (Exception, RecursionError) as error:
        close_engine(dialect)
        reason = f"The evaluator failed on this pair: {type(error).__name__}: {error}"
        return Verdict("undecided", reason, judged_on=engine.version)


def judge_transpiled(
    schema: str, gold: str, predicted: str, dialect: Dialect, *, effort: int, seed: int, timeout: float
) -> Verdict:
    """Decides on SQLite, with both queries translated: for callers that have no engine and say so."""
    from text2sql.engines.sandbox.schema_reader import read_engine_schema

    places = read_qualifiers(schema, dialect)
    queries = map(places.rewrite_query, (gold, extract_sql_in(predicted, dialect)))
    found = [parse_query(text, dialect) for text in queries]
    known = read_engine_schema(places.rewrite_schema(schema), dialect)
    gold_query, query = [
        translate_to_sqlite(known.rewrite_date_arithmetic(tree), dialect) if tree is not None else None
        for tree in found
    ]
    if gold_query is None:
        return Verdict("undecided", "The gold query has no translation for SQLite.", judged_on=TRANSPILED)
    if query is None:
        reason = f"The prediction does not parse as {DISPLAY_NAMES[dialect]}."
        return Verdict("error", reason, judged_on=TRANSPILED)
    verdict = judge_pair(known.schema, gold_query.sql, query.sql, effort=effort, seed=seed, timeout=timeout)
    return replace(verdict, judged_on=TRANSPILED)


def _compared(pair: EnginePair, effort: int, seed: int, timeout: float) -> Verdict:
    budget = Budget(SEARCH * timeout, _WALL)
    trial = Trial(pair, budget)
    with generator_of(pair, seed) as generator:
        # What SQLite is told of time is a translation: the databases made for that are the engine's to see.
        generator.kept = max(_SCOUTED[pair.dialect], _TIMED if generator.timed else 0)
        scouted = None if pair.alike else _scouted(pair, generator, effort, timeout)
        if scouted is not None and scouted.rows is not None:
            verdict = _confirmed(pair, trial, generator, budget, scouted)
            if verdict is not None:
                return verdict
        # SQLite has seen the others, so that these need not be as many.
        seen = scouted is not None and scouted.rows is None and pair.exact and not pair.unseen
        most = generator.kept if seen else _UNSCOUTED
        return Search(pair, trial, generator, min(effort, most), budget, scouted=seen).verdict()


@dataclass(frozen=True)
class _Scouted:
    """What SQLite has found: rows on which the translated queries differ, or none."""

    rows: dict[str, list[tuple[int | float | str | bytes | None, ...]]] | None
    lenient: bool = False
    databases: int = 0
    informative: int = 0


def _scouted(pair: EnginePair, generator: Generator, effort: int, timeout: float) -> _Scouted | None:
    """Compares the translations on SQLite; None where they cannot be run there."""
    gold, predicted = pair.translations
    if gold is None or predicted is None:
        return None
    scout = _Scout(pair, gold, predicted)
    try:
        scout.prepare_gold()
        scout.prepare_predicted()
        budget = Budget(SEARCH * timeout)
        search = Search(scout, Trial(scout, budget), generator, effort, budget)
        verdict = search.verdict()
    except (QueryFailed, GoldFails):
        return None
    finally:
        scout.close()
    if verdict.status == "equivalent":
        return _Scouted(None)
    if verdict.status != "different" or search.difference is None:
        return None
    return _Scouted(search.difference, verdict.lenient, verdict.databases, verdict.informative)


class _Scout(PreparedPair):
    """The translations of a pair, over the tables that its engine has.

    In what this program has written no double quotes are to be decided: where SQLite accepts it, it is ready.
    """

    def __init__(self, pair: EnginePair, gold: Prepared, predicted: Prepared) -> None:
        super().__init__(pair.schema, gold.sql, predicted.sql, None, 0)
        self._given = pair.tables
        self._written = gold, predicted

    def prepare_gold(self) -> None:
        """See `PreparedPair`."""
        self.open()
        if self.check(self._written[0].sql) is None:
            self.gold = self._written[0]
        else:
            super().prepare_gold()

    def prepare_predicted(self) -> None:
        """See `PreparedPair`."""
        if self.check(self._written[1].sql) is None:
            self.predicted = self._written[1]
        else:
            super().prepare_predicted()


def _confirmed(
    pair: EnginePair, trial: Trial, generator: Generator, budget: Budget, scouted: _Scouted
) -> Verdict | None:
    """Whether the engine differs where SQLite does; None if it does not, or fails there."""
    assert scouted.rows is not None
    trial.load(scouted.rows)
    rows = {name: pair.box.stored(pair.tables[name]) for name in scouted.rows}
    while generator.drop_orphans(rows):
        pass
    shrinker = Shrinker(pair, trial, generator, budget)
    if not shrinker.differs(rows):
        return None
    try:
        witness, reason = shrinker.witness(rows)
    except QueryFailed:
        return None
    return Verdict("different", reason, witness, False, scouted.lenient, scouted.databases + 1, scouted.informative + 1)


def engine_version(dialect: Dialect) -> str:
    """What the engine of a dialect is called, with its version.

    Raises:
        EngineMissing: It cannot be had.
    """
    engine: Engine = open_engine(dialect)
    return engine.version
