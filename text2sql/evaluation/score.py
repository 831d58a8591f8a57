"""Answers judged: by execution, by the benchmarks' own metrics where there are databases, by a language model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from text2sql import evaluation
from text2sql.config import Config, EndpointConfig
from text2sql.console import stage
from text2sql.engines.dialect import Dialect
from text2sql.equivalence.proofs import with_proofs
from text2sql.equivalence.scoring import work_on_pairs
from text2sql.equivalence.verdict import Verdict
from text2sql.evaluation.benchmarks import Question, score_benchmarks
from text2sql.evaluation.description import Description, read_description, score_and_describe
from text2sql.evaluation.llm_judge import (
    ATTEMPTS,
    JudgeCase,
    again,
    conversation,
    read_opinion,
    summarize_opinions,
)
from text2sql.evaluation.match_options import match_options
from text2sql.runs.evaluation_summary import JudgeSummary
from text2sql.runs.records import BenchmarkScore, Opinion


class Case(NamedTuple):
    """One answer to judge.

    Attributes:
        schema: ``CREATE TABLE`` statements.
        gold: The gold query.
        answer: The raw text of the answer.
        databases: The real database files of the question, its own first; none for most.
        dialect: Of schema and queries.
    """

    schema: str
    gold: str
    answer: str
    databases: Sequence[str] = ()
    dialect: Dialect = "sqlite"


@dataclass(frozen=True)
class Judgement:
    """What is known of an answer once it is judged.

    Attributes:
        sql: The query in it.
        description: What needs no database: labels, hardness, checks.
        verdict: Of the evaluator.
        benchmark: What the benchmarks' scripts say; None without a database.
    """

    sql: str
    description: Description
    verdict: Verdict
    benchmark: BenchmarkScore | None


def judge_answers(
    cases: Sequence[Case], config: Config, advance: Callable[[int], None] = lambda count: None
) -> list[Judgement]:
    """Execute and compare answers with their gold queries.

    Args:
        cases: The answers.
        config: Its `evaluation` section and the seed.
        advance: Called with the number of steps done since the last call; there are `judging_steps` of them.
    """
    settings = config.evaluation
    pairs = [
        evaluation.Pair(case.schema, case.gold, case.answer, next(iter(case.databases), None), case.dialect)
        for case in cases
    ]
    verdicts: dict[int, Verdict] = {}
    descriptions: dict[int, Description] = {}
    queries: dict[int, str] = {}
    for index, verdict, answer in work_on_pairs(
        score_and_describe,
        pairs,
        **match_options(config),
    ):
        verdicts[index] = verdict
        queries[index], descriptions[index] = read_description(
            *pairs[index][1:3], verdict, answer, pairs[index].dialect
        )
        advance(1)
    if settings.proof:
        proven = with_proofs(pairs, [verdicts[index] for index in range(len(pairs))], workers=settings.workers)
        verdicts = dict(enumerate(proven))
    having = [index for index, case in enumerate(cases) if case.databases]
    questions = [Question(cases[i].gold, cases[i].answer, tuple(cases[i].databases)) for i in having]
    benchmarks: dict[int, BenchmarkScore] = {}
    for place, score in score_benchmarks(
        questions,
        workers=settings.workers,
        timeout=settings.query_timeout,
        rves=settings.rves,
        keep_distinct=settings.keep_distinct,
    ):
        benchmarks[having[place]] = score
        advance(1)
    return [Judgement(queries[i], descriptions[i], verdicts[i], benchmarks.get(i)) for i in range(len(cases))]


def judging_steps(cases: Sequence[Case]) -> int:
    """Steps of `judge_answers`: every answer is one, and one more where the benchmarks' metrics are taken."""
    return len(cases) + sum(bool(case.databases) for case in cases)


def ask_judge(
    cases: Sequence[JudgeCase], verdicts: Sequence[Verdict], title: str, config: EndpointConfig
) -> tuple[list[Opinion], JudgeSummary]:
    """A language model's opinion of every prediction; see `text2sql.evaluation.llm_judge`.

    Args:
        cases: The predictions.
        verdicts: Of execution on them.
        title: Of the progress shown.
        config: The endpoint.

    Returns:
        The opinions, and what they come to: counts, agreement with execution, tokens and cost.

    Raises:
        UserError: The endpoint cannot be used; what was answered is kept in the cache.
    """
    from text2sql.chat_client import ChatClient, Completion

    endpoint = ChatClient(config)
    asked = [conversation(*case) for case in cases]
    opinions: dict[int, Opinion] = {}
    waiting = list(range(len(cases)))
    with stage(title, len(cases)) as bar:
        for attempt in range(ATTEMPTS):
            answers = endpoint.complete_all(
                [asked[index] for index in waiting],
                on_result=None if attempt else lambda index, answer: bar.advance(1, 0),
            )
            repeated = []
            for index, answer in zip(waiting, answers, strict=True):
                if not isinstance(answer, Completion):
                    # Asked again after rubbish and not answered, it has still written rubbish.
                    opinions.setdefault(index, Opinion(status="unanswered", reason=answer.reason))
                    continue
                opinions[index] = opinion = read_opinion(answer.text)
                if opinion.status == "malformed":
                    asked[index] = again(asked[index], answer.text, opinion.reason)
                    repeated.append(index)
            waiting = repeated
    ordered = [opinions[index] for index in range(len(cases))]
    return ordered, JudgeSummary(
        model=config.model,
        **dict(summarize_opinions(ordered, verdicts)),
        requests=endpoint.requests,
        cached=endpoint.cached,
        prompt_tokens=endpoint.prompt_tokens,
        completion_tokens=endpoint.completion_tokens,
        cost=endpoint.spent if config.input_price is not None else None,
    )
