"""What is known of an answer without a database: whether it parses and names what there is, how hard the question was.

It is found in the process that judges the answer.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlglot import exp

from text2sql.engines.answers import extract_sql_in
from text2sql.engines.dialect import Dialect
from text2sql.engines.trees import canonical_in, hardness_in, parse_statement_in
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
class Description:
    """What is known of a prediction and its gold query without a database.

    Attributes:
        checks: The yes-or-no measures.
        hardness: Spider's level of the gold query.
        labels: In which ways the prediction departs from the gold query, none for a correct one.
        groups: The kinds of question that it belongs to; None where that is still to be found out.
    """

    checks: Checks
    hardness: Hardness
    labels: tuple[str, ...]
    groups: tuple[Group, ...] | None = None


def describe(
    schema: str,
    gold: str,
    predicted: str,
    verdict: Verdict,
    dialect: Dialect = "sqlite",
    *,
    transpile: bool = False,
) -> Description:
    """Everything about a prediction that needs no database."""
    text = extract_sql_in(predicted, dialect)
    failure = compile_failure(schema, gold, predicted, dialect, transpile)
    exact = _words(strip_semicolon(gold)) == _words(text)
    known = parse_schema(schema)
    trees = [parse_query(sql, known, dialect) for sql in (strip_semicolon(gold), text)]
    alike = exact or (trees[0] is not None and trees[1] is not None and _same_form(trees[0], trees[1], dialect))
    valid_syntax = bool(text) and (failure is None or not is_syntax_error(failure))
    missing = failure is not None and missing_name(failure) is not None
    checks = Checks(
        exact_match=exact,
        canonical_match=alike,
        parses=_parses(text, dialect),
        valid_syntax=valid_syntax,
        # A refused statement, as CREATE TABLE is, may name what it likes.
        valid_schema=valid_syntax and not missing and verdict.status != "refused",
        executable=failure is None and verdict.status not in ("error", "timeout", "refused"),
    )
    labels = find_labels(schema, gold, text, verdict, failure, dialect)
    return Description(checks, hardness_in(gold, dialect), tuple(labels), groups_of(gold, dialect))


@dataclass(frozen=True)
class Described(PairResult):
    """What a worker answers of an answer: the verdict, the query in it, and its description.

    Attributes:
        sql: The query.
        checks: See `Description`; the fields of `Checks`.
        hardness: Likewise.
        labels: Likewise.
        groups: Likewise.
    """

    sql: str
    checks: dict[str, bool | None]
    hardness: Hardness
    labels: tuple[str, ...]
    groups: tuple[Group, ...]


def score_and_describe(task: PairTask) -> Described:
    """What a worker does with an answer: the verdict as `scoring.score_pair` has it, the query, and its description."""
    scored = score_pair(task)
    texts = (task.schema, task.gold, task.predicted)
    about = describe(*texts, Verdict.from_dict(scored.verdict), task.dialect, transpile=task.transpile)
    sql, groups = extract_sql_in(task.predicted, task.dialect), about.groups or ()
    checks = about.checks.model_dump()
    return Described(scored.verdict, scored.cause, sql, checks, about.hardness, about.labels, groups)


def read_description(
    gold: str, predicted: str, verdict: Verdict, answer: Described | None, dialect: Dialect = "sqlite"
) -> tuple[str, Description]:
    """The query of an answer and its description, from `score_and_describe`; from the verdict for a lost worker."""
    if answer is not None:
        about = Description(Checks.model_validate(answer.checks), answer.hardness, answer.labels, answer.groups)
        return answer.sql, about
    labels = ("too slow",) if verdict.status == "timeout" else ()
    nothing = dict.fromkeys(Checks.model_fields, False)
    return extract_sql_in(predicted, dialect), Description(Checks(**nothing), hardness_in(gold, dialect), labels)


def _parses(text: str, dialect: Dialect) -> bool:
    """Whether sqlglot parses a text in its dialect, as a query or another statement that it knows."""
    tree = parse_statement_in(text, dialect) if text else None
    return tree is not None and not isinstance(tree, exp.Command)


def _words(sql: str) -> list[str]:
    """Tokens up to letter case outside quotes and the kind of quotes."""
    return [t.name.lower() if t.kind == "word" else t.name for t in tokenize(sql) if t.text != ";"]


def _same_form(a: exp.Expr, b: exp.Expr, dialect: Dialect) -> bool:
    try:
        return canonical_in(a, dialect) == canonical_in(b, dialect)
    except (RecursionError, ValueError, AttributeError):
        return False
