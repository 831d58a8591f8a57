"""What is known of an answer without a database: whether it parses and names what there is, how hard the question was.

It is found in the process that judges the answer.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlglot import exp

from text2sql.equivalence.process_pool import Task
from text2sql.equivalence.verdict import Verdict
from text2sql.equivalence.workers import score
from text2sql.evaluation.labels import compile_failure, find_labels, is_syntax_error, parse_query
from text2sql.runs.records import Checks
from text2sql.sql.canonical import canonical
from text2sql.sql.ddl import parse_schema
from text2sql.sql.extract import extract_sql
from text2sql.sql.hardness import Hardness, hardness
from text2sql.sql.prepare import missing_name
from text2sql.sql.repair import clean
from text2sql.sql.tokens import tokenize


@dataclass(frozen=True)
class Description:
    """What is known of a prediction and its gold query without a database.

    Attributes:
        checks: The yes-or-no measures.
        hardness: Spider's level of the gold query.
        labels: In which ways the prediction departs from the gold query, none for a correct one.
    """

    checks: Checks
    hardness: Hardness
    labels: tuple[str, ...]


def describe(schema: str, gold: str, predicted: str, verdict: Verdict) -> Description:
    """Everything about a prediction that needs no database."""
    text = extract_sql(predicted)
    failure = compile_failure(schema, gold, predicted)
    exact = _words(clean(gold)) == _words(text)
    known = parse_schema(schema)
    trees = parse_query(clean(gold), known), parse_query(text, known)
    alike = exact or (trees[0] is not None and trees[1] is not None and _same_form(trees[0], trees[1]))
    valid_syntax = bool(text) and (failure is None or not is_syntax_error(failure))
    missing = failure is not None and missing_name(failure) is not None
    checks = Checks(
        exact_match=exact,
        canonical_match=alike,
        valid_syntax=valid_syntax,
        # A refused statement, as CREATE TABLE is, may name what it likes.
        valid_schema=valid_syntax and not missing and verdict.status != "refused",
        executable=failure is None and verdict.status not in ("error", "timeout", "refused"),
    )
    return Description(checks, hardness(gold), tuple(find_labels(schema, gold, text, verdict, failure)))


def score_and_describe(task: Task) -> Task:
    """What a worker does with an answer: the verdict as `workers.score` has it, the query, and its description."""
    scored = score(task)
    verdict = Verdict.from_dict(scored["verdict"])
    about = describe(task["schema"], task["gold"], task["predicted"], verdict)
    sql = extract_sql(task["predicted"])
    return {
        **scored,
        "sql": sql,
        "checks": about.checks.model_dump(),
        "hardness": about.hardness,
        "labels": about.labels,
    }


def read_description(gold: str, predicted: str, verdict: Verdict, answer: Task) -> tuple[str, Description]:
    """The query of an answer and its description, from `score_and_describe`; from the verdict for a lost worker."""
    if answer:
        return answer["sql"], Description(Checks(**answer["checks"]), answer["hardness"], tuple(answer["labels"]))
    labels = ("too slow",) if verdict.status == "timeout" else ()
    nothing = dict.fromkeys(Checks.model_fields, False)
    return extract_sql(predicted), Description(Checks(**nothing), hardness(gold), labels)


def _words(sql: str) -> list[str]:
    """Tokens up to letter case outside quotes and the kind of quotes."""
    return [t.name.lower() if t.kind == "word" else t.name for t in tokenize(sql) if t.text != ";"]


def _same_form(a: exp.Expr, b: exp.Expr) -> bool:
    try:
        return canonical(a) == canonical(b)
    except (RecursionError, ValueError, AttributeError):
        return False
