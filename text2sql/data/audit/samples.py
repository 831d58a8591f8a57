"""Finds gold queries that most answers of a model contradict while agreeing with one another."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from text2sql.data.audit.smell import Smell
from text2sql.data.example import Example
from text2sql.equivalence.scoring import MatchOptions, Pair, score_pairs
from text2sql.equivalence.verdict import Verdict
from text2sql.errors import UserError
from text2sql.evaluation import extract_sql
from text2sql.rows import read_rows
from text2sql.runs.directory import RunDirectory

# Columns with one answer.
_ANSWER_COLUMNS = ("predicted", "prediction", "sql", "answer_text", "text")
# Columns with several answers.
_ANSWERS_COLUMNS = ("predictions", "samples", "candidates")


def read_samples(path: Path) -> dict[str, list[str]]:
    """Answers by question, from a run's directory or a file of predictions.

    Raises:
        UserError: The path does not exist, or its rows have no question with an answer.
    """
    files = sorted(path.glob("predictions-*.jsonl")) if path.is_dir() else [path]
    if not files or not all(file.is_file() for file in files):
        raise UserError(f"--samples: there are no predictions in {path}; give a run's directory, or a file of them.")
    if path.is_dir():
        RunDirectory(path).saved_config()
    answers: defaultdict[str, list[str]] = defaultdict(list)
    for file in files:
        for row in read_rows(file, "--samples"):
            question = row.get("question")
            texts = [row[name] for name in _ANSWER_COLUMNS if isinstance(row.get(name), str)][:1]
            texts += [text for name in _ANSWERS_COLUMNS for text in _several(row.get(name))]
            if isinstance(question, str):
                answers[question] += [sql for text in texts if (sql := extract_sql(text))]
    if not any(answers.values()):
        columns = ", ".join((*_ANSWER_COLUMNS, *_ANSWERS_COLUMNS))
        raise UserError(f"--samples: {path} has no rows with a question and an answer ({columns}).")
    return dict(answers)


def _several(value: Any) -> list[str]:
    # A text is one answer, and not one for each of its characters; what a run's rows have in `samples` is their number.
    values = value if isinstance(value, list) else [value]
    return [text for text in values if isinstance(text, str)]


def find_disputed(
    examples: Sequence[Example], samples: Mapping[str, Sequence[str]], options: MatchOptions
) -> dict[str, tuple[Smell, list[str]]]:
    """The examples, by id, whose samples mostly agree with each other and not with the gold query; with a witness.

    Args:
        examples: The examples.
        samples: The sampled queries by question.
        options: How queries are compared.
    """
    sampled = [e for e in examples if len(samples.get(e.question, ())) > 1]
    pairs_with_gold = [(e, sql) for e in sampled for sql in samples[e.question]]
    verdicts = _compare([(e, e.answer, sql) for e, sql in pairs_with_gold], options)
    wrong: defaultdict[str, list[tuple[str, Verdict]]] = defaultdict(list)
    for (example, sql), verdict in zip(pairs_with_gold, verdicts, strict=True):
        if verdict.status == "different":
            wrong[example.id].append((sql, verdict))
    disputed = [e for e in sampled if 2 * len(wrong[e.id]) > len(samples[e.question])]
    pairs = [(e, wrong[e.id][0][0], sql) for e in disputed for sql, _ in wrong[e.id][1:]]
    agreeing: defaultdict[str, int] = defaultdict(int)
    for (example, _, _), verdict in zip(pairs, _compare(pairs, options), strict=True):
        agreeing[example.id] += verdict.status == "equivalent"
    result = {}
    for example in disputed:
        votes, total = 1 + agreeing[example.id], len(samples[example.question])
        if 2 * votes > total:
            sql, verdict = wrong[example.id][0]
            detail = f"{votes} of {total} samples agree on another query: {sql}"
            result[example.id] = Smell("most samples disagree", detail), _witness(verdict)
    return result


def _compare(pairs: Sequence[tuple[Example, str, str]], options: MatchOptions) -> list[Verdict]:
    to_compare = [Pair(e.context, gold, sql, e.db, e.dialect) for e, gold, sql in pairs]
    verdicts = dict(score_pairs(to_compare, **options))
    return [verdicts[index] for index in range(len(to_compare))]


def _witness(verdict: Verdict) -> list[str]:
    return verdict.reason.splitlines()[:6]
