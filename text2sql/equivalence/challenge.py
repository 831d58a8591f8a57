"""How much agreement is worth: the share of small mutations of the gold query that the pair's databases tell apart.

This is mutation testing (DeMillo, Lipton and Sayward, "Hints on Test Data Selection", 1978) with the made databases as
the tests and the gold query as the program.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, Literal

from sqlglot.errors import SqlglotError

from text2sql.engines.dialect import Dialect
from text2sql.engines.sandbox.engine import EngineLost, engine_versions, open_engine
from text2sql.equivalence.match import DEFAULT_EFFORT, Search, generator_of
from text2sql.equivalence.mutations import Mutation, mutations
from text2sql.equivalence.pair import GoldFails, PreparedPair
from text2sql.equivalence.processes.process_pool import Lost, run_tasks
from text2sql.equivalence.scoring import PairTask, judged
from text2sql.equivalence.trial import Trial
from text2sql.equivalence.verdict import Status, Verdict
from text2sql.sql.budget import TIMEOUT, Budget
from text2sql.sql.sandbox import QueryFailed

# Mutations by default, and at most.
DEFAULT_MUTATIONS, MOST_MUTATIONS = 20, 200

Fate = Literal["missed", "same", "unknown"]
_FATES: dict[Status, Fate] = {"different": "missed", "equivalent": "same"}


@dataclass(frozen=True)
class Survivor:
    """A mutation that the databases do not tell from the gold query.

    Attributes:
        mutation: The changed query.
        status: ``missed`` if databases made for it and the gold query do tell them apart: those of the pair are too
            weak there; ``same`` if these agree too, so that the change changes nothing; ``unknown`` if they do not say.
    """

    mutation: Mutation
    status: Fate


@dataclass(frozen=True)
class Challenge:
    """What became of the mutations.

    Attributes:
        databases: On how many databases each was tried.
        told_apart: Mutations that differ from the gold query on one of them.
        survivors: The others.
        failure: Why there are none; empty otherwise.
    """

    databases: int = 0
    told_apart: tuple[Mutation, ...] = ()
    survivors: tuple[Survivor, ...] = ()
    failure: str = ""

    @property
    def changing(self) -> int:
        """Mutations that may change the result at all: those called ``same`` cannot be told apart by anything."""
        return len(self.told_apart) + sum(survivor.status != "same" for survivor in self.survivors)

    @property
    def score(self) -> float | None:
        """The share told apart of those that may change the result; None if there are none."""
        return len(self.told_apart) / self.changing if self.changing else None

    def to_dict(self) -> dict[str, Any]:
        """The challenge as plain JSON."""
        return {
            "databases": self.databases,
            "score": self.score,
            "told_apart": [{"sql": found.sql, "change": found.change} for found in self.told_apart],
            "survivors": [
                {"sql": left.mutation.sql, "change": left.mutation.change, "status": left.status}
                for left in self.survivors
            ],
            "failure": self.failure,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Challenge:
        """The inverse of `to_dict`."""
        return cls(
            data["databases"],
            tuple(Mutation(row["sql"], row["change"]) for row in data["told_apart"]),
            tuple(Survivor(Mutation(row["sql"], row["change"]), row["status"]) for row in data["survivors"]),
            data["failure"],
        )


def challenge(
    schema: str,
    gold: str,
    predicted: str,
    verdict: Verdict,
    *,
    count: int = DEFAULT_MUTATIONS,
    seed: int = 0,
    dialect: Dialect = "sqlite",
) -> Challenge:
    """Tries mutations of the gold query on the databases that a pair was compared on, in a process of its pool.

    Args:
        schema: ``CREATE TABLE`` statements.
        gold: The gold query.
        predicted: The prediction, from which the databases are made as well.
        verdict: Of the pair. Where it needed no databases, since both are the same query, those that would have been
            made are taken.
        count: Mutations, 200 at most; fewer where the gold query has no more.
        seed: Of the databases, and of the choice of mutations.
        dialect: Of schema and queries; its engine runs the mutations, as it has run the pair.

    Raises:
        EngineMissing: The engine of the dialect cannot be had.
    """
    engines: list[Dialect] = [] if dialect == "sqlite" else [dialect]
    engine_versions(engines)
    count = max(1, min(count, MOST_MUTATIONS))
    databases = DEFAULT_EFFORT if verdict.proof == "canonical" else verdict.databases
    task = ChallengeTask(schema, gold, predicted, databases, count, seed, dialect)
    seconds = 2 * TIMEOUT * (count + 1)
    ((_, reply),) = run_tasks(_work, [task], workers=1, seconds=seconds, engines=engines)
    return Challenge(failure=reply.reason) if isinstance(reply, Lost) else Challenge.from_dict(reply.challenge)


@dataclass(frozen=True)
class ChallengeTask:
    """The arguments of `challenge`, and the number of databases."""

    schema: str
    gold: str
    predicted: str
    databases: int
    count: int
    seed: int
    dialect: Dialect = "sqlite"


@dataclass(frozen=True)
class Challenged:
    """A `Challenge` as its `to_dict` has it."""

    challenge: dict[str, Any]


def _work(task: ChallengeTask) -> Challenged:
    pair = _pair(task)
    try:
        pair.prepare_gold()
        pair.prepare_predicted()
        gold = pair.gold.sql
        told_apart, left = _tried(pair, task)
    except (QueryFailed, GoldFails, SqlglotError, EngineLost) as error:
        return Challenged(Challenge(failure=str(error)).to_dict())
    finally:
        pair.close()
    # Behind the end of the pair: an engine holds the tables of one.
    survivors = tuple(Survivor(mutation, _status(task, gold, mutation)) for mutation in left)
    return Challenged(Challenge(task.databases, tuple(told_apart), survivors).to_dict())


def _pair(task: ChallengeTask) -> PreparedPair:
    if task.dialect == "sqlite":
        return PreparedPair(task.schema, task.gold, task.predicted, None, task.seed)
    from text2sql.equivalence.engine_pair import EnginePair

    return EnginePair(task.schema, task.gold, task.predicted, task.seed, open_engine(task.dialect))


def _tried(pair: PreparedPair, task: ChallengeTask) -> tuple[list[Mutation], list[Mutation]]:
    """The mutations that the pair's databases tell from the gold query, and those that they do not."""
    rng = random.Random(task.seed)
    told_apart, survivors = list[Mutation](), list[Mutation]()
    left = task.count
    with generator_of(pair, task.seed) as generator:
        generator.kept = task.databases
        # Some mutations are no queries: they do not count.
        for mutation in mutations(pair.gold.sql, rng, 4 * task.count, pair.syntax):
            if not left:
                break
            try:
                pair.predicted = pair.mutated(mutation.sql)
            except QueryFailed:
                continue
            left -= 1
            budget = Budget(TIMEOUT)
            search = Search(pair, Trial(pair, budget), generator, task.databases, budget)
            (told_apart if search.told_apart(task.databases) else survivors).append(mutation)
    return told_apart, survivors


def _status(task: ChallengeTask, gold: str, mutation: Mutation) -> Fate:
    pair = (task.schema, gold, mutation.sql, None, task.dialect)
    verdict = judged(PairTask(*pair, effort=None, seed=task.seed, timeout=TIMEOUT))
    return _FATES.get(verdict.status, "unknown")
