"""Better answers from the same model: solved examples in the prompt, a vote of several samples, a second try.

No gold query has a part in any of it: what votes and what retries is how queries run on the question's database, or,
where it has none, on its schema.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

from backends.interface import cut_at_stop
from text2sql import evaluation
from text2sql.config import Config, Retry, SelfConsistency
from text2sql.data.example import Example
from text2sql.equivalence.pair import compile_prediction
from text2sql.inference.generate import Generation
from text2sql.sql.sandbox import QueryFailed, Sandbox

MAX_STEPS = 10**8  # instructions of SQLite's virtual machine for one query on a real database


@dataclass(frozen=True)
class Way:
    """How answers are come by, where that is not one answer to the bare prompt.

    Attributes:
        shots: Solved examples for the prompt, by the id of the question.
        vote: Several samples, and the one whose result most of them share.
        retry: Another answer where one does not run.
    """

    shots: Mapping[str, Sequence[Example]] = field(default_factory=dict)
    vote: SelfConsistency | None = None
    retry: Retry | None = None

    def fronts(self, examples: Sequence[Example]) -> list[Sequence[Example]] | None:
        """The solved examples of each question, None where there are none at all."""
        return [self.shots.get(e.id, ()) for e in examples] if self.shots else None


def query_of(generation: Generation, config: Config) -> str:
    """The query in an answer."""
    return evaluation.extract_sql(cut_at_stop(generation.text, config.evaluation.stop))


def failure(example: Example, sql: str, seconds: float) -> str | None:
    """Why a query does not run for a question, None if it does."""
    if not sql:
        return "there is no query in the answer"
    if example.db is None:
        failed = compile_prediction(example.context, "", sql)
        return str(failed) if failed else None
    try:
        box = Sandbox.from_file(example.db)
    except sqlite3.Error as error:
        return str(error)
    try:
        box.run(sql, MAX_STEPS, seconds)
    except QueryFailed as error:
        return str(error)
    finally:
        box.close()
    return None


def self_consistency(
    examples: Sequence[Example], candidates: Sequence[Sequence[Generation]], config: Config
) -> list[Generation]:
    """Of each question's answers, one whose result most of them share; its tokens are those of all.

    Answers that do not run have no vote. Two queries share their result if the evaluator finds no database, real or
    made for the schema, on which they differ. Between equals the earlier sample wins.
    """
    settings = config.evaluation
    queries = [[query_of(g, config) for g in answers] for answers in candidates]
    running = [
        [sql for sql in dict.fromkeys(own) if failure(example, sql, settings.timeout) is None]
        for example, own in zip(examples, queries, strict=True)
    ]
    places = [(i, a, b) for i, own in enumerate(running) for a, b in combinations(own, 2)]
    pairs = [evaluation.Pair(examples[i].context, a, b, examples[i].db) for i, a, b in places]
    same = {
        places[index]
        for index, verdict in evaluation.score_pairs(
            pairs, workers=settings.workers, effort=settings.databases, seed=config.seed, timeout=settings.timeout
        )
        if verdict.correct
    }
    chosen = []
    for i, answers in enumerate(candidates):
        winner = _elected(Counter(queries[i]), running[i], {(a, b) for place, a, b in same if place == i})
        answer = answers[queries[i].index(winner)] if winner is not None else answers[0]
        chosen.append(replace(answer, tokens=sum(g.tokens for g in answers), samples=len(answers)))
    return chosen


def _elected(votes: Counter[str], running: Sequence[str], same: set[tuple[str, str]]) -> str | None:
    """The most frequent query of the group of equal ones with the most votes; `running` is in the order of sampling."""
    groups: list[list[str]] = []
    for sql in running:
        home = next((group for group in groups if (group[0], sql) in same), None)
        groups.append([sql]) if home is None else home.append(sql)
    if not groups:
        return None
    best = max(groups, key=lambda group: sum(votes[sql] for sql in group))
    return max(best, key=votes.__getitem__)


def to_ask_again(
    examples: Sequence[Example], generations: Sequence[Generation], retry: Retry, config: Config
) -> dict[int, Example]:
    """The questions whose answer does not run, by place; the question tells of the error if it is to be shown."""
    again = {}
    for place, (example, generation) in enumerate(zip(examples, generations, strict=True)):
        sql = query_of(generation, config)
        reason = failure(example, sql, config.evaluation.timeout)
        if reason is None:
            continue
        hint = f"{example.question}\nThis query failed: {' '.join(sql.split())}\nError: {reason}\nWrite one that runs."
        again[place] = replace(example, question=hint) if retry.show_error and sql else example
    return again


def combined(first: Generation, second: Generation) -> Generation:
    """The second answer, at the cost of both."""
    return replace(
        second,
        tokens=first.tokens + second.tokens,
        prompt_tokens=first.prompt_tokens + second.prompt_tokens,
        samples=first.samples + second.samples,
    )
