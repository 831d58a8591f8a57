"""How much of the gold query's results a wrong query returns: a measure of nearness, for rewards that want one.

It is taken on databases on which the gold query returns something, so that agreement on nothing earns nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from text2sql.engines.dialect import Dialect
from text2sql.equivalence.match import open_generator
from text2sql.equivalence.pair import GoldFails
from text2sql.equivalence.preparation import open_pair
from text2sql.equivalence.results import is_informative
from text2sql.equivalence.scoring import PairResult, PairTask, score_pair
from text2sql.equivalence.trial import Trial
from text2sql.sql.budget import Budget
from text2sql.sql.sandbox import QueryFailed
from text2sql.sql.values import Row

# Databases that are made for the measure.
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
    scores = []
    with closing(open_pair(schema, gold, predicted, dialect, seed=seed)) as preparation:
        try:
            pair = preparation.prepare()
            budget = Budget(timeout)
            trial = Trial(pair, budget)
            with open_generator(pair, seed) as generator:
                for index in range(DATABASES):
                    if budget.spent:
                        break
                    trial.load(generator.database(index, 1))
                    rows = trial.run_gold()[0].rows
                    if is_informative(rows):
                        scores.append(row_f1(rows, trial.run_predicted().rows))
        except (QueryFailed, GoldFails):
            return 0.0
    return sum(scores) / len(scores) if scores else 0.0


def row_f1(gold: Sequence[Row], predicted: Sequence[Row]) -> float:
    """Twice the rows in both by the rows of both, each row as often as it occurs."""
    if not gold or not predicted:
        return 0.0
    common = sum((Counter(gold) & Counter(predicted)).values())
    return 2 * common / (len(gold) + len(predicted))


@dataclass(frozen=True)
class OverlapResult(PairResult):
    """The verdict on a pair and, where the queries differ, their overlap; see `row_overlap`."""

    overlap: float = 0.0


def score_with_overlap(task: PairTask) -> OverlapResult:
    """What a worker does with a task of `work_on_pairs`."""
    result = score_pair(task)
    if result.verdict["status"] != "different" or task.transpile:
        return OverlapResult(result.verdict, result.cause)
    texts = (task.schema, task.gold, task.predicted)
    overlap = row_overlap(*texts, seed=task.seed, timeout=task.timeout / 2, dialect=task.dialect)
    return OverlapResult(result.verdict, result.cause, overlap)
