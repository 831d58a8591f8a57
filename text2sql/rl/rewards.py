"""Rewards of answers: by the evaluator's verdict on them, or by a function of the user's own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Unpack

from text2sql.config.rl import RewardConfig
from text2sql.engines.answers import extract_sql_in
from text2sql.engines.dialect import Dialect
from text2sql.equivalence.overlap import score_with_overlap
from text2sql.equivalence.processes.process_pool import Lost, Workers, run_tasks
from text2sql.equivalence.processes.worker_process import exclude_from_cpu_limit
from text2sql.equivalence.scoring import MatchOptions, Pair, score_pairs, work_on_pairs
from text2sql.equivalence.verdict import Verdict
from text2sql.errors import UserError
from text2sql.functions import find_function
from text2sql.runs.rollouts import AnswerOutcome, GradedAnswer

# Bytes by which a process with a user's own function may grow.
FUNCTION_MEMORY_BYTES = 2 * 2**30


@dataclass(frozen=True)
class RewardedAnswer:
    """An answer as a reward function sees it.

    Attributes:
        question: The question in natural language.
        schema: ``CREATE TABLE`` statements.
        gold: The gold query.
        answer: What the model wrote, without the stop string that ended it.
        truncated: Whether it was cut off.
        database: Path of the question's own database, None for most.
        dialect: SQL dialect of schema and queries.
        sql: The query in the answer; set by `grade_answers`, as the fields that follow.
        outcome: What the answer is rewarded for, by the evaluator's verdict.
        reason: The verdict in a sentence.
        reward: The reward by the table of verdicts; None where the evaluator cannot decide.
        passes_single_database: Whether it is wrong, and a comparison on one database would have taken it for right.
    """

    question: str
    schema: str
    gold: str
    answer: str
    truncated: bool = False
    database: str | None = None
    dialect: Dialect = "sqlite"
    sql: str = ""
    outcome: AnswerOutcome = "undecided"
    reason: str = ""
    reward: float | None = None
    passes_single_database: bool = False


def outcome_of(verdict: Verdict, answer: RewardedAnswer) -> AnswerOutcome:
    """What an answer is rewarded for; one that was cut off is ``truncated``, whatever it says until then."""
    if answer.truncated:
        return "truncated"
    if verdict.correct:
        return "equivalent"
    if verdict.status == "different":
        return "caught" if answer.database and _passed_own_database(verdict) else "runs"
    # Equivalent, though not strictly: it runs, and is not right.
    return "runs" if verdict.status == "equivalent" else verdict.status


def _passed_own_database(verdict: Verdict) -> bool:
    """Whether the question's own database accepts a wrong answer, and only a generated one rejects it."""
    # A difference on the own database, which is too large to show, has a witness without tables.
    return verdict.unused_database is None and verdict.witness is not None and bool(verdict.witness.tables)


def passes_single_database(verdict: Verdict, answer: RewardedAnswer) -> bool:
    """Whether a wrong answer is a false positive of a comparison on a single database.

    That is the question's own database, where it has one; else the first generated one, on which results are compared
    as sets of rows in any order of the columns, as is the custom.
    """
    outcome = outcome_of(verdict, answer)
    if answer.database or outcome == "caught":
        return outcome == "caught"
    # A search ends at the first database that even that comparison fails on.
    return outcome == "runs" and verdict.status == "different" and (verdict.lenient or verdict.databases > 1)


def pay_by_one_database(answer: RewardedAnswer) -> float | None:
    """A reward function: the usual comparison on one database, to compare what is learnt from it with ours.

    Results are compared as sets of rows, on the question's own database or on the first generated one
    (`passes_single_database`). The reward of what passes is 1, and that of anything else is the table's.
    """
    return 1.0 if answer.passes_single_database else answer.reward


def outcome_reward(outcome: AnswerOutcome, table: RewardConfig) -> float | None:
    """The reward of an outcome; None for what cannot be decided."""
    if outcome in ("undecided", "failed"):
        return None
    return float(getattr(table, "error" if outcome == "timeout" else outcome))


def grade_answers(
    answers: Sequence[RewardedAnswer],
    table: RewardConfig,
    *,
    names: Sequence[str] | None = None,
    **options: Unpack[MatchOptions],
) -> list[GradedAnswer]:
    """The verdict on each answer, and its reward.

    Args:
        answers: What to grade; equal ones are executed once.
        table: The rewards of verdicts, or the user's own function.
        names: Names of the answers, for messages.
        options: How they are matched with their gold queries; the number of databases is `table.databases`.

    Raises:
        UserError: The user's own function cannot be imported; or it raised, hung or returned no number for an answer,
            and `on_failure` is ``stop``.
    """
    pairs = [
        Pair(
            schema=answer.schema,
            gold=answer.gold,
            predicted=answer.answer,
            database=answer.database,
            dialect=answer.dialect,
        )
        for answer in answers
    ]
    verdicts: dict[int, Verdict] = {}
    overlaps: dict[int, float] = {}
    options["effort"] = table.databases
    if table.partial:
        for index, verdict, pair_overlap in work_on_pairs(score_with_overlap, pairs, **options):
            verdicts[index], overlaps[index] = verdict, pair_overlap.overlap if pair_overlap else 0.0
    else:
        verdicts |= score_pairs(pairs, **options)
    graded = [
        _grade_by_table(answer, verdicts[index], table, overlaps.get(index, 0.0))
        for index, answer in enumerate(answers)
    ]
    if table.function is None:
        return graded
    names = names or [f"answer {n}" for n in range(1, len(answers) + 1)]
    return _grade_by_function(answers, graded, table, names, options.get("workers", 1))


def _grade_by_table(answer: RewardedAnswer, verdict: Verdict, table: RewardConfig, overlap: float) -> GradedAnswer:
    outcome = outcome_of(verdict, answer)
    reward = outcome_reward(outcome, table)
    if outcome == "runs" and reward is not None:
        reward += table.partial * overlap
    return GradedAnswer(
        sql=extract_sql_in(answer.answer, answer.dialect),
        verdict=verdict,
        outcome=outcome,
        reward=reward,
        passes_single_database=passes_single_database(verdict, answer) or None,
    )


def check_reward_function(table: RewardConfig) -> None:
    """Import the user's own function, if there is one (UserError where that fails)."""
    if table.function is not None:
        try:
            find_function(table.function)
        except (ImportError, AttributeError, TypeError) as error:
            raise UserError(f"rl.reward.function={table.function}: {error}.") from error


@dataclass(frozen=True)
class RewardCall(RewardedAnswer):
    """An answer, and the path of the user's own reward function of it: a task of a worker process."""

    function: str = ""


@dataclass(frozen=True)
class RewardReply:
    """What a user's own function returned, or in words why it returned nothing that can be used."""

    reward: float | None = None
    failure: str = ""


def call_reward_function(task: RewardCall) -> RewardReply:
    """Call the function, in a worker process; an exception becomes a failure in words."""
    try:
        answer = RewardedAnswer(**{field.name: getattr(task, field.name) for field in fields(RewardedAnswer)})
        with exclude_from_cpu_limit():
            function = find_function(task.function)
        reward = function(answer)
        if reward is not None and not math.isfinite(reward):
            return RewardReply(failure=f"it returned {reward}")
        return RewardReply(None if reward is None else float(reward))
    except Exception as error:
        return RewardReply(failure=f"{type(error).__name__}: {error}")


def _grade_by_function(
    answers: Sequence[RewardedAnswer],
    graded: Sequence[GradedAnswer],
    table: RewardConfig,
    names: Sequence[str],
    workers: Workers,
) -> list[GradedAnswer]:
    """Replace the table's rewards by those of the user's own function, in processes that can be killed."""
    calls = [_reward_call(answer, by_table, table) for answer, by_table in zip(answers, graded, strict=True)]
    results = list(graded)
    for index, reply in run_tasks(
        call_reward_function, calls, workers=workers, seconds=table.seconds, memory=FUNCTION_MEMORY_BYTES
    ):
        failure = reply.reason if isinstance(reply, Lost) else reply.failure
        if failure and table.on_failure == "stop":
            raise UserError(
                f"rl.reward.function={table.function} failed on {names[index]}, {graded[index].sql!r}: {failure}. What "
                "was sampled is kept, and the same command goes on there; rl.reward.on_failure=drop leaves such "
                "answers out."
            )
        outcome: AnswerOutcome = "failed" if failure else graded[index].outcome
        reward = None if isinstance(reply, Lost) else reply.reward
        results[index] = results[index].model_copy(update={"reward": reward, "outcome": outcome})
    return results


def _reward_call(answer: RewardedAnswer, graded: GradedAnswer, table: RewardConfig) -> RewardCall:
    complete = replace(
        answer,
        sql=graded.sql,
        outcome=graded.outcome,
        reason=graded.verdict.reason,
        reward=graded.reward,
        passes_single_database=bool(graded.passes_single_database),
    )
    return RewardCall(**asdict(complete), function=table.function or "")
