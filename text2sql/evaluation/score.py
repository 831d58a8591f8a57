"""Rows of predictions judged: by execution, by the benchmarks' own metrics where there are databases, by a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from backends.paths import cache_directory
from text2sql import evaluation
from text2sql.config import Config, EndpointConfig
from text2sql.console import stage
from text2sql.evaluation.benchmarks import BenchmarkScore, Question, score_benchmarks
from text2sql.evaluation.error_analysis import describe
from text2sql.evaluation.llm_judge import ATTEMPTS, Opinion, again, conversation, read_opinion, summarize_opinions

Row = dict[str, Any]


def judge_rows(
    rows: Sequence[Row],
    answers: Sequence[str],
    databases: Sequence[Sequence[str]],
    config: Config,
    advance: Callable[[int], None] = lambda count: None,
) -> list[Row]:
    """Execute and compare answers with their gold queries.

    Args:
        rows: What is known of each question; ``context`` and ``gold`` are needed.
        answers: The raw text to judge, one for each row.
        databases: The real database files of each question, its own first; none for most.
        config: Its `evaluation` section and the seed.
        advance: Called with the number of pairs judged since the last call.

    Returns:
        The rows with ``sql``, ``labels``, ``hardness``, ``checks`` (exact match, validity, ...) and ``verdict``;
        ``benchmark`` where there is a database.
    """
    settings = config.evaluation
    pairs = [
        evaluation.Pair(row["context"], row["gold"], answer, files[0] if files else None)
        for row, answer, files in zip(rows, answers, databases, strict=True)
    ]
    judged: list[Row] = [{} for _ in rows]
    for index, verdict in evaluation.score_pairs(
        pairs,
        workers=settings.workers,
        effort=settings.databases,
        seed=config.seed,
        timeout=settings.timeout,
        cache=cache_directory("verdicts") if settings.cache else None,
    ):
        pair = pairs[index]
        about = describe(pair.schema, pair.gold, pair.predicted, verdict)
        judged[index] = {
            **rows[index],
            "sql": evaluation.extract_sql(pair.predicted),
            "labels": about.labels,
            "hardness": about.hardness,
            "checks": about.checks,
            "verdict": verdict.to_dict(),
        }
        advance(1)
    having = [index for index, files in enumerate(databases) if files]
    questions = [Question(pairs[index].gold, answers[index], tuple(databases[index])) for index in having]
    for place, score in score_benchmarks(
        questions,
        workers=settings.workers,
        timeout=settings.query_timeout,
        rves=settings.rves,
        keep_distinct=settings.keep_distinct,
    ):
        judged[having[place]]["benchmark"] = score.to_dict()
    return judged


def summarize(rows: Sequence[Row]) -> Row:
    """Accuracy with its intervals and the other measures of a list of judged rows."""
    return evaluation.summarize(
        [
            evaluation.Scored(
                schema=row["context"],
                gold=row["gold"],
                predicted=row["sql"],
                verdict=evaluation.Verdict.from_dict(row["verdict"]),
                stop_reason=row.get("stop_reason"),
                cluster=row.get("cluster"),
                benchmark=BenchmarkScore(**row["benchmark"]) if row.get("benchmark") else None,
            )
            for row in rows
        ]
    )


def ask_judge(rows: Sequence[Row], title: str, config: EndpointConfig) -> tuple[list[Row], Row]:
    """A language model's opinion of every row; see `evaluation.judge`.

    Args:
        rows: Judged rows; ``question``, ``context``, ``gold``, ``sql`` and ``verdict`` are needed.
        title: Of the progress shown.
        config: The endpoint.

    Returns:
        The rows with ``judge``, and the summary: counts, agreement with execution, tokens and cost.

    Raises:
        UserError: The endpoint cannot be used; what was answered is kept in the cache.
    """
    from text2sql.chat_client import ChatClient, Completion

    endpoint = ChatClient(config)
    asked = [
        conversation(row["question"], row["context"], row["gold"], row["sql"], row.get("evidence")) for row in rows
    ]
    opinions: dict[int, Opinion] = {}
    waiting = list(range(len(rows)))
    with stage(title, len(rows)) as bar:
        for attempt in range(ATTEMPTS):
            answers = endpoint.complete_all(
                [asked[index] for index in waiting],
                on_result=None if attempt else lambda index, answer: bar.advance(1, 0),
            )
            repeated = []
            for index, answer in zip(waiting, answers, strict=True):
                if not isinstance(answer, Completion):
                    # Asked again after rubbish and not answered, it has still written rubbish.
                    opinions.setdefault(index, Opinion("unanswered", reason=answer.reason))
                    continue
                opinions[index] = opinion = read_opinion(answer.text)
                if opinion.status == "malformed":
                    asked[index] = again(asked[index], answer.text, opinion.reason)
                    repeated.append(index)
            waiting = repeated
    ordered = [opinions[index] for index in range(len(rows))]
    verdicts = [evaluation.Verdict.from_dict(row["verdict"]) for row in rows]
    summary = {
        "model": config.model,
        **summarize_opinions(ordered, verdicts),
        "requests": endpoint.requests,
        "cached": endpoint.cached,
        "prompt_tokens": endpoint.prompt_tokens,
        "completion_tokens": endpoint.completion_tokens,
        "cost": endpoint.spent if config.input_price is not None else None,
    }
    return [{**row, "judge": opinion.to_dict()} for row, opinion in zip(rows, ordered, strict=True)], summary
