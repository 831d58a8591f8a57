"""What an answer is paid: by the evaluator's verdict on it, or by a function of the user's own."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Unpack

from text2sql.config.rl import RewardConfig
from text2sql.engines.answers import extract_sql_in
from text2sql.engines.dialect import Dialect
from text2sql.equivalence.overlap import score_with_overlap
from text2sql.equivalence.processes.process_pool import Lost, Workers, run_tasks
from text2sql.equivalence.processes.worker_process import uncounted
from text2sql.equivalence.scoring import MatchOptions, Pair, score_pairs, work_on_pairs
from text2sql.equivalence.verdict import Verdict
from text2sql.errors import UserError
from text2sql.functions import find_function
from text2sql.runs.rollouts import Outcome, PaidAnswer

# Bytes by which a process with a user's own function may grow.
OWN_MEMORY = 2 * 2**30


@dataclass(frozen=True)
class RewardedAnswer:
    """An answer as a reward function sees it.

    Attributes:
        question: In natural language.
        schema: ``CREATE TABLE`` statements.
        gold: The gold query.
        answer: What the model wrote, without the stop string that ended it.
        truncated: Whether it was cut off.
        database: Path of the question's own database, None for most.
        dialect: Of schema and queries.
        sql: The query in it; set by `pay`, as what follows.
        outcome: What the evaluator says of it.
        reason: The same in a sentence.
        reward: By the table of verdicts; None where the evaluator cannot decide.
        passes_one: Whether it is wrong, and a comparison on one database would have taken it for right.
    """

    question: str
    schema: str
    gold: str
    answer: str
    truncated: bool = False
    database: str | None = None
    dialect: Dialect = "sqlite"
    sql: str = ""
    outcome: Outcome = "undecided"
    reason: str = ""
    reward: float | None = None
    passes_one: bool = False


RewardFunction = Callable[[RewardedAnswer], "float | None"]


def outcome_of(verdict: Verdict, answer: RewardedAnswer) -> Outcome:
    """What an answer is paid for; one that was cut off does not end, whatever it says until then."""
    if answer.truncated:
        return "truncated"
    if verdict.correct:
        return "equivalent"
    if verdict.status == "different":
        return "caught" if answer.database and _passed_own_database(verdict) else "runs"
    # Equivalent, though not strictly: it runs, and is not right.
    return "runs" if verdict.status == "equivalent" else verdict.status


def _passed_own_database(verdict: Verdict) -> bool:
    """Whether the question's own database let a wrong answer pass, so that a made one had to find it out."""
    # A difference on the own database, which is too large to show, has a witness without tables.
    return verdict.unused_database is None and verdict.witness is not None and bool(verdict.witness.tables)


def one_database_passes(verdict: Verdict, answer: RewardedAnswer) -> bool:
    """Whether a wrong answer is one that a comparison on one database would have taken for a right one.

    Where the question has a database of its own, that is the one. Where it has none, it is the first that was made, and
    results are compared there as sets of rows in any order of the columns, as is the custom.
    """
    outcome = outcome_of(verdict, answer)
    if answer.database or outcome == "caught":
        return outcome == "caught"
    # A search ends at the first database that even that comparison fails on.
    return outcome == "runs" and verdict.status == "different" and (verdict.lenient or verdict.databases > 1)


def pay_by_one_database(answer: RewardedAnswer) -> float | None:
    """A reward function: the usual comparison on one database, to compare what is learnt from it with ours.

    Results are compared as sets of rows, on the question's own database or on the first that is made
    (`one_database_passes`). What passes is paid 1, and anything else as the table pays it.
    """
    return 1.0 if answer.passes_one else answer.reward


def reward_of(outcome: Outcome, table: RewardConfig) -> float | None:
    """The reward of an outcome; None for what cannot be decided."""
    if outcome in ("undecided", "failed"):
        return None
    return float(getattr(table, "error" if outcome == "timeout" else outcome))


def pay(
    answers: Sequence[RewardedAnswer],
    table: RewardConfig,
    *,
    names: Sequence[str] | None = None,
    **options: Unpack[MatchOptions],
) -> list[PaidAnswer]:
    """Judge answers and say what each is paid.

    Args:
        answers: What to judge; equal ones are judged once.
        table: The rewards of verdicts, or the user's own function.
        names: Of the answers, for messages.
        options: How they are matched with their gold queries; of the databases there are `table.databases`.

    Raises:
        UserError: The user's own function cannot be imported; or it raised, hung or returned no number for an answer,
            and `on_failure` is ``stop``.
    """
    pairs = [Pair(answer.schema, answer.gold, answer.answer, answer.database, answer.dialect) for answer in answers]
    verdicts: dict[int, Verdict] = {}
    overlaps: dict[int, float] = {}
    options["effort"] = table.databases
    if table.partial:
        for index, verdict, found in work_on_pairs(score_with_overlap, pairs, **options):
            verdicts[index], overlaps[index] = verdict, found.overlap if found else 0.0
    else:
        verdicts |= score_pairs(pairs, **options)
    paid = [
        _pay_by_table(answer, verdicts[index], table, overlaps.get(index, 0.0)) for index, answer in enumerate(answers)
    ]
    if table.function is None:
        return paid
    names = names or [f"answer {n}" for n in range(1, len(answers) + 1)]
    return _pay_by_function(answers, paid, table, names, options.get("workers", 1))


def _pay_by_table(answer: RewardedAnswer, verdict: Verdict, table: RewardConfig, overlap: float) -> PaidAnswer:
    outcome = outcome_of(verdict, answer)
    reward = reward_of(outcome, table)
    if outcome == "runs" and reward is not None:
        reward += table.partial * overlap
    return PaidAnswer(
        sql=extract_sql_in(answer.answer, answer.dialect),
        verdict=verdict,
        outcome=outcome,
        reward=reward,
        passes_one=one_database_passes(verdict, answer) or None,
    )


def check_function(table: RewardConfig) -> None:
    """Import the user's own function, if there is one (UserError where that fails)."""
    if table.function is not None:
        try:
            find_function(table.function)
        except (ImportError, AttributeError, TypeError) as error:
            raise UserError(f"rl.reward.function={table.function}: {error}.") from error


@dataclass(frozen=True)
class CallTask(RewardedAnswer):
    """An answer, and the path of the function that pays it."""

    function: str = ""


@dataclass(frozen=True)
class Payment:
    """What a user's own function returned, or why it did not."""

    reward: float | None = None
    failure: str = ""


def call_function(task: CallTask) -> Payment:
    """What a worker does with an answer and a user's own function; what that raises comes back in words."""
    try:
        answer = RewardedAnswer(**{field.name: getattr(task, field.name) for field in fields(RewardedAnswer)})
        with uncounted():
            function = find_function(task.function)
        reward = function(answer)
        if reward is not None and not math.isfinite(reward):
            return Payment(failure=f"it returned {reward}")
        return Payment(None if reward is None else float(reward))
    except Exception as error:
        return Payment(failure=f"{type(error).__name__}: {error}")


def _pay_by_function(
    answers: Sequence[RewardedAnswer],
    judged: Sequence[PaidAnswer],
    table: RewardConfig,
    names: Sequence[str],
    workers: Workers,
) -> list[PaidAnswer]:
    """Pay by the user's own function, in processes that can be killed."""
    tasks = []
    for answer, paid in zip(answers, judged, strict=True):
        known = replace(
            answer,
            sql=paid.sql,
            outcome=paid.outcome,
            reason=paid.verdict.reason,
            reward=paid.reward,
            passes_one=bool(paid.passes_one),
        )
        tasks.append(CallTask(**asdict(known), function=table.function or ""))
    found = list(judged)
    for index, reply in run_tasks(call_function, tasks, workers=workers, seconds=table.seconds, memory=OWN_MEMORY):
        failure = reply.reason if isinstance(reply, Lost) else reply.failure
        if failure and table.on_failure == "stop":
            raise UserError(
                f"rl.reward.function={table.function} failed on {names[index]}, {judged[index].sql!r}: {failure}. What "
                "was sampled is kept, and the same command goes on there; rl.reward.on_failure=drop leaves such "
                "answers out."
            )
        outcome: Outcome = "failed" if failure else judged[index].outcome
        reward = None if isinstance(reply, Lost) else reply.reward
        found[index] = found[index].model_copy(update={"reward": reward, "outcome": outcome})
    return found
