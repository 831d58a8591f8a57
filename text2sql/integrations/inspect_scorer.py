"""A scorer for Inspect (https://inspect.aisi.org.uk)."""

from __future__ import annotations

import asyncio

from inspect_ai.scorer import CORRECT, INCORRECT, Score, Scorer, Target, accuracy, scorer, stderr
from inspect_ai.solver import TaskState

from text2sql.equivalence.scoring import Pair, verdicts

# Samples judged at a time, each in a process.
_PROCESSES = 2


@scorer(metrics=[accuracy(), stderr()])
def execution_match_scorer(schema: str = "schema", database: str = "database") -> Scorer:
    """Scores an answer by whether it means the same as the target, a gold query.

    Args:
        schema: The key of a sample's metadata with its ``CREATE TABLE`` statements.
        database: The key with the path of a real SQLite database, where a sample has one.

    Returns:
        A scorer. Its score is correct or incorrect; the explanation is the verdict's reason, and the metadata have its
        ``status``, ``reason``, ``witness`` (the database that shows a difference) and the rest of `Verdict`.
    """
    turns = asyncio.Semaphore(_PROCESSES)

    async def score(state: TaskState, target: Target) -> Score:
        answer = state.output.completion
        pair = Pair(state.metadata.get(schema, ""), target.text, answer, state.metadata.get(database))
        async with turns:
            (verdict,) = await asyncio.to_thread(verdicts, [pair])
        return Score(
            value=CORRECT if verdict.correct else INCORRECT,
            answer=answer,
            explanation=verdict.reason,
            metadata=dict(verdict.to_dict()),
        )

    return score
