"""The door of the evaluator: one pair, compared here or, where that could hang, in a process that can be killed."""

from __future__ import annotations

from text2sql.engines.dialect import Dialect
from text2sql.equivalence.match import DEFAULT_EFFORT, MAX_PREDICTION_CHARACTERS, match_pair, too_long
from text2sql.equivalence.scoring import Pair, PairTask, match_task, score_pairs
from text2sql.equivalence.verdict import Verdict
from text2sql.sql.budget import TIMEOUT
from text2sql.sql.complexity import may_explode
from text2sql.sql.sandbox import PROCESS


def execution_match(
    schema: str,
    gold: str,
    predicted: str,
    database: str | None = None,
    dialect: Dialect = "sqlite",
    *,
    effort: int = DEFAULT_EFFORT,
    seed: int = 0,
    timeout: float = TIMEOUT,
    transpile: bool = False,
) -> Verdict:
    """Decides whether a predicted query means the same as the gold query.

    Args:
        schema: ``CREATE TABLE`` statements; if empty, those of ``database``.
        gold: The gold query.
        predicted: The prediction as the model wrote it; see `extract_sql`.
        database: Path of a real SQLite database, compared first. It is opened read-only.
        dialect: Of schema and queries; its engine runs them.
        effort: How many databases to make; more are made where agreement would be vacuous.
        seed: Of the databases.
        timeout: Seconds of processor time for the pair, a last resort: its work is limited first.
        transpile: Without the engine: compare on SQLite, with both queries translated. The verdict says so.

    Returns:
        A verdict; a failure of the evaluator itself is ``undecided`` with its reason.

    Raises:
        EngineMissing: The engine of the dialect cannot be had.
    """
    # First, as everything below reads the prediction.
    if len(predicted) > MAX_PREDICTION_CHARACTERS:
        return too_long()
    if dialect != "sqlite":
        task = PairTask(schema, gold, predicted, database, dialect, effort, seed, timeout, transpile)
        return match_task(task)
    # SQLite may compile such a query for minutes, and only the end of its process stops it.
    if PROCESS.limited or not (may_explode(predicted) or may_explode(gold)):
        return match_pair(schema, gold, predicted, database, effort=effort, seed=seed, timeout=timeout)
    pair = Pair(schema, gold, predicted, database)
    ((_, verdict),) = score_pairs([pair], effort=effort, seed=seed, timeout=timeout)
    return verdict


def sql_matches(predicted: str, gold: str, schema: str = "", database: str | None = None) -> bool:
    """Whether a predicted query is right: `execution_match` for those who want yes or no.

    Args:
        predicted: What the model wrote.
        gold: The right query.
        schema: ``CREATE TABLE`` statements. Without them, and without a database, tables and columns are made up from
            the gold query: then nothing is known of keys and types.
        database: Path of a real SQLite database, or None.

    Returns:
        True if both give the same result on every database that was tried. What cannot be decided is False.
    """
    return execution_match(schema, gold, predicted, database).correct
