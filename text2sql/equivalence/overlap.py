"""How much of the gold query's results a wrong query returns: a measure of nearness, for rewards that want one.

It is taken on databases on which the gold query returns something, so that agreement on nothing earns nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from text2sql.engines.dialect import Dialect
from text2sql.engines.sandbox.engine import open_engine
from text2sql.equivalence.match import generator_of
from text2sql.equivalence.pair import GoldFails, PreparedPair
from text2sql.equivalence.results import informative
from text2sql.equivalence.scoring import PairTask, Scored, score
from text2sql.equivalence.trial import Trial
from text2sql.sql.budget import Budget
from text2sql.sql.sandbox import QueryFailed
from text2sql.sql.values import Row

# Databases that are made for it.
DATABASES = 8


def row_overlap(
    schema: str, gold: str, predicted: str, *, seed: int, timeout: float, dialect: Dialect = "sqlite"
) -> float:
    """The mean, over made databases on which the gold query returns something, of the F1 of rows as bags.

    Args:
        schema: ``CREATE TABLE`` statements.
        gold: The gold query.
        predicted: The query of an answer, or its text.
        seed: Of the databases.
        timeout: Seconds of processor time.
        dialect: Of schema and queries; its engine runs them.

    Returns:
        Between 0 and 1; 0 where a query fails or the gold query returns nothing anywhere.
    """
    found = []
    with closing(_pair(schema, gold, predicted, seed, dialect)) as pair:
        try:
            pair.prepare_gold()
            pair.prepare_predicted()
            budget = Budget(timeout)
            trial = Trial(pair, budget)
            with generator_of(pair, seed) as generator:
                for index in range(DATABASES):
                    if budget.spent:
                        break
                    trial.load(generator.database(index, 1))
                    rows = trial.run_gold()[0].rows
                    if informative(rows):
                        found.append(row_f1(rows, trial.run_predicted().rows))
        except (QueryFailed, GoldFails):
            return 0.0
    return sum(found) / len(found) if found else 0.0


def _pair(schema: str, gold: str, predicted: str, seed: int, dialect: Dialect) -> PreparedPair:
    if dialect == "sqlite":
        return PreparedPair(schema, gold, predicted, None, seed)
    from text2sql.equivalence.engine_pair import EnginePair

    return EnginePair(schema, gold, predicted, seed, open_engine(dialect))


def row_f1(gold: Sequence[Row], predicted: Sequence[Row]) -> float:
    """Twice the rows in both by the rows of both, each row as often as it occurs."""
    if not gold or not predicted:
        return 0.0
    common = sum((Counter(gold) & Counter(predicted)).values())
    return 2 * common / (len(gold) + len(predicted))


@dataclass(frozen=True)
class ScoredOverlap(Scored):
    """The verdict on a pair and, of a query that differs, its overlap."""

    overlap: float = 0.0


def score_with_overlap(task: PairTask) -> ScoredOverlap:
    """What a worker does with a task of `work_on_pairs`."""
    verdict = score(task).verdict
    if verdict["status"] != "different":
        return ScoredOverlap(verdict)
    if task.transpile:
        return ScoredOverlap(verdict)
    texts = (task.schema, task.gold, task.predicted)
    overlap = row_overlap(*texts, seed=task.seed, timeout=task.timeout / 2, dialect=task.dialect)
    return ScoredOverlap(verdict, overlap)
