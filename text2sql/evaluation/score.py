"""Scoring of answers: by execution, by the benchmarks' own metrics where there are databases, by an LLM judge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from text2sql.config import Config, EndpointConfig, EvaluationConfig
from text2sql.console import progress_bar
from text2sql.engines.dialect import Dialect
from text2sql.equivalence.proofs import with_proofs
from text2sql.equivalence.scoring import Pair, work_on_pairs
from text2sql.equivalence.verdict import Verdict
from text2sql.evaluation.answer_analysis import AnswerAnalysis, score_and_analyse, unpack_analysis
from text2sql.evaluation.benchmarks import BenchmarkQuestion, score_benchmarks
from text2sql.evaluation.llm_judge import (
    ATTEMPTS,
    JudgeCase,
    ask_again,
    judge_messages,
    read_opinion,
    summarize_opinions,
)
from text2sql.evaluation.match_options import match_options
from text2sql.runs.evaluation_summary import JudgeSummary
from text2sql.runs.records import BenchmarkScore, Opinion


class ScoringCase(NamedTuple):
    """An answer with what it is scored against.

    Attributes:
        schema: ``CREATE TABLE`` statements.
        gold: The gold query.
        answer: The raw text of the answer.
        databases: Paths of the question's real database files, its own first; empty for most questions.
        dialect: SQL dialect of schema and queries.
    """

    schema: str
    gold: str
    answer: str
    databases: Sequence[str] = ()
    dialect: Dialect = "sqlite"


@dataclass(frozen=True)
class ScoredAnswer:
    """An answer with its verdict, its analysis and the benchmarks' metrics.

    Attributes:
        sql: The query in the answer.
        analysis: What needs no database: checks, hardness, error labels.
        verdict: The evaluator's verdict.
        benchmark: The benchmarks' own metrics; None without a database.
    """

    sql: str
    analysis: AnswerAnalysis
    verdict: Verdict
    benchmark: BenchmarkScore | None


Advance = Callable[[int], None]


def score_answers(
    cases: Sequence[ScoringCase], config: Config, advance: Advance = lambda count: None
) -> list[ScoredAnswer]:
    """Execute answers and compare them with their gold queries.

    Args:
        cases: The answers.
        config: Its `evaluation` section and the seed are used.
        advance: Called with the number of steps done since the last call, of `scoring_steps` in all.
    """
    settings = config.evaluation
    pairs = [
        Pair(case.schema, case.gold, case.answer, next(iter(case.databases), None), case.dialect) for case in cases
    ]
    verdicts: dict[int, Verdict] = {}
    analyses: dict[int, AnswerAnalysis] = {}
    queries: dict[int, str] = {}
    for index, verdict, answer in work_on_pairs(
        score_and_analyse,
        pairs,
        **match_options(config),
    ):
        pair = pairs[index]
        verdicts[index] = verdict
        queries[index], analyses[index] = unpack_analysis(pair.gold, pair.predicted, verdict, answer, pair.dialect)
        advance(1)
    if settings.proof:
        proven = with_proofs(pairs, [verdicts[index] for index in range(len(pairs))], workers=settings.workers)
        verdicts = dict(enumerate(proven))
    benchmarks = _score_benchmarks(cases, settings, advance)
    return [ScoredAnswer(queries[i], analyses[i], verdicts[i], benchmarks.get(i)) for i in range(len(cases))]


def _score_benchmarks(
    cases: Sequence[ScoringCase], settings: EvaluationConfig, advance: Advance
) -> dict[int, BenchmarkScore]:
    """The benchmarks' own metrics by index of the case, for the cases that have a real database."""
    indices = [index for index, case in enumerate(cases) if case.databases]
    questions = [BenchmarkQuestion(cases[i].gold, cases[i].answer, tuple(cases[i].databases)) for i in indices]
    scores: dict[int, BenchmarkScore] = {}
    for i, score in score_benchmarks(
        questions,
        workers=settings.workers,
        timeout=settings.query_timeout,
        rves=settings.rves,
        keep_distinct=settings.keep_distinct,
    ):
        scores[indices[i]] = score
        advance(1)
    return scores


def scoring_steps(cases: Sequence[ScoringCase]) -> int:
    """Number of steps of `score_answers`: one for each answer, and one more for each with a real database."""
    return len(cases) + sum(bool(case.databases) for case in cases)


def ask_judge(
    cases: Sequence[JudgeCase], verdicts: Sequence[Verdict], title: str, config: EndpointConfig
) -> tuple[list[Opinion], JudgeSummary]:
    """Ask a language model for its opinion of every prediction; see `text2sql.evaluation.llm_judge`.

    Args:
        cases: The predictions.
        verdicts: The evaluator's verdict of each.
        title: Title of the progress bar.
        config: The endpoint.

    Returns:
        The opinions, and their summary: counts, agreement with execution, tokens and cost.

    Raises:
        UserError: The endpoint cannot be used; what was answered is kept in the cache.
    """
    from text2sql.chat_client import ChatClient, Completion

    endpoint = ChatClient(config)
    conversations = [judge_messages(*case) for case in cases]
    opinions: dict[int, Opinion] = {}
    pending = list(range(len(cases)))
    with progress_bar(title, len(cases)) as bar:
        for attempt in range(ATTEMPTS):
            answers = endpoint.complete_all(
                [conversations[index] for index in pending],
                on_result=None if attempt else lambda index, answer: bar.advance(1, 0),
            )
            malformed = []
            for index, answer in zip(pending, answers, strict=True):
                if not isinstance(answer, Completion):
                    # A judge that does not answer the second time keeps its first opinion, which is malformed.
                    opinions.setdefault(index, Opinion(status="unanswered", reason=answer.reason))
                    continue
                opinions[index] = opinion = read_opinion(answer.text)
                if opinion.status == "malformed":
                    conversations[index] = ask_again(conversations[index], answer.text, opinion.reason)
                    malformed.append(index)
            pending = malformed
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
