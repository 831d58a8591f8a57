"""What is known of an answer without a database: whether it parses, whether its names exist, which errors it makes.

It is computed in the worker process that also compares the answer with the gold query.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlglot import exp

from text2sql.engines.answers import extract_sql_in
from text2sql.engines.dialect import Dialect
from text2sql.engines.trees import canonical_in, hardness_in, parse_statement_in
from text2sql.equivalence.match import MAX_PREDICTION_CHARACTERS
from text2sql.equivalence.scoring import PairResult, PairTask, score_pair
from text2sql.equivalence.verdict import Verdict
from text2sql.evaluation.breakdown import Group, groups_of
from text2sql.evaluation.labels import compile_failure, find_labels, is_syntax_error, parse_query
from text2sql.runs.records import Checks
from text2sql.sql.ddl import parse_schema
from text2sql.sql.hardness import Hardness
from text2sql.sql.prepare import missing_name
from text2sql.sql.repair import strip_semicolon
from text2sql.sql.tokens import tokenize


@dataclass(frozen=True)
class AnswerAnalysis:
    """What is known of a prediction and its gold query without a database.

    Attributes:
        checks: The yes-or-no measures.
        hardness: Spider's level of the gold query.
        labels: Error labels of the prediction, none for a correct one.
        groups: The breakdown groups of the question; None where they are still to be computed.
    """

    checks: Checks
    hardness: Hardness
    labels: tuple[str, ...]
    groups: tuple[Group, ...] | None = None


def analyse_answer(
    schema: str,
    gold: str,
    predicted: str,
    verdict: Verdict,
    dialect: Dialect = "sqlite",
    *,
    transpile: bool = False,
) -> AnswerAnalysis:
    """Compute everything about a prediction that needs no database."""
    text = extract_sql_in(predicted, dialect)
    failure = compile_failure(schema, gold, predicted, dialect, transpile)
    exact = _normalised_tokens(strip_semicolon(gold)) == _normalised_tokens(text)
    parsed_schema = parse_schema(schema)
    gold_tree, tree = (parse_query(sql, parsed_schema, dialect) for sql in (strip_semicolon(gold), text))
    canonical = exact or (gold_tree is not None and tree is not None and _same_canonical(gold_tree, tree, dialect))
    valid_syntax = bool(text) and (failure is None or not is_syntax_error(failure))
    has_unknown_name = failure is not None and missing_name(failure) is not None
    checks = Checks(
        exact_match=exact,
        canonical_match=canonical,
        parses=_parses(text, dialect),
        valid_syntax=valid_syntax,
        # A refused statement such as CREATE TABLE names tables that need not exist.
        valid_schema=valid_syntax and not has_unknown_name and verdict.status != "refused",
        executable=failure is None and verdict.status not in ("error", "timeout", "refused"),
    )
    labels = find_labels(schema, gold, text, verdict, failure, dialect)
    return AnswerAnalysis(checks, hardness_in(gold, dialect), tuple(labels), groups_of(gold, dialect))


@dataclass(frozen=True)
class AnalysedAnswer(PairResult):
    """The result of `score_and_analyse`: the verdict, the query in the answer, and its analysis as plain values.

    Attributes:
        sql: The query in the answer.
        checks: The fields of `Checks`.
        hardness: Spider's level of the gold query.
        labels: Error labels of the prediction.
        groups: The breakdown groups of the question.
    """

    sql: str
    checks: dict[str, bool | None]
    hardness: Hardness
    labels: tuple[str, ...]
    groups: tuple[Group, ...]


def score_and_analyse(task: PairTask) -> AnalysedAnswer:
    """Run in a worker process: compare an answer with its gold query, and analyse it."""
    scored = score_pair(task)
    if len(task.predicted) > MAX_PREDICTION_CHARACTERS:
        # What is refused for its length is not parsed either, which would take many times as long as other answers.
        failed, groups = _no_checks().model_dump(), groups_of(task.gold, task.dialect)
        return AnalysedAnswer(
            scored.verdict, scored.cause, task.predicted, failed, hardness_in(task.gold, task.dialect), (), groups
        )
    texts = (task.schema, task.gold, task.predicted)
    analysis = analyse_answer(*texts, Verdict.from_dict(scored.verdict), task.dialect, transpile=task.transpile)
    sql, groups = extract_sql_in(task.predicted, task.dialect), analysis.groups or ()
    checks = analysis.checks.model_dump()
    return AnalysedAnswer(scored.verdict, scored.cause, sql, checks, analysis.hardness, analysis.labels, groups)


def unpack_analysis(
    gold: str, predicted: str, verdict: Verdict, answer: AnalysedAnswer | None, dialect: Dialect = "sqlite"
) -> tuple[str, AnswerAnalysis]:
    """The query in an answer and its analysis.

    Args:
        gold: The gold query.
        predicted: The raw prediction.
        verdict: The evaluator's verdict.
        answer: The result of `score_and_analyse`; None if its worker was lost, so that only the verdict is known.
        dialect: SQL dialect of the queries.
    """
    if answer is not None:
        checks = Checks.model_validate(answer.checks)
        return answer.sql, AnswerAnalysis(checks, answer.hardness, answer.labels, answer.groups)
    labels = ("too slow",) if verdict.status == "timeout" else ()
    return extract_sql_in(predicted, dialect), AnswerAnalysis(_no_checks(), hardness_in(gold, dialect), labels)


def _no_checks() -> Checks:
    """The checks of an answer that passes none."""
    return Checks(**dict.fromkeys(Checks.model_fields, False))


def _parses(text: str, dialect: Dialect) -> bool:
    """Whether sqlglot parses a text in its dialect, as a query or another statement that it supports."""
    tree = parse_statement_in(text, dialect) if text else None
    return tree is not None and not isinstance(tree, exp.Command)


def _normalised_tokens(sql: str) -> list[str]:
    """The tokens of a query, words in lower case and names without their quotes."""
    return [t.name.lower() if t.kind == "word" else t.name for t in tokenize(sql) if t.text != ";"]


def _same_canonical(a: exp.Expr, b: exp.Expr, dialect: Dialect) -> bool:
    try:
        return canonical_in(a, dialect) == canonical_in(b, dialect)
    except (RecursionError, ValueError, AttributeError):
        return False
