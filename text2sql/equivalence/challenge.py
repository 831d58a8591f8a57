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
from text2sql.engines.sandbox.engine import EngineLost, engine_versions
from text2sql.equivalence.match import DEFAULT_EFFORT, open_generator
from text2sql.equivalence.mutations import Mutation, mutations
from text2sql.equivalence.pair import GoldFails, PreparedPair
from text2sql.equivalence.preparation import open_pair
from text2sql.equivalence.processes.process_pool import Lost, run_tasks
from text2sql.equivalence.scoring import PairTask, match_task
from text2sql.equivalence.search import CounterexampleSearch
from text2sql.equivalence.trial import Trial
from text2sql.equivalence.verdict import Status, Verdict
from text2sql.sql.budget import TIMEOUT, Budget
from text2sql.sql.sandbox import QueryFailed

DEFAULT_MUTATIONS = 20
MAX_MUTATIONS = 200
# Mutations that are drawn for each that is wanted: some are no queries, and do not count.
_DRAWN_PER_MUTATION = 4

SurvivorStatus = Literal["missed", "same", "unknown"]
_SURVIVOR_STATUS: dict[Status, SurvivorStatus] = {"different": "missed", "equivalent": "same"}


@dataclass(frozen=True)
class Survivor:
    """A mutation that the databases do not tell from the gold query.

    Attributes:
        mutation: The changed query.
        status: ``missed`` if databases made for it and the gold query do tell them apart: those of the pair are too
            weak there; ``same`` if these agree too, so that the change changes nothing; ``unknown`` if they do not say.
    """

    mutation: Mutation
    status: SurvivorStatus


@dataclass(frozen=True)
class Challenge:
    """Which mutations were killed, as mutation testing calls it, and which survived.

    Attributes:
        databases: On how many databases each was tried.
        killed: Mutations that differ from the gold query on one of them.
        survivors: The mutations that do not.
        failure: Why no mutation could be tried; empty otherwise.
    """

    databases: int = 0
    killed: tuple[Mutation, ...] = ()
    survivors: tuple[Survivor, ...] = ()
    failure: str = ""

    @property
    def changing(self) -> int:
        """Mutations that may change the result at all: no database kills those called ``same``."""
        return len(self.killed) + sum(survivor.status != "same" for survivor in self.survivors)

    @property
    def score(self) -> float | None:
        """The share killed of those that may change the result; None if there are none."""
        return len(self.killed) / self.changing if self.changing else None

    def to_dict(self) -> dict[str, Any]:
        """The challenge as plain JSON."""
        return {
            "databases": self.databases,
            "score": self.score,
            "told_apart": [{"sql": mutation.sql, "change": mutation.change} for mutation in self.killed],
            "survivors": [
                {"sql": survivor.mutation.sql, "change": survivor.mutation.change, "status": survivor.status}
                for survivor in self.survivors
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
    count = max(1, min(count, MAX_MUTATIONS))
    databases = DEFAULT_EFFORT if verdict.proof == "canonical" else verdict.databases
    task = ChallengeTask(schema, gold, predicted, databases, count, seed, dialect)
    seconds = 2 * TIMEOUT * (count + 1)
    ((_, reply),) = run_tasks(_run_challenge, [task], workers=1, seconds=seconds, engines=engines)
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
class ChallengeReply:
    """A `Challenge` as its `to_dict` has it."""

    challenge: dict[str, Any]


def _run_challenge(task: ChallengeTask) -> ChallengeReply:
    """What a worker does with a `ChallengeTask`."""
    preparation = open_pair(task.schema, task.gold, task.predicted, task.dialect, seed=task.seed)
    try:
        pair = preparation.prepare()
        killed, survived = _try_mutations(pair, task)
    except (QueryFailed, GoldFails, SqlglotError, EngineLost) as error:
        return ChallengeReply(Challenge(failure=str(error)).to_dict())
    finally:
        preparation.close()
    # Behind the end of the pair: an engine holds the tables of one.
    survivors = tuple(Survivor(mutation, _survivor_status(task, pair.gold.sql, mutation)) for mutation in survived)
    return ChallengeReply(Challenge(task.databases, tuple(killed), survivors).to_dict())


def _try_mutations(pair: PreparedPair, task: ChallengeTask) -> tuple[list[Mutation], list[Mutation]]:
    """The mutations that the pair's databases tell from the gold query, and those that they do not."""
    rng = random.Random(task.seed)
    killed, survived = list[Mutation](), list[Mutation]()
    with open_generator(pair, task.seed) as generator:
        generator.cached_databases = task.databases
        for mutation in mutations(pair.gold.sql, rng, _DRAWN_PER_MUTATION * task.count, pair.syntax):
            if len(killed) + len(survived) == task.count:
                break
            try:
                mutated = pair.with_predicted(pair.prepare_query(mutation.sql))
            except QueryFailed:
                continue
            budget = Budget(TIMEOUT)
            search = CounterexampleSearch(mutated, Trial(mutated, budget), generator, task.databases, budget)
            (killed if search.finds_difference(task.databases) else survived).append(mutation)
    return killed, survived


def _survivor_status(task: ChallengeTask, gold: str, mutation: Mutation) -> SurvivorStatus:
    pair = (task.schema, gold, mutation.sql, None, task.dialect)
    verdict = match_task(PairTask(*pair, effort=None, seed=task.seed, timeout=TIMEOUT))
    return _SURVIVOR_STATUS.get(verdict.status, "unknown")
